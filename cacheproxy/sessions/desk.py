"""Sessions for an operator: looked at, made, changed and ended by hand."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from cacheproxy.client.session_json import expired, is_session_id, new_session_id, pack_session, parse_session
from cacheproxy.clock import Clock
from cacheproxy.policy.identity import SessionRules
from cacheproxy.redis_link.contract import Budget, Link
from cacheproxy.redis_link.scripts import load_script

_SWAP = load_script("cacheproxy.client", "lua/session_swap")
_STEP_S = 5.0


@dataclass(frozen=True, slots=True)
class Shown:
    """A live session: its fields, and the seconds until it ends if nobody uses it; None where it does not."""

    fields: Mapping[str, object]
    left_s: float | None


class SessionDesk:
    """Sessions under ``rules.key``. Every method raises StateError where Redis does not answer.

    ``purge`` is told of each session that changed (``session:{id}``), so that no replica remembers the old one.
    """

    def __init__(
        self, link: Link, rules: SessionRules, clock: Clock, purge: Callable[[str], Awaitable[object]]
    ) -> None:
        """Look in ``link``."""
        self._link = link
        self._rules = rules
        self._clock = clock
        self._purge = purge

    async def show(self, session_id: str) -> Shown | None:
        """The session, or None where it is unknown, expired or malformed. Does not keep it alive."""
        packed, left_ms = await self._read(session_id)
        fields = self._live(packed)
        return None if fields is None else Shown(fields, None if left_ms < 0 else left_ms / 1000)

    async def create(self, fields: Mapping[str, object]) -> str:
        """The id of a new session. ValueError where ``fields`` are too large."""
        session_id = new_session_id()
        ttl_ms = round(self._rules.ttl_s * 1000)
        await self._link.call("SET", self._name(session_id), pack_session(fields), "PX", ttl_ms, budget=_budget())
        return session_id

    async def update(self, session_id: str, changes: Mapping[str, object]) -> Shown | None:
        """The session with ``changes`` written over its fields; None where there is none, or it was changed meanwhile.

        ValueError where its fields became too large.
        """
        packed, _ = await self._read(session_id)
        fields = self._live(packed)
        if packed is None or fields is None:
            return None
        written = pack_session({**fields, **changes})
        if not await self._link.run(_SWAP, [self._name(session_id)], [packed, written], _budget()):
            return None
        await self._purge(f"session:{session_id}")
        return await self.show(session_id)

    async def delete(self, session_id: str) -> bool:
        """Whether there was one; no replica remembers it."""
        if not is_session_id(session_id):
            return False
        deleted = await self._link.call("DEL", self._name(session_id), budget=_budget())
        await self._purge(f"session:{session_id}")
        return bool(deleted)

    async def _read(self, session_id: str) -> tuple[bytes | None, int]:
        if not is_session_id(session_id):
            return None, 0
        name = self._name(session_id)
        packed, left_ms = await self._link.batch([("GET", name), ("PTTL", name)], _budget())
        return packed, left_ms

    def _live(self, packed: bytes | None) -> dict[str, object] | None:
        fields = None if packed is None else parse_session(packed)
        return None if fields is None or expired(fields, self._clock.now()) else fields

    def _name(self, session_id: str) -> str:
        return self._rules.key.replace("{id}", session_id)


def _budget() -> Budget:
    return Budget(asyncio.get_running_loop().time() + _STEP_S)

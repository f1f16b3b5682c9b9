"""Sessions for services: what the sidecars look up, written by whoever logs people in and out.

sessions = Sessions(Redis.from_url("redis://localhost"))
session_id = await sessions.create({"user_id": 7})      # set it as the cookie `session_id`
await sessions.rotate(session_id)                       # after a change of rights: the old id is dead
await sessions.delete(session_id)                       # every sidecar knows within milliseconds
"""

import time
from collections.abc import Mapping
from importlib import resources
from typing import Protocol

from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from cacheproxy.client.publisher import Publisher, SyncPublisher
from cacheproxy.client.session_json import expired, is_session_id, new_session_id, pack_session, parse_session

DEFAULT_KEY = "session:{id}"
DEFAULT_TTL_S = 3600.0

_LUA = resources.files("cacheproxy.client") / "lua"
_SWAP = (_LUA / "session_swap.lua").read_text("utf-8")
_TAKE = (_LUA / "session_take.lua").read_text("utf-8")
_ATTEMPTS = 16
"""How often ``update`` starts over when somebody else has written meanwhile."""


class SessionConflictError(Exception):
    """Others kept writing the same session: the update was not made."""


class Purges(Protocol):
    """What is told that a session has changed: a ``Publisher``."""

    async def purge(self, *tags: str) -> int:
        """Purge ``tags`` everywhere."""
        ...


class SyncPurges(Protocol):
    """What is told that a session has changed: a ``SyncPublisher``."""

    def purge(self, *tags: str) -> int:
        """Purge ``tags`` everywhere."""
        ...


class Sessions:
    """Sessions in ``redis``, which stays the caller's to close. redis-py's errors pass.

    ``publisher`` is needed where the sidecars' bus is on another Redis than the sessions.
    """

    def __init__(
        self,
        redis: AsyncRedis,
        *,
        key: str = DEFAULT_KEY,
        ttl_s: float = DEFAULT_TTL_S,
        publisher: Purges | None = None,
    ) -> None:
        """``key`` and ``ttl_s`` are those of the sidecars' policy."""
        self._redis = redis
        self._key = key
        self._ttl_ms = round(ttl_s * 1000)
        self._publisher = publisher or Publisher(redis)
        self._swap = redis.register_script(_SWAP)
        self._take = redis.register_script(_TAKE)

    async def create(self, fields: Mapping[str, object], *, lifetime_s: float | None = None) -> str:
        """The id (256 random bits) of a new session; with ``lifetime_s`` it ends then, however often it is used."""
        session_id = new_session_id()
        packed = pack_session(_with_end(fields, lifetime_s))
        await self._redis.set(self._name(session_id), packed, px=self._ttl_ms)
        return session_id

    async def get(self, session_id: str) -> dict[str, object] | None:
        """The session's fields, or None where there is none. Does not keep it alive: the sidecars do."""
        return _live(await self._redis.get(self._name(session_id))) if is_session_id(session_id) else None

    async def update(self, session_id: str, changes: Mapping[str, object]) -> dict[str, object] | None:
        """The fields after writing ``changes`` over them, or None where there is no session: none is ever revived.

        Concurrent updates are all kept. SessionConflictError after losing that race many times.
        """
        if not is_session_id(session_id):
            return None
        name = self._name(session_id)
        for _ in range(_ATTEMPTS):
            packed = await self._redis.get(name)
            fields = _live(packed)
            if packed is None or fields is None:
                return None
            merged = {**fields, **changes}
            if await self._swap([name], [packed, pack_session(merged)]):
                await self._publisher.purge(_tag(session_id))
                return merged
        raise SessionConflictError(f"{_ATTEMPTS} attempts to update the session were overtaken")

    async def delete(self, session_id: str) -> bool:
        """Whether there was one. No sidecar knows it any more when this returns, or within a second if one is deaf."""
        if not is_session_id(session_id):
            return False
        deleted = await self._redis.delete(self._name(session_id))
        await self._publisher.purge(_tag(session_id))
        return bool(deleted)

    async def rotate(self, session_id: str) -> str | None:
        """The new id under which the session goes on, with the time it had left; None where there is none.

        To be called when rights change, so that an id that somebody planted or saw before is worth nothing.
        """
        if not is_session_id(session_id):
            return None
        taken = await self._take([self._name(session_id)])
        await self._publisher.purge(_tag(session_id))
        if taken is None or _live(taken[0]) is None:
            return None
        new_id = new_session_id()
        await self._redis.set(self._name(new_id), taken[0], px=_px(taken[1]))
        return new_id

    def _name(self, session_id: str) -> str:
        return self._key.replace("{id}", session_id)


class SyncSessions:
    """``Sessions`` for services without an event loop."""

    def __init__(
        self,
        redis: Redis,
        *,
        key: str = DEFAULT_KEY,
        ttl_s: float = DEFAULT_TTL_S,
        publisher: SyncPurges | None = None,
    ) -> None:
        """``key`` and ``ttl_s`` are those of the sidecars' policy."""
        self._redis = redis
        self._key = key
        self._ttl_ms = round(ttl_s * 1000)
        self._publisher = publisher or SyncPublisher(redis)
        self._swap = redis.register_script(_SWAP)
        self._take = redis.register_script(_TAKE)

    def create(self, fields: Mapping[str, object], *, lifetime_s: float | None = None) -> str:
        """As ``Sessions.create``."""
        session_id = new_session_id()
        packed = pack_session(_with_end(fields, lifetime_s))
        self._redis.set(self._name(session_id), packed, px=self._ttl_ms)
        return session_id

    def get(self, session_id: str) -> dict[str, object] | None:
        """As ``Sessions.get``."""
        return _live(self._redis.get(self._name(session_id))) if is_session_id(session_id) else None

    def update(self, session_id: str, changes: Mapping[str, object]) -> dict[str, object] | None:
        """As ``Sessions.update``."""
        if not is_session_id(session_id):
            return None
        name = self._name(session_id)
        for _ in range(_ATTEMPTS):
            packed = self._redis.get(name)
            fields = _live(packed)
            if packed is None or fields is None:
                return None
            merged = {**fields, **changes}
            if self._swap([name], [packed, pack_session(merged)]):
                self._publisher.purge(_tag(session_id))
                return merged
        raise SessionConflictError(f"{_ATTEMPTS} attempts to update the session were overtaken")

    def delete(self, session_id: str) -> bool:
        """As ``Sessions.delete``."""
        if not is_session_id(session_id):
            return False
        deleted = self._redis.delete(self._name(session_id))
        self._publisher.purge(_tag(session_id))
        return bool(deleted)

    def rotate(self, session_id: str) -> str | None:
        """As ``Sessions.rotate``."""
        if not is_session_id(session_id):
            return None
        taken = self._take([self._name(session_id)])
        self._publisher.purge(_tag(session_id))
        if taken is None or _live(taken[0]) is None:
            return None
        new_id = new_session_id()
        self._redis.set(self._name(new_id), taken[0], px=_px(taken[1]))
        return new_id

    def _name(self, session_id: str) -> str:
        return self._key.replace("{id}", session_id)


def _with_end(fields: Mapping[str, object], lifetime_s: float | None) -> Mapping[str, object]:
    return fields if lifetime_s is None else {**fields, "expires_at": time.time() + lifetime_s}


def _live(packed: bytes | str | None) -> dict[str, object] | None:
    if packed is None:
        return None
    fields = parse_session(packed.encode() if isinstance(packed, str) else packed)
    return None if fields is None or expired(fields, time.time()) else fields


def _px(left_ms: int) -> int | None:
    """The TTL to set for one that was read: -1 is for ever, and 0 is nearly over."""
    return None if left_ms < 0 else max(1, left_ms)


def _tag(session_id: str) -> str:
    return f"session:{session_id}"

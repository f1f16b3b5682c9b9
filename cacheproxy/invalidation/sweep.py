"""Purges by pattern, where no tag says what is meant: looks at every stored key, slowly, and purges those that match.

A tag is nearly always the better way: it costs the same however much is stored, and it is in force at once.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from cacheproxy.invalidation.contract import Purge, Purger
from cacheproxy.policy.tags import key_tag
from cacheproxy.redis_link.contract import Budget, Link, ShardedLink

_STEP_S = 5.0
_GLOB = re.compile(r"([*?\[\]\\])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """How far a sweep has come: keys looked at, about how many there are, and how many it purged."""

    looked_at: int
    of: int
    purged: int


class Sweep:
    """Sweeps the entries under ``prefix``, at most ``keys_per_s`` of Redis's keys in a second."""

    def __init__(
        self, link: ShardedLink, purger: Purger, prefix: str, *, keys_per_s: int = 20_000, step: int = 500
    ) -> None:
        """``link`` is where entries are stored; purges go to ``purger``, so that every replica's memory follows."""
        self._link = link
        self._purger = purger
        self._step = step
        self._step_wait_s = step / keys_per_s
        self._tenants = _GLOB.sub(r"\\\1", prefix) + ":tenant-*"
        self._resource = re.compile(rf"{re.escape(prefix)}:tenant-[^:]*:(.+?):[^:~]+(?::~.*)?")

    async def run(self, pattern: str) -> AsyncIterator[Swept]:
        """Purge every key that ``pattern`` matches (``articles:list:*``, ``users:4?``), in every tenant and version.

        A key is what the route's key template gives; routes without one are purged by path. Says how far it has come
        after each step, and may be left at any of them. StateError where Redis does not answer; what was purged until
        then stays so.
        """
        masters = await self._link.masters(_budget())
        sizes = await asyncio.gather(*(master.call("DBSIZE", budget=_budget()) for master in masters))
        swept = Swept(looked_at=0, of=sum(sizes), purged=0)
        async for found in self._scan(masters, pattern):
            purged = await self._purge([key for key in found if self._matches(key, pattern)])
            looked_at = min(swept.looked_at + self._step, swept.of)
            swept = Swept(looked_at=looked_at, of=swept.of, purged=swept.purged + purged)
            yield swept

    async def _scan(self, masters: Sequence[Link], pattern: str) -> AsyncIterator[list[bytes]]:
        """What each step finds, one server after the other, at the sweep's rate."""
        command = ("MATCH", f"{self._tenants}:{pattern}:*", "COUNT", self._step)
        for at, master in enumerate(masters):
            cursor, last = b"0", at + 1 == len(masters)
            while cursor:
                cursor, found = await master.call("SCAN", cursor, *command, budget=_budget())
                yield found
                cursor = b"" if cursor == b"0" else cursor
                if cursor or not last:
                    await asyncio.sleep(self._step_wait_s)

    def _matches(self, key: bytes, pattern: str) -> bool:
        """Redis compares the whole key, and so lets a pattern run on into the version and what follows it."""
        resource = self._resource_of(key)
        return not resource.startswith("@") and fnmatchcase(resource, pattern.replace("[^", "[!"))

    def _resource_of(self, key: bytes) -> str:
        named = self._resource.fullmatch(key.decode())
        return "" if named is None else named[1]

    async def _purge(self, keys: list[bytes]) -> int:
        if keys:
            tags = dict.fromkeys(key_tag(self._resource_of(key)) for key in keys)
            await self._purger.purge(Purge(tags=tuple(tags)))
            await self._link.batch([("UNLINK", key) for key in keys], _budget())  # one by one: they share no slot
        return len(keys)


def _budget() -> Budget:
    return Budget(asyncio.get_running_loop().time() + _STEP_S)

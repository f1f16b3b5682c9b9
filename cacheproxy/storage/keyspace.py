"""The stored entries as an operator sees them: a page of keys at a time, or one key and all that is under it.

What is written here is what any other program may write (docs/format.md): an entry without a route, whose tags follow
from its key. What the policy tags it with is added whenever it is read for a request.
"""

import asyncio
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from urllib.parse import unquote_to_bytes

from cacheproxy.clock import Clock, SystemClock
from cacheproxy.policy.tags import EVERYTHING, key_tag, path_tag
from cacheproxy.redis_link.contract import Budget, Link, ShardedLink
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.tag_clock import Stamp
from cacheproxy.storage.contract import Entry, Store

STEP_S = 5.0
"""How long an operator waits for one step: no request waits for it."""
SCAN_COUNT = 500
SCANS_A_PAGE = 20
"""A page is made of so many looks at most, at SCAN_COUNT keys each; so it may be empty without being the last."""

_VARIANT = re.compile(r":~[0-9a-f]{32}$")
_PATH_TAG = re.compile(r"(?:@path/|@long/)")


@dataclass(frozen=True, slots=True)
class KeyName:
    """A key taken apart: ``{prefix}:tenant-{tenant}:{resource}:{version}[:{suffix}]``, each as the key spells it."""

    tenant: str
    """Empty for what is no tenant's own."""
    resource: str

    @property
    def own_tags(self) -> tuple[str, ...]:
        """What purges it and little else: its key or, where the route has no key template, its path.

        None where the path is too long to be spelled in a key. A tenant's own tags where it is a tenant's.
        """
        if not self.resource.startswith("@"):
            return self._for_tenant([key_tag(self.resource)])
        path = self.resource.partition(":")[2]
        if path.startswith("!"):
            return ()
        return self._for_tenant([path_tag(unquote_to_bytes(path).decode().encode("latin-1"))])

    @property
    def tags(self) -> tuple[str, ...]:
        """All that follow from the key: ``own_tags``, each beginning of the key, and everything."""
        beginnings = [] if self.resource.startswith("@") else _beginnings(self.resource)
        ours = [f"@tenant/{self.tenant}"] if self.tenant else []
        return tuple(dict.fromkeys((EVERYTHING, *ours, *beginnings, *self._for_tenant(beginnings), *self.own_tags)))

    def _for_tenant(self, tags: list[str]) -> tuple[str, ...]:
        return tuple(f"@tenant/{self.tenant}/{tag}" for tag in tags) if self.tenant else tuple(tags)


@dataclass(frozen=True, slots=True)
class Held:
    """A key and for how many seconds Redis keeps it; None where that is for ever, as no sidecar stores it."""

    key: str
    kept_s: float | None


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the keys, and the ``cursor`` to ask for more with; empty after the last."""

    keys: tuple[Held, ...]
    cursor: str


class Keyspace:
    """The entries under one prefix in Redis. Every method raises StateError where Redis does not answer."""

    def __init__(self, link: ShardedLink, store: Store, prefix: str, clock: Clock | None = None) -> None:
        """``store`` is L2, over ``link``."""
        self._link = link
        self._store = store
        self._prefix = prefix
        self._clock = clock or SystemClock()
        self._layout = re.compile(rf"{re.escape(prefix)}:tenant-([^:]+):(.+?):[^:~]+(?::~.*)?")

    def named(self, key: str) -> KeyName:
        """``key`` taken apart. ValueError if it is not a whole key of this sidecar's."""
        found = self._layout.fullmatch(key)
        if found is None:
            raise ValueError(f"a whole key begins with `{self._prefix}:tenant-` and ends in a version")
        return KeyName("" if found[1] == "global" else found[1], found[2])

    async def page(self, pattern: str = "*", cursor: str = "", count: int = 100) -> Page:
        """About ``count`` keys whose resource matches the glob ``pattern`` (``articles:list:*``), from ``cursor`` on.

        A key that is stored throughout is listed, once or twice. ValueError for a cursor that is none of ours.
        """
        masters = await self._link.masters(_budget())
        at, position = _position(cursor)
        found: dict[str, None] = {}
        for _ in range(SCANS_A_PAGE):
            if at >= len(masters) or len(found) >= count:
                break
            position, keys = await self._scan(masters[at], position, pattern, min(SCAN_COUNT, count))
            found |= dict.fromkeys(keys)
            at += position == 0
        return Page(await self._held(list(found)), f"{at}.{position}" if at < len(masters) else "")

    async def entries(self, key: str) -> list[Entry]:
        """What is stored under ``key`` and not purged, the newest first; one for each variant."""
        return await self._store.variants(key, _budget())

    async def put(self, key: str, fields: Fields, body: bytes, *, ttl_s: float, stamp: Stamp) -> Entry:
        """The entry that is stored under ``key`` from now on: a 200, fresh for ``ttl_s``. ValueError as ``named``."""
        now = self._clock.now()
        entry = Entry(
            key=key,
            status=200,
            fields=fields,
            body=body,
            requested_at=now,
            received_at=now,
            lifetime_s=ttl_s,
            keep_until=now + ttl_s,
            stamp=stamp,
            tags=self.named(key).tags,
        )
        await self._store.delete(key, _budget())
        await self._store.write(entry, _budget())
        return entry

    async def delete(self, key: str) -> int:
        """Drop all that is under ``key``; how many there were."""
        return await self._store.delete(key, _budget())

    async def tags_of(self, key: str) -> tuple[str, ...]:
        """What to purge so that no replica keeps what is under ``key``, and little else goes. ValueError: ``named``."""
        known = self.named(key).own_tags
        if known:
            return known
        carried = {tag for entry in await self.entries(key) for tag in entry.tags}
        return tuple(sorted(tag for tag in carried if _PATH_TAG.match(tag)))

    async def _scan(self, master: Link, position: int, pattern: str, count: int) -> tuple[int, list[str]]:
        match = f"{self._prefix}:tenant-*:{pattern}:*"
        position, keys = await master.call("SCAN", position, "MATCH", match, "COUNT", count, budget=_budget())
        names = (key.decode("utf-8", "replace") for key in keys)
        return int(position), [name for name in names if self._shown(name, pattern)]

    def _shown(self, key: str, pattern: str) -> bool:
        """Redis lets a pattern run on into the version; and a variant stands under its key."""
        found = self._layout.fullmatch(key)
        return found is not None and fnmatchcase(found[2], pattern.replace("[^", "[!")) and not _VARIANT.search(key)

    async def _held(self, keys: list[str]) -> tuple[Held, ...]:
        left_ms = await self._link.batch([("PTTL", key) for key in keys], _budget())
        both = zip(keys, left_ms, strict=True)
        return tuple(Held(key, None if ms == _FOR_EVER else ms / 1000) for key, ms in both if ms != _GONE)


_FOR_EVER, _GONE = -1, -2
"""PTTL of a key that does not expire, and of one that does not exist any more."""


def _position(cursor: str) -> tuple[int, int]:
    """Which server, and the SCAN cursor there. ValueError."""
    server, dot, position = (cursor or "0.0").partition(".")
    if not (dot and server.isdecimal() and position.isdecimal()):
        raise ValueError(f"`{cursor}` is not a cursor: give back the one that the page before came with")
    return int(server), int(position)


def _beginnings(resource: str) -> list[str]:
    """The tags of all that a key template may have as its literal beginning: more than one that it has does no harm."""
    return [key_tag(resource[:at] + ":*") for at, char in enumerate(resource) if char == ":"]


def _budget() -> Budget:
    return Budget(asyncio.get_running_loop().time() + STEP_S)

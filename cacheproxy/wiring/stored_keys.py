"""Stored entries, for an operator: what is changed in Redis is purged from every replica's memory first."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from cacheproxy.invalidation.contract import Purge, Purger, Receipt
from cacheproxy.invalidation.sweep import Sweep, Swept
from cacheproxy.policy.tags import key_tag
from cacheproxy.semantics.fields import Fields
from cacheproxy.storage.contract import Entry
from cacheproxy.storage.keyspace import Keyspace, Page


class StoredKeys:
    """An ``admin.keys.Keys`` over Redis."""

    def __init__(self, keyspace: Keyspace, purger: Purger, sweep: Sweep) -> None:
        """Everything it works with comes from ``wiring``."""
        self._keyspace = keyspace
        self._purger = purger
        self._sweep = sweep

    async def page(self, pattern: str, cursor: str, count: int) -> Page:
        """About ``count`` keys that the glob ``pattern`` matches, from ``cursor`` on. ValueError for a bad cursor."""
        return await self._keyspace.page(pattern, cursor, count)

    async def entries(self, key: str) -> list[Entry]:
        """What is under ``key``, one for each variant. ValueError if it is no whole key."""
        self._keyspace.named(key)
        return await self._keyspace.entries(key)

    async def put(self, key: str, fields: Fields, body: bytes, ttl_s: float) -> Entry:
        """Store a response under ``key``. What replicas had of it is purged, and the stamp is younger than that."""
        await self._purge(key, None)
        return await self._keyspace.put(key, fields, body, ttl_s=ttl_s, stamp=await self._purger.begin())

    async def delete(self, key: str, wait_s: float | None) -> tuple[int, Receipt | None]:
        """Drop ``key`` everywhere: how many entries there were, and the purge's receipt (None: nothing to purge)."""
        receipt = await self._purge(key, wait_s)
        return await self._keyspace.delete(key), receipt

    async def sweep(self, pattern: str) -> AsyncGenerator[Swept, None]:
        """Drop all that ``pattern`` matches. A literal beginning is a tag: its purge is in force before the sweep."""
        if pattern.endswith(":*") and not set("*?[") & set(pattern[:-1]):
            await self._purger.purge(Purge(tags=(key_tag(pattern),)))
        async with aclosing(self._sweep.run(pattern)) as steps:  # type: ignore[type-var] # it is a generator
            async for swept in steps:
                yield swept

    async def _purge(self, key: str, wait_s: float | None) -> Receipt | None:
        tags = await self._keyspace.tags_of(key)
        return await self._purger.purge(Purge(tags=tags), wait_s=wait_s) if tags else None

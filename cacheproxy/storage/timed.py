"""A store whose operations are timed."""

from collections.abc import Callable, Collection

from cacheproxy.redis_link.contract import Budget
from cacheproxy.semantics.fields import Fields
from cacheproxy.storage.contract import Entry, Found, Store

Record = Callable[[str, float], None]
"""Takes an operation (``get``, ``set`` or ``delete``) and its seconds."""


class TimedStore:
    """Passes everything on to ``store`` and records how long it took, failures included.

    A look-up is one ``get``: from memory where the response is at hand, else the trip to Redis.
    """

    def __init__(self, store: Store, record: Record, monotonic: Callable[[], float]) -> None:
        """Time by ``monotonic``."""
        self._store = store
        self.local = store.local
        self._record = record
        self._monotonic = monotonic

    def peek(self, key: str, request: Fields, tags: Collection[str] = ()) -> Found | None:
        """What the store has at hand; recorded unless ``read`` follows, as it does where there may be more to find."""
        began = self._monotonic()
        found = self._store.peek(key, request, tags)
        if found is not None or self.local:
            self._record("get", self._monotonic() - began)
        return found

    async def read(
        self, key: str, request: Fields, budget: Budget | None = None, tags: Collection[str] = ()
    ) -> Found | None:
        """What the store gives."""
        began = self._monotonic()
        try:
            return await self._store.read(key, request, budget, tags)
        finally:
            self._record("get", self._monotonic() - began)

    async def variants(self, key: str, budget: Budget | None = None) -> list[Entry]:
        """What the store gives."""
        began = self._monotonic()
        try:
            return await self._store.variants(key, budget)
        finally:
            self._record("get", self._monotonic() - began)

    async def write(self, entry: Entry, budget: Budget | None = None) -> None:
        """Keep ``entry`` in the store."""
        began = self._monotonic()
        try:
            await self._store.write(entry, budget)
        finally:
            self._record("set", self._monotonic() - began)

    def write_now(self, entry: Entry) -> bool:
        """Keep ``entry`` in the store, if that can be at once; else nothing is recorded, for ``write`` follows."""
        began = self._monotonic()
        kept = self._store.write_now(entry)
        if kept:
            self._record("set", self._monotonic() - began)
        return kept

    async def delete(self, key: str, budget: Budget | None = None) -> int:
        """Drop what is under ``key`` from the store; how many there were."""
        began = self._monotonic()
        try:
            return await self._store.delete(key, budget)
        finally:
            self._record("delete", self._monotonic() - began)

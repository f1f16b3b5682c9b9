"""L1 before L2, and no store at all."""

from collections.abc import Callable, Collection
from dataclasses import replace

from cacheproxy.clock import Clock, SystemClock
from cacheproxy.errors import StateError
from cacheproxy.redis_link.contract import Budget
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.freshness import current_age
from cacheproxy.semantics.tag_clock import Verdict
from cacheproxy.storage.contract import Entry, Found, Store
from cacheproxy.storage.memory import MemoryStore


def _always() -> bool:
    return True


class TieredStore:
    """Asks L1, then L2, and keeps in L1 what L2 gave."""

    local = False

    def __init__(
        self, l1: MemoryStore, l2: Store, clock: Clock | None = None, settled: Callable[[], bool] = _always
    ) -> None:
        """``l1`` in this process before ``l2``, which is shared, and is believed only while ``settled``.

        That is not so while a purge is known here that the tag clock, by which ``l2`` judges, does not know yet.
        """
        self.l1 = l1
        self.l2 = l2
        self._clock = clock or SystemClock()
        self._settled = settled

    def peek(self, key: str, request: Fields, tags: Collection[str] = ()) -> Found | None:
        """What L1 has."""
        return self.l1.peek(key, request, tags)

    async def read(
        self, key: str, request: Fields, budget: Budget | None = None, tags: Collection[str] = ()
    ) -> Found | None:
        """What L1 has if it is fresh, else the newer of L1's and L2's: another replica may have refreshed it."""
        near = self.l1.peek(key, request, tags)
        if near is not None and self._fresh(near):
            return near
        try:
            far = self._still(await self.l2.read(key, request, budget, tags))
        except StateError:
            if near is None:
                raise
            return near
        if far is None or (near is not None and near.entry.received_at >= far.entry.received_at):
            return near
        by_now = self.l1.peek(key, request, tags)
        newer = by_now is None or by_now.entry.received_at < far.entry.received_at  # else another reader has kept it
        if newer and far.verdict is Verdict.VALID:  # a soft purge may be older than all that L1 was told: L1 forgets it
            self.l1.keep(far.entry, far.vouched_us)
        return far

    async def variants(self, key: str, budget: Budget | None = None) -> list[Entry]:
        """All entries under ``key`` in both, the newest first; what L2 has newer is kept in L1."""
        near = self.l1.peek_all(key)
        try:
            far = await self.l2.variants(key, budget)
        except StateError:
            if not near:
                raise
            far = []
        by_age = sorted([*near, *(far if self._settled() else ())], key=lambda entry: entry.received_at)
        newest = {(entry.vary, entry.variance): entry for entry in by_age}
        at_hand = {(entry.stamp, entry.received_at) for entry in near}  # of one stamp there may be several
        for entry in newest.values():
            if (entry.stamp, entry.received_at) not in at_hand:
                self.l1.keep(entry)
        return sorted(newest.values(), key=lambda entry: -entry.received_at)

    async def write(self, entry: Entry, budget: Budget | None = None) -> None:
        """Keep ``entry`` in both. Where L2 does not, L1 still may: its stamp is the tag clock's own."""
        self.l1.keep(entry)
        await self.l2.write(entry, budget)

    def write_now(self, entry: Entry) -> bool:  # noqa: ARG002 - L2 takes its time
        """Never at once."""
        return False

    async def delete(self, key: str, budget: Budget | None = None) -> int:
        """Drop every variant under ``key`` from both; how many there were in the one that had more."""
        near = await self.l1.delete(key)
        return max(near, await self.l2.delete(key, budget))

    def _still(self, found: Found | None) -> Found | None:
        """``found``, less what a purge has said that was heard here while the answer was on its way."""
        if found is None or not self._settled():
            return None
        match self.l1.heard(found.entry):
            case Verdict.VALID:
                return found
            case Verdict.STALE:
                return replace(found, verdict=Verdict.STALE)
            case Verdict.DEAD:
                return None

    def _fresh(self, found: Found) -> bool:
        entry = found.entry
        age_s = current_age(entry.initial_age_s, entry.received_at, self._clock.now())
        return found.verdict is Verdict.VALID and age_s < entry.lifetime_s


class NoStore:
    """Keeps nothing."""

    local = True

    def peek(
        self,
        key: str,  # noqa: ARG002 - the Store contract's
        request: Fields,  # noqa: ARG002
        tags: Collection[str] = (),  # noqa: ARG002
    ) -> Found | None:
        """None."""
        return None

    async def read(
        self,
        key: str,  # noqa: ARG002 - the Store contract's
        request: Fields,  # noqa: ARG002
        budget: Budget | None = None,  # noqa: ARG002
        tags: Collection[str] = (),  # noqa: ARG002
    ) -> Found | None:
        """None."""
        return None

    async def variants(self, key: str, budget: Budget | None = None) -> list[Entry]:  # noqa: ARG002 - the Store contract's
        """None."""
        return []

    async def write(self, entry: Entry, budget: Budget | None = None) -> None:
        """Forget ``entry``."""

    def write_now(self, entry: Entry) -> bool:  # noqa: ARG002 - the Store contract's
        """Forget it at once."""
        return True

    async def delete(self, key: str, budget: Budget | None = None) -> int:  # noqa: ARG002 - the Store contract's
        """0."""
        return 0

"""What came into the store while a fill waited for its turn."""

from collections.abc import Collection
from typing import Protocol

from cacheproxy.clock import Clock
from cacheproxy.engine.degrade import Degrade
from cacheproxy.engine.fill_job import Filled, FillJob
from cacheproxy.engine.serve import whole_seconds
from cacheproxy.redis_link.contract import Role
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.plan import Serve, plan
from cacheproxy.semantics.tag_clock import Verdict
from cacheproxy.storage.contract import Entry, Found, Store


class Shelf(Protocol):
    """L1 (``storage.memory.MemoryStore``)."""

    def peek(self, key: str, request: Fields, tags: Collection[str] = ()) -> Found | None:
        """The most fitting entry for ``request``, which carries ``tags`` from then on; or None."""
        ...


class Meanwhile:
    """Looks again on behalf of fills."""

    def __init__(self, store: Store, shelf: Shelf, degrade: Degrade, clock: Clock) -> None:
        """Into ``store``, or ``shelf``, which is what of it is at hand."""
        self._store = store
        self._shelf = shelf
        self._degrade = degrade
        self._clock = clock

    async def filled(self, job: FillJob) -> Filled | None:
        """What is stored by now, if it is what a request made now would be answered with."""
        asked = self._store.read(job.key, job.request.fields, None, job.tags)
        filled = self._filled_by(job, await self._degrade.instead(Role.CACHE, asked, None))
        if filled is None or not _is_what_it_had(job, filled.entry):
            return filled
        return await self._replaced_meanwhile(job, filled.entry)

    def at_hand(self, job: FillJob) -> Filled | None:
        """What ``filled`` gives where nothing is stored but what is at hand."""
        filled = self._filled_by(job, self._shelf.peek(job.key, job.request.fields, job.tags))
        return None if filled is None or _is_what_it_had(job, filled.entry) else filled

    def _filled_by(self, job: FillJob, found: Found | None) -> Filled | None:
        if found is None:
            return None
        soft_purged = found.verdict is Verdict.STALE
        decided = plan(job.request, found.entry, job.rules, self._clock.now(), soft_purged=soft_purged)
        if not isinstance(decided, Serve):
            return None
        return Filled(found.entry, 0, stored=False, age=whole_seconds(decided.age_s))

    async def _replaced_meanwhile(self, job: FillJob, stored: Entry) -> Filled | None:
        """What another replica has put in the place of ``stored``, which is refreshed early, and fresh here still."""
        for entry in await self._degrade.instead(Role.CACHE, self._store.variants(job.key), ()):
            is_newer = entry.received_at > stored.received_at
            if is_newer and (entry.vary, entry.variance) == (stored.vary, stored.variance):
                return Filled(entry, 0, stored=False)
        return None


def _is_what_it_had(job: FillJob, entry: Entry) -> bool:
    """Whether ``entry`` is what ``job`` is to replace: a refresh before its time."""
    had = job.plan.stored
    # a stamp alone may be that of two fills: many begin by the same moment that was heard of
    return isinstance(had, Entry) and (entry.stamp, entry.received_at) == (had.stamp, had.received_at)

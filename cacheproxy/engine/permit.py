"""Leave to fill: the lease on a key, which comes with a stamp of the tag clock, or a stamp alone."""

import asyncio
from collections.abc import Callable

from cacheproxy.clock import Clock
from cacheproxy.engine.degrade import Degrade
from cacheproxy.engine.fill_job import Filled, FillJob
from cacheproxy.engine.meanwhile import Meanwhile
from cacheproxy.engine.recorder import Event, Recorder
from cacheproxy.fills.contract import Held, Leases, Waited
from cacheproxy.fills.hit_for_miss import HitForMiss
from cacheproxy.invalidation.contract import Purger
from cacheproxy.redis_link.contract import Budget, Role
from cacheproxy.semantics.tag_clock import Stamp

PATIENCE_S = 5.0
"""How long a fill waits for another replica's before it asks the origin itself."""
LEASE_LEAST_S = 0.025
"""How long the lease is waited for, however much of the request's time is gone."""


def _nothing() -> None:
    """No stamp was heard of."""


class Permits:
    """Asks for leave to fill, and waits for other replicas' fills."""

    def __init__(
        self,
        *,
        leases: Leases,
        purger: Purger,
        meanwhile: Meanwhile,
        hit_for_miss: HitForMiss,
        degrade: Degrade,
        recorder: Recorder,
        clock: Clock,
        heard: Callable[[], Stamp | None] = _nothing,
    ) -> None:
        """Everything it works with comes from ``wiring``. ``heard`` gives a stamp that needs no trip, or None."""
        self._leases = leases
        self._purger = purger
        self._meanwhile = meanwhile
        self._hit_for_miss = hit_for_miss
        self._degrade = degrade
        self._recorder = recorder
        self._clock = clock
        self._heard = heard

    def now(self, job: FillJob) -> Held | None:
        """The lease, which need not be given back, where it can be had without waiting; else None."""
        return self._leases.acquire_now(job.key) if job.shared else None

    async def get(self, job: FillJob) -> Held | Filled | Stamp | None:
        """Leave to fill and store: a lease, or a stamp alone. None: fetch, but store nothing. Or somebody filled it."""
        if not job.shared:
            return await self.stamp(job)
        patient_until = self._clock.monotonic() + PATIENCE_S
        while True:
            asked = self._leases.acquire(job.key, _lease_budget(job))
            permit = await self._degrade.instead(Role.CACHE, asked, None)
            if permit is None or isinstance(permit, Held):
                return permit
            self._recorder.event(Event.COLLAPSED, "lease")
            match await self._leases.wait(permit, max(0.0, patient_until - self._clock.monotonic())):
                case Waited.WAITED_OUT:
                    return None
                case Waited.GAVE_UP:
                    self._hit_for_miss.remember(job.key)
                    return await self.stamp(job)
                case Waited.FILLED:
                    found = await self._meanwhile.filled(job)
                    if found is not None:
                        return found
                case Waited.LOST:
                    continue

    async def stamp(self, job: FillJob) -> Stamp | None:
        """A stamp for what nobody else waits for: what was heard of the clock will do, and costs no trip."""
        if job.exchange.begun is not None:
            return None  # the origin was asked before the clock
        heard = self._heard()
        return heard or await self._degrade.instead(Role.CACHE, self._purger.begin(), None)

    async def give_back(self, held: Held, outcome: Waited) -> None:
        """End the lease, if it is one that others wait for, with ``outcome``."""
        if held.token:
            await self._degrade.instead(Role.CACHE, self._leases.release(held, outcome), None)


def _lease_budget(job: FillJob) -> Budget | None:
    """How long the lease may take: of a herd one asks for it, and must not find that the herd has used up its time."""
    if not job.leader.waits:
        return None
    return Budget(max(job.exchange.budget.deadline, asyncio.get_running_loop().time() + LEASE_LEAST_S))

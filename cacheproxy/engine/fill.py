"""Fetching on behalf of a key: one fill at a time, in this process and among all, whoever asks.

A fill is a task of its own, unless the request that began it (its leader) can carry it, waiting for nothing but the
origin. The leader is answered as soon as the origin's head is here; those that came later (its followers) get the
stored response, or are told to ask for themselves.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from cacheproxy.clock import Clock
from cacheproxy.engine.allowed import may_store
from cacheproxy.engine.arrived import Underway
from cacheproxy.engine.carry import Carrier
from cacheproxy.engine.exchange import Exchange
from cacheproxy.engine.fill_job import Filled, FillJob, GaveUp, Leader, Outcome, Passed, Shared
from cacheproxy.engine.meanwhile import Meanwhile
from cacheproxy.engine.origin_side import news_of
from cacheproxy.engine.permit import Permits
from cacheproxy.engine.recorder import Event, Recorder
from cacheproxy.engine.serve import whole_seconds
from cacheproxy.errors import UpstreamError
from cacheproxy.fills.contract import Held, Waited
from cacheproxy.fills.early import early_window_s, refreshes_early
from cacheproxy.fills.flight import AbandonedError, Flights
from cacheproxy.fills.governor import Governor
from cacheproxy.fills.hit_for_miss import HitForMiss
from cacheproxy.semantics.head import RequestHead
from cacheproxy.semantics.plan import Fetch, Forward, Revalidate, Serve, plan
from cacheproxy.semantics.vary import variance
from cacheproxy.storage.contract import Entry
from cacheproxy.upstream.reasons import Reason

REFRESH_PATIENCE_S = 30.0
"""How long a refresh waits for its turn before it is left to the next request for its key."""
MAX_FOLLOWED = 2
"""How many fills a request waits for, one after the other, before it asks the origin itself."""
_LEADERS_OWN = frozenset({
    Reason.CLOSED_EARLY, Reason.BODY_TRUNCATED, Reason.MALFORMED_RESPONSE, Reason.HEAD_TOO_LARGE,
    Reason.TOO_MANY_FIELDS, Reason.TOO_MANY_INTERIM, Reason.UNASKED_UPGRADE,
})  # fmt: skip
"""Failures that an odd request may have brought about: not to be those of all who wait for it."""
_PART = frozenset({b"range", b"if-range"})


class Filler:
    """Fetches on behalf of keys."""

    def __init__(
        self,
        *,
        carrier: Carrier,
        permits: Permits,
        meanwhile: Meanwhile,
        flights: "Flights[Shared]",
        governor: Governor,
        hit_for_miss: HitForMiss,
        recorder: Recorder,
        clock: Clock,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Everything it works with comes from ``wiring``. ``draw`` gives chance, uniform in [0, 1)."""
        self._carrier = carrier
        self._permits = permits
        self._meanwhile = meanwhile
        self._flights = flights
        self._governor = governor
        self._hit_for_miss = hit_for_miss
        self._recorder = recorder
        self._clock = clock
        self._draw = draw
        self._leaders: dict[str, Leader] = {}
        """Of the fills that others may join, by key."""

    async def fetch(self, exchange: Exchange, decided: Fetch | Revalidate) -> Outcome:
        """The origin's answer for ``exchange``: through a fill of its key that is under way, or one of its own.

        UpstreamError where the origin gave none.
        """
        job = self._job(exchange, decided, exchange.request)
        try:
            if (
                job.shared
                and self._flights.find(job.key) is not None
                and (filled := await self._follow(job)) is not None
            ):
                return filled
            return await (self._alone(job) if job.alone else self._lead(job))
        except AbandonedError:
            raise UpstreamError(503, "shut-down", sent=True) from None

    async def _follow(self, job: FillJob) -> Filled | None:
        """What another's fill brought, if it may answer ``job`` too; None where ``job`` must fetch for itself.

        Who came after the origin was asked looks it up like any stored response: it may have been purged before that.
        Those whom it did not serve may have a fill in common, but wait no third time.
        UpstreamError where the origin failed, and would have failed ``job`` too.
        """
        for turn in range(1, MAX_FOLLOWED + 1):
            flight = self._flights.find(job.key) if job.shared else None
            if flight is None:
                return None
            job.exchange.collapsed = True
            self._recorder.event(Event.COLLAPSED, "flight")
            early = await self._early(job, flight)
            if early is not None:
                return early
            try:
                shared = await asyncio.shield(flight)
            except UpstreamError as error:
                if turn == MAX_FOLLOWED or error.reason not in _LEADERS_OWN:
                    raise
                continue
            if isinstance(shared, GaveUp):
                break
            filled = self._in_time(job, shared.entry, shared.asked_at)
            if filled is None and isinstance(shared, Filled):
                filled = await self._meanwhile.filled(job)
            if filled is not None:
                return filled
        job.shared = False
        return None

    async def _early(self, job: FillJob, flight: "asyncio.Future[Shared]") -> Filled | None:
        """What the fill has brought, before it is stored everywhere: a store that is slow keeps no follower waiting."""
        leader = self._leaders.get(job.key)
        filled = None if leader is None else await leader.filled(flight)
        return None if filled is None else self._in_time(job, filled.entry, filled.asked_at)

    def _in_time(self, job: FillJob, entry: Entry, asked_at: float) -> Filled | None:
        """``entry``, if ``job`` came before the origin was asked for it, and it answers ``job`` too."""
        if job.exchange.started >= asked_at or variance(entry.vary, job.request.fields) != entry.variance:
            return None
        decided = plan(job.request, entry, job.rules, self._clock.now())
        return Filled(entry, 0, stored=False, age=whole_seconds(decided.age_s)) if isinstance(decided, Serve) else None

    async def _alone(self, job: FillJob) -> Outcome:
        """The origin's answer for ``job`` and nobody else. Only what others may have after all outlives its client."""
        job.exchange.collapsed = False
        came = await self._carrier.carry_alone(job, await self._permits.stamp(job))
        return came if isinstance(came, Passed) else await job.leader.outcome(self._flights.start(None, came))

    async def _lead(self, job: FillJob) -> Outcome:
        """Fetch for ``job`` and all who join: in a task of the fill's own, unless everything can be done at once."""
        job.exchange.collapsed = False
        held = self._permits.now(job)
        filled = None if held is None else self._meanwhile.at_hand(job)
        if filled is not None:
            return filled
        asked = None if held is None else self._carrier.ask_now(job)
        if held is None or asked is None:
            return await job.leader.outcome(self._start(job))
        return await self._lead_on(job, held, asked)

    async def _lead_on(self, job: FillJob, held: Held, asked: Underway) -> Outcome:
        """Wait for what was ``asked`` in the leader's own task. What is not plain, or outlives that, gets another."""
        flight = self._flights.open(job.key)
        self._leaders[job.key] = job.leader
        try:
            await news_of(asked.sent)
            filled = self._carrier.filled_now(job, held.stamp, asked)
            kept = filled is not None and self._carrier.keep_now(filled)
        except BaseException:
            job.leader.leave()
            self._hand_on(job, flight, self._carrier.carry(job, held.stamp, asked))
            raise
        if filled is None:
            self._hand_on(job, flight, self._carrier.carry(job, held.stamp, asked))
            return await job.leader.outcome(flight)
        if kept:
            self._flights.land(job.key, flight, filled)
            self._landed(job)
        else:
            job.leader.tell(filled)
            self._hand_on(job, flight, self._carrier.keep(filled))
        return filled

    def _hand_on(self, job: FillJob, flight: "asyncio.Future[Shared]", rest: Coroutine[Any, Any, Shared]) -> None:
        self._flights.hand_on(job.key, flight, rest)
        flight.add_done_callback(partial(self._landed, job))

    def _start(self, job: FillJob) -> "asyncio.Future[Shared]":
        if not job.shared:
            return self._flights.start(None, self._run(job))
        flight = self._flights.start(job.key, self._run(job))
        self._leaders[job.key] = job.leader
        flight.add_done_callback(partial(self._landed, job))
        return flight

    def _landed(self, job: FillJob, _flight: "asyncio.Future[Shared] | None" = None) -> None:
        if self._leaders.get(job.key) is job.leader:
            del self._leaders[job.key]

    def refresh(self, exchange: Exchange, decided: Fetch | Revalidate) -> None:
        """Fill in the background, in its turn, unless that is under way: with the whole, if the client wants a part."""
        whole = exchange.request.with_fields(exchange.request.fields.without(_PART))
        job = self._job(exchange, decided, whole)
        job.leader.leave()
        waiting = f"{job.key} refresh by {whole.method}"
        under_way = self._flights.find(job.key) or self._flights.find(waiting)
        if under_way is None and self._governor.has_room:
            self._flights.start(waiting, self._refresh(job))

    def refresh_early(self, exchange: Exchange, entry: Entry, age_s: float) -> None:
        """Perhaps refresh ``entry``, which is fresh still, where its route wants that."""
        rules = exchange.route.cache
        if rules is None or not rules.early_beta:
            return
        fresh_for_s, beta = entry.lifetime_s - age_s, rules.early_beta
        due = refreshes_early(fresh_for_s=fresh_for_s, fill_s=_fill_s(entry), draw=self._draw(), beta=beta)
        if due and may_store(exchange):
            self.refresh(exchange, Revalidate(entry, age_s, Forward.STALE))

    async def _refresh(self, job: FillJob) -> Shared:
        """A purge of many hot keys is no storm: each waits for its turn, and no request waits for it meanwhile."""
        async with self._governor.turn(REFRESH_PATIENCE_S) as in_turn:
            if not in_turn:
                return GaveUp()
            if not job.shared:
                return await self._run(job)
            return await asyncio.shield(self._flights.find(job.key) or self._start(job))

    def _job(self, exchange: Exchange, decided: Fetch | Revalidate, request: RequestHead) -> FillJob:
        job = FillJob.of(exchange, decided, request)
        # Who may not look up is not served by another's fill either.
        looks_up = decided.reason is not Forward.BYPASS
        job.shared = request.method == "GET" and b"range" not in request.fields and looks_up
        if exchange.begun is not None or self._hit_for_miss.remembers(job.key):
            self._recorder.event(Event.HIT_FOR_MISS)
            job.shared = False
            job.in_full = True
        return job

    async def _run(self, job: FillJob) -> Shared:
        permit = await self._permits.get(job)
        if isinstance(permit, Held):
            return await self._fill(job, permit)
        if isinstance(permit, Filled):
            job.leader.tell(permit)
            return permit
        if job.shared and not job.leader.waits:
            return GaveUp()  # another replica is at it, or nothing may be stored: and nobody waits
        return await self._carrier.carry(job, permit)

    async def _fill(self, job: FillJob, held: Held) -> Shared:
        """Fill under ``held``, and give it back whatever becomes of that."""
        outcome = Waited.LOST
        try:
            # The response may have come into the store between our look and our getting the lease.
            result: Shared | None = self._meanwhile.at_hand(job) if held.vacant else await self._meanwhile.filled(job)
            if isinstance(result, Filled):
                job.leader.tell(result)
            else:
                result = await self._carrier.carry(job, held.stamp)
            outcome = Waited.FILLED if isinstance(result, Filled) else Waited.GAVE_UP
        finally:
            await self._permits.give_back(held, outcome)
        return result


def early_for_s(exchange: Exchange, entry: Entry) -> float:
    """For how long before its end ``entry`` may be refreshed early: 0 where its route does not want that."""
    rules = exchange.route.cache
    return early_window_s(fill_s=_fill_s(entry), beta=rules.early_beta) if rules is not None else 0.0


def _fill_s(entry: Entry) -> float:
    """How long the origin took to answer."""
    return max(0.0, entry.received_at - entry.requested_at)

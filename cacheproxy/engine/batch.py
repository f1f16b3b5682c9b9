"""Requests for many ids: answered in order from single entries, and what is missing fetched in one request."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

from cacheproxy.clock import Clock
from cacheproxy.engine.admission import Admission
from cacheproxy.engine.allowed import may_store
from cacheproxy.engine.batch_fetch import Asking, BatchCarrier, Unusable, Usable
from cacheproxy.engine.batch_parts import Many, Part, decide, give, hand_out, many_of, reply_of
from cacheproxy.engine.degrade import Degrade
from cacheproxy.engine.exchange import Exchange, XCache
from cacheproxy.engine.fill import REFRESH_PATIENCE_S
from cacheproxy.engine.fill_job import Filled, GaveUp, Shared, Unstamped
from cacheproxy.engine.forward import Forwarder
from cacheproxy.engine.over_limit import refuse
from cacheproxy.engine.recorder import Event, Recorder
from cacheproxy.engine.reply import Reply, problem
from cacheproxy.engine.serve import may_stand_in, reply_through
from cacheproxy.errors import CacheproxyError, UpstreamError
from cacheproxy.fills.flight import AbandonedError, Flights
from cacheproxy.fills.governor import Governor
from cacheproxy.policy.router import Router
from cacheproxy.redis_link.contract import Budget, Role
from cacheproxy.semantics.cache_status import Detail
from cacheproxy.semantics.plan import Forward, Refuse, Serve, is_error, plan
from cacheproxy.semantics.storing import PassReason
from cacheproxy.semantics.vary import variance
from cacheproxy.storage.contract import Store


class Batches:
    """Answers requests for many."""

    def __init__(
        self,
        *,
        carrier: BatchCarrier,
        store: Store,
        admission: Admission,
        forwarder: Forwarder,
        flights: "Flights[Shared]",
        governor: Governor,
        degrade: Degrade,
        recorder: Recorder,
        clock: Clock,
    ) -> None:
        """Everything it works with comes from ``wiring``; ``flights`` are those of single fills."""
        self._carrier = carrier
        self._store = store
        self._admission = admission
        self._forwarder = forwarder
        self._flights = flights
        self._governor = governor
        self._degrade = degrade
        self._recorder = recorder
        self._clock = clock

    async def answer(self, exchange: Exchange, router: Router, prefix: str) -> Reply | None:
        """The answer to a request for many, or None: then it goes the way of any other. UpstreamError."""
        many = many_of(exchange, router, prefix)
        if many is None:
            return None
        await self._look_up(many, many.parts, exchange.budget)
        limited = await self._admission.admit(exchange, many.served)
        if limited is not None:
            return refuse(exchange, limited)
        if any(isinstance(part.decided, Refuse) for part in many.parts):
            exchange.x_cache, exchange.detail = XCache.MISS, Detail.ONLY_IF_CACHED
            return problem(504, "only-if-cached", "nothing usable is stored, and the client wants nothing else")
        if not all(part.may_be_merged for part in many.parts):
            return await self._forward(exchange, Forward.BYPASS, Detail.BATCH_WHOLE)
        if many.missing:
            return await self._complete(many)
        self._refresh(many)
        return reply_of(many, None, self._clock.now())

    async def _look_up(self, many: Many, parts: Sequence[Part], budget: Budget | None) -> None:
        """Steps 6 and 7 for each; what is not at hand is read together."""
        far = []
        for part in parts:
            looks = part.may_look_up
            key = part.one.key
            found = self._store.peek(key.text, part.one.request.fields, key.tags) if looks else None
            decide(many, part, found, self._clock.now())
            if looks and found is None:
                far.append(part)
        await asyncio.gather(*(self._read(many, part, budget) for part in far))

    async def _read(self, many: Many, part: Part, budget: Budget | None) -> None:
        key = part.one.key
        asked = self._store.read(key.text, part.one.request.fields, budget, key.tags)
        decide(many, part, await self._degrade.instead(Role.CACHE, asked, None), self._clock.now())

    async def _complete(self, many: Many) -> Reply:
        """The answer with what is missing: from fills that are under way, else from the origin."""
        exchange = many.exchange
        exchange.forward, exchange.x_cache = many.reason, XCache.MISS
        await self._follow(many)
        if not many.missing:
            return reply_of(many, None, self._clock.now())
        wanted = many.wanted
        asking = many.asking(wanted)
        try:
            arrived = await self._arrival(asking, self._start(asking, self._carrier.carry(asking)))
        except UpstreamError:
            if not await self._stand_in(many, wanted):
                raise
            return self._in_place_of_error(many)
        finally:
            exchange.upstream_s, exchange.forward_status = asking.lead.upstream_s, asking.lead.forward_status
        if isinstance(arrived, Unusable):
            return await self._pass_on(many, asking, wanted, arrived)
        hand_out(wanted, arrived)
        exchange.stored = arrived.stored and arrived.for_others == arrived.pieces.keys()
        return reply_of(many, arrived, self._clock.now())

    async def _follow(self, many: Many) -> None:
        """Wait for the fills of single entries that are under way, and take what they brought."""
        found = ((part, self._flights.find(part.one.key.text)) for part in many.missing if part.may_follow)
        followed = [(part, flight) for part, flight in found if flight is not None]
        if not followed:
            return
        self._recorder.event(Event.COLLAPSED, "flight")
        await asyncio.wait({flight for _, flight in followed})
        for part, flight in followed:
            self._take(many, part, flight)
        await self._look_up(many, [part for part, _ in followed if part.is_missing], None)
        many.exchange.collapsed = not any(part.is_missing for part, _ in followed)

    def _take(self, many: Many, part: Part, flight: "asyncio.Future[Shared]") -> None:
        """What ``flight`` brought, if the origin was asked for it when the request had come already."""
        shared = GaveUp() if flight.cancelled() or flight.exception() is not None else flight.result()
        if not isinstance(shared, Filled | Unstamped) or many.exchange.started >= shared.asked_at:
            return
        entry, request = shared.entry, part.one.request
        if variance(entry.vary, request.fields) == entry.variance:
            decided = plan(request, entry, part.rules, self._clock.now())
            if isinstance(decided, Serve):
                give(many, part, entry)

    def _start(self, asking: Asking, work: Coroutine[Any, Any, Shared]) -> "asyncio.Future[Shared]":
        """Begin to fetch, and let who comes for one of the ids alone find that."""
        fetching = self._flights.start(None, work)
        for each in asking.wanted:
            if may_store(each.exchange) and self._flights.find(each.one.key.text) is None:
                self._flights.start(each.one.key.text, self._share(asking, fetching, each.one.id))
        return fetching

    async def _share(self, asking: Asking, fetching: "asyncio.Future[Shared]", one: str) -> Shared:
        """What the fetch for many gives to those who wait for ``one``; where it failed they ask for themselves."""
        try:
            arrived = await self._arrival(asking, fetching)
        except CacheproxyError:
            return GaveUp()
        return arrived.shared(one) if isinstance(arrived, Usable) else GaveUp()

    async def _arrival(self, asking: Asking, fetching: "asyncio.Future[Shared]") -> Usable | Unusable:
        await asyncio.wait((asking.told, fetching), return_when=asyncio.FIRST_COMPLETED)
        if asking.told.done():
            return asking.told.result()
        error = fetching.exception()
        if error is None or isinstance(error, AbandonedError):
            raise UpstreamError(503, "shut-down", sent=True)
        raise error

    def _refresh(self, many: Many) -> None:
        """Fetch in the background, in its turn, what is answered stale, unless that is under way."""
        idle = [part for part in many.wanted if self._flights.find(part.one.key.text) is None]
        waiting = "refresh of " + " ".join(part.one.key.text for part in idle)
        if idle and self._governor.has_room and self._flights.find(waiting) is None:
            self._flights.start(waiting, self._in_turn(many.asking(idle)))

    async def _in_turn(self, asking: Asking) -> Shared:
        """Until it is its turn nobody finds it: no request waits for that."""
        async with self._governor.turn(REFRESH_PATIENCE_S) as in_turn:
            if in_turn:
                await self._arrival(asking, self._start(asking, self._carrier.carry(asking)))
        return GaveUp()

    async def _stand_in(self, many: Many, wanted: Sequence[Part]) -> bool:
        """Whether what is stored may answer all of ``wanted`` in place of the origin's error (RFC 5861 §4).

        It is looked up anew: what was purged while the origin was asked is gone.
        """
        return all(await asyncio.gather(*(self._stands_in(many, part) for part in wanted)))

    async def _stands_in(self, many: Many, part: Part) -> bool:
        part.piece = None
        if not part.may_look_up:
            return False
        key, request = part.one.key, part.one.request
        asked = self._store.read(key.text, request.fields, None, key.tags)
        found = await self._degrade.instead(Role.CACHE, asked, None)
        now = self._clock.now()
        decide(many, part, found, now)
        if part.is_missing and found is not None and may_stand_in(request, found.entry, part.rules, now):
            give(many, part, found.entry)
        return not part.is_missing

    def _in_place_of_error(self, many: Many) -> Reply:
        reply = reply_of(many, None, self._clock.now())
        many.exchange.x_cache, many.exchange.detail = XCache.STALE, Detail.STALE_IF_ERROR
        return reply

    async def _pass_on(self, many: Many, asking: Asking, wanted: Sequence[Part], arrived: Unusable) -> Reply:
        """What came, where it is all that was asked for; else the origin's answer to the client's own request."""
        exchange = many.exchange
        if is_error(arrived.head.status) and await self._stand_in(many, wanted):
            return self._in_place_of_error(many)
        if asking.is_whole and arrived.content is not None:
            exchange.detail = arrived.reason
            return reply_through(arrived.head, arrived.content)
        return await self._forward(exchange, many.reason, arrived.reason)

    async def _forward(self, exchange: Exchange, reason: Forward, detail: Detail | PassReason) -> Reply:
        exchange.forward, exchange.detail, exchange.x_cache = reason, detail, XCache.BYPASS
        return await self._forwarder.forward(exchange)

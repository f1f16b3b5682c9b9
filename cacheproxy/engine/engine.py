"""The request's way. What each step decides is decided elsewhere, purely; here it meets I/O."""

import asyncio
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import assert_never

from cacheproxy.clock import Clock
from cacheproxy.engine.active import Active, route
from cacheproxy.engine.admission import Admission
from cacheproxy.engine.allowed import allowed, may_cache, may_look_up
from cacheproxy.engine.batch import Batches
from cacheproxy.engine.degrade import Degrade
from cacheproxy.engine.dress import dress
from cacheproxy.engine.exchange import Exchange, XCache
from cacheproxy.engine.fill import Filler
from cacheproxy.engine.fill_job import Passed
from cacheproxy.engine.forward import Forwarder
from cacheproxy.engine.identify import Identifier, sealed
from cacheproxy.engine.leaving import leaving
from cacheproxy.engine.over_limit import answer_limited, refuse, served, stale_will_do
from cacheproxy.engine.pass_forwarder import pass_plan_of
from cacheproxy.engine.pass_plan import Dispatched
from cacheproxy.engine.posted import posted_key
from cacheproxy.engine.problems import refused, unavailable
from cacheproxy.engine.record import Journal
from cacheproxy.engine.repeating import repeatable_refusal
from cacheproxy.engine.replies import Replies
from cacheproxy.engine.reply import Reply, problem
from cacheproxy.engine.request_id import RequestIds
from cacheproxy.engine.serve import may_stand_in
from cacheproxy.errors import ClientError, UpstreamError
from cacheproxy.limits.contract import Asked, Limited
from cacheproxy.policy.identity import Identity
from cacheproxy.policy.keys import NoKey
from cacheproxy.policy.known_keys import KnownKeys
from cacheproxy.policy.route import Policy, Served
from cacheproxy.redis_link.contract import Budget, Role
from cacheproxy.semantics.cache_status import Detail
from cacheproxy.semantics.forwarding import PSEUDONYM, TRACES, traces
from cacheproxy.semantics.freshness import current_age
from cacheproxy.semantics.head import RequestHead
from cacheproxy.semantics.plan import Fetch, Forward, Refuse, Revalidate, Serve, ServeStale, plan
from cacheproxy.semantics.tag_clock import Verdict
from cacheproxy.storage.contract import Entry, Found, Store
from cacheproxy.upstream.contract import OnInterim, RequestBody


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Who sent a request, as the edge saw it."""

    address: str = ""
    trusted: bool = False
    """Whether it came from a proxy that the policy trusts."""
    ours: bool = False
    """Whether it is no client at all: we ask ourselves, to warm the cache."""
    identity: Identity = field(init=False)
    """What its address alone says of it."""

    def __post_init__(self) -> None:
        """Make it once for all its requests."""
        object.__setattr__(self, "identity", Identity(client_ip=self.address))


class Engine:
    """Answers requests."""

    def __init__(
        self,
        *,
        active: Active,
        store: Store,
        replies: Replies,
        identifier: Identifier,
        admission: Admission,
        filler: Filler,
        forwarder: Forwarder,
        batches: Batches,
        degrade: Degrade,
        journal: Journal,
        clock: Clock,
        prefix: str,
        budget_s: float,
        loop_id: bytes = PSEUDONYM,
    ) -> None:
        """Everything it works with comes from ``wiring``. ``budget_s`` is a request's total time for shared state.

        A request that bears ``loop_id`` has come by here before.
        """
        self.active = active
        self._store = store
        self._replies = replies
        self._identifier = identifier
        self._admission = admission
        self._filler = filler
        self._forwarder = forwarder
        self._batches = batches
        self._degrade = degrade
        self._journal = journal
        self._clock = clock
        self._prefix = prefix
        self._keys = KnownKeys(prefix)
        self._budget_s = budget_s
        self._loop_id = loop_id
        self._request_ids = RequestIds()

    async def handle(
        self,
        request: RequestHead,
        body: RequestBody | None,
        client: Client,
        on_interim: OnInterim | None = None,
        asked: Asked | None = None,
        dispatched: Dispatched | None = None,
    ) -> Reply:
        """The answer to ``request``. Whatever goes wrong on the way is an answer too.

        ``asked`` is what its limits have said of it already; ``dispatched`` says how it was sent on.
        """
        active = self.active if dispatched is None else dispatched.plan.active
        exchange = self._begin(request, body, client, on_interim, active.policy)
        exchange.asked = asked
        if dispatched is not None:
            exchange.begun, exchange.started = dispatched.sent, dispatched.started
            exchange.request_id = dispatched.request_id.decode()
        try:
            reply = await self._answer(exchange, active)
        except ClientError as error:
            exchange.error = error.reason
            self._journal.refused(error.reason)
            reply = refused(error, exchange)
        except UpstreamError as error:
            exchange.error, exchange.error_detail = error.reason, error.detail
            exchange.detail = exchange.detail or Detail.UPSTREAM_ERROR
            reply = unavailable(error)
        except BaseException as error:
            exchange.give_up()
            if isinstance(error, asyncio.CancelledError):
                self._journal.gone(exchange)
            raise
        exchange.drop_begun()
        reply = leaving(exchange, dress(exchange, reply))
        self._journal.record(exchange, reply)
        return reply

    async def admit_tunnel(self, request: RequestHead, client: Client, until: ExitStack) -> RequestHead | Reply:
        """A WebSocket's handshake as it may go on to the origin, or the refusal: steps 1 to 4 hold for it too.

        It is in flight ``until`` that is closed.
        """
        exchange = self._begin(request, None, client, None, self.active.policy)
        until.callback(exchange.leave)
        try:
            route(exchange, self.active, self._loop_id)
            await self._identifier.identify(exchange, self.active.policy)
            limited = await self._admission.admit(exchange) or await self._admission.admit(exchange, Served.MISS)
        except ClientError as error:
            self._journal.refused(error.reason)
            return dress(exchange, refused(error, exchange))
        if limited is not None:
            return dress(exchange, refuse(exchange, limited))
        fields = sealed(exchange, exchange.request, exchange.now).without(TRACES)
        return exchange.request.with_fields(fields.plus(*traces(exchange.request, self._loop_id)))

    def _begin(
        self,
        request: RequestHead,
        body: RequestBody | None,
        client: Client,
        on_interim: OnInterim | None,
        policy: Policy,
    ) -> Exchange:
        return Exchange(
            request=request,
            body=body,
            on_interim=on_interim,
            request_id=self._request_ids.of(request.fields.get(b"x-request-id")),
            started=self._clock.monotonic(),
            now=self._clock.now(),
            budget=Budget(asyncio.get_running_loop().time() + self._budget_s),
            policy=policy,
            route=policy.fallback,
            ours=client.ours,
            peer_trusted=client.trusted,
            identity=client.identity,
        )

    async def _answer(self, exchange: Exchange, active: Active) -> Reply:
        route(exchange, active, self._loop_id)
        if not self._identifier.identify_now(exchange, active.policy):
            await self._identifier.identify(exchange, active.policy)
        limited = await self._admission.admit(exchange) if exchange.route.limits else None
        if limited is not None and not stale_will_do(limited):
            reply = refuse(exchange, limited)
            return reply if self._journal.every_line else repeatable_refusal(exchange, reply)
        if exchange.route.batch is not None and limited is None:
            reply_to_many = await self._batches.answer(exchange, active.router, self._prefix)
            if reply_to_many is not None:
                return reply_to_many
        if not self._keyed(exchange):
            if limited is None and exchange.route.limits:
                limited = await self._admission.admit(exchange, Served.MISS)
            exchange.key = posted_key(exchange, active.match, self._prefix)
            if limited is not None:
                return refuse(exchange, limited)
            return (await self._forwarder.forward(exchange)).repeated_by(pass_plan_of(exchange, active))
        found = await self._look_up(exchange) if may_look_up(exchange) else None
        return await self._carry_out(exchange, active, found, limited)

    def _keyed(self, exchange: Exchange) -> bool:
        """Step 5: whether the cache has a part in this; then ``exchange.key`` is set."""
        if not may_cache(exchange):
            return False
        key = self._keys.of(exchange.route, exchange.request, exchange.params, exchange.identity)
        if isinstance(key, NoKey):
            exchange.forward, exchange.detail = Forward.BYPASS, key.reason
            return False
        exchange.key = key
        return True

    async def _look_up(self, exchange: Exchange) -> Found | None:
        """Step 6."""
        assert exchange.key is not None
        found = self._store.peek(exchange.key.text, exchange.request.fields, exchange.key.tags)
        if found is None and not self._store.local:
            asked = self._store.read(exchange.key.text, exchange.request.fields, exchange.budget, exchange.key.tags)
            found = await self._degrade.instead(Role.CACHE, asked, None)
        exchange.tier = None if found is None else found.tier
        return found

    async def _carry_out(
        self, exchange: Exchange, active: Active, found: Found | None, limited: Limited | None
    ) -> Reply:
        """Steps 7 and 8: one case for each kind of Plan, unless the request is over a limit."""
        rules = exchange.route.cache
        assert rules is not None
        entry = None if found is None else found.entry
        soft_purged = found is not None and found.verdict is Verdict.STALE
        decided = allowed(exchange, plan(exchange.request, entry, rules, exchange.now, soft_purged=soft_purged))
        if limited is None and exchange.route.limits:
            limited = await self._admission.admit(exchange, served(decided))
        if limited is not None:
            usable = None if entry is None or not stale_will_do(limited) else await self._replies.shown(exchange, entry)
            return answer_limited(exchange, limited, decided, usable)
        match decided:
            case Serve(_, age_s):
                assert entry is not None
                self._filler.refresh_early(exchange, entry, age_s)
                return await self._replies.hit(exchange, entry, age_s)
            case ServeStale(_, age_s, refresh):
                assert entry is not None
                exchange.detail = Detail.STALE_WHILE_REVALIDATE if refresh else Detail.MAX_STALE
                if refresh:
                    self._filler.refresh(exchange, Revalidate(entry, age_s, Forward.STALE))
                return await self._replies.stale(exchange, entry, age_s)
            case Revalidate() | Fetch():
                return await self._fetch(exchange, active, decided, entry)
            case Refuse(status):
                exchange.x_cache = XCache.MISS
                exchange.detail = Detail.ONLY_IF_CACHED
                return problem(status, "only-if-cached", "nothing usable is stored, and the client wants nothing else")
            case _:
                assert_never(decided)

    async def _fetch(
        self, exchange: Exchange, active: Active, decided: Revalidate | Fetch, entry: Entry | None
    ) -> Reply:
        exchange.forward = decided.reason
        exchange.x_cache = XCache.BYPASS if decided.reason is Forward.BYPASS else XCache.MISS
        if isinstance(decided, Fetch):
            exchange.detail = decided.detail or exchange.detail
            if not decided.storable:
                exchange.x_cache = XCache.BYPASS
                return await self._forwarder.forward(exchange)
        try:
            outcome = await self._filler.fetch(exchange, decided)
        except UpstreamError as error:
            failure = error
        else:
            reply = await self._replies.fetched(exchange, outcome)
            alone = outcome.alone if isinstance(outcome, Passed) else None
            return reply if alone is None else reply.repeated_by(pass_plan_of(exchange, active, alone))
        stale = None if entry is None else await self._stand_in(exchange)
        if stale is None:
            raise failure
        return stale

    async def _stand_in(self, exchange: Exchange) -> Reply | None:
        """What is stored in place of an origin's error, where stale-if-error allows it (RFC 5861 §4).

        It is looked up anew: what was purged while the origin was asked is gone.
        """
        found, now, rules = await self._look_up(exchange), self._clock.now(), exchange.route.cache
        if found is None or rules is None or not may_stand_in(exchange.request, found.entry, rules, now):
            return None
        exchange.detail = Detail.STALE_IF_ERROR
        age_s = current_age(found.entry.initial_age_s, found.entry.received_at, now)
        return await self._replies.stale(exchange, found.entry, age_s)

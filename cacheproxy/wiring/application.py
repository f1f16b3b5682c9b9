"""The whole sidecar: started in order, served until told to stop, stopped in reverse."""

import gc
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import NamedTuple

import structlog

from cacheproxy import __version__
from cacheproxy.admin.access import Access
from cacheproxy.admin.app import AdminDeps, Readiness, admin_app
from cacheproxy.admin.feed import Feed
from cacheproxy.admin.metrics import Metrics
from cacheproxy.clock import Clock, SystemClock
from cacheproxy.engine.active import Active
from cacheproxy.engine.admission import Admission
from cacheproxy.engine.carry import Carrier
from cacheproxy.engine.degrade import Degrade
from cacheproxy.engine.engine import Engine
from cacheproxy.engine.fill import Filler
from cacheproxy.engine.fill_job import Shared
from cacheproxy.engine.forward import Forwarder
from cacheproxy.engine.gate import Gate
from cacheproxy.engine.identify import Identifier
from cacheproxy.engine.origin_side import OriginSide
from cacheproxy.engine.passing import Passing
from cacheproxy.engine.posted import Posted
from cacheproxy.engine.question import Question, explained
from cacheproxy.engine.record import AccessLog, Journal
from cacheproxy.engine.recorder import Event, Level
from cacheproxy.engine.replies import Replies
from cacheproxy.engine.reply import Reply
from cacheproxy.engine.tasks import Tasks
from cacheproxy.fills.flight import Flights
from cacheproxy.fills.governor import Governor
from cacheproxy.fills.hit_for_miss import HitForMiss
from cacheproxy.invalidation.contract import Purge
from cacheproxy.invalidation.events import Interpreter
from cacheproxy.invalidation.siblings import Doors
from cacheproxy.invalidation.sweep import Sweep
from cacheproxy.policy.explain import Explanation, shown_rule
from cacheproxy.policy.route import Policy, Route
from cacheproxy.policy.router import Router
from cacheproxy.semantics.head import RequestHead
from cacheproxy.server.adapter import Adapter
from cacheproxy.server.edge import Edge
from cacheproxy.server.express import ExpressLane
from cacheproxy.server.listen import Drain, admin_server, bind, edge_server, serve
from cacheproxy.server.passing import PassingLane
from cacheproxy.server.websocket import Tunnel, WebSocketApp
from cacheproxy.sessions.desk import SessionDesk
from cacheproxy.settings import Settings
from cacheproxy.storage.forms import Forms
from cacheproxy.storage.keyspace import Keyspace
from cacheproxy.storage.timed import TimedStore
from cacheproxy.wiring.libraries import missing_libraries
from cacheproxy.wiring.origin import ReplaceableOrigin
from cacheproxy.wiring.reload import Reloader
from cacheproxy.wiring.state import State, open_state
from cacheproxy.wiring.stored_keys import StoredKeys
from cacheproxy.wiring.warm import Warmer

log = structlog.get_logger()


class Sockets(NamedTuple):
    """Where a sidecar listens: for clients, and for its operator."""

    edge: socket.socket
    admin: socket.socket


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """A sidecar's parts, running."""

    settings: Settings
    engine: Engine
    state: State
    metrics: Metrics
    feed: Feed
    origin: ReplaceableOrigin
    edge: Edge
    adapter: Adapter
    reloader: Reloader
    warmer: Warmer

    async def serve(self, sockets: Sockets | None = None) -> None:
        """Serve until SIGTERM or SIGINT, then drain. ListenError where an address is taken.

        ``sockets`` are those to listen on, in place of the settings' own.
        """
        drain = Drain(delay_s=self.settings.drain_delay, timeout_s=self.settings.drain_timeout)
        policy = self.engine.active.policy
        upstream = policy.upstream
        websockets = WebSocketApp(self.engine, self.adapter, _tunnels(self.engine))
        listening = sockets or Sockets(bind(*self.settings.listen), bind(*self.settings.admin))
        edge = edge_server(self.edge, SystemClock(), websockets, drain)
        self.metrics.watch(Level.CLIENT_CONNECTIONS, lambda: float(len(edge.server_state.connections)))
        servers = [edge, admin_server(admin_app(self._admin()))]
        for caution in (*policy.cautions, *missing_libraries(policy)):
            log.warning("policy_caution", where=caution.path, caution=caution.message)
        log.info(
            "serving",
            version=__version__,
            listen="{}:{}".format(*self.settings.listen),
            admin="{}:{}".format(*self.settings.admin),
            upstream=upstream.socket or f"{upstream.scheme}://{upstream.host}:{upstream.port}",
            routes=len(policy.routes),
            replica=self.settings.instance_id,
        )
        # What is here now is here for good: looking through it over and over would be a tenth of a request's cost.
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        async with self.reloader.watching(), self.warmer.beginning():
            await serve(self.edge, list(zip(servers, listening, strict=True)), drain)

    def _admin(self) -> AdminDeps:
        token = self.settings.admin_token
        return AdminDeps(
            access=Access.for_listener(self.settings.admin[0], "" if token is None else token.get_secret_value()),
            metrics=self.metrics,
            ready=self._ready,
            interpret=lambda event: Interpreter(self.engine.active.policy.events).interpret(event),
            purge=self.state.purger.purge,
            stats=self._stats,
            routes=lambda: [_described(route) for route in self.engine.active.policy.routes],
            explain=self._explain,
            reload=self.reloader.reload,
            warm=self.warmer.report,
            feed=self.feed,
            keys=self._keys(),
            sessions=self._sessions(),
        )

    def _explain(self, question: Question) -> Explanation:
        active = self.engine.active
        prefix, (_, port) = self.settings.prefix, self.settings.listen
        return explained(active.policy, active.router, question, prefix=prefix, port=port)

    def _keys(self) -> StoredKeys | None:
        state = self.state
        if state.roles is None or state.l2 is None:
            return None
        timed = TimedStore(state.l2, self.metrics.operation, SystemClock.monotonic)
        keyspace = Keyspace(state.roles.cache, timed, self.settings.prefix)
        return StoredKeys(keyspace, state.purger, Sweep(state.roles.cache, state.purger, self.settings.prefix))

    def _sessions(self) -> SessionDesk | None:
        rules, roles = self.engine.active.policy.session, self.state.roles
        if rules is None or roles is None:
            return None
        return SessionDesk(
            roles.sessions, rules, SystemClock(), lambda tag: self.state.purger.purge(Purge(tags=(tag,)))
        )

    def _ready(self) -> Readiness:
        origin = {None: "unknown", True: "up", False: "down"}[self.origin.healthy]
        parts = {"origin": origin, **self.state.parts(), **self.warmer.parts}
        ready = not self.edge.draining and not self.warmer.pending
        return Readiness(ready, {**parts, "edge": "draining" if self.edge.draining else "open"})

    def _stats(self) -> Mapping[str, object]:
        policy = self.engine.active.policy
        return {
            "version": __version__,
            "replica": self.settings.instance_id,
            "policy": {"file": str(self.settings.config), "digest": policy.digest, "routes": len(policy.routes)},
            "parts": dict(self._ready().parts),
        }


def _described(route: Route) -> Mapping[str, object]:
    return {
        "name": route.name,
        "match": [shown_rule(rule) for rule in route.match],
        "cache": None if route.cache is None else {"ttl_s": route.cache.ttl_s, "mode": route.cache.mode},
        "key": None if route.key is None else route.key.text,
        "scope": route.scope,
        "session": route.session,
        "limits": [rule.name for rule in route.limits],
        "purge": [template.text for template in route.purge],
    }


async def assemble(
    settings: Settings,
    policy: Policy,
    router: Router,
    stack: AsyncExitStack,
    clock: Clock | None = None,
    doors: Doors | None = None,
) -> Application:
    """The parts of a sidecar, wired and running, to be stopped by ``stack``. PolicyError where settings are wrong.

    ``doors`` are for one of several workers.
    """
    clock = clock or SystemClock()
    metrics = Metrics(config_hash=policy.digest)
    metrics.event(Event.CONFIG_LOAD, "ok")
    feed = Feed()
    state = await open_state(settings, policy, metrics, feed, clock, stack, doors)
    origin = ReplaceableOrigin(policy.upstream)
    stack.push_async_callback(origin.aclose)
    await origin.start()
    degrade = Degrade(metrics)
    hit_for_miss = HitForMiss(clock)
    flights: Flights[Shared] = Flights()
    governor = Governor(policy.events.refill_concurrency)
    tasks = Tasks()
    stack.push_async_callback(flights.drain, 1.0)
    stack.push_async_callback(tasks.drain, 1.0)
    side = OriginSide(origin, metrics, clock)
    carrier = Carrier(
        origin=side, store=state.store, hit_for_miss=hit_for_miss, degrade=degrade, recorder=metrics, clock=clock
    )
    filler = Filler(
        carrier=carrier,
        store=state.store,
        leases=state.leases,
        purger=state.purger,
        flights=flights,
        governor=governor,
        hit_for_miss=hit_for_miss,
        degrade=degrade,
        recorder=metrics,
        clock=clock,
        heard=state.heard,
    )
    forms = Forms(state.l1)
    stack.push_async_callback(forms.aclose)
    journal = Journal(metrics, clock, AccessLog(settings.access_log))
    forwarder = Forwarder(side, state.purger, Posted(carrier, state.purger, degrade, tasks, clock), tasks, metrics)
    admission = Admission(state.limits.limiter, degrade, metrics, state.limits.in_flight)
    engine = Engine(
        active=Active(policy, router),
        store=state.store,
        replies=Replies(forms, state.l1, journal, clock),
        identifier=Identifier(state.sessions, degrade),
        admission=admission,
        filler=filler,
        forwarder=forwarder,
        degrade=degrade,
        journal=journal,
        clock=clock,
        prefix=settings.prefix,
        budget_s=settings.redis_budget,
    )
    adapter = Adapter(engine, settings.listen[1])
    lane = ExpressLane(
        state.l1,
        Gate(state.sessions, admission, settings.redis_budget),
        journal,
        clock,
        in_force=lambda: engine.active.policy,
        max_bytes=settings.l1_bytes // 4,
    )
    passing = Passing(
        origin=side,
        forwarder=forwarder,
        shelf=state.l1,
        hit_for_miss=hit_for_miss,
        journal=journal,
        recorder=metrics,
        clock=clock,
    )
    past_cache = PassingLane(passing)
    _watch(metrics, state, flights)
    return Application(
        settings=settings,
        engine=engine,
        state=state,
        metrics=metrics,
        feed=feed,
        origin=origin,
        edge=Edge(
            handle=engine.handle,
            read=adapter.read,
            lane=lane,
            passing=past_cache,
            trusts=adapter.trusts,
            refused=journal.refused,
        ),
        adapter=adapter,
        warmer=Warmer(engine),
        reloader=Reloader(
            settings=settings,
            engine=engine,
            adapter=adapter,
            lane=lane,
            passing=past_cache,
            origin=origin,
            bus=state.bus,
            governor=governor,
            envelope=state.envelope,
            metrics=metrics,
            feed=feed,
        ),
    )


def _watch(metrics: Metrics, state: State, flights: "Flights[Shared]") -> None:
    metrics.watch(Level.L1_BYTES, lambda: float(state.l1.used_bytes))
    metrics.watch(Level.L1_ENTRIES, lambda: float(len(state.l1)))
    metrics.watch(Level.FLIGHTS, lambda: float(len(flights)))
    metrics.watch(Level.LIMITS_DEGRADED, lambda: float(state.limits.degraded()))


def _tunnels(engine: Engine) -> Callable[[RequestHead], Awaitable[Tunnel | Reply]]:
    """Opens WebSockets to the origin; a refusal is the origin's own answer."""

    async def opened(request: RequestHead) -> Tunnel | Reply:
        from cacheproxy.upstream.tunnel import Refused, open_tunnel  # noqa: PLC0415 - many services have no WebSockets

        tunnel = await open_tunnel(engine.active.policy.upstream, request)
        if isinstance(tunnel, Refused):
            return Reply(tunnel.head.status, tunnel.head.fields, tunnel.body)
        return tunnel

    return opened

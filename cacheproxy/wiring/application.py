"""The whole sidecar: started in order, served until told to stop, stopped in reverse."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

import structlog

from cacheproxy import __version__
from cacheproxy.admin.access import Access
from cacheproxy.admin.app import AdminDeps, Readiness, admin_app
from cacheproxy.admin.metrics import Metrics
from cacheproxy.clock import Clock, SystemClock
from cacheproxy.engine.admission import Admission
from cacheproxy.engine.carry import Carrier
from cacheproxy.engine.degrade import Degrade
from cacheproxy.engine.engine import Active, Engine
from cacheproxy.engine.fill import Filler
from cacheproxy.engine.fill_job import Shared
from cacheproxy.engine.forward import Forwarder
from cacheproxy.engine.identify import Identifier
from cacheproxy.engine.origin_side import OriginSide
from cacheproxy.engine.record import AccessLog, Journal
from cacheproxy.engine.recorder import Level
from cacheproxy.engine.reply import Reply
from cacheproxy.engine.tasks import Tasks
from cacheproxy.fills.flight import Flights
from cacheproxy.fills.hit_for_miss import HitForMiss
from cacheproxy.invalidation.events import Interpreter
from cacheproxy.policy.explain import shown_rule
from cacheproxy.policy.route import Policy, UpstreamRules
from cacheproxy.policy.router import Router
from cacheproxy.semantics.head import RequestHead
from cacheproxy.server.adapter import Adapter
from cacheproxy.server.edge import Edge
from cacheproxy.server.express import ExpressLane
from cacheproxy.server.listen import Drain, admin_server, bind, edge_server, serve
from cacheproxy.server.websocket import Tunnel, WebSocketApp
from cacheproxy.settings import Settings
from cacheproxy.upstream.health import HealthProber
from cacheproxy.upstream.origin import HttpOrigin
from cacheproxy.upstream.tunnel import Refused, open_tunnel
from cacheproxy.wiring.state import State, open_state

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """A sidecar's parts, running."""

    settings: Settings
    engine: Engine
    state: State
    metrics: Metrics
    health: HealthProber
    edge: Edge
    adapter: Adapter

    async def serve(self) -> None:
        """Listen until SIGTERM or SIGINT, then drain. ListenError where an address is taken."""
        drain = Drain(delay_s=self.settings.drain_delay, timeout_s=self.settings.drain_timeout)
        upstream = self.engine.active.policy.upstream
        websockets = WebSocketApp(self.engine, self.adapter, _tunnels(upstream))
        sockets = [bind(*self.settings.listen), bind(*self.settings.admin)]
        servers = [edge_server(self.edge, SystemClock(), websockets, drain), admin_server(admin_app(self._admin()))]
        log.info(
            "serving",
            version=__version__,
            listen="{}:{}".format(*self.settings.listen),
            admin="{}:{}".format(*self.settings.admin),
            upstream=upstream.socket or f"{upstream.scheme}://{upstream.host}:{upstream.port}",
            routes=len(self.engine.active.policy.routes),
            replica=self.settings.instance_id,
        )
        await serve(self.edge, list(zip(servers, sockets, strict=True)), drain)

    def _admin(self) -> AdminDeps:
        token = self.settings.admin_token
        return AdminDeps(
            access=Access.for_listener(self.settings.admin[0], "" if token is None else token.get_secret_value()),
            metrics=self.metrics,
            ready=self._ready,
            interpret=Interpreter(self.engine.active.policy.events).interpret,
            purge=self.state.purger.purge,
            stats=self._stats,
            routes=lambda: [_described(route.name, self.engine.active) for route in self.engine.active.policy.routes],
        )

    def _ready(self) -> Readiness:
        origin = {None: "unknown", True: "up", False: "down"}[self.health.healthy]
        parts = {"origin": origin, **self.state.parts()}
        return Readiness(not self.edge.draining, {**parts, "edge": "draining" if self.edge.draining else "open"})

    def _stats(self) -> Mapping[str, object]:
        policy = self.engine.active.policy
        return {
            "version": __version__,
            "replica": self.settings.instance_id,
            "policy": {"file": str(self.settings.config), "digest": policy.digest, "routes": len(policy.routes)},
            "parts": dict(self._ready().parts),
        }


def _described(name: str, active: Active) -> Mapping[str, object]:
    route = next(route for route in active.policy.routes if route.name == name)
    return {
        "name": name,
        "match": [shown_rule(rule) for rule in route.match],
        "cache": None if route.cache is None else {"ttl_s": route.cache.ttl_s, "mode": route.cache.mode},
        "key": None if route.key is None else route.key.text,
        "scope": route.scope,
        "session": route.session,
        "limits": [rule.name for rule in route.limits],
        "purge": [template.text for template in route.purge],
    }


async def assemble(
    settings: Settings, policy: Policy, router: Router, stack: AsyncExitStack, clock: Clock | None = None
) -> Application:
    """The parts of a sidecar, wired and running, to be stopped by ``stack``. PolicyError where settings are wrong."""
    clock = clock or SystemClock()
    metrics = Metrics(config_hash=policy.digest)
    state = await open_state(settings, policy, metrics, clock, stack)
    origin = HttpOrigin(policy.upstream)
    stack.push_async_callback(origin.aclose)
    health = await stack.enter_async_context(HealthProber(policy.upstream))
    degrade = Degrade(metrics)
    hit_for_miss = HitForMiss(clock)
    flights: Flights[Shared] = Flights()
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
        hit_for_miss=hit_for_miss,
        degrade=degrade,
        recorder=metrics,
        clock=clock,
    )
    journal = Journal(metrics, clock, AccessLog(settings.access_log))
    engine = Engine(
        active=Active(policy, router),
        store=state.store,
        shelf=state.l1,
        identifier=Identifier(state.sessions, degrade),
        admission=Admission(state.limiter, degrade, metrics),
        filler=filler,
        forwarder=Forwarder(side, state.purger, tasks, metrics),
        degrade=degrade,
        journal=journal,
        clock=clock,
        prefix=settings.prefix,
        budget_s=settings.redis_budget,
    )
    adapter = Adapter(engine, settings.listen[1])
    _watch(metrics, state, flights)
    return Application(
        settings=settings,
        engine=engine,
        state=state,
        metrics=metrics,
        health=health,
        edge=Edge(
            handle=engine.handle, read=adapter.read, lane=ExpressLane(state.l1, journal, clock), trusts=adapter.trusts
        ),
        adapter=adapter,
    )


def _watch(metrics: Metrics, state: State, flights: "Flights[Shared]") -> None:
    metrics.watch(Level.L1_BYTES, lambda: float(state.l1.used_bytes))
    metrics.watch(Level.L1_ENTRIES, lambda: float(len(state.l1)))
    metrics.watch(Level.FLIGHTS, lambda: float(len(flights)))


def _tunnels(rules: UpstreamRules) -> Callable[[RequestHead], Awaitable[Tunnel | Reply]]:
    """Opens WebSockets to the origin; a refusal is the origin's own answer."""

    async def opened(request: RequestHead) -> Tunnel | Reply:
        tunnel = await open_tunnel(rules, request)
        if isinstance(tunnel, Refused):
            return Reply(tunnel.head.status, tunnel.head.fields, tunnel.body)
        return tunnel

    return opened

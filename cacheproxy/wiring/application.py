"""The whole sidecar: started in order, served until told to stop, stopped in reverse."""

import gc
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import structlog

from cacheproxy import __version__
from cacheproxy.admin.app import admin_app
from cacheproxy.admin.feed import Feed
from cacheproxy.admin.metrics import Metrics
from cacheproxy.clock import Clock, SystemClock
from cacheproxy.engine.active import Active
from cacheproxy.engine.degrade import Degrade
from cacheproxy.engine.engine import Engine
from cacheproxy.engine.record import WriteLine
from cacheproxy.engine.recorder import Event, Level
from cacheproxy.engine.reply import Reply
from cacheproxy.invalidation.siblings import Doors
from cacheproxy.policy.route import Policy
from cacheproxy.policy.router import Router
from cacheproxy.redis_link.endpoint import Endpoint
from cacheproxy.semantics.head import RequestHead
from cacheproxy.server.adapter import Adapter
from cacheproxy.server.edge import Edge
from cacheproxy.server.listen import Drain, admin_server, bind, edge_server, serve
from cacheproxy.server.websocket import Tunnel, WebSocketApp
from cacheproxy.settings import Settings, misspelt
from cacheproxy.storage.usage import Usage
from cacheproxy.wiring.administration import Administration
from cacheproxy.wiring.libraries import missing_libraries
from cacheproxy.wiring.most_used import MostUsed
from cacheproxy.wiring.origin import ReplaceableOrigin
from cacheproxy.wiring.reload import Reloader
from cacheproxy.wiring.request_way import Ends, RequestWay, lay_way
from cacheproxy.wiring.state import State, open_state
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
    edge: Edge
    adapter: Adapter
    reloader: Reloader
    warmer: Warmer
    most_used: MostUsed
    administration: Administration

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
        admin = admin_server(admin_app(self.administration.deps()), self.administration.feed.close)
        for caution in (*policy.cautions, *missing_libraries(policy), *misspelt(os.environ)):
            log.warning("policy_caution", where=caution.path, caution=caution.message)
        log.info(
            "serving",
            version=__version__,
            listen="{}:{}".format(*self.settings.listen),
            admin="{}:{}".format(*self.settings.admin),
            upstream=upstream.socket or f"{upstream.scheme}://{upstream.host}:{upstream.port}",
            redis=_redis(self.settings),
            routes=len(policy.routes),
            replica=self.settings.instance_id,
        )
        # What is here now is here for good: looking through it over and over would be a tenth of a request's cost.
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        async with self.reloader.watching(), self.most_used.telling(), self.warmer.beginning():
            await serve(self.edge, (edge, listening.edge), [(admin, listening.admin)], drain)


async def assemble(
    settings: Settings,
    policy: Policy,
    router: Router,
    stack: AsyncExitStack,
    clock: Clock | None = None,
    doors: Doors | None = None,
    write_line: WriteLine | None = None,
) -> Application:
    """The parts of a sidecar, wired and running, to be stopped by ``stack``. PolicyError where settings are wrong.

    ``doors`` are for one of several workers. ``write_line`` takes the access log's lines, which else go to structlog.
    """
    clock = clock or SystemClock()
    metrics = Metrics(config_hash=policy.digest)
    metrics.event(Event.CONFIG_LOAD, "ok")
    feed = Feed()
    state = await open_state(settings, policy, metrics, feed, clock, stack, doors)
    _watch(metrics, state)
    origin = ReplaceableOrigin(policy.upstream, str(settings.config))
    stack.push_async_callback(origin.aclose)
    await origin.start()
    _watch_origin(metrics, origin)
    ends = Ends(
        settings=settings,
        state=state,
        origin=origin,
        metrics=metrics,
        clock=clock,
        degrade=Degrade(metrics),
        write_line=write_line,
    )
    return _application(ends, lay_way(ends, Active(policy, router), stack), feed)


def _application(ends: Ends, way: RequestWay, feed: Feed) -> Application:
    roles, engine = ends.state.roles, way.engine
    usage = None if roles is None else Usage(roles.cache, ends.settings.prefix, ends.clock)
    most_used = MostUsed(ends.counters, usage, lambda: engine.active.policy.warm)
    warmer = Warmer(engine, most_used, ends.state)
    reloader = Reloader(
        settings=ends.settings,
        engine=way.engine,
        adapter=way.adapter,
        lane=way.lanes.express,
        pass_lane=way.lanes.pass_lane,
        origin=ends.origin,
        bus=ends.state.bus,
        governor=way.governor,
        envelope=ends.state.envelope,
        l1=ends.state.l1,
        metrics=ends.metrics,
        feed=feed,
    )
    return Application(
        settings=ends.settings,
        engine=way.engine,
        state=ends.state,
        metrics=ends.metrics,
        edge=way.edge,
        adapter=way.adapter,
        reloader=reloader,
        warmer=warmer,
        most_used=most_used,
        administration=Administration(
            settings=ends.settings,
            engine=way.engine,
            state=ends.state,
            metrics=ends.metrics,
            feed=feed,
            origin=ends.origin,
            edge=way.edge,
            reloader=reloader,
            warmer=warmer,
        ),
    )


def _watch_origin(metrics: Metrics, origin: ReplaceableOrigin) -> None:
    metrics.watch_total(Event.GAVE_WAY, lambda: origin.gave_way)
    for doing in origin.connections:
        metrics.watch(Level.UPSTREAM_CONNECTIONS, partial(_connections, origin, doing), doing)


def _connections(origin: ReplaceableOrigin, doing: str) -> float:
    return float(origin.connections[doing])


def _watch(metrics: Metrics, state: State) -> None:
    metrics.watch(Level.L1_BYTES, lambda: float(state.l1.used_bytes))
    metrics.watch(Level.L1_ENTRIES, lambda: float(len(state.l1)))
    metrics.watch_total(Event.EVICTED, lambda: state.l1.evictions)
    metrics.watch_total(Event.CORRUPT, lambda: state.l2.corrupt if state.l2 else 0)
    metrics.watch(Level.LIMITS_DEGRADED, lambda: float(state.limits.degraded()))


def _redis(settings: Settings) -> str:
    """Which Redis it uses, without what is secret."""
    urls = settings.redis_urls()
    return urls if isinstance(urls, str) else ", ".join(dict.fromkeys(str(Endpoint.of(url)) for url in urls.values()))


def _tunnels(engine: Engine) -> Callable[[RequestHead], Awaitable[Tunnel | Reply]]:
    """Opens WebSockets to the origin; a refusal is the origin's own answer."""

    async def opened(request: RequestHead) -> Tunnel | Reply:
        from cacheproxy.upstream.tunnel import Refused, open_tunnel  # noqa: PLC0415 - many services have no WebSockets

        tunnel = await open_tunnel(engine.active.policy.upstream, request)
        if isinstance(tunnel, Refused):
            return Reply(tunnel.head.status, tunnel.head.fields, tunnel.body)
        return tunnel

    return opened

"""The listeners: the edge and the admin port in one event loop, started together and drained in order."""

import asyncio
import errno
import functools
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import structlog
import uvicorn

from cacheproxy.clock import Clock
from cacheproxy.errors import CacheproxyError
from cacheproxy.server.admin_protocol import AdminProtocol
from cacheproxy.server.edge import Edge
from cacheproxy.server.protocol import EdgeProtocol

log = structlog.get_logger()

IDLE_S = 1.0
"""For how long, once a stop was asked for, clients that keep connections may send a request that crosses our close."""
LOOK_S = 0.05
BACKLOG = 2048
"""How many connections the kernel may have taken for us that we have not."""
_ADVICE = {
    errno.EADDRINUSE: "choose another port or stop what uses this one",
    errno.EADDRNOTAVAIL: "this machine has no such address: choose one of its own, or 0.0.0.0 for all",
    errno.EACCES: "ports under 1024 are for root or CAP_NET_BIND_SERVICE: choose a higher one",
}
"""What an operator can do about an address that is refused, by error number."""

AsgiApp = Callable[..., Any]


class ListenError(CacheproxyError):
    """An address could not be listened on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """How a stop goes, in seconds.

    Readiness fails at once; new connections are taken for ``delay_s`` more (balancers learn late); then requests under
    way get ``timeout_s``.
    """

    delay_s: float = 0.0
    timeout_s: float = 30.0


class _Server(uvicorn.Server):
    """uvicorn's server, less its signal handling: the whole program has one."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


class EdgeServer(_Server):
    """The proxy's own server: it parts with its clients before it closes their connections."""

    async def refuse(self, listening: socket.socket) -> None:
        """Take no more connections. Those that the kernel has taken for us would be reset: they are served."""
        loop = asyncio.get_running_loop()
        made: Any = self.config.http_protocol_class
        protocol = functools.partial(made, config=self.config, server_state=self.server_state, app_state={})
        with suppress(OSError):  # as soon as nobody is left
            for _ in range(BACKLOG):  # or, where they do not cease to come, all that were here
                accepted, _ = listening.accept()
                await loop.connect_accepted_socket(protocol, accepted)
        for server in getattr(self, "servers", ()):  # there are none before it has started
            server.close()
        listening.close()

    async def see_off(self) -> None:
        """Wait until every client has gone, being told so with its next answer; at most ``IDLE_S``."""
        until = asyncio.get_running_loop().time() + IDLE_S
        while self.server_state.connections and asyncio.get_running_loop().time() < until:  # noqa: ASYNC110 - it is a set
            await asyncio.sleep(LOOK_S)


def bind(host: str, port: int, *, reuse_port: bool = False) -> socket.socket:
    """A listening socket. ListenError says what to do where the address cannot be had."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        advice = _ADVICE.get(error.errno or 0, "choose another address")
        raise ListenError(f"cannot listen on {host}:{port}: {error.strerror}; {advice}") from error
    sock.listen(BACKLOG)
    sock.setblocking(False)  # noqa: FBT003 - socket's own
    return sock


def edge_server(edge: Edge, clock: Clock, websocket_app: AsgiApp, drain: Drain) -> EdgeServer:
    """The proxy's own server. uvicorn's ASGI side is used for WebSockets alone."""
    config = uvicorn.Config(
        websocket_app,
        http=functools.partial(EdgeProtocol, edge, clock),  # type: ignore[arg-type]
        ws=_websocket_protocol,  # type: ignore[arg-type]  # it is called, and no more
        ws_max_size=edge.limits.message_bytes,
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=int(drain.timeout_s),
    )
    return EdgeServer(config)


def _websocket_protocol(**given: Any) -> asyncio.Protocol:
    """What uvicorn has for WebSockets, whose library is loaded with the first of them."""
    from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol  # noqa: PLC0415

    return WebSocketsSansIOProtocol(**given)


class _AdminServer(_Server):
    """One whose longest answers end only when they are told to."""

    on_stop: Callable[[], None] | None = None

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop, having said so."""
        if self.on_stop is not None:
            self.on_stop()
        await super().shutdown(sockets)


def admin_server(app: AsgiApp, on_stop: Callable[[], None] | None = None) -> uvicorn.Server:
    """The operator's server. ``on_stop`` ends what would go on for ever."""
    config = uvicorn.Config(
        app,
        http=AdminProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    server = _AdminServer(config)
    server.on_stop = on_stop
    return server


async def serve(
    edge: Edge,
    clients: tuple[EdgeServer, socket.socket],
    others: Sequence[tuple[uvicorn.Server, socket.socket]],
    drain: Drain,
) -> None:
    """Run the edge and the ``others`` until SIGTERM or SIGINT, then drain: the edge first, the others after it."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    servers = [clients, *others]
    running = [asyncio.create_task(server.serve(sockets=[sock])) for server, sock in servers]
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((stopping, *running), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    log.info("draining", delay_s=drain.delay_s, timeout_s=drain.timeout_s)
    if not any(task.done() for task in running):
        await _part_with_clients(edge, *clients, drain.delay_s)
    for (server, _), task in zip(servers, running, strict=True):
        server.should_exit = True
        await asyncio.wait((task,), timeout=drain.timeout_s + 5)
    for task in running:
        if not task.done():
            task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def _part_with_clients(edge: Edge, server: EdgeServer, listening: socket.socket, delay_s: float) -> None:
    """Answers say that their connection closes; without a delay only once new ones, which come at once, are refused."""
    if delay_s:
        edge.draining = True
        await asyncio.sleep(delay_s)
    await server.refuse(listening)
    edge.draining = True
    await server.see_off()

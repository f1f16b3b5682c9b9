"""A client's connection: every wait is bounded, every answer in its place."""

import asyncio
import contextlib
import functools
import re
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from uvicorn.config import Config
from uvicorn.server import ServerState

from cacheproxy.clock import SystemClock
from cacheproxy.engine.engine import Client
from cacheproxy.engine.reply import Reply
from cacheproxy.errors import ClientError, UpstreamError
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.head import RequestHead
from cacheproxy.server.adapter import Arrived
from cacheproxy.server.body import BodyStream
from cacheproxy.server.edge import Edge, EdgeLimits
from cacheproxy.server.head import parse_head
from cacheproxy.server.protocol import EdgeProtocol

GET = b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"

SHORT = EdgeLimits(head_s=0.1, body_s=0.1, keepalive_s=0.2, write_s=0.2, linger_s=0.1, linger_bytes=1000)
PATIENT = EdgeLimits()


class NoLane:
    """An express lane that knows nothing."""

    def answer(self, raw: bytes, **_: object) -> None:
        """Never."""

    def asking(self, *_: object, **__: object) -> None:
        """Nothing."""

    def learn(self, *_: object, **__: object) -> None:
        """Nothing."""


class NoPassLane:
    """A lane past the cache that knows nothing."""

    def begin(self, *_: object, **__: object) -> None:
        """Never."""

    def learn(self, *_: object) -> None:
        """Nothing."""


class Drip:
    """A body that comes in pieces, with no end if there is no ``length``."""

    def __init__(self, piece: bytes, times: int, error: Exception | None = None) -> None:
        self.length = None
        self._piece, self._times, self._error = piece, times, error
        self.sent = 0
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The pieces."""
        for _ in range(self._times):
            self.sent += 1
            yield self._piece
        if self._error is not None:
            raise self._error

    async def aclose(self) -> None:
        """Take note."""
        self.closed = True


@dataclass
class Engine:
    """Stands in for the engine: answers by path, and keeps what it saw."""

    replies: dict[bytes, Callable[[BodyStream | None], Awaitable[Reply]]] = field(default_factory=dict)
    seen: list[bytes] = field(default_factory=list)
    cancelled: int = 0

    async def handle(self, request: RequestHead, body: BodyStream | None, *_: object) -> Reply:
        """The reply for the path, or one that names it."""
        self.seen.append(request.path)
        try:
            if request.path in self.replies:
                return await self.replies[request.path](body)
            content = b"".join([chunk async for chunk in body]) if body is not None else b""
        except ClientError as error:
            return Reply(error.status, Fields(), error.reason.encode())
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return Reply(200, Fields(), request.path + content)


@dataclass
class Server:
    """A listener in this process."""

    port: int
    state: ServerState
    edge: Edge

    async def connect(self, receive_bytes: int = 0) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection that reads ahead no more than ``receive_bytes``, if given."""
        sock = socket.socket()
        if receive_bytes:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
        return await asyncio.open_connection(sock=sock, limit=receive_bytes or 1 << 16)

    async def exchange(self, raw: bytes, *, half_close: bool = False) -> bytes:
        """All that comes back for ``raw`` until the server closes."""
        reader, writer = await self.connect()
        writer.write(raw)
        if half_close:
            writer.write_eof()
        received = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        return received

    async def empty(self, within_s: float = 2.0) -> bool:
        """Whether no connection is left in time."""
        await eventually(lambda: not self.state.connections, within_s)
        return True


@pytest.fixture
def engine() -> Engine:
    """What answers."""
    return Engine()


@pytest.fixture
async def listen(engine):
    """Starts a listener with limits."""
    servers = []

    async def start(limits: EdgeLimits = SHORT, send_bytes: int = 0) -> Server:
        edge = Edge(
            handle=engine.handle,
            read=_read,
            lane=NoLane(),
            pass_lane=NoPassLane(),
            trusts=lambda _: False,
            limits=limits,
        )
        state = ServerState()
        make = functools.partial(EdgeProtocol, edge, SystemClock(), Config(app=None, log_config=None), state, {})
        sock = socket.create_server(("127.0.0.1", 0))
        if send_bytes:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_bytes)
        server = await asyncio.get_running_loop().create_server(make, sock=sock)
        servers.append(server)
        return Server(sock.getsockname()[1], state, edge)

    yield start
    for server in servers:
        server.close()


def _read(raw: bytes, scheme: str, peer: str) -> Arrived:
    request, framing = parse_head(raw, scheme)
    return Arrived(request=request, framing=framing, client=Client(address=peer))


async def eventually(check: Callable[[], bool], within_s: float = 2.0) -> None:
    """Wait until ``check`` comes true."""
    async with asyncio.timeout(within_s):
        while not check():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.001)


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection by RST, as a client that crashes."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def statuses(received: bytes) -> list[bytes]:
    """The status codes in what was received."""
    return re.findall(rb"HTTP/1.1 (\d+) ", received)


# Time limits


async def test_a_client_that_says_nothing_is_hung_up_on(listen) -> None:
    """A connection without a byte is closed after the keep-alive time, without an answer."""
    assert b"" == await (await listen()).exchange(b"")


async def test_a_head_has_one_time_limit_however_it_drips(listen) -> None:
    """(Slowloris) A byte every now and then does not prolong the time for a head: 408."""
    server = await listen()
    reader, writer = await server.connect()

    async def drip() -> None:
        for byte in GET % b"slow" * 3:
            writer.write(bytes((byte,)))
            await asyncio.sleep(0.02)

    dripping = asyncio.create_task(drip())
    received = await asyncio.wait_for(reader.read(), 2)
    dripping.cancel()
    writer.close()
    assert [b"408"] == statuses(received)
    assert await server.empty()


async def test_an_idle_client_is_hung_up_on_after_its_answer(listen) -> None:
    """Keep-alive ends by itself, with nothing but the answer said."""
    received = await (await listen()).exchange(GET % b"x")
    assert [b"200"] == statuses(received)


@pytest.mark.parametrize("head", [POST % 100, b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"])
async def test_a_body_that_stops_is_a_408(listen, head) -> None:
    """(R-U-Dead-Yet) The engine learns that the body will not come, and the connection ends."""
    received = await (await listen()).exchange(head + b"5")
    assert [b"408"] == statuses(received)
    assert b"connection: close" in received


async def test_a_body_that_is_slow_is_not_cut_off(listen) -> None:
    """Each piece buys time."""
    server = await listen()
    reader, writer = await server.connect()
    writer.write(POST % 5)
    for _ in range(5):
        await asyncio.sleep(0.06)
        writer.write(b"x")
    assert b"/xxxxxx" in await asyncio.wait_for(reader.readuntil(b"/xxxxxx"), 2)
    writer.close()


async def test_a_reader_that_takes_nothing_is_cut_off(listen, engine) -> None:
    """(slow read) A stream stops as the client does not keep up, and ends when it takes nothing for too long."""
    body = Drip(b"x" * 65536, 10_000)
    engine.replies[b"/big"] = replying(body)
    server = await listen(send_bytes=8192)
    _, writer = await server.connect(4096)
    writer.write(GET % b"big")
    assert await server.empty()
    await eventually(lambda: body.closed)
    assert body.sent < 50
    writer.close()


@pytest.mark.parametrize("size", [30_000, 60_000, 1_000_000])
@pytest.mark.parametrize("line", [b"", b"Connection: close\r\n"], ids=["keep-alive", "close"])
async def test_a_whole_body_that_nobody_takes_is_dropped(listen, engine, size, line) -> None:
    """What is written at once holds no connection for ever either, however little of it is left."""
    engine.replies[b"/big"] = replying(b"x" * size)
    server = await listen(send_bytes=4096)
    _, writer = await server.connect(2048)
    writer.write(b"GET /big HTTP/1.1\r\nHost: a\r\n%b\r\n" % line)
    assert await server.empty(5)
    writer.close()


@pytest.mark.parametrize("line", [b"", b"Connection: close\r\n"], ids=["keep-alive", "close"])
async def test_a_reader_that_is_slow_gets_everything(listen, engine, line) -> None:
    """Who takes a little at a time, for longer than every limit, is not cut off."""
    engine.replies[b"/big"] = replying(b"x" * 300_000)
    server = await listen(send_bytes=4096)
    reader, writer = await server.connect(4096)
    writer.write(b"GET /big HTTP/1.1\r\nHost: a\r\n%b\r\n" % line)
    received = b""
    while len(received) < 300_000:
        piece = await asyncio.wait_for(reader.read(20_000), 2)
        assert piece, len(received)
        received += piece
        await asyncio.sleep(0.05)
    writer.close()


async def test_who_was_refused_does_not_stay(listen) -> None:
    """After a refusal little more is read, and not for long."""
    server = await listen()
    _, patient = await server.connect()
    patient.write(b"nonsense\r\n\r\n")
    assert await server.empty()
    _, eager = await server.connect()
    eager.write(b"nonsense\r\n\r\n" + b"x" * 5000)
    assert await server.empty()
    patient.close()
    eager.close()


async def test_too_many_connections_are_not_taken(listen, engine) -> None:
    """Beyond the limit, and all of them busy, a connection is closed at once; a free place is given away again."""
    gate = asyncio.Event()

    async def slow(_: BodyStream | None) -> Reply:
        await gate.wait()
        return Reply(200, Fields(), b"slow")

    engine.replies[b"/slow"] = slow
    server = await listen(EdgeLimits(max_connections=2))
    kept = [await server.connect() for _ in range(2)]
    for _, writer in kept:
        writer.write(GET % b"slow")
    await eventually(lambda: len(engine.seen) == 2)
    with contextlib.suppress(ConnectionResetError):
        assert b"" == await server.exchange(GET % b"x")
    gate.set()
    for reader, _ in kept:
        await reader.readuntil(b"slow")
    kept[0][1].close()
    await eventually(lambda: len(server.state.connections) == 1)
    assert [b"200"] == statuses(await server.exchange(b"GET /x HTTP/1.0\r\nHost: a\r\n\r\n"))
    kept[1][1].close()


@pytest.mark.parametrize("said", [b"", b"GET /x HTTP/1.1\r\nHos", GET % b"x"], ids=["nothing", "half-a-head", "enough"])
async def test_who_does_nothing_gives_way(listen, said) -> None:
    """(Slowloris) Where as many are connected as may be, a new client takes the place of one that has no request."""
    server = await listen(EdgeLimits(max_connections=3))
    kept = [await server.connect() for _ in range(3)]
    for reader, writer in kept:
        writer.write(said)
        if said.endswith(b"\r\n\r\n"):
            await reader.readuntil(b"/x")
    await eventually(lambda: len(server.state.connections) == 3)
    for _ in range(5):
        assert [b"200"] == statuses(await server.exchange(b"GET /y HTTP/1.0\r\nHost: a\r\n\r\n"))
    for _, writer in kept:
        writer.close()


# Order


async def test_pipelined_requests_are_answered_in_order(listen, engine) -> None:
    """The first is slow, the second is not even begun before it is answered."""
    gate = asyncio.Event()

    async def slow(_: BodyStream | None) -> Reply:
        await gate.wait()
        return Reply(200, Fields(), b"slow")

    engine.replies[b"/slow"] = slow
    server = await listen()
    reader, writer = await server.connect()
    writer.write(GET % b"slow" + GET % b"fast")
    await eventually(lambda: bool(engine.seen))
    assert [b"/slow"] == engine.seen
    gate.set()
    received = await asyncio.wait_for(reader.readuntil(b"/fast"), 2)
    assert received.index(b"slow") < received.index(b"/fast")
    writer.close()


@pytest.mark.parametrize("cut", [1, 2, 3, 7, 64])
async def test_bytes_may_come_in_any_pieces(listen, cut) -> None:
    """Heads, bodies and pipelined requests are read the same however they are cut."""
    raw = GET % b"a" + POST % 5 + b"hello\r\n" + GET % b"b" + b"GET /c HTTP/1.0\r\nHost: a\r\n\r\n"
    server = await listen(PATIENT)
    reader, writer = await server.connect()
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for at in range(0, len(raw), cut):
        writer.write(raw[at : at + cut])
        await writer.drain()
        await asyncio.sleep(0)
    received = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    assert [b"200"] * 4 == statuses(received)
    assert [b"/a", b"/xhello", b"/b", b"/c"] == re.findall(rb"\r\n\r\n(/[a-z]+)", received)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param(GET % b"x", [b"200"], id="one"),
        pytest.param(GET % b"x" + GET % b"y" + GET % b"z", [b"200"] * 3, id="pipelined"),
        pytest.param(GET % b"x" + b"GET /y", [b"200"], id="then-half-a-head"),
        pytest.param(GET % b"x" + b"nonsense\r\n\r\n", [b"200", b"400"], id="then-nonsense"),
        pytest.param(POST % 2 + b"hi", [b"200"], id="body"),
        pytest.param(POST % 9 + b"hi", [b"400"], id="half-a-body"),
        pytest.param(b"GET /x", [], id="half-a-head"),
        pytest.param(b"", [], id="nothing"),
    ],
)
async def test_a_half_closed_connection_gets_its_answers(listen, raw, expected) -> None:
    """Whoever has said all may still listen (RFC 9112 §9.6): what was asked for whole is answered, then it ends."""
    began = asyncio.get_running_loop().time()
    received = await (await listen(PATIENT)).exchange(raw, half_close=True)
    assert expected == statuses(received)
    assert asyncio.get_running_loop().time() - began < 1


async def test_a_client_that_leaves_cancels_what_is_for_it_alone(listen, engine) -> None:
    """The engine's call is cancelled, and nothing is left."""

    async def never(_: BodyStream | None) -> Reply:
        await asyncio.Event().wait()
        raise AssertionError

    engine.replies[b"/never"] = never
    server = await listen(PATIENT)
    _, writer = await server.connect()
    writer.write(GET % b"never")
    await eventually(lambda: bool(engine.seen))
    reset(writer)
    assert await server.empty()
    await eventually(lambda: engine.cancelled == 1 and not server.state.tasks)


async def test_a_client_that_leaves_lets_go_of_the_body(listen, engine) -> None:
    """A reply's stream is closed when its client leaves in the middle."""
    body = Drip(b"x" * 65536, 10_000)
    engine.replies[b"/big"] = replying(body)
    server = await listen(PATIENT)
    reader, writer = await server.connect()
    writer.write(GET % b"big")
    await reader.readexactly(1000)
    reset(writer)
    assert await server.empty()
    await eventually(lambda: body.closed)


# Faults of our own and of the origin


async def test_a_fault_of_ours_is_a_500_in_its_place(listen, engine) -> None:
    """An exception in the engine is one 500; the connection goes on."""

    async def fault(_: BodyStream | None) -> Reply:
        raise ZeroDivisionError

    engine.replies[b"/fault"] = fault
    received = await (await listen(PATIENT)).exchange(GET % b"fault" + GET % b"x", half_close=True)
    assert [b"500", b"200"] == statuses(received)
    assert b"ZeroDivision" not in received


async def test_a_body_that_breaks_off_is_not_ended(listen, engine) -> None:
    """The client must see that something is missing: no last chunk, and the connection's end."""
    engine.replies[b"/half"] = replying(Drip(b"half", 2, UpstreamError(502, "body-truncated", sent=True)))
    server = await listen()
    reader, writer = await server.connect()
    writer.write(GET % b"half" + GET % b"x")
    with contextlib.suppress(ConnectionResetError):
        received = await asyncio.wait_for(reader.read(), 2)
        assert b"0\r\n\r\n" not in received
        assert [b"200"] == statuses(received)
    assert [b"/half"] == engine.seen
    writer.close()


async def test_a_drained_listener_ends_its_connections(listen) -> None:
    """While draining, each answer is its connection's last."""
    server = await listen(PATIENT)
    server.edge.draining = True
    received = await server.exchange(GET % b"x" + GET % b"y")
    assert [b"200"] == statuses(received)
    assert b"connection: close" in received


def replying(body: object) -> Callable[[BodyStream | None], Awaitable[Reply]]:
    """Answers with ``body``."""

    async def reply(_: BodyStream | None) -> Reply:
        return Reply(200, Fields(), body)  # type: ignore[arg-type]

    return reply


async def test_whom_to_trust_is_asked_for_each_request(listen) -> None:
    """A reload may change it while a connection is open."""
    server = await listen(PATIENT)
    asked: list[bool] = []
    server.edge.lane.answer = lambda raw, *, trusted, peer: asked.append(trusted)
    reader, writer = await server.connect()
    for trusted in (False, True):
        server.edge.trusts = lambda _, now=trusted: now
        writer.write(GET % b"x")
        await reader.readuntil(b"\r\n\r\n/x")
    writer.close()
    assert [False, True] == [asked[0], asked[-1]]

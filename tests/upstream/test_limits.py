"""Every wait for the origin ends, each with a reason of its own."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress

import pytest

from cacheproxy.errors import UpstreamError
from cacheproxy.policy.route import Timeouts, UpstreamRules
from cacheproxy.semantics.head import RequestHead
from cacheproxy.upstream.bodies import BytesBody
from cacheproxy.upstream.limits import HIGH_WATER_BYTES
from cacheproxy.upstream.origin import HttpOrigin
from cacheproxy.upstream.reasons import BEFORE_SENDING, STATUS, Reason, failure

Connect = Callable[..., Awaitable[HttpOrigin]]
Quick = Callable[..., Timeouts]
GET = RequestHead(method="GET", target=b"/")
POST = RequestHead(method="POST", target=b"/")
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
SOON_S = 0.02


def what(error: UpstreamError) -> tuple[int, str, bool]:
    """What a caller decides by."""
    return error.status, error.reason, error.sent


@pytest.mark.parametrize(
    "begun",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"HTTP/1.1 200 OK\r\na: b\r\n", id="half-a-head"),
        pytest.param(b"HTTP/1.1 103 Early Hints\r\n\r\n", id="interim-only"),
    ],
)
async def test_no_head_in_time(connect: Connect, quick: Quick, begun: bytes) -> None:
    """The whole final head is due within the first-byte limit."""

    async def handler(peer) -> None:
        await peer.request()
        peer.say(begun)
        await peer.gone()

    origin = await connect(handler, timeouts=quick(first_byte_s=SOON_S))
    with pytest.raises(UpstreamError) as error:
        await origin.send(GET)
    assert what(error.value) == (504, Reason.FIRST_BYTE_TIMEOUT, True)
    assert "<Pool 0 of" in repr(origin)


async def test_an_interim_response_earns_more_time(connect: Connect, quick: Quick) -> None:
    """102 (Processing) restarts the limit: the origin is at work."""
    beats = 3

    async def handler(peer) -> None:
        await peer.request()
        for _ in range(beats):
            peer.say(b"HTTP/1.1 102 Processing\r\n\r\n")
            await told.wait()
            told.clear()
        peer.say(OK)
        await peer.gone()

    told = asyncio.Event()
    limit_s = 0.4

    def slowly(_: object) -> None:
        asyncio.get_running_loop().call_later(limit_s / 2, told.set)

    origin = await connect(handler, timeouts=quick(first_byte_s=limit_s))
    head, _ = await origin.send(GET, on_interim=slowly)
    assert head.status == 200


async def test_a_body_that_falls_silent(connect: Connect, quick: Quick) -> None:
    """Silence within a body is an error after what came."""

    async def handler(peer) -> None:
        await peer.request()
        peer.say(b"HTTP/1.1 200 OK\r\n\r\nhello")
        await peer.gone()

    origin = await connect(handler, timeouts=quick(idle_s=SOON_S))
    _, body = await origin.send(GET)
    chunks = aiter(body)
    assert await anext(chunks) == b"hello"
    with pytest.raises(UpstreamError) as error:
        await anext(chunks)
    assert what(error.value) == (504, Reason.IDLE_TIMEOUT, True)
    assert "<Pool 0 of" in repr(origin)


async def test_a_small_body_that_falls_silent(connect: Connect, quick: Quick) -> None:
    """Where nothing was handed over yet, the silence is a clean 504."""

    async def handler(peer) -> None:
        await peer.answer(OK[:-1])
        await peer.gone()

    origin = await connect(handler, timeouts=quick(idle_s=SOON_S))
    with pytest.raises(UpstreamError) as error:
        await origin.send(GET)
    assert what(error.value) == (504, Reason.IDLE_TIMEOUT, True)


async def test_our_own_slowness_is_not_the_origins(connect: Connect, quick: Quick) -> None:
    """While nobody reads, the origin held back by us is not timed; reading on starts the limit anew."""
    limit_s = 0.2

    async def handler(peer) -> None:
        await peer.request()
        peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (32 << 20))
        for _ in range(512):
            peer.say(bytes(1 << 16))
            await peer.writer.drain()
        await peer.gone()

    origin = await connect(handler, timeouts=quick(idle_s=limit_s))
    _, body = await origin.send(GET)
    late = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(2 * limit_s, late.set_result, None)
    await late
    size = 0
    async for chunk in body:
        size += len(chunk)
    assert size == 32 << 20


async def test_an_origin_that_falls_silent_after_it_was_held_back(connect: Connect, quick: Quick) -> None:
    """Reading on expects the origin to go on, even if nothing at all comes any more."""

    async def handler(peer) -> None:
        await peer.request()
        peer.say(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(HIGH_WATER_BYTES + 1))
        await peer.gone()

    origin = await connect(handler, timeouts=quick(idle_s=SOON_S))
    _, body = await origin.send(GET)
    chunks = aiter(body)
    size = 0
    while size <= HIGH_WATER_BYTES:
        size += len(await anext(chunks))
    with pytest.raises(UpstreamError, match=Reason.IDLE_TIMEOUT):
        await anext(chunks)


class Endless:
    """A request body without an end."""

    length = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """More and more."""
        while True:
            yield bytes(1 << 16)


@pytest.mark.parametrize("body", [BytesBody(bytes(64 << 20)), Endless()], ids=["at-hand", "streamed"])
async def test_an_origin_that_takes_nothing_in(connect: Connect, quick: Quick, body: object) -> None:
    """A request that the origin does not read is given up."""

    async def handler(peer) -> None:
        await done.wait()

    done = asyncio.Event()
    origin = await connect(handler, timeouts=quick(idle_s=0.05))
    with pytest.raises(UpstreamError) as error:
        await origin.send(POST, body)
    assert what(error.value) == (504, Reason.WRITE_TIMEOUT, True)
    done.set()


async def test_a_slow_upload_is_not_a_stalled_one(connect: Connect, quick: Quick) -> None:
    """As long as the origin takes something in, a large request may take its time."""
    limit_s = 0.3

    async def handler(peer) -> None:
        loop = asyncio.get_running_loop()
        head = await peer.reader.readuntil(b"\r\n\r\n")
        assert b"content-length: 16777216" in head
        for _ in range(8):
            await peer.reader.readexactly(2 << 20)
            later = loop.create_future()
            loop.call_later(limit_s / 4, later.set_result, None)
            await later
        peer.say(OK)
        await peer.gone()

    origin = await connect(handler, timeouts=quick(idle_s=limit_s))
    head, _ = await origin.send(POST, BytesBody(bytes(16 << 20)))
    assert head.status == 200


async def test_no_connection_is_free_in_time(connect: Connect) -> None:
    """Who waits too long for the pool is told so, nothing having been sent."""

    async def handler(peer) -> None:
        await peer.request()
        arrived.set()
        await done.wait()
        peer.say(OK)
        await peer.gone()

    arrived, done = asyncio.Event(), asyncio.Event()
    origin = await connect(handler, max_connections=1, pool_wait_s=SOON_S)
    first = asyncio.create_task(origin.send(GET))
    await arrived.wait()
    with pytest.raises(UpstreamError) as error:
        await origin.send(GET)
    assert what(error.value) == (503, Reason.POOL_EXHAUSTED, False)
    done.set()
    await first


@pytest.fixture
def full_port() -> Iterator[int]:
    """A port whose backlog is full: connecting to it hangs."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        clients = [socket.socket() for _ in range(4)]
        for client in clients:
            client.setblocking(False)
            with suppress(BlockingIOError):
                client.connect(listening.getsockname())
        yield listening.getsockname()[1]
        for client in clients:
            client.close()


async def test_no_connection_in_time(full_port: int, quick: Quick) -> None:
    """An address that does not answer is given up within the connect limit."""
    origin = HttpOrigin(UpstreamRules(port=full_port, timeouts=quick(connect_s=SOON_S)))
    with pytest.raises(UpstreamError) as error:
        await origin.send(GET)
    assert what(error.value) == (504, Reason.CONNECT_TIMEOUT, False)
    assert "<Pool 0 of" in repr(origin)
    await origin.aclose()


async def test_closing_ends_requests_under_way(connect: Connect) -> None:
    """Requests and bodies that are open, and whoever waits, learn that we shut down; later ones do too."""

    async def handler(peer) -> None:
        await peer.request()
        peer.say(b"HTTP/1.1 200 OK\r\n\r\nhello")
        await peer.request()
        arrived.set()
        await peer.gone()

    async def silent(peer) -> None:
        await peer.request()
        arrived.set()
        await peer.gone()

    arrived = asyncio.Event()
    streaming = await connect(handler, max_connections=1)
    _, body = await streaming.send(GET)
    waiting = asyncio.create_task(streaming.send(GET))
    unanswered = await connect(silent)
    sent = asyncio.create_task(unanswered.send(GET))
    await arrived.wait()
    await streaming.aclose()
    await unanswered.aclose()
    for request in (waiting, sent, streaming.send(GET)):
        with pytest.raises(UpstreamError) as error:
            await request
        assert (error.value.status, error.value.reason) == (503, Reason.SHUT_DOWN)
    with pytest.raises(UpstreamError, match=Reason.SHUT_DOWN):
        _ = [chunk async for chunk in body]


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_its_answer(reason: Reason) -> None:
    """A reason is a lower-case code, its status 502, 503 or 504, and it says whether anything was sent."""
    error = failure(reason)
    assert error.reason == reason.value == reason.value.lower()
    assert error.status == STATUS.get(reason, 502)
    assert error.status in {502, 503, 504}
    assert error.sent == (reason not in BEFORE_SENDING)

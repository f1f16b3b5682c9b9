"""The client against servers that do one thing each: reuse, retries, streams, interim answers and bodies both ways."""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import pytest

from cacheproxy.errors import UpstreamError
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.head import RequestHead, ResponseHead
from cacheproxy.upstream import limits, pool
from cacheproxy.upstream.bodies import BytesBody, PartsBody
from cacheproxy.upstream.contract import RequestBody, ResponseBody
from cacheproxy.upstream.limits import AHEAD_BYTES
from cacheproxy.upstream.origin import HttpOrigin
from cacheproxy.upstream.reasons import Reason
from cacheproxy.upstream.stream import StreamBody

Connect = Callable[..., Awaitable[HttpOrigin]]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
STREAM = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
GET = RequestHead(method="GET", target=b"/")
POST = RequestHead(method="POST", target=b"/")
PUT = RequestHead(method="PUT", target=b"/")


class Feed:
    """A request body that a test feeds by hand."""

    def __init__(self, length: int | None = None) -> None:
        self.length = length
        self.chunks: asyncio.Queue[bytes | Exception] = asyncio.Queue()
        self.read = 0
        self.cancelled = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The chunks put in, until an empty one."""
        try:
            while chunk := await self.chunks.get():
                if isinstance(chunk, Exception):
                    raise chunk
                self.read += 1
                yield chunk
        except asyncio.CancelledError:
            self.cancelled = True
            raise


async def read(body: ResponseBody) -> bytes:
    """The content of ``body``."""
    return b"".join([chunk async for chunk in body])


async def until(fact: Callable[[], bool]) -> None:
    """Let the loop turn until ``fact`` holds; fail where it never does."""
    async with asyncio.timeout(20):
        for _ in iter(fact, True):
            await asyncio.sleep(0)


async def settled(number: Callable[[], int]) -> int:
    """Let the loop turn until ``number`` does not change any more."""
    before, turns = number(), 0
    while turns < 500:
        await asyncio.sleep(0)
        turns = turns + 1 if number() == before else 0
        before = number()
    return before


# reuse


async def test_a_connection_is_used_again(connect: Connect) -> None:
    """One request after another takes one connection."""
    connections = 0

    async def handler(peer) -> None:
        nonlocal connections
        connections += 1
        await peer.answer(OK, OK, OK)

    origin = await connect(handler)
    for _ in range(3):
        _, body = await origin.send(GET)
        assert body.complete == b"ok"
    assert connections == 1


async def test_the_connection_used_last_is_used_first(connect: Connect) -> None:
    """Idle connections are taken in LIFO order, so that those not needed grow old."""
    served: list[int] = []

    async def handler(peer) -> None:
        me = len(served)
        served.append(0)
        while True:
            await peer.request()
            served[me] += 1
            if sum(served) == 2:
                both.set()
            await both.wait()
            peer.say(OK)

    both = asyncio.Event()
    origin = await connect(handler)
    await asyncio.gather(origin.send(GET), origin.send(GET))
    for _ in range(4):
        await origin.send(GET)
    assert sorted(served) == [1, 5]


async def test_an_idle_connection_is_closed_before_the_server_would(connect: Connect) -> None:
    """After the keep-alive time it is gone, without a request having asked for it."""
    closed = asyncio.Event()

    async def handler(peer) -> None:
        await peer.answer(OK)
        await peer.gone()
        closed.set()

    origin = await connect(handler, keepalive_s=0.02)
    await origin.send(GET)
    await closed.wait()
    assert "<Pool 0 of" in repr(origin)


@pytest.mark.parametrize("farewell", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison", b"\r\n"])
async def test_an_idle_connection_that_stirs_is_closed(connect: Connect, farewell: bytes) -> None:
    """Its end or an unasked byte closes an idle connection, so that no response is taken for another's."""
    idle = asyncio.Event()

    async def handler(peer) -> None:
        await peer.answer(OK)
        await idle.wait()
        if farewell:
            peer.say(farewell)
            await peer.gone()

    origin = await connect(handler, keepalive_s=60)
    await origin.send(GET)
    idle.set()
    await until(lambda: "<Pool 0 of" in repr(origin))


async def test_bytes_behind_a_response_poison_nothing(connect: Connect) -> None:
    """A second response that nobody asked for is dropped with its connection."""

    async def handler(peer) -> None:
        await peer.answer(OK + OK.replace(b"ok", b"no"))
        await peer.gone()

    origin = await connect(handler)
    for _ in range(3):
        _, body = await origin.send(GET)
        assert body.complete == b"ok"
        assert "<Pool 0 of" in repr(origin)


@pytest.mark.parametrize(
    "response", [OK.replace(b"1.1", b"1.0"), OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")]
)
async def test_a_connection_that_will_close_is_not_kept(connect: Connect, response: bytes) -> None:
    """HTTP/1.0 and ``Connection: close`` end a connection."""

    async def handler(peer) -> None:
        await peer.answer(response)
        await peer.gone()

    origin = await connect(handler)
    await origin.send(GET)
    assert "<Pool 0 of" in repr(origin)


# sent once more


def stale(*answers: bytes) -> Callable[[object], Awaitable[None]]:
    """A server whose first connection dies on its second request; the others answer."""
    connections = 0

    async def handler(peer) -> None:
        nonlocal connections
        connections += 1
        if connections == 1:
            await peer.answer(OK)
            await peer.reader.readuntil(b"\r\n\r\n")
            for answer in answers:
                peer.say(answer)
            if not answers:
                peer.reset()
        else:
            while True:
                echo = await peer.request()
                peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(echo) + echo)

    return handler


@pytest.mark.parametrize(
    ("request_head", "body"), [(GET, None), (PUT, BytesBody(b"again"))], ids=["without-body", "with-a-body-at-hand"]
)
async def test_a_request_that_met_a_dying_connection_is_sent_again(
    connect: Connect, request_head: RequestHead, body: RequestBody | None
) -> None:
    """An idempotent request on a reused connection that gave no byte goes out once more, whole."""
    origin = await connect(stale())
    await origin.send(GET)
    head, echo = await origin.send(request_head, body)
    content = await read(echo)
    assert head.status == 200
    assert content.startswith(request_head.method.encode())
    assert content.endswith(b"\r\n\r\n" if body is None else b"again")


@pytest.mark.parametrize(
    ("request_head", "parts", "answers"),
    [
        pytest.param(POST, None, (), id="not-idempotent"),
        pytest.param(PUT, [b"gone"], (), id="its-body-is-spent"),
        pytest.param(GET, None, (b"H",), id="a-byte-came"),
        pytest.param(GET, None, (b"HTTP/1.1 102 Processing\r\n\r\n",), id="an-interim-response-came"),
    ],
)
async def test_a_request_that_may_have_been_acted_on_is_not_sent_again(
    connect: Connect, request_head: RequestHead, parts: list[bytes] | None, answers: tuple[bytes, ...]
) -> None:
    """Where sending again could do harm, the error is the answer."""
    body = None if parts is None else PartsBody(parts, length=4)
    origin = await connect(stale(*answers))
    await origin.send(GET)
    with pytest.raises(UpstreamError) as error:
        await origin.send(request_head, body)
    assert (error.value.status, error.value.sent) == (502, True)


TIMED_OUT = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbye"


@pytest.mark.parametrize(
    ("request_head", "body"), [(GET, None), (PUT, BytesBody(b"again"))], ids=["without-body", "with-a-body-at-hand"]
)
@pytest.mark.parametrize("told", [TIMED_OUT, TIMED_OUT.replace(b"1.1", b"1.0")], ids=["HTTP/1.1", "HTTP/1.0"])
async def test_a_408_that_an_idle_connection_brought_answers_nobody(
    connect: Connect, request_head: RequestHead, body: RequestBody | None, told: bytes
) -> None:
    """9110-15.5.9: the origin waited too long, and this request met that on the way: it goes out once more."""
    origin = await connect(stale(told))
    await origin.send(GET)
    head, echo = await origin.send(request_head, body)
    assert (head.status, True) == (200, (await read(echo)).startswith(request_head.method.encode()))


@pytest.mark.parametrize(
    ("request_head", "parts", "answers"),
    [
        pytest.param(GET, None, (TIMED_OUT.replace(b"connection: close", b"x: y"),), id="the-services-own-answer"),
        pytest.param(POST, None, (TIMED_OUT,), id="not-idempotent"),
        pytest.param(PUT, [b"gone"], (TIMED_OUT,), id="its-body-is-spent"),
        pytest.param(GET, None, (b"HTTP/1.1 102 Processing\r\n\r\n", TIMED_OUT), id="an-interim-response-came"),
    ],
)
async def test_a_408_is_passed_on_where_sending_again_could_do_harm(
    connect: Connect, request_head: RequestHead, parts: list[bytes] | None, answers: tuple[bytes, ...]
) -> None:
    """Then it is the client who may send again."""
    body = None if parts is None else PartsBody(parts, length=4)
    origin = await connect(stale(*answers))
    await origin.send(GET)
    head, _ = await origin.send(request_head, body)
    assert head.status == 408


async def test_a_408_on_a_fresh_connection_is_the_answer(connect: Connect) -> None:
    """Nothing was waited for before."""
    origin = await connect(lambda peer: peer.answer(TIMED_OUT))
    head, _ = await origin.send(GET)
    assert head.status == 408


async def test_a_fresh_connection_that_dies_is_not_tried_again(connect: Connect) -> None:
    """What fails on a connection of its own would fail again."""
    connections = 0

    async def handler(peer) -> None:
        nonlocal connections
        connections += 1
        await peer.request()

    origin = await connect(handler)
    with pytest.raises(UpstreamError) as error:
        await origin.send(GET)
    assert error.value.reason == Reason.CLOSED_EARLY
    assert connections == 1


async def test_sending_again_takes_a_fresh_connection_though_others_are_idle(connect: Connect) -> None:
    """Of several connections that the server closed at once, only one is tried."""
    both, connections = asyncio.Barrier(2), 0

    async def handler(peer) -> None:
        nonlocal connections
        connections += 1
        await peer.request()
        if connections <= 2:
            await both.wait()
            peer.say(OK)
            await peer.request()
            peer.reset()
        else:
            peer.say(OK)
            await peer.gone()

    origin = await connect(handler, max_connections=2)
    await asyncio.gather(origin.send(GET), origin.send(GET))
    head, _ = await origin.send(GET)
    assert (head.status, connections) == (200, 3)


# responses that stream


async def test_events_pass_as_they_come(connect: Connect) -> None:
    """Each event of an endless body is there before the next one is made."""
    seen = asyncio.Event()

    async def handler(peer) -> None:
        await peer.request()
        peer.say(STREAM)
        for number in range(5):
            event = b"data: %d\n\n" % number
            peer.say(b"%x\r\n%b\r\n" % (len(event), event))
            await seen.wait()
            seen.clear()
        await peer.gone()

    origin = await connect(handler)
    head, body = await origin.send(GET)
    assert (head.status, body.complete, body.length) == (200, None, None)
    number = 0
    async for chunk in body:
        assert chunk == b"data: %d\n\n" % number
        seen.set()
        number += 1
        if number == 5:
            break
    await body.aclose()
    assert "<Pool 0 of" in repr(origin)


async def test_a_slow_reader_holds_the_origin_back(connect: Connect) -> None:
    """What nobody reads is not fetched: memory stays bounded, and reading on brings the rest."""
    written = 0

    async def handler(peer) -> None:
        nonlocal written
        await peer.request()
        peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (64 << 20))
        for _ in range(1024):
            peer.say(bytes(1 << 16))
            written += 1 << 16
            await peer.writer.drain()
        await peer.gone()

    origin = await connect(handler)
    _, body = await origin.send(GET)
    assert body.length == 64 << 20
    assert await settled(lambda: written) < 32 << 20
    size = 0
    async for chunk in body:
        size += len(chunk)
    assert size == 64 << 20
    assert "1 idle" in repr(origin)


def sending(size: int) -> Callable[[object], Awaitable[None]]:
    """A server that answers ``/long`` with a body of ``size`` bytes, and all else at once."""

    async def handler(peer) -> None:
        while request := await peer.request():
            if b"/long" not in request:
                peer.say(OK)
                continue
            peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
            for _ in range(size >> 16):
                peer.say(bytes(1 << 16))
                await peer.writer.drain()

    return handler


LONG = RequestHead(method="GET", target=b"/long")


async def test_a_slow_reader_of_a_short_body_holds_no_connection(connect: Connect) -> None:
    """What fits is taken in, and the connection is given to the next: many may read slowly over one connection."""
    origin = await connect(sending(AHEAD_BYTES), max_connections=1)
    bodies = [(await origin.send(LONG))[1] for _ in range(4)]
    assert (await origin.send(GET))[0].status == 200
    assert [AHEAD_BYTES] * 4 == [len(await read(body)) for body in bodies]


async def let_go(body: ResponseBody, way: str) -> None:
    """Use ``body`` in one way, and close it."""
    if way == "read":
        await read(body)
    elif way != "closed early":
        await until(lambda: body.complete is not None)
    await body.aclose()


@pytest.mark.parametrize("way", ["read", "taken whole", "closed early", "closed at its end"])
async def test_a_body_that_nobody_holds_is_gone_at_once(connect: Connect, way: str) -> None:
    """Its memory does not wait for the next garbage collection, which comes rarely."""
    origin = await connect(sending(AHEAD_BYTES))
    gc.collect()
    gc.disable()
    try:
        await let_go((await origin.send(LONG))[1], way)
        await until(lambda: not [each for each in gc.get_objects() if isinstance(each, StreamBody)])
    finally:
        gc.enable()


async def test_slow_readers_of_long_bodies_leave_connections_to_others(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where somebody waits they may hold a quarter of them: who is behind for longest is cut off, after what came."""
    monkeypatch.setattr(pool, "OVERDUE_S", 0.05)
    origin = await connect(sending(32 << 20), max_connections=4)
    bodies = [(await origin.send(LONG))[1] for _ in range(4)]
    await until(lambda: origin.connections == {"busy": 0, "held": 4, "idle": 0})
    async with asyncio.timeout(3):
        assert (await origin.send(GET))[0].status == 200
    assert origin.gave_way == 1
    with pytest.raises(UpstreamError, match=Reason.GAVE_WAY):
        await read(bodies[0])
    assert [32 << 20] * 3 == [len(await read(body)) for body in bodies[1:]]


async def test_slow_readers_are_left_alone_where_nobody_waits(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All connections may be theirs as long as nobody else wants one; who then reads on is behind no more."""
    monkeypatch.setattr(pool, "OVERDUE_S", 0.05)
    origin = await connect(sending(8 << 20), max_connections=2)
    bodies = [(await origin.send(LONG))[1] for _ in range(2)]
    await until(lambda: origin.connections["held"] == 2)
    assert [8 << 20] * 2 == [len(await read(body)) for body in bodies]
    assert origin.connections == {"busy": 0, "held": 0, "idle": 2}


async def test_a_small_body_comes_with_its_head(connect: Connect) -> None:
    """A sized body of a few KiB is complete when ``send`` returns, though the server wrote it later."""

    async def handler(peer) -> None:
        await peer.request()
        peer.say(OK[:-2])
        await peer.writer.drain()
        await asyncio.sleep(0)
        peer.say(OK[-2:])
        await peer.gone()

    origin = await connect(handler)
    _, body = await origin.send(GET)
    assert body.complete == b"ok"


async def test_a_small_body_that_breaks_off_is_a_clean_failure(connect: Connect) -> None:
    """Nothing of a short truncated response is handed over."""

    async def handler(peer) -> None:
        await peer.answer(OK[:-1])

    origin = await connect(handler)
    with pytest.raises(UpstreamError) as error:
        await origin.send(GET)
    assert (error.value.status, error.value.reason) == (502, Reason.BODY_TRUNCATED)


async def test_a_reset_in_a_body_is_an_error_after_what_came(connect: Connect) -> None:
    """What arrived is read first; then the break is seen, never a clean end."""
    go = asyncio.Event()

    async def handler(peer) -> None:
        await peer.request()
        peer.say(STREAM + b"5\r\nhello\r\n")
        await peer.writer.drain()
        await go.wait()
        peer.reset()

    origin = await connect(handler)
    _, body = await origin.send(GET)
    chunks = aiter(body)
    assert await anext(chunks) == b"hello"
    go.set()
    with pytest.raises(UpstreamError) as error:
        await anext(chunks)
    assert error.value.reason == Reason.BODY_TRUNCATED


async def test_a_malformed_chunk_breaks_the_body(connect: Connect) -> None:
    """Malformed framing within a body ends it with an error."""

    async def handler(peer) -> None:
        await peer.answer(STREAM + b"5\r\nhello\r\nxyz\r\n")
        await peer.gone()

    origin = await connect(handler)
    with pytest.raises(UpstreamError) as error:
        await read((await origin.send(GET))[1])
    assert error.value.reason == Reason.MALFORMED_RESPONSE


async def test_a_close_delimited_body_is_read_to_its_end(connect: Connect) -> None:
    """Without framing, the end of the connection completes the body."""

    async def handler(peer) -> None:
        await peer.request()
        peer.say(b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 300_000)

    origin = await connect(handler)
    _, body = await origin.send(GET)
    assert await read(body) == b"x" * 300_000


async def test_a_body_that_arrived_meanwhile_is_complete(connect: Connect) -> None:
    """``complete`` has the rest of a streamed body once all of it is here."""
    more = asyncio.Event()

    async def handler(peer) -> None:
        await peer.request()
        peer.say(STREAM + b"5\r\nhello\r\n")
        await more.wait()
        peer.say(b"1\r\n!\r\n0\r\n\r\n")
        await peer.gone()

    origin = await connect(handler)
    _, body = await origin.send(GET)
    assert body.complete is None
    more.set()
    await until(lambda: body.complete is not None)
    assert body.complete == b"hello!"
    assert await read(body) == b"hello!"


# interim responses


async def test_continue_is_not_told(connect: Connect) -> None:
    """100 concerns one hop; 103 is for the client."""

    async def handler(peer) -> None:
        await peer.answer(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + OK)
        await peer.gone()

    origin = await connect(handler)
    seen: list[ResponseHead] = []
    head, _ = await origin.send(GET, on_interim=seen.append)
    assert head.status == 200
    assert seen == [ResponseHead(103, Fields.of(("link", "</a>")))]


# request bodies


async def test_a_request_body_is_read_no_faster_than_it_is_sent(connect: Connect) -> None:
    """An origin that does not take the body in holds its source back."""

    async def handler(peer) -> None:
        await go.wait()
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.reader.readexactly(64 << 20)
        peer.say(OK)
        await peer.gone()

    go, produced = asyncio.Event(), 0

    class Source:
        length = 64 << 20

        async def __aiter__(self) -> AsyncIterator[bytes]:
            nonlocal produced
            for _ in range(1024):
                produced += 1
                yield bytes(1 << 16)

    origin = await connect(handler)
    sending = asyncio.create_task(origin.send(POST, Source()))
    assert await settled(lambda: produced) < 512
    go.set()
    head, _ = await sending
    assert (head.status, produced) == (200, 1024)
    assert "1 idle" in repr(origin)


async def test_a_streamed_body_that_is_here_already_is_sent_whole(connect: Connect) -> None:
    """A body that says that it is complete goes out sized, in one piece, and could be sent again."""

    class Arrived:
        length = None
        complete = b"body"

        def __aiter__(self) -> AsyncIterator[bytes]:
            raise AssertionError

    async def handler(peer) -> None:
        request = await peer.request()
        assert request.endswith(b"content-length: 4\r\n\r\nbody")
        peer.say(OK)
        await peer.gone()

    origin = await connect(handler)
    head, _ = await origin.send(POST, Arrived())
    assert head.status == 200


async def test_a_response_may_come_before_the_body_was_sent(connect: Connect) -> None:
    """Both directions run at once: the body goes on under the streaming response."""

    async def handler(peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        peer.say(STREAM)
        for _ in range(2):
            assert await peer.reader.readexactly(9) == b"4\r\nping\r\n"
            peer.say(b"4\r\npong\r\n")
        assert await peer.reader.readexactly(5) == b"0\r\n\r\n"
        peer.say(b"0\r\n\r\n")
        await peer.gone()

    origin = await connect(handler)
    feed = Feed()
    head, body = await origin.send(POST, feed)
    assert head.status == 200
    chunks = aiter(body)
    for _ in range(2):
        feed.chunks.put_nowait(b"ping")
        assert await anext(chunks) == b"pong"
    feed.chunks.put_nowait(b"")
    with pytest.raises(StopAsyncIteration):
        await anext(chunks)
    assert "1 idle" in repr(origin)


async def test_a_final_response_ends_the_sending(connect: Connect) -> None:
    """A whole response to half a request is delivered; the rest is not sent, and the connection is closed."""

    async def handler(peer) -> None:
        await peer.reader.readuntil(b"part")
        peer.say(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n")
        await peer.gone()

    origin = await connect(handler)
    feed = Feed()
    feed.chunks.put_nowait(b"part")
    head, _ = await origin.send(POST, feed)
    assert head.status == 413
    await until(lambda: feed.cancelled)
    assert "<Pool 0 of" in repr(origin)


async def test_a_request_body_that_fails_fails_the_request(connect: Connect) -> None:
    """The body's own error reaches the caller; the origin sees the request break off."""
    broken = asyncio.Event()

    async def handler(peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.gone()
        broken.set()

    origin = await connect(handler)
    feed = Feed()
    feed.chunks.put_nowait(b"part")
    feed.chunks.put_nowait(ConnectionResetError("the client went"))
    with pytest.raises(ConnectionResetError):
        await origin.send(POST, feed)
    await broken.wait()


@pytest.mark.parametrize("parts", [[b"abc"], [b"abcd", b"e"]], ids=["short", "long"])
async def test_a_body_unlike_its_length_is_our_own_mistake(connect: Connect, parts: list[bytes]) -> None:
    """A body shorter or longer than it says never reaches the origin as a whole request."""
    got = asyncio.get_running_loop().create_future()

    async def handler(peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        with suppress(ConnectionError):
            got.set_result(await peer.reader.read(-1))

    origin = await connect(handler)
    with pytest.raises(ValueError, match="a body of 4 bytes"):
        await origin.send(POST, PartsBody(parts, length=4))
    assert b"abcde" not in await got


EXPECTING = RequestHead(method="POST", target=b"/", fields=Fields.of(("expect", "100-continue")))


async def test_an_expecting_body_waits_for_leave(connect: Connect) -> None:
    """The body is read and sent once the origin said 100."""

    async def handler(peer) -> None:
        head = await peer.reader.readuntil(b"\r\n\r\n")
        assert b"expect: 100-continue\r\n" in head
        assert feed.read == 0
        peer.say(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await peer.reader.readexactly(4) == b"body"
        peer.say(OK)
        await peer.gone()

    feed = Feed(length=4)
    feed.chunks.put_nowait(b"body")
    feed.chunks.put_nowait(b"")
    origin = await connect(handler)
    head, _ = await origin.send(EXPECTING, feed)
    assert (head.status, feed.read) == (200, 1)
    assert "1 idle" in repr(origin)


async def test_an_expecting_body_stays_unread_where_it_is_refused(connect: Connect) -> None:
    """A final response instead of 100 is delivered; the connection, still owed a body, is closed."""

    async def handler(peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        peer.say(b"HTTP/1.1 417 Expectation Failed\r\ncontent-length: 0\r\n\r\n")
        await peer.gone()

    feed = Feed(length=4)
    feed.chunks.put_nowait(b"body")
    origin = await connect(handler)
    head, _ = await origin.send(EXPECTING, feed)
    assert (head.status, feed.read) == (417, 0)
    assert "<Pool 0 of" in repr(origin)


async def test_an_expecting_body_does_not_wait_for_ever(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """An origin that knows nothing of 100 gets the body after a short wait."""
    monkeypatch.setattr(limits, "CONTINUE_WAIT_S", 0.01)

    async def handler(peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.reader.readexactly(4)
        peer.say(OK)
        await peer.gone()

    origin = await connect(handler)
    head, _ = await origin.send(EXPECTING, BytesBody(b"body"))
    assert head.status == 200


async def test_an_unfit_request_is_our_own_mistake_and_costs_no_place(connect: Connect) -> None:
    """What would split a request is refused before a connection is taken."""

    async def handler(peer) -> None:
        await peer.gone()

    origin = await connect(handler)
    with pytest.raises(ValueError, match="end its line early"):
        await origin.send(RequestHead(method="GET", target=b"/", fields=Fields([(b"a", b"b\r\nc: d")])))
    assert "<Pool 0 of" in repr(origin)

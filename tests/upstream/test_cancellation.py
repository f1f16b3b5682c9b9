"""Cancelling a request at each of its awaits leaves no place taken and no connection in the middle of something."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.head import RequestHead
from cacheproxy.upstream.bodies import BytesBody
from cacheproxy.upstream.origin import HttpOrigin

Connect = Callable[..., Awaitable[HttpOrigin]]
GET = RequestHead(method="GET", target=b"/")
POST = RequestHead(method="POST", target=b"/")
EXPECTING = RequestHead(method="POST", target=b"/", fields=Fields.of(("expect", "100-continue")))
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Stuck:
    """A request body whose source has nothing more to say."""

    length = None

    def __init__(self) -> None:
        self.waiting = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """One chunk, and then nothing."""
        yield b"x"
        self.waiting.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


async def cancel(task: asyncio.Task[object]) -> None:
    """Cancel ``task``, which must end by that."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def nobody_is_left(origin: HttpOrigin) -> None:
    """Check that ``origin`` holds nothing."""
    assert "<Pool 0 of" in repr(origin)
    assert "0 waiting" in repr(origin)
    await asyncio.gather(*origin._senders, return_exceptions=True)


@pytest.mark.parametrize("given", [b"", b"HTTP/1.1 2", b"HTTP/1.1 103 Early\r\n\r\n", OK[:-1]])
async def test_while_waiting_for_the_response(connect: Connect, given: bytes) -> None:
    """The connection is closed, as its response would come to nobody."""
    arrived, gone = asyncio.Event(), asyncio.Event()

    async def handler(peer) -> None:
        await peer.request()
        peer.say(given)
        await peer.writer.drain()
        arrived.set()
        await peer.gone()
        gone.set()

    origin = await connect(handler)
    sending = asyncio.create_task(origin.send(GET))
    await arrived.wait()
    await cancel(sending)
    await nobody_is_left(origin)
    await gone.wait()


async def test_when_the_response_has_just_come(connect: Connect) -> None:
    """Cancelled in the very moment of the answer, the connection is closed or idle, and serves on."""
    requests = 0

    async def handler(peer) -> None:
        nonlocal requests
        while True:
            await peer.request()
            requests += 1
            peer.say(OK)

    origin = await connect(handler)
    for turns in range(12):
        sending = asyncio.create_task(origin.send(GET))
        for _ in range(turns):
            await asyncio.sleep(0)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        _, body = await origin.send(GET)
        assert body.complete == b"ok"
    assert "1 idle" in repr(origin)
    assert "<Pool 1 of" in repr(origin)


async def test_while_connecting(connect: Connect) -> None:
    """A connection that nobody waits for is not opened, nor kept."""

    async def silent(peer) -> None:
        arrived.set()
        await peer.gone()

    arrived = asyncio.Event()
    origin = await connect(silent, scheme="https")
    sending = asyncio.create_task(origin.send(GET))
    await arrived.wait()
    await cancel(sending)
    await nobody_is_left(origin)


@pytest.mark.parametrize("turns", range(8))
async def test_at_any_turn_of_connecting(connect: Connect, turns: int) -> None:
    """Wherever the dialling is, cancelling it leaves no place taken and no connection open."""
    opened, gone = 0, 0

    async def handler(peer) -> None:
        nonlocal opened, gone
        opened += 1
        await peer.gone()
        gone += 1

    origin = await connect(handler)
    sending = asyncio.create_task(origin.send(GET))
    for _ in range(turns):
        await asyncio.sleep(0)
    await cancel(sending)
    await nobody_is_left(origin)
    async with asyncio.timeout(20):
        for _ in range(100):
            await asyncio.sleep(0)
        for _ in iter(lambda: opened == gone, True):
            await asyncio.sleep(0)


async def test_while_waiting_for_a_connection(connect: Connect) -> None:
    """A request that leaves the queue holds up nobody behind it."""
    go, arrived = asyncio.Event(), asyncio.Event()

    async def handler(peer) -> None:
        await peer.request()
        arrived.set()
        await go.wait()
        peer.say(OK)
        await peer.answer(OK)
        await peer.gone()

    origin = await connect(handler, max_connections=1)
    first = asyncio.create_task(origin.send(GET))
    await arrived.wait()
    leaves, stays = asyncio.create_task(origin.send(GET)), asyncio.create_task(origin.send(GET))
    await asyncio.sleep(0)
    await cancel(leaves)
    go.set()
    assert [(await task)[0].status for task in (first, stays)] == [200, 200]
    assert "<Pool 1 of" in repr(origin)


async def test_while_the_body_is_being_read(connect: Connect) -> None:
    """A reader that is cancelled and closes the body closes the connection."""
    gone = asyncio.Event()

    async def handler(peer) -> None:
        await peer.request()
        peer.say(b"HTTP/1.1 200 OK\r\n\r\nhello")
        await peer.gone()
        gone.set()

    origin = await connect(handler)
    _, body = await origin.send(GET)
    first = asyncio.Event()

    async def read() -> None:
        try:
            async for _ in body:
                first.set()
        finally:
            await body.aclose()

    reading = asyncio.create_task(read())
    await first.wait()
    await cancel(reading)
    await nobody_is_left(origin)
    await gone.wait()


async def test_while_the_body_is_being_sent(connect: Connect) -> None:
    """The body's source is let go of, and the origin sees the request break off."""
    gone = asyncio.Event()

    async def handler(peer) -> None:
        await peer.gone()
        gone.set()

    origin = await connect(handler)
    body = Stuck()
    sending = asyncio.create_task(origin.send(POST, body))
    await body.waiting.wait()
    await cancel(sending)
    await body.cancelled.wait()
    await nobody_is_left(origin)
    await gone.wait()


async def test_while_the_origin_does_not_take_the_body_in(connect: Connect) -> None:
    """A sender that waits for room is stopped too."""

    class Endless:
        length = None

        async def __aiter__(self) -> AsyncIterator[bytes]:
            for number in range(1 << 20):
                produced.append(number)
                yield bytes(1 << 16)

    async def handler(peer) -> None:
        await done.wait()

    done, produced = asyncio.Event(), []
    origin = await connect(handler)
    sending = asyncio.create_task(origin.send(POST, Endless()))
    before = -1
    while before != len(produced):
        before = len(produced)
        for _ in range(300):
            await asyncio.sleep(0)
    await cancel(sending)
    await nobody_is_left(origin)
    done.set()


async def test_while_leave_to_send_the_body_is_awaited(connect: Connect) -> None:
    """A body that still waits for 100 is never read."""
    arrived = asyncio.Event()

    async def handler(peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        arrived.set()
        await peer.gone()

    origin = await connect(handler)
    sending = asyncio.create_task(origin.send(EXPECTING, BytesBody(b"body")))
    await arrived.wait()
    await cancel(sending)
    await nobody_is_left(origin)


async def test_while_sending_again(connect: Connect) -> None:
    """The second attempt is as clean as the first."""
    connections, again = 0, asyncio.Event()

    async def handler(peer) -> None:
        nonlocal connections
        connections += 1
        if connections == 1:
            await peer.answer(OK)
            await peer.request()
        else:
            await peer.request()
            again.set()
            await peer.gone()

    origin = await connect(handler)
    await origin.send(GET)
    sending = asyncio.create_task(origin.send(GET))
    await again.wait()
    await cancel(sending)
    await nobody_is_left(origin)

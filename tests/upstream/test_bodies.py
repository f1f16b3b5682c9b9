"""Bodies at hand, and the flow of a body that streams."""

import asyncio

import pytest

from cacheproxy.errors import UpstreamError
from cacheproxy.semantics.fields import Fields
from cacheproxy.upstream.bodies import BytesBody, PartsBody
from cacheproxy.upstream.limits import AHEAD_BYTES, HIGH_WATER_BYTES
from cacheproxy.upstream.read_ahead import ReadAhead
from cacheproxy.upstream.reasons import Reason, failure
from cacheproxy.upstream.stream import StreamBody


class Tap:
    """A source that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def pause(self) -> None:
        """Note it."""
        self.told.append("pause")

    def resume(self) -> None:
        """Note it."""
        self.told.append("resume")

    def abandon(self) -> None:
        """Note it."""
        self.told.append("abandon")


@pytest.fixture
def tap() -> Tap:
    """A source."""
    return Tap()


@pytest.fixture
def stream(tap: Tap) -> StreamBody:
    """A body that ``tap`` feeds."""
    return StreamBody(tap, None, tap.abandon, ReadAhead(0))


async def test_bytes_can_be_read_again() -> None:
    """A body at hand is given out as often as asked, in one chunk, and an empty one in none."""
    body = BytesBody(b"abc")
    for _ in range(2):
        assert [chunk async for chunk in body] == [b"abc"]
    assert [chunk async for chunk in BytesBody()] == []
    assert (body.length, body.complete, body.trailers) == (3, b"abc", Fields())


async def test_parts_are_read_once() -> None:
    """A body in parts is spent when read."""
    body = PartsBody([b"a", b"b"], trailers=Fields.of(("x", "y")))
    assert body.trailers == Fields()
    assert [chunk async for chunk in body] == [b"a", b"b"]
    assert [chunk async for chunk in body] == []
    assert body.trailers == Fields.of(("x", "y"))
    await body.aclose()
    assert body.closed


async def test_the_source_is_paused_and_resumed(tap: Tap, stream: StreamBody) -> None:
    """Above the high-water mark the source is held back, until half of it was read."""
    half = bytes(HIGH_WATER_BYTES // 2)
    for _ in range(2):
        stream.push(half)
    assert tap.told == []
    stream.push(b"x")
    assert tap.told == ["pause"]
    chunks = aiter(stream)
    await anext(chunks)
    assert "resume" not in tap.told
    await anext(chunks)
    assert tap.told == ["pause", "resume"]


async def test_memory_is_borrowed_before_the_source_is_paused(tap: Tap) -> None:
    """A body of up to 1 MiB is taken in whole, however slow its reader; what is read of it is given back."""
    ahead = ReadAhead(8 * AHEAD_BYTES)
    stream = StreamBody(tap, None, tap.abandon, ahead)
    for _ in range(AHEAD_BYTES // HIGH_WATER_BYTES):
        stream.push(bytes(HIGH_WATER_BYTES))
    assert (tap.told, 7 * AHEAD_BYTES + HIGH_WATER_BYTES) == ([], ahead.free_bytes)
    stream.push(b"x")
    assert tap.told == ["pause"]
    chunks = aiter(stream)
    for _ in range(2):
        await anext(chunks)
    assert "resume" not in tap.told
    await anext(chunks)
    assert "resume" in tap.told
    stream.finish(Fields())
    assert b"x" == [chunk async for chunk in chunks][-1]
    assert ahead.free_bytes == 8 * AHEAD_BYTES


@pytest.mark.parametrize("letting_go", ["closed", "taken-whole"])
async def test_what_was_borrowed_is_given_back_when_a_body_is_let_go_of(tap: Tap, letting_go: str) -> None:
    """Also where nobody read it chunk by chunk."""
    ahead = ReadAhead(AHEAD_BYTES)
    stream = StreamBody(tap, None, tap.abandon, ahead)
    stream.push(bytes(AHEAD_BYTES // 2))
    assert ahead.free_bytes < AHEAD_BYTES
    if letting_go == "closed":
        await stream.aclose()
    else:
        stream.finish(Fields())
        assert len(stream.complete or b"") == AHEAD_BYTES // 2
    await stream.aclose()
    assert ahead.free_bytes == AHEAD_BYTES


async def test_bodies_borrow_no_more_than_there_is(tap: Tap) -> None:
    """What all of them hold is bounded; who gets nothing is held back at the high-water mark."""
    ahead = ReadAhead(AHEAD_BYTES // 2)
    one, other = (StreamBody(tap, None, tap.abandon, ahead) for _ in range(2))
    one.push(bytes(AHEAD_BYTES // 2))
    assert tap.told == []
    other.push(bytes(AHEAD_BYTES // 2))
    assert tap.told == ["pause"]
    await one.aclose()
    other.push(b"x")
    assert tap.told == ["pause", "abandon"]


async def test_letting_go_of_a_body_abandons_its_exchange_once(tap: Tap, stream: StreamBody) -> None:
    """Closing before the end gives the exchange up; closing again, or after the end, does nothing."""
    stream.push(b"abc")
    await stream.aclose()
    await stream.aclose()
    assert tap.told == ["abandon"]
    assert [chunk async for chunk in stream] == []


async def test_letting_go_of_a_whole_body_costs_nothing(tap: Tap, stream: StreamBody) -> None:
    """A body whose end has arrived needs no abandoning, read or not."""
    stream.push(b"abc")
    stream.finish(Fields())
    await stream.aclose()
    assert tap.told == []


async def test_complete_is_none_for_a_broken_body(stream: StreamBody) -> None:
    """A part is never taken for the whole; what came can still be read before the error."""
    stream.push(b"abc")
    stream.fail(failure(Reason.BODY_TRUNCATED))
    assert stream.complete is None
    chunks = aiter(stream)
    assert await anext(chunks) == b"abc"
    with pytest.raises(UpstreamError):
        await anext(chunks)


async def test_a_reader_is_woken_by_what_comes(stream: StreamBody) -> None:
    """A waiting reader sees chunks, the end and errors; a cancelled one leaves the body readable."""
    cancelled = asyncio.create_task(anext(aiter(stream)))
    await asyncio.sleep(0)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    reading = asyncio.create_task(anext(aiter(stream)))
    await asyncio.sleep(0)
    stream.push(b"abc")
    assert await reading == b"abc"
    ending = asyncio.create_task(anext(aiter(stream), None))
    await asyncio.sleep(0)
    stream.finish(Fields())
    assert await ending is None

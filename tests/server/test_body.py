"""Request bodies off the wire."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.errors import ClientError
from cacheproxy.server.body import HIGH_WATER_BYTES, BodyStream, ChunkedDecoder, LengthDecoder


def fed(decoder: ChunkedDecoder | LengthDecoder, data: bytes, step: int) -> tuple[bytes, bytes]:
    """Body and rest after feeding ``data`` in pieces of ``step`` bytes."""
    body, at = b"", 0
    while at < len(data) and not decoder.done:
        pieces, rest = decoder.feed(data[at : at + step])
        body += b"".join(pieces)
        at += step
        if decoder.done:
            return body, rest + data[at:]
    return body, b""


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(
    ("wire", "body"),
    [
        (b"0\r\n\r\n", b""),
        (b"3\r\nabc\r\n0\r\n\r\n", b"abc"),
        (b"3;a=b\r\nabc\r\nA \t;x\r\n0123456789\r\n0\r\nT: 1\r\n\r\n", b"abc0123456789"),
        (b"0003\r\n\r\n\r\r\n000\r\n\r\n", b"\r\n\r"),
    ],
)
def test_chunked_is_decoded_however_it_is_cut(wire: bytes, body: bytes, step: int) -> None:
    """The body and what follows it come out the same, whole or byte by byte."""
    assert (body, b"GET next") == fed(ChunkedDecoder(), wire + b"GET next", step)


@pytest.mark.parametrize("step", [1, 1000])
@pytest.mark.parametrize(
    "wire",
    [
        pytest.param(b"\r\n", id="empty-size"),
        pytest.param(b"g\r\n", id="not-hex"),
        pytest.param(b"0x3\r\nabc\r\n", id="0x"),
        pytest.param(b"-1\r\n", id="negative"),
        pytest.param(b"+3\r\nabc\r\n", id="plus"),
        pytest.param(b" 3\r\nabc\r\n", id="leading-space"),
        pytest.param(b"3 \r\nabc\r\n", id="trailing-space"),
        pytest.param(b"3\nabc\r\n0\r\n\r\n", id="bare-lf"),
        pytest.param(b"1000000000000000\r\n", id="overflow"),
        pytest.param(b"3\r\nabcd\r\n", id="longer-than-its-size"),
        pytest.param(b"3\r\nabc0\r\n\r\n", id="no-crlf-after-data"),
        pytest.param(b"3\r\nabc\n0\r\n\r\n", id="bare-lf-after-data"),
        pytest.param(b"3;\x00\r\nabc\r\n", id="nul-in-extension"),
        pytest.param(b"3;a\nb\r\nabc\r\n", id="lf-in-extension"),
        pytest.param(b"3;" + b"a" * 2000 + b"\r\n", id="long-extension"),
        pytest.param(b"0\r\nno colon\r\n\r\n", id="trailer"),
        pytest.param(b"0\r\n" + b"T: 1\r\n" * 3000 + b"\r\n", id="trailers-too-large"),
    ],
)
def test_malformed_chunks_are_refused(wire: bytes, step: int) -> None:
    """What RFC 9112 §7.1 does not generate is a 400."""
    with pytest.raises(ClientError) as refusal:
        fed(ChunkedDecoder(), wire + b"x" * 1500, step)
    assert 400 == refusal.value.status


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=10), st.integers(min_value=1, max_value=64))
def test_what_was_chunked_comes_back(parts: list[bytes], step: int) -> None:
    """Decoding undoes encoding, for any cut of the wire."""
    wire = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    assert (b"".join(parts), b"") == fed(ChunkedDecoder(), wire, step)


@given(st.binary(max_size=60), st.integers(min_value=1, max_value=60))
def test_a_length_is_kept(data: bytes, length: int) -> None:
    """Exactly ``length`` bytes are body; the rest belongs to the next message."""
    decoder = LengthDecoder(length)
    pieces, rest = decoder.feed(data)
    assert (data[:length], data[length:]) == (b"".join(pieces), rest)
    assert decoder.done == (len(data) >= length)


async def test_a_reader_gets_what_comes_and_asks_once() -> None:
    """Reading asks the client to go on, once, and yields chunks until the end."""
    asked: list[str] = []
    stream = BodyStream(None, lambda _paused: None, lambda: asked.append("100"))
    stream.feed([b"a", b"b"])
    reader = aiter(stream)
    assert b"ab" == await anext(reader)
    waiting = asyncio.ensure_future(anext(reader))
    await asyncio.sleep(0)
    stream.feed([b"c"])
    assert b"c" == await waiting
    stream.end()
    with pytest.raises(StopAsyncIteration):
        await anext(reader)
    assert ["100"] == asked


async def test_a_slow_reader_makes_the_client_wait() -> None:
    """Past the high-water mark reading from the client stops, and goes on once the reader took it."""
    pauses: list[bool] = []
    stream = BodyStream(None, pauses.append, lambda: None)
    stream.feed([b"x" * (HIGH_WATER_BYTES + 1)])
    assert [True] == pauses
    await anext(aiter(stream))
    assert [True, False] == pauses


async def test_a_broken_body_is_an_error_after_what_came() -> None:
    """The reader gets what is there, then the error."""
    stream = BodyStream(9, lambda _paused: None, lambda: None)
    stream.feed([b"abc"])
    stream.fail(ClientError(400, "gone"))
    reader = aiter(stream)
    assert b"abc" == await anext(reader)
    with pytest.raises(ClientError):
        await anext(reader)

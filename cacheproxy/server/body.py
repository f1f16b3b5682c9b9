"""A request body as it arrives: decoding its framing, and handing it on with back-pressure."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from cacheproxy.errors import ClientError
from cacheproxy.server.head import Framing
from cacheproxy.upstream.bodies import BytesBody

HIGH_WATER_BYTES = 64 * 1024
_MAX_LINE_BYTES = 1024
_MAX_TRAILER_BYTES = 8 * 1024
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")
_TRAILER_LINE = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*")


class Decoder(Protocol):
    """Takes bytes off the wire until its message ends."""

    done: bool

    def feed(self, data: bytes) -> tuple[list[bytes], bytes]:
        """The pieces of body in ``data``, and what is left over once ``done``. ClientError if it is malformed."""
        ...


class LengthDecoder:
    """A body of a known length (RFC 9112 §6.2)."""

    __slots__ = ("_left", "done")

    def __init__(self, length: int) -> None:
        """Expect ``length`` bytes."""
        self._left = length
        self.done = length == 0

    def feed(self, data: bytes) -> tuple[list[bytes], bytes]:
        """See ``Decoder.feed``."""
        piece, rest = data[: self._left], data[self._left :]
        self._left -= len(piece)
        self.done = self._left == 0
        return ([piece] if piece else []), rest


class ChunkedDecoder:
    """A chunked body (RFC 9112 §7.1). Extensions and trailer fields are checked and dropped."""

    __slots__ = ("_at", "_buffer", "_left", "_trailer_bytes", "done")

    def __init__(self) -> None:
        """Expect a first chunk-size line."""
        self._buffer = b""
        self._at = 0
        """How much of the buffer is read: cutting that off for each of many small chunks would take quadratic time."""
        self._left = -1
        """Bytes left of the current chunk and its CRLF; -1 between chunks, -2 among the trailers."""
        self._trailer_bytes = 0
        self.done = False

    def feed(self, data: bytes) -> tuple[list[bytes], bytes]:
        """See ``Decoder.feed``."""
        self._buffer = self._buffer + data if self._buffer else data
        self._at = 0
        pieces: list[bytes] = []
        while not self.done and self._step(pieces):
            pass
        rest, self._buffer = self._buffer[self._at :], b""
        if self.done:
            return pieces, rest
        self._buffer = rest
        return pieces, b""

    def _step(self, pieces: list[bytes]) -> bool:
        """Take one line or piece off the buffer; False where more bytes are needed."""
        if self._left >= 0:
            return self._take_data(pieces)
        line = self._take_line()
        if line is None:
            return False
        if self._left == -2:
            self._trailer(line)
        else:
            self._chunk_size(line)
        return True

    def _take_data(self, pieces: list[bytes]) -> bool:
        if self._left > 2:
            piece = self._buffer[self._at : self._at + self._left - 2]
            if not piece:
                return False
            pieces.append(piece)
            self._at += len(piece)
            self._left -= len(piece)
            return True
        if len(self._buffer) - self._at < 2:
            return False
        if not self._buffer.startswith(b"\r\n", self._at):
            raise ClientError(400, "chunk", "a chunk does not end where its size says")
        self._at += 2
        self._left = -1
        return True

    def _take_line(self) -> bytes | None:
        end = self._buffer.find(b"\r\n", self._at, self._at + _MAX_LINE_BYTES + 2)
        if end < 0:
            if len(self._buffer) - self._at > _MAX_LINE_BYTES + 1:
                raise ClientError(400, "chunk", f"a line over {_MAX_LINE_BYTES} bytes in a chunked body")
            return None
        line = self._buffer[self._at : end]
        self._at = end + 2
        return line

    def _chunk_size(self, line: bytes) -> None:
        match = _CHUNK_LINE.fullmatch(line)
        if match is None:
            raise ClientError(400, "chunk", "a malformed chunk size")
        size = int(match[1], 16)
        self._left = size + 2 if size else -2

    def _trailer(self, line: bytes) -> None:
        if not line:
            self.done = True
            return
        self._trailer_bytes += len(line)
        if self._trailer_bytes > _MAX_TRAILER_BYTES or not _TRAILER_LINE.fullmatch(line):
            raise ClientError(400, "trailer", "a malformed or too large trailer section")


class ClientGoneError(ClientError):
    """The client left, or went wrong, before its body was complete."""

    def __init__(self, reason: str = "client-gone", status: int = 400) -> None:
        """``reason`` says how."""
        super().__init__(status, reason, "the request body was not received in full")


def split_body(framing: Framing, buffer: bytes) -> tuple[bytes, bytes] | None:
    """All of the body, at the front of ``buffer``, and what is behind it; None where it is to be read as it comes.

    So it is where not all of it is here, only its end tells where that is, or the client waits to be told to send it.
    """
    length = framing.length
    if length is None or len(buffer) < length or framing.expects_continue:
        return None
    return buffer[:length], buffer[length:]


class WholeBody(BytesBody):
    """A request body that came with its head."""

    __slots__ = ()
    ended = True


class BodyStream:
    """A request body between the connection that receives it and the one reader that sends it on."""

    __slots__ = (
        "_asked",
        "_chunks",
        "_ended",
        "_error",
        "_on_arrival",
        "_on_first_read",
        "_pause",
        "_size",
        "_wake",
        "length",
    )

    def __init__(self, length: int | None, pause: Callable[[bool], None], on_first_read: Callable[[], None]) -> None:
        """``pause`` stops and resumes reading from the client; ``on_first_read`` answers its Expect."""
        self.length = length
        self._pause = pause
        self._on_first_read = on_first_read
        self._on_arrival: Callable[[], None] | None = None
        self._asked = False
        self._chunks: list[bytes] = []
        self._size = 0
        self._ended = False
        self._error: ClientError | None = None
        self._wake: asyncio.Future[None] | None = None

    @property
    def ended(self) -> bool:
        """Whether all of it was received."""
        return self._ended

    @property
    def complete(self) -> bytes | None:
        """The whole body if it is here and nobody has begun to read it: it can go on with its head. Else None."""
        return b"".join(self._chunks) if self._ended and not self._asked else None

    def when_arrived(self, tell: Callable[[], None]) -> None:
        """Call ``tell`` when all of it is here, or nothing more will come."""
        self._on_arrival = tell
        if self._ended or self._error is not None:
            tell()

    def feed(self, chunks: list[bytes]) -> None:
        """Take what arrived; past the high-water mark the client is made to wait."""
        self._chunks += chunks
        self._size += sum(map(len, chunks))
        if self._size > HIGH_WATER_BYTES:
            self._pause(True)  # noqa: FBT003 - a switch
        self._notify()

    def end(self) -> None:
        """All of it is here."""
        self._ended = True
        self._arrive()

    def fail(self, error: ClientError) -> None:
        """No more will come; the reader gets ``error`` after what is here."""
        self._error = error
        self._arrive()

    def _arrive(self) -> None:
        if self._on_arrival is not None:
            self._on_arrival()
        self._notify()

    def _notify(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The chunks as they arrive. ClientError if the body ends before it is complete."""
        if not self._asked:
            self._asked = True
            self._on_first_read()
        while True:
            if self._chunks:
                taken = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
                self._chunks, self._size = [], 0
                self._pause(False)  # noqa: FBT003 - a switch
                yield taken
            elif self._error is not None:
                raise self._error
            elif self._ended:
                return
            else:
                self._wake = asyncio.get_running_loop().create_future()
                await self._wake


class Intake:
    """Takes a body that arrives in parts off the wire."""

    __slots__ = ("_decoder", "body")

    def __init__(self, length: int | None, pause: Callable[[bool], None], on_first_read: Callable[[], None]) -> None:
        """Of ``length`` bytes, or chunked; the rest is ``BodyStream``'s."""
        self._decoder: Decoder = ChunkedDecoder() if length is None else LengthDecoder(length)
        self.body = BodyStream(length, pause, on_first_read)

    @property
    def done(self) -> bool:
        """Whether all of it came."""
        return self._decoder.done

    def take(self, buffer: bytes) -> bytes:
        """Take what is of the body in ``buffer``; what is left over once ``done``. ClientError if it is malformed."""
        pieces, rest = self._decoder.feed(buffer)
        if pieces:
            self.body.feed(pieces)
        if self._decoder.done:
            self.body.end()
        return rest


Upload = BodyStream | WholeBody
"""A request's body: as it arrives, or here already."""

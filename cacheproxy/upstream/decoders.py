"""Where a response body ends (RFC 9112 §6): bytes in, content out, no I/O. The end is exact, to the byte.

httptools reads heads, not bodies: it cannot be told that the answer to a HEAD has none, nor of the end of the
connection, and does not say at which byte a message ended, on which our not reusing a poisoned connection depends.
"""

import re
from typing import Protocol

from cacheproxy.semantics.fields import Fields
from cacheproxy.upstream.bodies import NO_FIELDS
from cacheproxy.upstream.field_section import END, check_partial, parse_trailers
from cacheproxy.upstream.limits import MAX_EXTENSION_BYTES
from cacheproxy.upstream.reasons import Reason, failure

EXTENSION = rb"[ \t]{0,8}(?:;[\t\x20-\x7e\x80-\xff]{0,%d})" % MAX_EXTENSION_BYTES
FIRST_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:%b)?\r\n" % EXTENSION)
NEXT_LINE = re.compile(rb"\r\n" + FIRST_LINE.pattern)
"""The line end that closes a chunk, and the next chunk's line."""
PARTIAL_LINE = re.compile(rb"\r?|(?:\r\n)?[0-9A-Fa-f]{0,15}%b?\r?" % EXTENSION)
NOT_IN_TRAILERS = frozenset({b"content-length", b"transfer-encoding", b"connection", b"host", b"trailer", b"te"})


class Decoder(Protocol):
    """Takes the bytes after a head apart."""

    done: bool
    """Whether the body's end was seen."""
    surplus: bool
    """Whether bytes came after it."""
    trailers: Fields

    def feed(self, data: bytes) -> bytes:
        """Return the content in ``data``. UpstreamError if it is malformed."""
        ...

    def end(self) -> None:
        """Take note of the connection's end. UpstreamError if the body's was not reached."""
        ...


class SizedDecoder:
    """A body of as many bytes as Content-Length says."""

    __slots__ = ("_remaining", "done", "surplus", "trailers")

    def __init__(self, length: int) -> None:
        """Expect ``length`` bytes."""
        self._remaining = length
        self.done = length == 0
        self.surplus = False
        self.trailers = NO_FIELDS

    def feed(self, data: bytes) -> bytes:
        """Return what of ``data`` belongs to the body."""
        remaining = self._remaining - len(data)
        if remaining > 0:
            self._remaining = remaining
            return data
        content = data if remaining == 0 else data[: self._remaining]
        self._remaining = 0
        self.done = True
        self.surplus = remaining < 0
        return content

    def end(self) -> None:
        """Refuse an end before the last byte."""
        if not self.done:
            raise failure(Reason.BODY_TRUNCATED, f"closed with {self._remaining} bytes of the body to come")


class UntilCloseDecoder:
    """A body that ends with the connection (RFC 9112 §6.3, 8)."""

    __slots__ = ("done", "surplus", "trailers")

    def __init__(self) -> None:
        """Expect any number of bytes."""
        self.done = False
        self.surplus = False
        self.trailers = NO_FIELDS

    def feed(self, data: bytes) -> bytes:
        """Return all of ``data``."""
        return data

    def end(self) -> None:
        """Complete the body."""
        self.done = True


class ChunkedDecoder:
    """The chunked transfer coding (RFC 9112 §7.1), strictly: no bare line feed, no sign, no space before a size."""

    __slots__ = ("_held", "_in_trailers", "_left", "_line", "_scanned", "done", "surplus", "trailers")

    def __init__(self) -> None:
        """Expect the first chunk."""
        self._held = b""
        self._scanned = 0
        self._left = 0
        self._line = FIRST_LINE
        self._in_trailers = False
        self.done = False
        self.surplus = False
        self.trailers = NO_FIELDS

    def feed(self, data: bytes) -> bytes:
        """Return the content of the chunks, and of parts of chunks, in ``data``."""
        if self._left >= len(data):
            self._left -= len(data)
            return data
        self._scanned = len(self._held)
        if self._held:
            data = self._held + data
            self._held = b""
        return self._take_apart(data)

    def end(self) -> None:
        """Refuse an end before the last chunk and the trailer section."""
        if not self.done:
            raise failure(Reason.BODY_TRUNCATED, "closed before the last chunk")

    def _take_apart(self, data: bytes) -> bytes:
        parts: list[bytes] = []
        at = 0
        while at < len(data) and not self.done:
            if self._left:
                part = data[at : at + self._left]
                parts.append(part)
                self._left -= len(part)
                at += len(part)
                continue
            after = self._read_trailers(data, at) if self._in_trailers else self._read_line(data, at)
            if after == at:
                self._held = data[at:]
                break
            at = after
        self.surplus = self.done and at < len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _read_line(self, data: bytes, at: int) -> int:
        match = self._line.match(data, at)
        if match is None:
            _check_partial_line(data[at:])
            return at
        self._left = int(match[1], 16)
        self._in_trailers = self._left == 0
        self._line = NEXT_LINE
        return match.end()

    def _read_trailers(self, data: bytes, at: int) -> int:
        if data.startswith(b"\r\n", at):
            self.done = True
            return at + 2
        scanned = self._scanned if at == 0 else 0
        end = data.find(END, at + max(scanned - 3, 0))
        if end < 0:
            check_partial(data[at:], scanned)
            return at
        check_partial(data[at : end + 4])
        self.trailers = Fields(pair for pair in parse_trailers(data[at : end + 4]) if pair[0] not in NOT_IN_TRAILERS)
        self.done = True
        return end + 4


def _check_partial_line(line: bytes) -> None:
    if not PARTIAL_LINE.fullmatch(line):
        raise failure(Reason.MALFORMED_RESPONSE, "bad chunk size")

"""One response, read strictly (RFC 9112): bytes in; heads, content and the exact end out. No I/O."""

import re
from functools import lru_cache

from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.head import ResponseHead
from cacheproxy.upstream.decoders import ChunkedDecoder, Decoder, SizedDecoder, UntilCloseDecoder
from cacheproxy.upstream.field_section import END, check_partial, parse_head
from cacheproxy.upstream.framing import Framing
from cacheproxy.upstream.limits import MAX_HEAD_BYTES, MAX_INTERIM
from cacheproxy.upstream.reasons import Reason, failure

STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [\t\x20-\x7e\x80-\xff]*)?\r\n")
VERSION = b"HTTP/1."
BODYLESS = frozenset({204, 304})
READ_WITH_CARE = BODYLESS | {408}
"""Statuses that say more of the body, or of the connection, than the framing does."""
MEMO_HEADS = 512
MEMO_HEAD_BYTES = 1024
"""Longer heads are read each time, so that the memo stays small."""


class ResponseReader:
    """The response to one request: interim heads, the final head, then content until ``done``.

    Every method raises UpstreamError where the response is malformed; nothing more may be asked then.
    """

    __slots__ = ("_decoder", "_held", "_method", "begun", "head", "interim", "keep_alive", "length")

    def __init__(self, method: str) -> None:
        """Expect the response to a request of ``method``."""
        self._method = method
        self._held = b""
        self._decoder: Decoder | None = None
        self.begun = False
        """Whether a byte came."""
        self.interim: list[ResponseHead] = []
        self.head: ResponseHead | None = None
        self.length: int | None = None
        """Content-Length, where it says something of the body that comes."""
        self.keep_alive = False

    @property
    def done(self) -> bool:
        """Whether the response's end was seen."""
        return self._decoder is not None and self._decoder.done

    @property
    def reusable(self) -> bool:
        """Whether the connection is at the start of a next response: kept alive, and not a byte came too many."""
        decoder = self._decoder
        return decoder is not None and decoder.done and self.keep_alive and not decoder.surplus

    @property
    def trailers(self) -> Fields:
        """Trailer fields, once ``done``."""
        return Fields() if self._decoder is None else self._decoder.trailers

    def feed(self, data: bytes) -> bytes:
        """Return the content in ``data``; ``head``, ``interim`` and ``done`` tell what else it brought."""
        self.begun = True
        if self._decoder is None:
            data = self._read_heads(self._held + data if self._held else data)
            if self._decoder is None:
                return b""
        return self._decoder.feed(data)

    def end(self) -> None:
        """Take note that the origin sends no more."""
        if self._decoder is not None:
            self._decoder.end()
        elif self._held:
            raise failure(Reason.MALFORMED_RESPONSE, "closed within the head")
        else:
            raise failure(Reason.CLOSED_EARLY)

    def _read_heads(self, data: bytes) -> bytes:
        at = 0
        while self._decoder is None:
            scanned = 0 if at else len(self._held)
            end = data.find(END, at + max(scanned - 3, 0))
            if end < 0:
                self._hold(data[at:], scanned)
                return b""
            self._read_head(data[at : end + 4])
            at = end + 4
        self._held = b""
        return data[at:]

    def _hold(self, partial: bytes, scanned: int) -> None:
        check_partial(partial, scanned)
        if not partial.startswith(VERSION) and not VERSION.startswith(partial):
            raise failure(Reason.MALFORMED_RESPONSE, "not an HTTP/1 response")
        self._held = partial

    def _read_head(self, raw: bytes) -> None:
        head, framing = _understood_lately(raw) if len(raw) <= MEMO_HEAD_BYTES else _understood(raw)
        if framing is None:
            self._keep_interim(head)
        else:
            self._begin_body(head, framing)

    def _keep_interim(self, head: ResponseHead) -> None:
        if len(self.interim) == MAX_INTERIM:
            raise failure(Reason.TOO_MANY_INTERIM)
        self.interim.append(head)

    def _begin_body(self, head: ResponseHead, framing: Framing) -> None:
        self.head = head
        self.keep_alive = framing.keep_alive
        if self._method == "HEAD" or head.status in BODYLESS:
            # A body that comes all the same, a moment later, would be read as the next response.
            self.keep_alive = self.keep_alive and not (framing.chunked or framing.length)
            self._decoder = SizedDecoder(0)
        elif framing.chunked:
            self._decoder = ChunkedDecoder()
        elif framing.length is not None:
            self.length = framing.length
            self._decoder = SizedDecoder(framing.length)
        else:
            self.keep_alive = False
            self._decoder = UntilCloseDecoder()


def _understood(raw: bytes) -> tuple[ResponseHead, Framing | None]:
    """The head in ``raw``, and its framing unless it is an interim one. UpstreamError."""
    if len(raw) > MAX_HEAD_BYTES:
        raise failure(Reason.HEAD_TOO_LARGE, f"{len(raw)} bytes, at most {MAX_HEAD_BYTES}")
    line = STATUS_LINE.match(raw)
    if line is None:
        raise failure(Reason.MALFORMED_RESPONSE, "bad status line")
    status = int(line[2])
    if status == 101:
        raise failure(Reason.UNASKED_UPGRADE)
    pairs = parse_head(raw)
    return ResponseHead(status, Fields(pairs)), Framing.of(pairs, old=line[1] == b"0") if status >= 200 else None


_understood_lately = lru_cache(maxsize=MEMO_HEADS)(_understood)
"""An origin gives the same few heads over and over within a second; each is then the same object."""


def whole_response(method: str, data: bytes) -> tuple[ResponseHead, bytes] | None:
    """The one response to ``method`` that ``data`` is, no byte more or less, after which the connection stays open.

    None where that takes a ``ResponseReader`` to tell. UpstreamError where its head is malformed.
    """
    end = data.find(END) + len(END)
    if end < len(END) or end > MEMO_HEAD_BYTES or method == "HEAD":
        return None
    head, framing = _understood_lately(data[:end])
    if framing is None or framing.length != len(data) - end or not framing.keep_alive or head.status in READ_WITH_CARE:
        return None
    return head, data[end:]

"""A reply's head as bytes: status line, fields, framing (RFC 9112 §4 to §6)."""

from collections.abc import Iterable
from http import HTTPStatus

from cacheproxy.engine.reply import Reply
from cacheproxy.semantics.fields import Pair
from cacheproxy.semantics.head import ResponseHead

_PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus}
STATUS_LINES = {code: b"HTTP/1.1 %d %s\r\n" % (code, _PHRASES.get(code, b"")) for code in range(100, 1000)}
_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"connection", b"keep-alive"})
BODILESS = frozenset({204, 304})
"""Statuses whose responses have no content."""


def render_interim(head: ResponseHead) -> bytes:
    """An interim response, whole."""
    return b"".join((STATUS_LINES[head.status], *_lines(head.fields), b"\r\n"))


def render_head(
    reply: Reply, *, head_only: bool, date: bytes, close: bool, version: str = "1.1"
) -> tuple[bytes, bool, bool]:
    """The head's bytes, whether the body goes out chunked, and whether the connection must close after it.

    ``date`` is added where the reply has none (RFC 9110 §6.6.1). What concerns this message comes first (§5.3).
    """
    framing, chunked, close = _framing(reply, head_only=head_only, close=close, version=version)
    names = reply.fields.names()
    pairs: list[Pair] = []
    if b"date" not in names:
        pairs.append((b"date", date))
    pairs += framing
    if b"upgrade" in names:
        pairs.append((b"connection", b"upgrade"))  # RFC 9110 §7.8: else the next hop passes it on
    if close:
        pairs.append((b"connection", b"close"))
    elif version == "1.0":
        pairs.append((b"connection", b"keep-alive"))
    lines = _lines((*pairs, *reply.fields.without(_FRAMING).pairs))
    return b"".join((STATUS_LINES[reply.status], *lines, b"\r\n")), chunked, close


def _framing(reply: Reply, *, head_only: bool, close: bool, version: str) -> tuple[list[Pair], bool, bool]:
    if head_only or reply.status in BODILESS:
        declared = reply.fields.get(b"content-length") if reply.status != 204 else None
        return ([(b"content-length", declared)] if declared is not None else []), False, close
    length = len(reply.body) if isinstance(reply.body, bytes) else reply.body.length
    if length is not None:
        return [(b"content-length", b"%d" % length)], False, close
    if version == "1.0":
        return [], False, True
    return [(b"transfer-encoding", b"chunked")], True, close


def _lines(pairs: Iterable[Pair]) -> list[bytes]:
    return [b"%s: %s\r\n" % pair for pair in pairs]

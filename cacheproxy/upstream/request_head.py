"""A request head as bytes (RFC 9112 §3). What it refuses is our own mistake: a ValueError, not the origin's fault."""

import re

from cacheproxy.policy.route import UpstreamRules
from cacheproxy.semantics.head import RequestHead
from cacheproxy.upstream.contract import Prepared, RequestBody

TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
TARGET = re.compile(rb"[\x21-\x7e\x80-\xff]+")
FRAMING_FIELDS = frozenset({b"content-length", b"transfer-encoding"})
WITH_CONTENT = frozenset({"POST", "PUT", "PATCH"})
"""Methods whose empty content is stated (RFC 9110 §8.6)."""


def authority(rules: UpstreamRules) -> bytes:
    """Return the Host of requests that name none: the origin's own, without a default port."""
    if rules.socket is not None:
        return b"localhost"
    host = f"[{rules.host}]" if ":" in rules.host else rules.host
    default = rules.port == (443 if rules.scheme == "https" else 80)
    return (host if default else f"{host}:{rules.port}").encode()


def render(request: RequestHead, body: RequestBody | None, host: bytes) -> bytes:
    """Return the head's bytes: ``request`` as it is, framed for ``body``, with ``host`` if it names none.

    ValueError if a part of it would end a line or the head early.
    """
    return request_line(request) + field_lines(request, body, host) + b"\r\n"


def request_line(request: RequestHead) -> bytes:
    """The first line of ``request``. ValueError if it would be another."""
    if not TOKEN.fullmatch(request.method) or request.method == "CONNECT" or not TARGET.fullmatch(request.target):
        raise ValueError(f"unfit request line: {request.method} {request.target!r}")
    return b"%b %b HTTP/1.1\r\n" % (request.method.encode(), request.target)


def field_lines(request: RequestHead, body: RequestBody | None, host: bytes) -> bytes:
    """All lines that follow, up to the empty one: they are the same for all targets. ValueError as ``render``."""
    framing = _framing(request.method, body)
    return _joined([*_unframed(request, host), framing] if framing else _unframed(request, host))


def prepare(request: RequestHead) -> Prepared:
    """What goes out again and again of ``request``, which has neither an id nor an Expect. ValueError as ``render``."""
    return Prepared(request.method, request_line(request) + lines_to_repeat(request))


def lines_to_repeat(request: RequestHead) -> bytes:
    """The lines of a request that names its host, but for what frames it. ValueError as ``render``."""
    if b"host" not in request.fields and not request.authority:
        raise ValueError("a request to no host in particular")
    return _joined(_unframed(request, b""))


def completed(prepared: Prepared, fields: bytes, content: bytes) -> bytes:
    """The whole request: its head with the lines of ``fields``, framed for ``content``, and that."""
    if content or prepared.method in WITH_CONTENT:
        return b"%b%bcontent-length: %d\r\n\r\n%b" % (prepared.head, fields, len(content), content)
    return b"%b%b\r\n" % (prepared.head, fields)


def _unframed(request: RequestHead, host: bytes) -> list[bytes]:
    """Its lines, each without its end."""
    fields = request.fields.without(FRAMING_FIELDS)
    lines = list(map(b": ".join, fields.pairs))
    if b"host" not in fields:
        lines.append(b"host: " + (request.authority or host))
    return lines


def _framing(method: str, body: RequestBody | None) -> bytes:
    if body is None:
        return b"content-length: 0" if method in WITH_CONTENT else b""
    length = body.length
    return b"transfer-encoding: chunked" if length is None else b"content-length: %d" % length


def _joined(lines: list[bytes]) -> bytes:
    joined = b"\r\n".join(lines) + b"\r\n"
    if joined.count(b"\r") != len(lines) or joined.count(b"\n") != len(lines) or b"\0" in joined:
        raise ValueError("a field would end its line early")
    return joined

"""A request head from bytes: strict, so that no two readers can understand it differently (RFC 9112).

Two parsers must agree: the grammar below admits only what RFC 9112 §2 to §5 lets a sender generate, and llhttp (by
``httptools``) reads what the grammar admitted. What is looser is refused, never repaired.
"""

import re
from dataclasses import dataclass

import httptools

from cacheproxy.engine.problems import WEBSOCKET_VERSION
from cacheproxy.errors import ClientError
from cacheproxy.semantics.fields import Fields, Pair
from cacheproxy.semantics.forwarding import PSEUDONYM
from cacheproxy.semantics.head import RequestHead

MAX_HEAD_BYTES = 64 * 1024
MAX_TARGET_BYTES = 16 * 1024
MAX_FIELDS = 256
MAX_HANDSHAKE_FIELDS = 128
MAX_HANDSHAKE_LINE_BYTES = 8190
"""A WebSocket handshake of more is read no further by uvicorn's library, which then neither answers nor closes."""

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_VALUE = rb"[\t\x20-\x7e\x80-\xff]*"
_FIELD_LINES = rb"(?:" + _TOKEN + rb":" + _VALUE + rb"\r\n)*\r\n"
FIELD_LINES = re.compile(_FIELD_LINES)
"""All of a head after its first line."""
_HEAD = re.compile(
    rb"(?P<method>" + _TOKEN + rb") (?P<target>[\x21-\x7e]+) HTTP/(?P<version>[0-9]\.[0-9])\r\n" + _FIELD_LINES
)
_ORIGIN_FORM = re.compile(rb"(?P<method>" + _TOKEN + rb") (?P<target>/[\x21\x22\x24-\x7e]*) (?=HTTP/1\.[01]\r\n)")
_AUTHORITY = re.compile(rb"(?:[A-Za-z0-9\-._~]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
_ABSOLUTE = re.compile(rb"(?i:https?)://(?P<authority>[^/?]*)(?P<target>.*)")
_ID_LINE = re.compile(rb"\r\n(?i:x-request-id): ?([A-Za-z0-9._:/+=@-]{1,128})(?=\r\n)")
NO_ID = b"-"
"""Stands for the id that a head gives its request."""
LENGTH = re.compile(rb"[0-9]{1,18}")
MAX_PASSES = 8
"""How often a request may have come by a sidecar: more is a loop, which would take all connections."""
_REFUSED_METHODS = frozenset({"CONNECT", "TRACE", "PRI"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Framing:
    """How the rest of the message is delimited. ``length`` is None where the body is chunked."""

    length: int | None
    keep_alive: bool
    expects_continue: bool
    upgrades: bool
    """Whether the client asks for a WebSocket."""


_FRAMED = frozenset({b"connection", b"content-length", b"expect", b"transfer-encoding", b"upgrade"})
"""Request fields that say how the message is delimited, and what comes after it."""
_BODILESS = Framing(length=0, keep_alive=True, expects_continue=False, upgrades=False)
_LAST_AND_BODILESS = Framing(length=0, keep_alive=False, expects_continue=False, upgrades=False)


class _Collector:
    """The field lines that llhttp read, in order."""

    __slots__ = ("pairs",)

    def __init__(self) -> None:
        self.pairs: list[Pair] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.pairs.append((name.lower(), value.strip(b" \t")))


_UNHEARD = object()
"""What llhttp reads where only its verdict counts."""


def split_head(buffer: bytes) -> tuple[bytes, bytes] | None:
    """The head at the front of ``buffer``, and what is behind it; None while it is not complete.

    ClientError where it is too large, or cannot become one.
    """
    end = buffer.find(b"\r\n\r\n") + 4
    if end > MAX_HEAD_BYTES or (end == 3 and len(buffer) > MAX_HEAD_BYTES):
        raise ClientError(431, "head-too-large", f"the request head is over {MAX_HEAD_BYTES} bytes")
    if end > 3:
        return buffer[:end], buffer[end:]
    line = buffer[: buffer.find(b"\n") + 1]
    if (line and not line.endswith(b"\r\n")) or (buffer and buffer[:1] in b" \t\n\x16\x80"):
        raise ClientError(400, "malformed-head", "the request head is not HTTP/1.1")
    return None


def split_target(raw: bytes) -> tuple[bytes, bytes] | None:
    """The target of the head ``raw``, and that head with ``/`` in its place; None where its target is anything unusual.

    In origin-form the target and the rest mean what they mean whatever the other is, so that they can be read apart.
    """
    line = _ORIGIN_FORM.match(raw)
    if line is None or len(line["target"]) > MAX_TARGET_BYTES:
        return None
    try:
        httptools.HttpRequestParser(_UNHEARD).feed_data(b"GET %b HTTP/1.1\r\n\r\n" % line["target"])
    except httptools.HttpParserError:
        return None
    return line["target"], b"%b / %b" % (line["method"], raw[line.end() :])


def split_request_id(raw: bytes) -> tuple[bytes, bytes] | None:
    """The id in the head ``raw``, and that head with ``NO_ID`` in its place; None where it has none of a usual form."""
    line = _ID_LINE.search(raw)
    return None if line is None else (line[1], raw[: line.start(1)] + NO_ID + raw[line.end(1) :])


def parse_head(raw: bytes, scheme: str = "http") -> tuple[RequestHead, Framing]:
    """The request head in ``raw`` (through its empty line) and its framing; ClientError with the status it earns."""
    grammar = _HEAD.fullmatch(raw)
    if grammar is None:
        raise ClientError(400, "malformed-head", "the request head is not HTTP/1.1")
    version = grammar["version"].decode()
    if version not in {"1.0", "1.1"}:
        raise ClientError(505, "http-version", "only HTTP/1.0 and HTTP/1.1 are spoken here")
    if len(grammar["target"]) > MAX_TARGET_BYTES:
        raise ClientError(414, "target-too-long", f"the request target is over {MAX_TARGET_BYTES} bytes")
    method = grammar["method"].decode()
    if method in _REFUSED_METHODS:
        raise ClientError(405, "method-refused", f"{method} is not forwarded")
    fields = Fields(_llhttp(raw, method))
    if len(fields) > MAX_FIELDS:
        raise ClientError(431, "too-many-fields", f"more than {MAX_FIELDS} header fields")
    if (fields.combined(b"via") or b"").count(PSEUDONYM) > MAX_PASSES:
        raise ClientError(508, "loop-detected", f"the request came by a sidecar more than {MAX_PASSES} times")
    target, authority = _target_and_authority(method, grammar["target"], fields, version)
    if not grammar["target"].startswith((b"/", b"*")):
        fields = fields.replaced(b"host", authority)  # RFC 9112 §3.2.2: the origin must see the host that is in the key
    request = RequestHead(
        method=method, target=target, fields=fields, authority=authority, scheme=scheme, http_version=version
    )
    framing = _framing(request)
    if framing.upgrades:
        _check_handshake(raw, fields)
    if b"expect" in fields and not framing.expects_continue:
        # RFC 9110 §10.1.1: it says nothing in HTTP/1.0 or without a body, and origins are known to trip over it.
        request = request.with_fields(fields.without({b"expect"}))
    return request, framing


def read_line(line: bytes) -> Pair | None:
    """The field in one ``line``, which comes without its end; None where either reader refuses it."""
    ended = line + b"\r\n\r\n"
    if FIELD_LINES.fullmatch(ended) is None:
        return None
    try:
        pairs = _llhttp(b"GET / HTTP/1.1\r\n" + ended, "GET")
    except ClientError:
        return None
    return pairs[0] if len(pairs) == 1 else None


def _llhttp(raw: bytes, method: str) -> list[Pair]:
    collector = _Collector()
    try:
        httptools.HttpRequestParser(collector).feed_data(raw)
    except httptools.HttpParserInvalidMethodError as error:
        raise ClientError(501, "method-unknown", f"{method} is not a method known here") from error
    except httptools.HttpParserInvalidURLError as error:
        raise ClientError(400, "target-form", str(error)) from error
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError as error:
        raise ClientError(400, "malformed-head", str(error)) from error
    return collector.pairs


def _target_and_authority(method: str, target: bytes, fields: Fields, version: str) -> tuple[bytes, bytes]:
    """Origin-form target and authority (RFC 9112 §3.2): an absolute form's authority replaces Host."""
    hosts = fields.all(b"host")
    if len(hosts) > 1 or (not hosts and version == "1.1"):
        raise ClientError(400, "host", "exactly one Host field is required (RFC 9112 §3.2)")
    authority = hosts[0] if hosts else b""
    if hosts and not _AUTHORITY.fullmatch(authority):
        raise ClientError(400, "host", "the Host field is not a host and port")
    if target == b"*" and method == "OPTIONS":
        return target, authority.lower()
    if not target.startswith(b"/"):
        absolute = _ABSOLUTE.fullmatch(target)
        if absolute is None or not _AUTHORITY.fullmatch(absolute["authority"]):
            raise ClientError(400, "target-form", "the request target is neither a path nor an http URL")
        authority, target = absolute["authority"], absolute["target"]
        if not target and method == "OPTIONS":
            return b"*", authority.lower()  # RFC 9112 §3.2.4
        if not target.startswith(b"/"):
            target = b"/" + target
    if b"#" in target:
        raise ClientError(400, "target-form", "a request target has no fragment")
    return target, authority.lower()


def _framing(request: RequestHead) -> Framing:
    fields = request.fields
    if _FRAMED.isdisjoint(fields.names()):
        return _BODILESS if request.http_version == "1.1" else _LAST_AND_BODILESS
    expect = fields.combined(b"expect")
    if expect is not None and expect.lower() != b"100-continue":
        raise ClientError(417, "expectation", "only 100-continue may be expected")
    options = {option.strip(b" \t") for option in (fields.combined(b"connection") or b"").lower().split(b",")}
    modern = request.http_version == "1.1"
    length = _length(request)
    return Framing(
        length=length,
        keep_alive=b"close" not in options and (modern or b"keep-alive" in options),
        expects_continue=expect is not None and modern and length != 0,
        upgrades=modern
        # What another reader takes for a body must not be read as frames; the WebSocket library takes no "00".
        and length == 0
        and fields.get(b"content-length") in {None, b"0"}
        and request.method == "GET"
        and b"upgrade" in options
        and (fields.combined(b"upgrade") or b"").lower() == b"websocket",
    )


def _check_handshake(raw: bytes, fields: Fields) -> None:
    version = fields.combined(b"sec-websocket-version")
    if version is not None and b"13" not in version.split(b", "):
        raise ClientError(426, WEBSOCKET_VERSION, "the only version of WebSocket that is spoken here is 13")
    lines = raw.removesuffix(b"\r\n\r\n").split(b"\r\n")
    if len(lines) - 1 > MAX_HANDSHAKE_FIELDS or max(map(len, lines)) > MAX_HANDSHAKE_LINE_BYTES:
        detail = f"a handshake has at most {MAX_HANDSHAKE_FIELDS} fields and lines of {MAX_HANDSHAKE_LINE_BYTES} bytes"
        raise ClientError(431, "handshake-too-large", detail)


def _length(request: RequestHead) -> int | None:
    """The body's length in bytes, 0 for none, None for chunked (RFC 9112 §6.3, the strict reading)."""
    codings, lengths = request.fields.all(b"transfer-encoding"), request.fields.all(b"content-length")
    if codings:
        if lengths:
            raise ClientError(400, "framing", "Transfer-Encoding and Content-Length together")
        if len(codings) > 1 or codings[0].lower() != b"chunked" or request.http_version == "1.0":
            raise ClientError(400, "framing", "the only transfer coding taken is chunked, once, in HTTP/1.1")
        return None
    if len(lengths) > 1 or (lengths and not LENGTH.fullmatch(lengths[0])):
        raise ClientError(400, "framing", "Content-Length is one decimal number")
    return int(lengths[0]) if lengths else 0

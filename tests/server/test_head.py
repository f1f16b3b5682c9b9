"""The strict reading of request heads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.errors import ClientError
from cacheproxy.server.head import Framing, parse_head

PLAIN = b"GET /a?b=c HTTP/1.1\r\nHost: Example.com:80\r\nX-One: 1  \r\nx-one:2\r\n\r\n"


def head(*lines: bytes, request: bytes = b"GET / HTTP/1.1", host: bytes = b"Host: a") -> bytes:
    """A head of ``request``, ``host`` and ``lines``."""
    return b"\r\n".join([request, *([host] if host else []), *lines, b"", b""])


def test_a_plain_head_is_read_in_order() -> None:
    """Names come lower-case, values trimmed, the target raw and the authority lower-case."""
    request, framing = parse_head(PLAIN)
    assert (request.method, request.target, request.authority) == ("GET", b"/a?b=c", b"example.com:80")
    assert request.fields.pairs[1:] == ((b"x-one", b"1"), (b"x-one", b"2"))
    assert framing == Framing(length=0, keep_alive=True, expects_continue=False, upgrades=False)


@pytest.mark.parametrize(
    ("raw", "status", "reason"),
    [
        pytest.param(b"GET / HTTP/1.1\nHost: a\n\n", 400, "malformed-head", id="9112-2.2-bare-lf"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400, "malformed-head", id="9112-2.2-bare-lf-in-field"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", 400, "malformed-head", id="9112-2.2-bare-cr"),
        pytest.param(head(b"X: a", b" b"), 400, "malformed-head", id="9112-5.2-obs-fold"),
        pytest.param(head(b"X : a"), 400, "malformed-head", id="9112-5.1-space-before-colon"),
        pytest.param(head(b": a"), 400, "malformed-head", id="9112-5.1-empty-name"),
        pytest.param(head(b"X"), 400, "malformed-head", id="9112-5.1-no-colon"),
        pytest.param(head(b"X: a\x00b"), 400, "malformed-head", id="9110-5.5-nul"),
        pytest.param(head(b"X: a\x7fb"), 400, "malformed-head", id="9110-5.5-del"),
        pytest.param(b"GET /\r\n\r\n", 400, "malformed-head", id="9112-3-http-0.9"),
        pytest.param(head(request=b"GET  / HTTP/1.1"), 400, "malformed-head", id="9112-3-two-spaces"),
        pytest.param(head(request=b"GET /a b HTTP/1.1"), 400, "malformed-head", id="9112-3-space-in-target"),
        pytest.param(head(request=b"GET / http/1.1"), 400, "malformed-head", id="9112-2.3-version-case"),
        pytest.param(head(request=b"GET /\xc3\xa9 HTTP/1.1"), 400, "malformed-head", id="3986-2-raw-utf8"),
        pytest.param(head(request=b"GET / HTTP/1.2"), 505, "http-version", id="9110-15.6.6-minor"),
        pytest.param(head(request=b"GET / HTTP/2.0"), 505, "http-version", id="9110-15.6.6-major"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\n", 505, "http-version", id="9113-3.4-preface"),
        pytest.param(head(request=b"BREW / HTTP/1.1"), 501, "method-unknown", id="9110-9.1-unknown"),
        pytest.param(head(request=b"get / HTTP/1.1"), 501, "method-unknown", id="9110-9.1-case"),
        pytest.param(head(request=b"CONNECT a:1 HTTP/1.1"), 405, "method-refused", id="9110-9.3.6"),
        pytest.param(head(request=b"TRACE / HTTP/1.1"), 405, "method-refused", id="9110-9.3.8"),
        pytest.param(head(request=b"GET /#a HTTP/1.1"), 400, "target-form", id="9112-3.2-fragment"),
        pytest.param(head(request=b"GET a HTTP/1.1"), 400, "target-form", id="9112-3.2-relative"),
        pytest.param(head(request=b"GET * HTTP/1.1"), 400, "target-form", id="9112-3.2.4-asterisk-get"),
        pytest.param(head(request=b"GET ftp://a/ HTTP/1.1"), 400, "target-form", id="9112-3.2.2-scheme"),
        pytest.param(head(request=b"GET http://u@a/ HTTP/1.1"), 400, "target-form", id="9110-4.2.4-userinfo"),
        pytest.param(head(request=b"GET /" + b"a" * 16384 + b" HTTP/1.1"), 414, "target-too-long", id="9110-4.1"),
        pytest.param(head(host=b""), 400, "host", id="9112-3.2-no-host"),
        pytest.param(head(b"Host: b"), 400, "host", id="9112-3.2-two-hosts"),
        pytest.param(head(host=b"Host: "), 400, "host", id="9112-3.2-empty-host"),
        pytest.param(head(host=b"Host: a, b"), 400, "host", id="9112-3.2-host-list"),
        pytest.param(head(host=b"Host: a/b"), 400, "host", id="9112-3.2-host-path"),
        pytest.param(head(host=b"Host: u@a"), 400, "host", id="9112-3.2-host-userinfo"),
        pytest.param(head(host=b"Host: a:b"), 400, "host", id="9112-3.2-host-port"),
        pytest.param(head(b"Expect: 200-ok"), 417, "expectation", id="9110-10.1.1"),
        pytest.param(head(*[b"X: a"] * 256), 431, "too-many-fields", id="6585-5"),
    ],
)
def test_what_two_readers_could_differ_on_is_refused(raw: bytes, status: int, reason: str) -> None:
    """A head that the grammar does not generate is refused with its own status, never repaired."""
    with pytest.raises(ClientError) as refusal:
        parse_head(raw)
    assert (refusal.value.status, refusal.value.reason) == (status, reason)


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param((b"Content-Length: 1", b"Transfer-Encoding: chunked"), id="9112-6.1-cl-te"),
        pytest.param((b"Content-Length: 1", b"Content-Length: 1"), id="9112-6.3-cl-cl"),
        pytest.param((b"Content-Length: 1", b"Content-Length: 2"), id="9112-6.3-cl-differ"),
        pytest.param((b"Content-Length: 1, 1",), id="9112-6.3-cl-list"),
        pytest.param((b"Content-Length: +1",), id="9110-8.6-plus"),
        pytest.param((b"Content-Length: -1",), id="9110-8.6-minus"),
        pytest.param((b"Content-Length: 0x1",), id="9110-8.6-hex"),
        pytest.param((b"Content-Length: 1 1",), id="9110-8.6-space"),
        pytest.param((b"Content-Length:",), id="9110-8.6-empty"),
        pytest.param((b"Content-Length: 9999999999999999999999",), id="9110-8.6-overflow"),
        pytest.param((b"Transfer-Encoding: gzip, chunked",), id="9112-6.1-gzip"),
        pytest.param((b"Transfer-Encoding: chunked, chunked",), id="9112-6.1-twice"),
        pytest.param((b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), id="9112-6.1-two-lines"),
        pytest.param((b"Transfer-Encoding: identity",), id="9112-6.1-identity"),
        pytest.param((b"Transfer-Encoding: xchunked",), id="9112-6.1-xchunked"),
        pytest.param((b"Transfer-Encoding: chunked;a=b",), id="9112-6.1-parameter"),
        pytest.param((b"Transfer-Encoding: \x0bchunked",), id="9112-6.1-vertical-tab"),
        pytest.param((b"Transfer-Encoding:",), id="9112-6.1-empty"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_doubtful_framing_is_refused(lines: tuple[bytes, ...], method: str) -> None:
    """A message whose end could be read in two ways is a 400."""
    with pytest.raises(ClientError) as refusal:
        parse_head(head(*lines, request=method.encode() + b" / HTTP/1.1"))
    assert 400 == refusal.value.status


def test_chunked_in_http_1_0_is_refused() -> None:
    """HTTP/1.0 has no transfer codings (RFC 9112 §6.1)."""
    with pytest.raises(ClientError):
        parse_head(head(b"Transfer-Encoding: chunked", request=b"POST / HTTP/1.0"))


def test_an_absolute_form_names_the_authority() -> None:
    """The authority of an absolute-form target replaces Host (RFC 9112 §3.2.2)."""
    request, _ = parse_head(head(request=b"GET http://Other.example/x?y HTTP/1.1"))
    assert (b"other.example", b"/x?y") == (request.authority, request.target)


def test_options_for_a_whole_host_stays_that() -> None:
    """An absolute form with neither path nor query asks with OPTIONS for ``*`` (RFC 9112 §3.2.4)."""
    request, _ = parse_head(b"OPTIONS http://b HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (b"*", b"b") == (request.target, request.authority)


def test_an_absolute_form_without_a_path_is_the_root() -> None:
    """An empty path is sent on as "/" (RFC 9112 §3.2.1)."""
    request, _ = parse_head(head(request=b"GET http://a?x HTTP/1.1"))
    assert b"/?x" == request.target


@pytest.mark.parametrize(
    ("raw", "framing"),
    [
        (head(b"Content-Length: 12", request=b"POST / HTTP/1.1"), (12, True, False, False)),
        (head(b"Transfer-Encoding: Chunked", request=b"POST / HTTP/1.1"), (None, True, False, False)),
        (head(b"Connection: close"), (0, False, False, False)),
        (head(request=b"GET / HTTP/1.0"), (0, False, False, False)),
        (head(b"Connection: keep-alive", request=b"GET / HTTP/1.0"), (0, True, False, False)),
        (head(b"Expect: 100-Continue", b"Content-Length: 1", request=b"PUT / HTTP/1.1"), (1, True, True, False)),
        (head(b"Upgrade: WebSocket", b"Connection: keep-alive, Upgrade"), (0, True, False, True)),
        (head(b"Upgrade: h2c", b"Connection: Upgrade"), (0, True, False, False)),
        (head(b"Upgrade: websocket"), (0, True, False, False)),
    ],
)
def test_framing_follows_the_fields(raw: bytes, framing: tuple[int | None, bool, bool, bool]) -> None:
    """Length, persistence, expectation and upgrade are read off the head."""
    length, keep_alive, expects, upgrades = framing
    assert parse_head(raw)[1] == Framing(
        length=length, keep_alive=keep_alive, expects_continue=expects, upgrades=upgrades
    )


@given(st.binary(max_size=200))
def test_any_bytes_are_answered(junk: bytes) -> None:
    """Whatever comes, a head is read or refused with a status of its own."""
    try:
        parse_head(junk + b"\r\n\r\n")
    except ClientError as refusal:
        assert 400 <= refusal.status <= 505

"""Request smuggling and response splitting: what the origin received, byte for byte, and who got which answer."""

import re
import threading

import pytest

from .wire import CLOSE, HANG, Answer, Seen, ok

pytestmark = pytest.mark.e2e

POLICY = """
version: 1
upstream:
  timeouts: {first_byte: 3s, idle: 3s}
  pool: {max_connections: 1, keepalive: 30s}
routes:
  - {name: cached, match: "GET /c/{id}", cache: {ttl: 60s, key: "c:{id}"}}
"""
"""One connection to the origin: if anything is left on it, the next answer is wrong."""

POST = b"POST $P HTTP/1.1\r\nHost: a.example\r\n"
GET = b"GET $P HTTP/1.1\r\nHost: a.example\r\n"
EVIL = b"GET $E HTTP/1.1\r\nHost: a.example\r\n\r\n"
CL0_TE = POST + b"Content-Length: 0\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n"
LONG = b"x" * 17_000


@pytest.fixture(scope="module")
def sidecar(raw_sidecars):
    """One sidecar for all of these."""
    return raw_sidecars(1, "none", policy=POLICY)[0]


@pytest.fixture
def paths(raw_origin):
    """The path that is asked for, one that nobody may be able to ask for, and a canary's."""
    return {b"$P": raw_origin.path("/p"), b"$E": raw_origin.path("/evil"), b"$C": raw_origin.path("/canary")}


def filled(raw: bytes, paths) -> bytes:
    """``raw`` with its paths."""
    return re.sub(rb"\$[PEC]", lambda found: paths[found[0]], raw)


def assert_canary(wire, paths) -> None:
    """The next request on ``wire`` gets its own answer, from a connection that nothing was left on."""
    answer = wire.ask(filled(b"GET $C HTTP/1.1\r\nHost: a.example\r\n\r\n", paths))
    assert (200, b"GET %b HTTP/1.1 host=a.example body=" % paths[b"$C"]) == (answer.status, answer.body)


def assert_strict(seen: Seen) -> None:
    """What the origin got is framed in one way only, and holds no field that two readers could take differently."""
    assert re.fullmatch(rb"[A-Z]+ [!-~]+ HTTP/1\.1", seen.line)
    assert 1 == len(seen.all("host"))
    assert 1 >= len(seen.all("content-length")) + len(seen.all("transfer-encoding"))
    for name, value in seen.fields:
        assert re.fullmatch(rb"[!#$%&'*+.^_`|~0-9a-z-]+", name)
        assert re.fullmatch(rb"[\t -~\x80-\xff]*", value)
        folded = name.replace(b"_", b"-")
        assert folded == name or folded not in {b"content-length", b"transfer-encoding", b"host", b"connection"}


@pytest.mark.parametrize(
    "raw",
    [
        # Two lengths, or a length that is none
        pytest.param(POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", id="CL.TE"),
        pytest.param(POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", id="TE.CL"),
        pytest.param(CL0_TE + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", id="0.TE"),
        pytest.param(POST + b"Content-Length: 5\r\nContent-Length: 0\r\n\r\nhello", id="CL.CL-differ"),
        pytest.param(POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", id="CL.CL-same"),
        pytest.param(POST + b"Content-Length: 5, 5\r\n\r\nhello", id="CL-list-same"),
        pytest.param(POST + b"Content-Length: 0, 5\r\n\r\nhello", id="CL-list-differ"),
        pytest.param(POST + b"Content-Length: +5\r\n\r\nhello", id="CL-plus"),
        pytest.param(POST + b"Content-Length: -5\r\n\r\nhello", id="CL-minus"),
        pytest.param(POST + b"Content-Length: 0x5\r\n\r\nhello", id="CL-hex"),
        pytest.param(POST + b"Content-Length: 5 0\r\n\r\nhello", id="CL-inner-space"),
        pytest.param(POST + b"Content-Length: 5_0\r\n\r\nhello", id="CL-underscore"),
        pytest.param(POST + b"Content-Length: 5.0\r\n\r\nhello", id="CL-decimal"),
        pytest.param(POST + b"Content-Length: 5;\r\n\r\nhello", id="CL-semicolon"),
        pytest.param(POST + b'Content-Length: "5"\r\n\r\nhello', id="CL-quoted"),
        pytest.param(POST + b"Content-Length:\r\n\r\nhello", id="CL-empty"),
        pytest.param(POST + b"Content-Length: 9" + b"9" * 18 + b"\r\n\r\nhello", id="CL-over-63-bits"),
        pytest.param(POST + b"Content-Length: " + b"0" * 30 + b"5\r\n\r\nhello", id="CL-endless-zeros"),
        pytest.param(POST + b"Content-Length: \xb2\r\n\r\nhi", id="CL-superscript-two"),
        pytest.param(POST + b"Content-Length: \x0b5\r\n\r\nhello", id="CL-vertical-tab"),
        pytest.param(POST + b"Content-Length : 5\r\n\r\nhello", id="CL-space-before-colon"),
        pytest.param(POST + b"Content-Length\t: 5\r\n\r\nhello", id="CL-tab-before-colon"),
        pytest.param(POST + b" Content-Length: 5\r\n\r\nhello", id="CL-leading-space"),
        pytest.param(POST + b"Content-Length:\r\n 5\r\n\r\nhello", id="CL-folded"),
        pytest.param(POST + b"Foo: x\r\n Content-Length: 5\r\n\r\nhello", id="9112-5.2-obs-fold"),
        pytest.param(POST + b"Foo: x\r\n\tContent-Length: 5\r\n\r\nhello", id="9112-5.2-obs-fold-tab"),
        # Transfer codings that some take for chunked and others do not
        pytest.param(POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", id="TE-xchunked"),
        pytest.param(POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", id="TE-then-identity"),
        pytest.param(POST + b"Transfer-Encoding: identity\r\n\r\nhello", id="TE-identity"),
        pytest.param(POST + b"Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n", id="TE-identity-first"),
        pytest.param(POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", id="TE-gzip-chunked"),
        pytest.param(POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", id="TE-twice-chunked"),
        pytest.param(CHUNKED + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", id="TE.TE-same"),
        pytest.param(CHUNKED + b"Transfer-Encoding: cow\r\n\r\n0\r\n\r\n", id="TE.TE-differ"),
        pytest.param(CHUNKED + b"Transfer-encoding: x\r\n\r\n0\r\n\r\n", id="TE.TE-case"),
        pytest.param(POST + b"Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n", id="TE-parameter"),
        pytest.param(POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n', id="TE-quoted"),
        pytest.param(POST + b"Transfer-Encoding: 'chunked'\r\n\r\n0\r\n\r\n", id="TE-single-quoted"),
        pytest.param(POST + b"Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n", id="TE-empty-member"),
        pytest.param(POST + b"Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n", id="TE-trailing-comma"),
        pytest.param(POST + b"Transfer-Encoding:\r\n\r\nhello", id="TE-empty"),
        pytest.param(POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", id="TE-vertical-tab"),
        pytest.param(POST + b"Transfer-Encoding: \x0cchunked\r\n\r\n0\r\n\r\n", id="TE-form-feed"),
        pytest.param(POST + b"Transfer-Encoding: chunked\x00\r\n\r\n0\r\n\r\n", id="TE-NUL"),
        pytest.param(POST + b"Transfer-Encoding: chunked\x0b\r\n\r\n0\r\n\r\n", id="TE-trailing-vtab"),
        pytest.param(POST + b"Transfer-Encoding: ch\xc3\xbcnked\r\n\r\n0\r\n\r\n", id="TE-8-bit"),
        pytest.param(POST + b"Transfer-Encoding: chun\xc5\xa3ed\r\n\r\n0\r\n\r\n", id="TE-8-bit-k"),
        pytest.param(POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", id="9112-5.1-space-colon"),
        pytest.param(POST + b"Transfer-Encoding\r\n : chunked\r\n\r\n0\r\n\r\n", id="TE-folded-colon"),
        pytest.param(POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", id="TE-folded"),
        pytest.param(POST + b"X: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", id="bare-CR-before-TE"),
        pytest.param(POST + b"X: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", id="bare-LF-before-TE"),
        pytest.param(POST + b"X: y\n\nGET $E HTTP/1.1\r\nHost: a\r\n\r\n", id="LF-LF-ends-the-head"),
        pytest.param(POST + b"\x00Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", id="NUL-before-name"),
        pytest.param(POST + b"Transfer\x00-Encoding: chunked\r\n\r\n0\r\n\r\n", id="NUL-in-name"),
        pytest.param(POST + b"Transfer-Encoding\xa0: chunked\r\n\r\n0\r\n\r\n", id="NBSP-in-name"),
        pytest.param(POST + b": chunked\r\n\r\n", id="empty-name"),
        pytest.param(POST + b"Transfer-Encoding chunked\r\n\r\n0\r\n\r\n", id="no-colon"),
        pytest.param(
            b"POST $P HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", id="9112-6.1-TE-in-1.0"
        ),
        pytest.param(
            b"POST $P HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            id="TE-in-1.0-keep-alive",
        ),
        # Chunks
        pytest.param(CHUNKED + b"\r\n5;x\nhello\r\n0\r\n\r\n", id="chunk-ext-LF-TERM.EXT"),
        pytest.param(CHUNKED + b"\r\n5;x\rhello\r\n0\r\n\r\n", id="chunk-ext-bare-CR"),
        pytest.param(CHUNKED + b"\r\n5\nhello\r\n0\r\n\r\n", id="chunk-size-LF"),
        pytest.param(CHUNKED + b"\r\n5\r\nhello\n0\r\n\r\n", id="chunk-data-LF-SPILL.TERM"),
        pytest.param(CHUNKED + b"\r\n5\r\nhelloXX0\r\n\r\n", id="chunk-data-two-byte-spill"),
        pytest.param(CHUNKED + b"\r\n5\r\nhello0\r\n\r\n", id="chunk-without-end"),
        pytest.param(CHUNKED + b"\r\n4\r\nhello\r\n0\r\n\r\n", id="chunk-too-long"),
        pytest.param(CHUNKED + b"\r\n0x5\r\nhello\r\n0\r\n\r\n", id="chunk-size-0x"),
        pytest.param(CHUNKED + b"\r\n+5\r\nhello\r\n0\r\n\r\n", id="chunk-size-plus"),
        pytest.param(CHUNKED + b"\r\n-5\r\nhello\r\n0\r\n\r\n", id="chunk-size-minus"),
        pytest.param(CHUNKED + b"\r\n 5\r\nhello\r\n0\r\n\r\n", id="chunk-size-leading-space"),
        pytest.param(CHUNKED + b"\r\n5 \r\nhello\r\n0\r\n\r\n", id="chunk-size-trailing-space"),
        pytest.param(CHUNKED + b"\r\n1_0\r\nhello\r\n0\r\n\r\n", id="chunk-size-underscore"),
        pytest.param(CHUNKED + b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n", id="chunk-size-empty"),
        pytest.param(CHUNKED + b"\r\ng\r\nhello\r\n0\r\n\r\n", id="chunk-size-not-hex"),
        pytest.param(CHUNKED + b"\r\n10000000000000005\r\nhello\r\n0\r\n\r\n", id="chunk-size-over-64-bits"),
        pytest.param(CHUNKED + b"\r\nFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n", id="chunk-size-2^64-1"),
        pytest.param(CHUNKED + b"\r\n" + b"0" * 2000 + b"5\r\nhello\r\n0\r\n\r\n", id="chunk-size-endless"),
        pytest.param(CHUNKED + b"\r\n5;" + b"x" * 70_000 + b"\r\nhello\r\n0\r\n\r\n", id="CVE-2023-39326-long-ext"),
        pytest.param(CHUNKED + b"\r\n5;a=\x00\r\nhello\r\n0\r\n\r\n", id="chunk-ext-NUL"),
        pytest.param(CHUNKED + b"\r\n0\r\nX: y\nFoo: z\r\n\r\n", id="trailer-bare-LF"),
        pytest.param(CHUNKED + b"\r\n0\r\n folded\r\n\r\n", id="trailer-fold"),
        pytest.param(CHUNKED + b"\r\n0\r\nno colon\r\n\r\n", id="trailer-without-colon"),
        pytest.param(CHUNKED + b"\r\n0\r\nGET $E HTTP/1.1\r\nHost: a\r\n\r\n", id="request-in-trailers"),
        pytest.param(CHUNKED + b"\r\n0\r\n" + b"X: y\r\n" * 3000 + b"\r\n", id="trailers-endless"),
        # Request lines
        pytest.param(b"GET  $P HTTP/1.1\r\nHost: a\r\n\r\n", id="9112-3-two-spaces"),
        pytest.param(b"GET\t$P HTTP/1.1\r\nHost: a\r\n\r\n", id="9112-3-tab"),
        pytest.param(b"GET $P HTTP/1.1 \r\nHost: a\r\n\r\n", id="space-after-version"),
        pytest.param(b"GET $P\x0bHTTP/1.1\r\nHost: a\r\n\r\n", id="vertical-tab"),
        pytest.param(b"GET $P x HTTP/1.1\r\nHost: a\r\n\r\n", id="space-in-target"),
        pytest.param(b"GET $P\rx HTTP/1.1\r\nHost: a\r\n\r\n", id="CR-in-target"),
        pytest.param(b"GET $P\x00 HTTP/1.1\r\nHost: a\r\n\r\n", id="NUL-in-target"),
        pytest.param(b"GET $P\xff HTTP/1.1\r\nHost: a\r\n\r\n", id="8-bit-in-target"),
        pytest.param(b"GET $P\x7f HTTP/1.1\r\nHost: a\r\n\r\n", id="DEL-in-target"),
        pytest.param(b"GET $P#x HTTP/1.1\r\nHost: a\r\n\r\n", id="fragment-in-target"),
        pytest.param(b"GET p HTTP/1.1\r\nHost: a\r\n\r\n", id="target-without-slash"),
        pytest.param(b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", id="asterisk-for-GET"),
        pytest.param(b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", id="absolute-form-other-scheme"),
        pytest.param(b"GET http://u:p@a/ HTTP/1.1\r\nHost: a\r\n\r\n", id="9110-4.2.4-userinfo"),
        pytest.param(b"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", id="absolute-form-empty-host"),
        pytest.param(b"GET http://a\\b/ HTTP/1.1\r\nHost: a\r\n\r\n", id="absolute-form-backslash"),
        pytest.param(b"GET $P\r\n\r\n", id="HTTP/0.9"),
        pytest.param(b"GET $P HTTP/1.1x\r\nHost: a\r\n\r\n", id="version-junk"),
        pytest.param(b"GET $P HTTP/11\r\nHost: a\r\n\r\n", id="version-without-dot"),
        pytest.param(b"GET $P HTTP/1.10\r\nHost: a\r\n\r\n", id="version-1.10"),
        pytest.param(b"GET $P http/1.1\r\nHost: a\r\n\r\n", id="version-lower-case"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", id="TLS-hello"),
        pytest.param(b"\r\n\r\n" + GET + b"\r\n", id="9112-2.2-two-empty-lines"),
        pytest.param(b"\n" + GET + b"\r\n", id="LF-before-the-request"),
        pytest.param(b" " + GET + b"\r\n", id="space-before-the-request"),
        pytest.param(b"GET $P HTTP/1.1\nHost: a\n\n", id="LF-only"),
        pytest.param(b"GET $P HTTP/1.1\r\r\nHost: a\r\n\r\n", id="CR-CR-LF"),
        pytest.param(b"G\x00T $P HTTP/1.1\r\nHost: a\r\n\r\n", id="method-NUL"),
        pytest.param(b'"GET $P HTTP/1.1\r\nHost: a\r\n\r\n', id="method-quote"),
        # Host
        pytest.param(b"GET $P HTTP/1.1\r\n\r\n", id="9112-3.2-no-host"),
        pytest.param(b"GET $P HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", id="9112-3.2-two-hosts"),
        pytest.param(b"GET $P HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", id="9112-3.2-two-hosts-same"),
        pytest.param(b"GET $P HTTP/1.1\r\nHost: a, b\r\n\r\n", id="host-list"),
        pytest.param(b"GET $P HTTP/1.1\r\nHost: a b\r\n\r\n", id="host-space"),
        pytest.param(b"GET $P HTTP/1.1\r\nHost: a@b\r\n\r\n", id="host-userinfo"),
        pytest.param(b"GET $P HTTP/1.1\r\nHost: a/b\r\n\r\n", id="host-slash"),
        pytest.param(b"GET $P HTTP/1.1\r\nHost: a:8x\r\n\r\n", id="host-port-junk"),
        pytest.param(b"GET $P HTTP/1.1\r\nHost: a:80:80\r\n\r\n", id="host-two-ports"),
        pytest.param(b"GET $P HTTP/1.1\r\nHost: a\x00b\r\n\r\n", id="host-NUL"),
        pytest.param(b"GET $P HTTP/1.1\r\nHost: \xc3\xa4\r\n\r\n", id="host-8-bit"),
        pytest.param(b"GET $P HTTP/1.1\r\nHost: [::1\r\n\r\n", id="host-open-bracket"),
        pytest.param(b"GET $P HTTP/1.1\r\n Host: a\r\nHost: b\r\n\r\n", id="host-leading-space"),
        pytest.param(b"GET $P HTTP/1.1\r\nHost : a\r\n\r\n", id="host-space-colon"),
        pytest.param(b"GET http://a$P HTTP/1.1\r\n\r\n", id="absolute-form-without-host"),
        # Limits and expectations
    ],
)
def test_what_two_readers_could_take_differently_is_refused(sidecar, raw_origin, connect, paths, raw) -> None:
    """A malformed request gets a 400, once; nothing after it on the connection is read, and nothing is forwarded."""
    assert_refused(sidecar, raw_origin, connect, paths, raw, 400)


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        pytest.param(b"GET $P HTTP/2.0\r\nHost: a\r\n\r\n", 505, id="version-2.0"),
        pytest.param(b"GET $P HTTP/1.2\r\nHost: a\r\n\r\n", 505, id="version-1.2"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, id="9113-3.4-preface"),
        pytest.param(b"get $P HTTP/1.1\r\nHost: a\r\n\r\n", 501, id="method-lower-case"),
        pytest.param(b"GeT $P HTTP/1.1\r\nHost: a\r\n\r\n", 501, id="method-mixed-case"),
        pytest.param(b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 405, id="CONNECT"),
        pytest.param(b"TRACE $P HTTP/1.1\r\nHost: a\r\n\r\n", 405, id="TRACE"),
        pytest.param(b"GET $P?" + LONG + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414, id="target-too-long"),
        pytest.param(GET + b"X: " + b"x" * 66_000 + b"\r\n\r\n", 431, id="field-too-long"),
        pytest.param(GET + b"X: y\r\n" * 300 + b"\r\n", 431, id="too-many-fields"),
        pytest.param(GET + b"X: y\r\n" * 20_000, 431, id="head-without-end"),
        pytest.param(POST + b"Expect: 200-ok\r\nContent-Length: 5\r\n\r\nhello", 417, id="9110-10.1.1-unknown"),
        pytest.param(GET + b"Via: 1.1 cacheproxy\r\n" * 9 + b"\r\n", 508, id="loop"),
        pytest.param(GET + b"Via: " + b"1.1 cacheproxy, " * 9 + b"\r\n\r\n", 508, id="loop-in-one-field"),
        pytest.param(POST + b"Expect: 100-continue, x\r\nContent-Length: 5\r\n\r\nhello", 417, id="expect-two-members"),
    ],
)
def test_what_is_out_of_bounds_is_refused(sidecar, raw_origin, connect, paths, raw, status) -> None:
    """A request that is too much, or for something that a proxy should not do, ends its connection too."""
    assert_refused(sidecar, raw_origin, connect, paths, raw, status)


def assert_refused(sidecar, raw_origin, connect, paths, raw: bytes, status: int) -> None:
    """``raw`` and a request behind it get ``status`` and the connection's end; the origin gets neither."""
    wire = connect(sidecar).send(filled(raw + EVIL, paths))
    answer = wire.answer()
    assert (status, "close") == (answer.status, answer.get("connection"))
    assert wire.closed()
    assert_canary(connect(sidecar), paths)
    assert paths[b"$E"] not in b"\n".join(raw_origin.lines())
    for seen in raw_origin.seen(paths[b"$P"]):
        # A body went wrong under way: its request may have been begun, but was never completed.
        assert b"chunked" == seen.get("transfer-encoding")
        assert_strict(seen)


@pytest.mark.parametrize(
    ("raw", "bodies"),
    [
        pytest.param(POST + b"Content-Length: 5\r\n\r\nhello", [b"hello"], id="length"),
        pytest.param(POST + b"Content-Length: 005\r\n\r\nhello", [b"hello"], id="length-leading-zeros"),
        pytest.param(POST + b"content-length:\t5\t\r\n\r\nhello", [b"hello"], id="length-tabs"),
        pytest.param(POST + b"Content-Length: 0\r\n\r\n", [b""], id="CL.0-empty"),
        pytest.param(POST + b"\r\n", [b""], id="9112-6.3-no-framing-no-body"),
        pytest.param(CHUNKED + b"\r\n5\r\nhello\r\n0\r\n\r\n", [b"hello"], id="chunked"),
        pytest.param(CHUNKED + b"\r\n5;a=b;c\r\nhello\r\n0;x\r\n\r\n", [b"hello"], id="9112-7.1.1-extensions"),
        pytest.param(CHUNKED + b"\r\n00005\r\nhello\r\n000\r\n\r\n", [b"hello"], id="chunk-leading-zeros"),
        pytest.param(CHUNKED + b"\r\nA\r\nhellohello\r\n0\r\n\r\n", [b"hellohello"], id="chunk-upper-hex"),
        pytest.param(
            CHUNKED + b"\r\n0\r\nContent-Length: 5\r\nHost: evil\r\nX-User-Id: 1\r\n\r\n", [b""], id="9110-6.5-trailers"
        ),
        pytest.param(CHUNKED.replace(b"chunked", b"cHuNkEd") + b"\r\n0\r\n\r\n", [b""], id="TE-case"),
        pytest.param(GET + b"Content-Length: 5\r\n\r\nhello", [b"hello"], id="fat-GET"),
        pytest.param(
            GET + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", [b"hello"], id="fat-GET-chunked"
        ),
        pytest.param(
            GET.replace(b"GET", b"DELETE") + b"Content-Length: 5\r\n\r\nhello", [b"hello"], id="DELETE-with-body"
        ),
        pytest.param(GET.replace(b"GET", b"OPTIONS") + b"Content-Length: 2\r\n\r\nhi", [b"hi"], id="OPTIONS-with-body"),
        pytest.param(GET + b"\r\n" + GET + b"\r\n" + GET + b"\r\n", [b"", b"", b""], id="pipelined"),
        pytest.param(POST + b"Content-Length: 2\r\n\r\nhi" + GET + b"\r\n", [b"hi", b""], id="pipelined-after-a-body"),
        pytest.param(
            POST + b"Content-Length: 2\r\n\r\nhi\r\n" + GET + b"\r\n", [b"hi", b""], id="9112-2.2-CRLF-after-body"
        ),
        pytest.param(
            POST + b"Content-Length: 2\r\nConnection: content-length\r\n\r\nhi", [b"hi"], id="9110-7.6.1-CL-nominated"
        ),
        pytest.param(
            CHUNKED + b"Connection: transfer-encoding\r\n\r\n2\r\nhi\r\n0\r\n\r\n", [b"hi"], id="TE-nominated"
        ),
        pytest.param(GET + b"Connection: host\r\n\r\n", [b""], id="host-nominated"),
        pytest.param(
            GET + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
            [b""],
            id="h2c-smuggling",
        ),
        pytest.param(GET + b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n", [b""], id="h2c-without-connection"),
        pytest.param(GET + b"Trailer: Content-Length\r\n\r\n", [b""], id="trailer-announced"),
        pytest.param(GET + b"Connection: upgrade\r\nUpgrade: TLS/1.0\r\n\r\n", [b""], id="upgrade-TLS"),
        pytest.param(POST + b"Content_Length: 50\r\nContent-Length: 2\r\n\r\nhi", [b"hi"], id="CL-underscore-name"),
        pytest.param(
            POST + b"Transfer_Encoding: chunked\r\nContent-Length: 2\r\n\r\nhi", [b"hi"], id="TE-underscore-name"
        ),
        pytest.param(GET + b"Host_: b\r\nX: \xff\xfe\r\n\r\n", [b""], id="8-bit-value"),
        pytest.param(GET + b"Expect: 100-continue\r\n\r\n", [b""], id="9110-10.1.1-expect-without-body"),
        pytest.param(CL0_TE + b"Expect: 100-continue\r\n\r\n", [b""], id="expect-with-length-0"),
        pytest.param(
            POST.replace(b"1.1", b"1.0")
            + b"Expect: 100-continue\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nhi",
            [b"hi"],
            id="9110-10.1.1-expect-in-1.0",
        ),
        pytest.param(GET + b"TE: trailers, chunked;q=0.5\r\n\r\n", [b""], id="TE-field"),
        pytest.param(GET + b"X: y\r\n" * 200 + b"\r\n", [b""], id="many-fields"),
        pytest.param(GET + b"X: " + b"y" * 60_000 + b"\r\n\r\n", [b""], id="long-field"),
    ],
)
def test_what_is_forwarded_is_framed_anew(sidecar, raw_origin, connect, paths, raw, bodies) -> None:
    """The origin gets exactly these requests, each framed in one way; the connection is then in step."""
    wire = connect(sidecar)
    for _ in range(3):  # what came before is sent on by a shorter way
        wire.send(filled(raw, paths))
        answers = [wire.answer() for _ in bodies]
        assert {200} == {answer.status for answer in answers}
    assert_canary(wire, paths)
    seen = raw_origin.seen(paths[b"$P"])
    assert bodies * 3 == [each.body for each in seen]
    for each in seen:
        assert_strict(each)
        assert not {b"upgrade", b"http2-settings", b"keep-alive", b"trailer", b"te", b"expect"} & {
            name for name, _ in each.fields
        }
        assert each.get("connection") in (None, b"te")


def test_equal_heads_bring_bodies_of_their_own(sidecar, raw_origin, connect, paths) -> None:
    """What is known of a head says nothing of the body behind it, in one piece or two, by length or in chunks."""
    wire, sent = connect(sidecar), []
    for number in range(12):
        body = b"%05d" % number
        head = filled((CHUNKED if number % 4 == 3 else POST + b"Content-Length: 5\r\n") + b"\r\n", paths)
        body_raw = b"2\r\n%b\r\n3\r\n%b\r\n0\r\n\r\n" % (body[:2], body[2:]) if number % 4 == 3 else body
        for piece in (head, body_raw[:3], body_raw[3:]) if number % 3 == 2 else (head + body_raw,):
            wire.send(piece)
        assert wire.answer().body.endswith(b"body=" + body)
        sent.append(body)
    assert sent == [seen.body for seen in raw_origin.seen(paths[b"$P"])]
    assert_canary(wire, paths)


@pytest.mark.parametrize(
    ("raw", "host"),
    [
        pytest.param(b"GET http://b.example$P HTTP/1.1\r\nHost: a.example\r\n\r\n", b"b.example", id="9112-3.2.2"),
        pytest.param(
            b"GET HTTPS://B.example:8443$P HTTP/1.1\r\nHost: a\r\n\r\n", b"b.example:8443", id="port-and-case"
        ),
        pytest.param(b"GET http://b.example$P HTTP/1.0\r\n\r\n", b"b.example", id="1.0-without-host"),
        pytest.param(GET + b"X-Forwarded-Host: evil\r\n\r\n", b"a.example", id="forwarded-host-untrusted"),
    ],
)
def test_the_origin_sees_the_host_that_was_asked_for(sidecar, raw_origin, connect, paths, raw, host) -> None:
    """An absolute target's authority replaces Host, so that route, key and origin go by the same one."""
    assert 200 == connect(sidecar).ask(filled(raw, paths)).status
    [seen] = raw_origin.seen(paths[b"$P"])
    assert host == seen.get("host").lower()
    assert host == seen.get("x-forwarded-host")


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@pytest.mark.parametrize("connection", [b"close", b"Close, x", b"x, CLOSE"])
def test_nothing_is_read_after_a_close(sidecar, raw_origin, connect, paths, version, connection) -> None:
    """A request that closes the connection is its last, whatever is pipelined behind it."""
    raw = b"GET $P HTTP/%b\r\nHost: a\r\nConnection: %b\r\n\r\n" % (version, connection)
    wire = connect(sidecar).send(filled(raw + EVIL, paths))
    assert (200, "close") == (wire.answer().status, "close")
    assert wire.closed()
    assert [] == raw_origin.seen(paths[b"$E"])


def test_http_1_0_closes_unless_asked(sidecar, raw_origin, connect, paths) -> None:
    """Without keep-alive an HTTP/1.0 connection ends with its response."""
    wire = connect(sidecar).send(filled(b"GET $P HTTP/1.0\r\nHost: a\r\n\r\n" + EVIL, paths))
    assert (200, "close") == ((answer := wire.answer()).status, answer.get("connection"))
    assert wire.closed()
    assert [] == raw_origin.seen(paths[b"$E"])


@pytest.mark.parametrize(
    "declared",
    [pytest.param(b"Content-Length: 1000", id="length"), pytest.param(b"Transfer-Encoding: chunked", id="chunked")],
)
def test_an_early_answer_ends_both_connections(sidecar, raw_origin, connect, paths, declared) -> None:
    """An origin that answers before the body has come (CL.0): what is left of the body is never a request to it."""
    raw_origin.on(paths[b"$P"], ok(b"early"), HANG, early=True)
    wire = connect(sidecar).send(filled(POST + declared + b"\r\n\r\n", paths))
    answer = wire.answer()
    assert (200, b"early", "close") == (answer.status, answer.body, answer.get("connection"))
    wire.send(filled(EVIL, paths))
    assert wire.closed()
    assert_canary(connect(sidecar), paths)
    assert [] == raw_origin.seen(paths[b"$E"])


def test_a_body_that_is_not_read_is_no_request(sidecar, raw_origin, connect, paths) -> None:
    """A refused request's body (here: of an unknown expectation) is dropped with its connection."""
    body = filled(EVIL, paths)
    wire = connect(sidecar).send(filled(POST, paths) + b"Expect: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    assert 417 == wire.answer().status
    assert wire.closed()
    assert [] == raw_origin.seen(paths[b"$E"])


def test_a_continue_comes_once_and_only_from_need(sidecar, raw_origin, connect, paths) -> None:
    """100 (Continue) comes once the origin wants the body; an early refusal comes without it (RFC 9110 §10.1.1)."""
    expecting = filled(POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n", paths)
    raw_origin.on(paths[b"$P"], b"HTTP/1.1 100 Continue\r\n\r\n", "read", ok(b"thanks"), early=True)
    raw_origin.on(paths[b"$P"], ok(b"no", status=b"413 No"), CLOSE, early=True)
    wire = connect(sidecar)
    assert 100 == wire.ask(expecting).status
    assert b"thanks" == wire.ask(b"hi").body
    assert b"hi" == raw_origin.seen(paths[b"$P"])[0].body
    assert 413 == wire.ask(expecting).status
    assert wire.closed()


FAKE = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nEVIL"
CHUNKS = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        pytest.param(ok(b"fine") + FAKE, 200, b"fine", id="response-behind-a-response"),
        pytest.param(ok(b"fine") + b"\r\n", 200, b"fine", id="CRLF-behind-a-response"),
        pytest.param(b"HTTP/1.1 204 No\r\ncontent-length: 4\r\n\r\nEVIL", 204, b"", id="9112-6.3-204-with-body"),
        pytest.param(
            b"HTTP/1.1 204 No\r\ntransfer-encoding: chunked\r\n\r\n4\r\nEVIL\r\n0\r\n\r\n", 204, b"", id="204-chunked"
        ),
        pytest.param(b"HTTP/1.1 304 No\r\ncontent-length: 4\r\n\r\n" + FAKE, 304, b"", id="304-with-response"),
        pytest.param(b"HTTP/1.1 100 Go\r\n\r\n" * 5 + ok(b"fine"), 200, b"fine", id="100-unasked"),
        pytest.param(b"HTTP/1.1 102 Wait\r\n\r\n" * 40 + ok(b"evil"), 502, None, id="1xx-flood"),
        pytest.param(b"HTTP/1.1 101 Switching\r\nupgrade: h2c\r\n\r\n" + FAKE, 502, None, id="101-unasked"),
        pytest.param(
            b"HTTP/1.1 100 Go\r\ncontent-length: 59\r\n\r\n" + ok(b"fine"), 200, b"fine", id="1xx-with-length"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncontent-length: 4\r\n\r\nEVIL", 502, None, id="CL.CL-same"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncontent-length: 2\r\n\r\nEVIL", 502, None, id="CL.CL-differ"
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 4, 4\r\n\r\nEVIL", 502, None, id="CL-list"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: +4\r\n\r\nEVIL", 502, None, id="CL-plus"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: -4\r\n\r\nEVIL", 502, None, id="CL-minus"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 0x4\r\n\r\nEVIL", 502, None, id="CL-hex"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: \r\n\r\nEVIL", 502, None, id="CL-empty"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\nEVIL", 502, None, id="CL-huge"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n" + FAKE,
            502,
            None,
            id="CL.TE",
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n", 502, None, id="TE-xchunked"),
        pytest.param(b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 502, None, id="TE-gzip"),
        pytest.param(b"HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\n\r\nEVIL", 502, None, id="TE-identity"),
        pytest.param(
            b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n" + FAKE, 502, None, id="TE-in-1.0"
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\nx: y\n\nEVIL: z\r\n\r\n", 502, None, id="LF-LF-in-head"),
        pytest.param(b"HTTP/1.1 200 OK\nset-cookie: evil=1\r\n\r\n", 502, None, id="LF-after-status"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nx: y\nset-cookie: evil=1\r\ncontent-length: 0\r\n\r\n", 502, None, id="LF-in-value"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nx: y\rset-cookie: evil=1\r\ncontent-length: 0\r\n\r\n", 502, None, id="CR-in-value"
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\nx: y\x00z\r\ncontent-length: 0\r\n\r\n", 502, None, id="NUL-in-value"),
        pytest.param(b"HTTP/1.1 200 OK\r\nx y: z\r\ncontent-length: 0\r\n\r\n", 502, None, id="space-in-name"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length : 0\r\n\r\n" + FAKE, 502, None, id="space-before-colon"),
        pytest.param(b"HTTP/1.1 200 OK\r\nx: y\r\n content-length: 0\r\n\r\n" + FAKE, 502, None, id="obs-fold"),
        pytest.param(b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n" + FAKE, 502, None, id="no-colon"),
        pytest.param(b"HTTP/1.1 200 O\rK\r\ncontent-length: 0\r\n\r\n", 502, None, id="CR-in-reason"),
        pytest.param(b"HTTP/1.1 99 x\r\ncontent-length: 0\r\n\r\n", 502, None, id="status-99"),
        pytest.param(b"HTTP/1.1 2000 x\r\ncontent-length: 0\r\n\r\n", 502, None, id="status-2000"),
        pytest.param(b"HTTP/1.1 600 x\r\ncontent-length: 0\r\n\r\n", 502, None, id="status-600"),
        pytest.param(b"HTTP/1.1 -20 x\r\ncontent-length: 0\r\n\r\n", 502, None, id="status-minus"),
        pytest.param(b"HTTP/2.0 200 OK\r\ncontent-length: 0\r\n\r\n", 502, None, id="version-2.0"),
        pytest.param(b"HTTP/1.1  200 OK\r\ncontent-length: 0\r\n\r\n", 502, None, id="two-spaces"),
        pytest.param(b"<html>EVIL</html>\r\n\r\n", 502, None, id="HTTP/0.9"),
        pytest.param(b"\r\n" + ok(b"EVIL"), 502, None, id="CRLF-first"),
        pytest.param(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 400 + b"\r\n", 502, None, id="too-many-fields"),
        pytest.param(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000 + b"\r\n\r\n", 502, None, id="head-too-large"),
        pytest.param(CHUNKS + b"4\nEVIL\r\n0\r\n\r\n", 502, None, id="chunk-LF"),
        pytest.param(CHUNKS + b"-4\r\nEVIL\r\n0\r\n\r\n", 502, None, id="chunk-minus"),
        pytest.param(
            CHUNKS + b"FFFFFFFFFFFFFFFFF\r\nEVIL\r\n0\r\n\r\n",
            502,
            None,
            id="chunk-overflow",
        ),
        pytest.param(
            CHUNKS + b"4\r\nfine\r\n0\r\ncontent-length: 9\r\nx-evil: 1\r\n\r\n",
            200,
            b"fine",
            id="9110-6.5-trailers",
        ),
    ],
)
@pytest.mark.parametrize("before", [0, 3], ids=["first", "after-others"])
def test_the_origins_bytes_never_answer_another_request(
    sidecar, raw_origin, connect, paths, answer, status, body, before
) -> None:
    """A malformed or surplus answer is a 502, or ends where it says; the next request gets its own answer."""
    wire, request = connect(sidecar), filled(GET + b"\r\n", paths)
    for _ in range(before):  # a request that came before is sent on by a shorter way
        raw_origin.on(paths[b"$P"], ok(b"before"))
    raw_origin.on(paths[b"$P"], answer)
    assert [b"before"] * before == [wire.ask(request).body for _ in range(before)]
    got = final(wire.send(request))
    assert status == got.status
    assert body is None or body == got.body
    assert b"EVIL" not in got.body
    assert not {b"set-cookie", b"x-evil", b"evil"} & {name for name, _ in got.fields}
    assert_canary(connect(sidecar), paths)


def final(wire, method: str = "GET") -> Answer:
    """The next final response."""
    while (answer := wire.answer(method)).status < 200:
        assert not {b"content-length", b"transfer-encoding", b"connection"} & {name for name, _ in answer.fields}
    return answer


@pytest.mark.parametrize(
    "cut", [b"5\r\nhe", b"5\r\nhello\r\n", b"5\r\nhello\r\n0\r\n", b"5\r\nhelloXX", b"5\r\nhello\r\nzz\r\n"]
)
def test_half_a_body_is_never_passed_off_as_a_whole(sidecar, raw_origin, connect, paths, cut) -> None:
    """A chunked body that breaks off, or goes wrong, breaks off for the client too, or is a 502; nobody keeps it."""
    path = raw_origin.path("/c")
    raw_origin.on(path, CHUNKS + b"" + cut, CLOSE)
    raw_origin.on(path, ok(b"whole"))
    request = b"GET %b HTTP/1.1\r\nHost: a.example\r\n\r\n" % path
    got = connect(sidecar).ask(request)
    assert got.status == 502 or not got.whole
    assert b"whole" == connect(sidecar).ask(request).body


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_length_that_is_not_kept_is_a_broken_body(sidecar, raw_origin, connect, method) -> None:
    """An origin that closes before its Content-Length is a 502; to HEAD it is none, as no body is due."""
    path = raw_origin.path("/c")
    raw_origin.on(path, b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", CLOSE)
    wire = connect(sidecar).send(b"%b %b HTTP/1.1\r\nHost: a\r\n\r\n" % (method.encode(), path))
    assert {"GET": 502, "HEAD": 200}[method] == wire.answer(method).status


def test_surplus_bytes_that_come_later_close_the_connection(sidecar, raw_origin, connect, paths) -> None:
    """Bytes on an idle connection to the origin can only be for somebody else: it is closed, not reused."""
    answered, gone = threading.Event(), threading.Event()
    raw_origin.on(paths[b"$P"], ok(b"fine"), answered, FAKE, HANG, lambda _: bool(gone.set()) * b"")
    assert b"fine" == connect(sidecar).ask(filled(GET + b"\r\n", paths)).body
    answered.set()
    assert gone.wait(5)
    assert_canary(connect(sidecar), paths)


@pytest.mark.parametrize("framing", [b"content-length: 63", b"transfer-encoding: chunked"])
def test_a_204_that_declares_a_body_ends_its_connection(sidecar, raw_origin, connect, paths, framing) -> None:
    """Who announces a body after a 204 may send it, a moment later: nobody else is asked over that connection."""
    gone = threading.Event()
    answer = b"HTTP/1.1 204 No Content\r\n%b\r\n\r\n" % framing
    raw_origin.on(paths[b"$P"], answer, HANG, lambda _: bool(gone.set()) * b"")
    connect(sidecar).ask(filled(GET + b"\r\n", paths))
    assert gone.wait(2)
    assert_canary(connect(sidecar), paths)


def test_a_head_with_a_body_is_no_answer_to_the_next(sidecar, raw_origin, connect, paths) -> None:
    """A body sent in answer to HEAD is surplus."""
    raw_origin.on(paths[b"$P"], FAKE[:-4] + FAKE)
    for _ in range(4):
        assert 200 == connect(sidecar).ask(filled(GET.replace(b"GET", b"HEAD") + b"\r\n", paths), "HEAD").status
        assert_canary(connect(sidecar), paths)


def test_a_body_that_comes_long_after_a_head_answers_nobody(sidecar, raw_origin, connect, paths) -> None:
    """(response-queue desync) Whoever announces a body to HEAD may send it later: all answers would be one off."""
    pause = threading.Event()
    raw_origin.on(paths[b"$P"], FAKE[:-4], lambda _: pause.wait(0.05) * b"" + FAKE)
    for _ in range(3):
        assert 200 == connect(sidecar).ask(filled(GET.replace(b"GET", b"HEAD") + b"\r\n", paths), "HEAD").status
        for _ in range(5):
            assert_canary(connect(sidecar), paths)


@pytest.mark.parametrize("before", [1, 4], ids=["first", "after-others"])
def test_an_origin_that_tired_of_waiting_answers_nobody(sidecar, raw_origin, connect, paths, before) -> None:
    """9110-15.5.9: a 408 meant for an idle connection is not the answer to the request that is being sent on it."""
    wire, request = connect(sidecar), filled(GET + b"\r\n", paths)
    for _ in range(before):
        raw_origin.on(paths[b"$P"], ok(b"before"))
    raw_origin.on(paths[b"$P"], ok(b"too late", b"connection: close", status=b"408 Request Timeout"), CLOSE)
    raw_origin.on(paths[b"$P"], ok(b"anew"))
    assert [b"before"] * before + [b"anew"] == [wire.ask(request).body for _ in range(before + 1)]
    assert_canary(wire, paths)

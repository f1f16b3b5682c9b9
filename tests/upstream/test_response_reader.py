"""Responses as raw bytes, each read whole, byte by byte, and with bytes after its end."""

from collections.abc import Iterable
from dataclasses import dataclass

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.errors import UpstreamError
from cacheproxy.semantics.fields import Fields
from cacheproxy.upstream.bodies import NO_FIELDS
from cacheproxy.upstream.limits import MAX_FIELDS, MAX_HEAD_BYTES, MAX_INTERIM
from cacheproxy.upstream.reasons import Reason
from cacheproxy.upstream.response_reader import ResponseReader, whole_response

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"


@dataclass(frozen=True)
class Read:
    """What came out of a reader."""

    status: int
    body: bytes
    reusable: bool
    fields: Fields = NO_FIELDS
    trailers: Fields = NO_FIELDS
    interim: tuple[int, ...] = ()


def read(parts: Iterable[bytes], method: str = "GET") -> Read | str:
    """What a reader makes of ``parts`` and the end of the connection, or the reason for its refusal."""
    reader = ResponseReader(method)
    body = b""
    try:
        for part in parts:
            body += reader.feed(part)
        if not reader.done:
            reader.end()
    except UpstreamError as error:
        assert error.sent
        assert error.status == 502
        return error.reason
    assert reader.head is not None
    return Read(
        reader.head.status,
        body,
        reader.reusable,
        reader.head.fields,
        reader.trailers,
        tuple(head.status for head in reader.interim),
    )


def single_bytes(raw: bytes) -> list[bytes]:
    """``raw`` in parts of one byte."""
    return [raw[i : i + 1] for i in range(len(raw))]


def said(raw: bytes, method: str = "GET") -> Read | str:
    """What is read whole, having seen that byte by byte is the same."""
    whole = read([raw], method)
    assert read(single_bytes(raw), method) == whole
    return whole


LENGTH_2 = Fields.of(("content-length", "2"))

FRAMED = [
    pytest.param("GET", OK + b"Content-Length: 2\r\n\r\nhi", Read(200, b"hi", True, LENGTH_2), id="9112-6.3-length"),
    pytest.param(
        "GET",
        OK + b"content-length: 0\r\n\r\n",
        Read(200, b"", True, Fields.of(("content-length", "0"))),
        id="9112-6.3-length-0",
    ),
    pytest.param("HEAD", OK + b"content-length: 2\r\n\r\n", Read(200, b"", False, LENGTH_2), id="9112-6.3-1-head"),
    pytest.param(
        "HEAD",
        OK + b"transfer-encoding: chunked\r\n\r\n",
        Read(200, b"", False, Fields.of(("transfer-encoding", "chunked"))),
        id="9112-6.3-1-head-chunked",
    ),
    pytest.param("HEAD", OK + b"\r\n", Read(200, b"", True), id="9112-6.3-1-head-unframed"),
    pytest.param("GET", b"HTTP/1.1 204 No Content\r\n\r\n", Read(204, b"", True), id="9112-6.3-1-204"),
    pytest.param(
        "GET",
        b"HTTP/1.1 304 Not Modified\r\ncontent-length: 2\r\n\r\n",
        Read(304, b"", False, LENGTH_2),
        id="9112-6.3-1-304-with-length",
    ),
    pytest.param(
        "GET",
        b"HTTP/1.1 205 Reset Content\r\ncontent-length: 2\r\n\r\nhi",
        Read(205, b"hi", True, LENGTH_2),
        id="9110-15.3.6-205-is-framed-like-any",
    ),
    pytest.param(
        "GET",
        CHUNKED + b"2\r\nhi\r\n3;x=y\r\n yo\r\n0\r\n\r\n",
        Read(200, b"hi yo", True, Fields.of(("transfer-encoding", "chunked"))),
        id="9112-7.1-chunked-with-extension",
    ),
    pytest.param(
        "GET",
        CHUNKED + b"00A \t;a\r\n0123456789\r\n000\r\nDigest: abc\r\nContent-Length: 7\r\n\r\n",
        Read(
            200,
            b"0123456789",
            True,
            Fields.of(("transfer-encoding", "chunked")),
            Fields.of(("digest", "abc")),
        ),
        id="9112-7.1.2-trailers-less-framing",
    ),
    pytest.param(
        "GET",
        OK + b"Transfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n",
        Read(200, b"", True, Fields.of(("transfer-encoding", "CHUNKED"))),
        id="9112-7-codings-in-any-case",
    ),
    pytest.param(
        "GET",
        OK + b"connection: foo, Close\r\ncontent-length: 2\r\n\r\nhi",
        Read(200, b"hi", False, Fields.of(("connection", "foo, Close"), ("content-length", "2"))),
        id="9112-9.6-close",
    ),
    pytest.param(
        "GET",
        OK + b"connection: close\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nhi",
        Read(
            200,
            b"hi",
            False,
            Fields.of(("connection", "close"), ("connection", "keep-alive"), ("content-length", "2")),
        ),
        id="9112-9.6-close-wins",
    ),
    pytest.param(
        "GET", b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi", Read(200, b"hi", False, LENGTH_2), id="9112-9.3-old"
    ),
    pytest.param(
        "GET",
        b"HTTP/1.0 200 OK\r\nconnection: Keep-Alive\r\ncontent-length: 2\r\n\r\nhi",
        Read(200, b"hi", True, Fields.of(("connection", "Keep-Alive"), ("content-length", "2"))),
        id="9112-9.3-old-kept-alive",
    ),
    pytest.param(
        "GET",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
        + OK
        + b"content-length: 2\r\n\r\nhi",
        Read(200, b"hi", True, LENGTH_2, interim=(100, 103)),
        id="9110-15.2-interim",
    ),
    pytest.param(
        "GET",
        OK + b"a: \t b c \t \r\nE:\r\nx: \xe9\r\ncontent-length: 2\r\n\r\nhi",
        Read(200, b"hi", True, Fields([(b"a", b"b c"), (b"e", b""), (b"x", b"\xe9"), (b"content-length", b"2")])),
        id="9112-5.1-white-space-around-values",
    ),
    pytest.param(
        "GET", b"HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nhi", Read(200, b"hi", True, LENGTH_2), id="no-reason"
    ),
    pytest.param("GET", b"HTTP/1.1 599 \r\ncontent-length: 2\r\n\r\nhi", Read(599, b"hi", True, LENGTH_2), id="599"),
]


@pytest.mark.parametrize(("method", "raw", "expected"), FRAMED)
def test_a_framed_response_ends_by_itself(method: str, raw: bytes, expected: Read) -> None:
    """The head and its framing alone say where a response ends; the connection stays open."""
    assert said(raw, method) == expected


@pytest.mark.parametrize(("method", "raw", "expected"), FRAMED)
@pytest.mark.parametrize("junk", [b"\r\n", b"x", OK + b"content-length: 6\r\n\r\npoison"])
def test_bytes_after_a_response_cost_the_connection(method: str, raw: bytes, expected: Read, junk: bytes) -> None:
    """What follows a response is no part of it, and is never taken for the next one's."""
    poisoned = read([raw + junk], method)
    assert isinstance(poisoned, Read)
    assert (poisoned.status, poisoned.body, poisoned.reusable) == (expected.status, expected.body, False)


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(OK + b"\r\n", id="9112-6.3-8-unframed"),
        pytest.param(b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\n\r\n", id="9112-9.3-old-unframed"),
        pytest.param(b"HTTP/1.1 205 Reset\r\n\r\n", id="9110-15.3.6-205-unframed"),
    ],
)
def test_an_unframed_body_ends_with_the_connection(head: bytes) -> None:
    """Without a length or a coding, everything until the end is the body, and nothing can be reused."""
    body = said(head + b"one\r\n\r\ntwo")
    assert isinstance(body, Read)
    assert (body.body, body.reusable) == (b"one\r\n\r\ntwo", False)


MALFORMED = Reason.MALFORMED_RESPONSE


def bad(raw: bytes, reason: Reason = MALFORMED, *, name: str) -> object:
    """A row of the table below."""
    return pytest.param(raw, reason, id=name)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        bad(b"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi", name="bare-line-feeds"),
        bad(OK + b"a: b\ncontent-length: 2\r\n\r\nhi", name="bare-line-feed-after-field"),
        bad(OK + b"content-length: 2\r\n\nhi\r\n\r\n", name="bare-line-feed-after-head"),
        bad(OK + b"a: b\r\n c\r\ncontent-length: 2\r\n\r\nhi", name="9112-5.2-obs-fold"),
        bad(OK + b" a: b\r\ncontent-length: 2\r\n\r\nhi", name="9112-2.2-white-space-before-first-field"),
        bad(OK + b"a : b\r\ncontent-length: 2\r\n\r\nhi", name="9112-5.1-white-space-before-colon"),
        bad(OK + b"a: b\rc\r\ncontent-length: 2\r\n\r\nhi", name="bare-carriage-return"),
        bad(OK + b"a: b\0c\r\ncontent-length: 2\r\n\r\nhi", name="9110-5.5-nul"),
        bad(OK + b"a: b\x01c\r\ncontent-length: 2\r\n\r\nhi", name="9110-5.5-control"),
        bad(OK + b"a: b\x7fc\r\ncontent-length: 2\r\n\r\nhi", name="9110-5.5-delete"),
        bad(OK + b"a(b: c\r\ncontent-length: 2\r\n\r\nhi", name="9110-5.1-name-not-a-token"),
        bad(OK + b": c\r\ncontent-length: 2\r\n\r\nhi", name="no-name"),
        bad(OK + b"abc\r\ncontent-length: 2\r\n\r\nhi", name="no-colon"),
        bad(b"\r\n" + OK + b"content-length: 2\r\n\r\nhi", name="line-before-status-line"),
        bad(b"HTTP/1.1  200 OK\r\ncontent-length: 2\r\n\r\nhi", name="two-spaces"),
        bad(b"HTTP/1.1 20 OK\r\ncontent-length: 2\r\n\r\nhi", name="two-digits"),
        bad(b"HTTP/1.1 2000 OK\r\ncontent-length: 2\r\n\r\nhi", name="four-digits"),
        bad(b"HTTP/1.1 099 OK\r\ncontent-length: 2\r\n\r\nhi", name="9110-15-status-under-100"),
        bad(b"HTTP/1.1 600 OK\r\ncontent-length: 2\r\n\r\nhi", name="9110-15-status-over-599"),
        bad(b"HTTP/1.1 200 O\0K\r\ncontent-length: 2\r\n\r\nhi", name="nul-in-reason"),
        bad(b"HTTP/2.0 200 OK\r\ncontent-length: 2\r\n\r\nhi", name="version-2"),
        bad(b"HTTP/0.9 200 OK\r\ncontent-length: 2\r\n\r\nhi", name="version-0.9"),
        bad(b"HTTP/1.2 200 OK\r\ncontent-length: 2\r\n\r\nhi", name="version-1.2"),
        bad(b"http/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", name="9112-2.3-lower-case-version"),
        bad(b"RTSP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi", name="another-protocol"),
        bad(b"SSH-2.0-OpenSSH_9.2\r\n", name="another-protocol-without-a-head"),
        bad(OK + b"content-length: 2\r\ncontent-length: 2\r\n\r\nhi", name="9112-6.3-5-length-twice"),
        bad(OK + b"content-length: 2\r\ncontent-length: 3\r\n\r\nhi", name="9112-6.3-5-lengths-differ"),
        bad(OK + b"content-length: 2, 2\r\n\r\nhi", name="9112-6.3-5-length-list"),
        bad(OK + b"content-length: +2\r\n\r\nhi", name="length-plus"),
        bad(OK + b"content-length: -2\r\n\r\nhi", name="length-negative"),
        bad(OK + b"content-length: 0x2\r\n\r\nhi", name="length-hex"),
        bad(OK + b"content-length: 2_0\r\n\r\nhi", name="length-underscore"),
        bad(OK + b"content-length:\r\n\r\nhi", name="length-empty"),
        bad(OK + b"content-length: 9999999999999999999\r\n\r\nhi", name="length-overflow"),
        bad(b"HTTP/1.1 304 Not Modified\r\ncontent-length: x\r\n\r\n", name="length-bad-though-unused"),
        bad(
            OK + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            name="9112-6.3-3-length-and-coding",
        ),
        bad(
            OK + b"transfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n0\r\n\r\n",
            name="9112-6.3-3-coding-and-length",
        ),
        bad(OK + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", name="9112-6.1-coding-unknown"),
        bad(OK + b"transfer-encoding: gzip\r\n\r\nhi", name="9112-6.1-not-chunked"),
        bad(OK + b"transfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n", name="9112-7-chunked-twice"),
        bad(
            OK + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            name="9112-7-chunked-on-two-lines",
        ),
        bad(OK + b"transfer-encoding: identity\r\n\r\nhi", name="coding-identity"),
        bad(OK + b"transfer-encoding:\r\n\r\nhi", name="coding-empty"),
        bad(OK + b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n", name="coding-looks-like-chunked"),
        bad(b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", name="9112-6.1-coding-in-old-version"),
        bad(CHUNKED + b"2\nhi\r\n0\r\n\r\n", name="chunk-line-feed"),
        bad(CHUNKED + b"2;a\nhi\r\n0\r\n\r\n", name="chunk-extension-line-feed"),
        bad(CHUNKED + b"2\r\nhi\n0\r\n\r\n", name="chunk-data-line-feed"),
        bad(CHUNKED + b"2\r\nhi0\r\n\r\n", name="chunk-data-without-end"),
        bad(CHUNKED + b"2\r\nhix\r\n0\r\n\r\n", name="chunk-longer-than-said"),
        bad(CHUNKED + b"0x2\r\nhi\r\n0\r\n\r\n", name="chunk-size-0x"),
        bad(CHUNKED + b"-2\r\nhi\r\n0\r\n\r\n", name="chunk-size-negative"),
        bad(CHUNKED + b"+2\r\nhi\r\n0\r\n\r\n", name="chunk-size-plus"),
        bad(CHUNKED + b" 2\r\nhi\r\n0\r\n\r\n", name="chunk-size-after-space"),
        bad(CHUNKED + b"2 \r\nhi\r\n0\r\n\r\n", name="chunk-size-before-space"),
        bad(CHUNKED + b"g\r\nhi\r\n0\r\n\r\n", name="chunk-size-not-hex"),
        bad(CHUNKED + b";a\r\nhi\r\n0\r\n\r\n", name="chunk-size-missing"),
        bad(CHUNKED + b"\r\nhi\r\n0\r\n\r\n", name="chunk-size-empty"),
        bad(CHUNKED + b"1000000000000000\r\nhi\r\n0\r\n\r\n", name="chunk-size-overflow"),
        bad(CHUNKED + b"2;" + b"a" * 5000 + b"\r\nhi\r\n0\r\n\r\n", name="chunk-extension-flood"),
        bad(CHUNKED + b"2;a\0b\r\nhi\r\n0\r\n\r\n", name="chunk-extension-nul"),
        bad(CHUNKED + b"0\r\na b: c\r\n\r\n", name="trailer-name-not-a-token"),
        bad(CHUNKED + b"0\r\na: b\n\r\n\r\n", name="trailer-line-feed"),
        bad(CHUNKED + b"0\r\n c: d\r\n\r\n", name="trailer-obs-fold"),
        bad(OK + b"content-len", name="closed-within-the-head"),
        bad(b"", Reason.CLOSED_EARLY, name="closed-at-once"),
        bad(b"HTTP/1.1 100 Continue\r\n\r\n", Reason.CLOSED_EARLY, name="closed-after-interim"),
        bad(OK + b"content-length: 3\r\n\r\nhi", Reason.BODY_TRUNCATED, name="9112-8-length-truncated"),
        bad(CHUNKED + b"3\r\nhi", Reason.BODY_TRUNCATED, name="9112-8-chunk-truncated"),
        bad(CHUNKED + b"2\r\nhi\r\n", Reason.BODY_TRUNCATED, name="9112-8-no-last-chunk"),
        bad(CHUNKED + b"2\r\nhi\r\n0\r\n", Reason.BODY_TRUNCATED, name="9112-8-no-end-of-trailers"),
        bad(b"HTTP/1.1 101 Switching Protocols\r\n\r\n", Reason.UNASKED_UPGRADE, name="9110-15.2.2-unasked"),
        bad(
            b"HTTP/1.1 102 Processing\r\n\r\n" * (MAX_INTERIM + 1) + OK + b"\r\n",
            Reason.TOO_MANY_INTERIM,
            name="interim-flood",
        ),
        bad(OK + b"a: b\r\n" * (MAX_FIELDS + 1) + b"\r\n", Reason.TOO_MANY_FIELDS, name="too-many-fields"),
        bad(CHUNKED + b"0\r\n" + b"a: b\r\n" * 257 + b"\r\n", Reason.TOO_MANY_FIELDS, name="too-many-trailers"),
        bad(
            OK + b"a: %b\r\n\r\n" % (b"x" * MAX_HEAD_BYTES),
            Reason.HEAD_TOO_LARGE,
            name="head-too-large",
        ),
        bad(
            CHUNKED + b"0\r\na: %b\r\n\r\n" % (b"x" * MAX_HEAD_BYTES),
            Reason.HEAD_TOO_LARGE,
            name="trailers-too-large",
        ),
    ],
)
def test_a_malformed_response_is_refused(raw: bytes, reason: Reason) -> None:
    """Whatever two readers could understand differently is refused by name, however it arrives."""
    assert said(raw) == reason


@pytest.mark.parametrize(
    "raw",
    [b"HTTP/1.1 200 OK\nContent-Length", b"\r\n", b"SSH-2.0", b"HTTP/2", OK + b"a: b\nc"],
)
def test_a_lost_cause_is_refused_before_its_end(raw: bytes) -> None:
    """Bytes that nothing to come can make right are refused at once, not when a time limit ends the wait."""
    with pytest.raises(UpstreamError) as refused:
        ResponseReader("GET").feed(raw)
    assert refused.value.reason == MALFORMED


def test_a_lost_cause_behind_an_interim_response_is_refused_before_its_end() -> None:
    """What was looked through before belongs to the head before, not to this one."""
    reader = ResponseReader("GET")
    reader.feed(b"HTTP/1.1 103 Early Hints\r\nlink: </a-long-one>")
    with pytest.raises(UpstreamError, match=MALFORMED):
        reader.feed(b"\r\n\r\nHTTP/1.1 200 OK\na: b")


def test_as_many_interim_and_fields_as_allowed_pass() -> None:
    """The bounds themselves are within bounds."""
    lines = b"a: b\r\n" * (MAX_FIELDS - 1) + b"content-length: 2\r\n\r\nhi"
    outcome = read([b"HTTP/1.1 102 Processing\r\n\r\n" * MAX_INTERIM + OK + lines])
    assert isinstance(outcome, Read)
    assert (len(outcome.fields), len(outcome.interim)) == (MAX_FIELDS, MAX_INTERIM)


@pytest.mark.parametrize("raw", [param.values[1] for param in FRAMED])
@given(data=st.data())
def test_the_cuts_between_reads_mean_nothing(raw: bytes, data: st.DataObject) -> None:
    """However the network cuts a response, the same comes out."""
    cuts = sorted(data.draw(st.sets(st.integers(0, len(raw)), max_size=6)))
    parts = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    assert read(parts) == read([raw])


PIECES = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.0 200 OK\r\n",
        b"HTTP/1.1 103 Early Hints\r\n",
        b"HTTP/1.1 204 No Content\r\n",
        b"content-length: 4\r\n",
        b"transfer-encoding: chunked\r\n",
        b"connection: close\r\n",
        b"a: b\r\n",
        b" ",
        b"\r\n",
        b"\n",
        b"4\r\n",
        b"wxyz",
        b"\r\n0\r\n\r\n",
        b"\0",
    ]
)
NOISE = st.one_of(st.binary(max_size=200), st.lists(PIECES | st.binary(max_size=3), max_size=16).map(b"".join))


@given(raw=NOISE, size=st.integers(1, 7))
def test_any_bytes_are_read_or_refused(raw: bytes, size: int) -> None:
    """Arbitrary bytes give a response or a reason, the same for any cut, and never another error."""
    pieces = [raw[at : at + size] for at in range(0, len(raw), size)]
    whole, cut = read([raw]), read(pieces)
    if isinstance(whole, Read):
        assert isinstance(cut, Read)
        assert (whole.status, whole.body, whole.fields) == (cut.status, cut.body, cut.fields)
    else:
        assert isinstance(cut, str) or cut.reusable is False


@given(raw=NOISE)
def test_what_is_read_is_what_h11_reads(raw: bytes) -> None:
    """Whatever response comes out is the one that a second strict parser sees, or one that it refuses."""
    ours = read([raw])
    if isinstance(ours, Read):
        theirs = read_by_h11(raw)
        assert theirs is None or theirs == (ours.status, ours.body)


def read_by_h11(raw: bytes) -> tuple[int, bytes] | None:
    """The status and body that h11 reads, or None where it refuses the bytes."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("host", "a")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(raw)
    connection.receive_data(b"")
    status, body = 0, b""
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return status, body
            elif not isinstance(event, h11.InformationalResponse):
                return None
    except h11.RemoteProtocolError:
        return None


WHOLE = st.builds(
    lambda status, fields, content: b"HTTP/1.1 %d \r\n%b\r\n%b" % (status, b"".join(fields), content),
    st.sampled_from([100, 103, 200, 204, 304, 404, 408, 503]),
    st.lists(
        st.sampled_from(
            [
                b"content-length: 0\r\n",
                b"content-length: 4\r\n",
                b"transfer-encoding: chunked\r\n",
                b"connection: close\r\n",
                b"x: 1\r\n",
            ]
        ),
        max_size=3,
    ),
    st.sampled_from([b"", b"wxy", b"wxyz", b"wxyz!", b"0\r\n\r\n"]),
)


@given(raw=WHOLE | NOISE, method=st.sampled_from(["GET", "HEAD", "POST"]))
def test_what_is_read_at_once_is_what_the_reader_reads(raw: bytes, method: str) -> None:
    """The same response, and never one after which the reader would not use the connection again."""
    try:
        whole = whole_response(method, raw)
    except UpstreamError as error:
        assert error.reason == read([raw], method)
        return
    if whole is not None:
        head, content = whole
        assert Read(head.status, content, reusable=True, fields=head.fields) == read([raw], method)


def test_a_usual_response_is_read_at_once() -> None:
    """Sized, in one piece, and from an origin that keeps the connection open."""
    whole = whole_response("GET", OK + b"content-length: 2\r\n\r\nhi")
    assert whole is not None
    assert (200, b"hi") == (whole[0].status, whole[1])

"""A reply's head as bytes: what frames it, for every kind of client."""

import httptools
import pytest

from cacheproxy.engine.reply import Reply
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.head import ResponseHead
from cacheproxy.server.wire import render_head, render_interim

KEPT = {b"connection": b"keep-alive"}
DATE = b"Tue, 14 Nov 2023 22:13:20 GMT"


class Body:
    """A body that is still arriving."""

    def __init__(self, length: int | None) -> None:
        """``length`` as declared."""
        self.length = length


def rendered(reply: Reply, *, method: str = "GET", close: bool = False, version: str = "1.1") -> tuple:
    """Status line, fields in order, and what render_head says beside them."""
    head, chunked, closes = render_head(reply, head_only=method == "HEAD", date=DATE, close=close, version=version)
    line, *lines, empty, rest = head.split(b"\r\n")
    assert (b"", b"") == (empty, rest)
    return line, dict(one.split(b": ", 1) for one in lines), chunked, closes


FRAMED = [
    pytest.param("GET", 200, b"abc", "1.1", {b"content-length": b"3"}, False, False, id="9112-6.2-at-hand"),
    pytest.param("GET", 200, b"", "1.1", {b"content-length": b"0"}, False, False, id="9112-6.2-empty"),
    pytest.param("GET", 200, Body(7), "1.1", {b"content-length": b"7"}, False, False, id="9112-6.2-declared"),
    pytest.param("GET", 200, Body(None), "1.1", {b"transfer-encoding": b"chunked"}, True, False, id="9112-6.1-chunked"),
    pytest.param("GET", 200, Body(None), "1.0", {b"connection": b"close"}, False, True, id="9112-6.3-until-close"),
    pytest.param("GET", 200, b"", "1.0", {b"content-length": b"0"} | KEPT, False, False, id="9112-9.3-old"),
    pytest.param("GET", 204, b"", "1.1", {}, False, False, id="9110-8.6-204-has-no-length"),
    pytest.param("GET", 304, b"", "1.1", {}, False, False, id="304"),
    pytest.param("HEAD", 200, b"", "1.1", {}, False, False, id="head-of-unknown-length"),
    pytest.param("HEAD", 200, Body(None), "1.1", {}, False, False, id="head-without-chunks"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "status", "body", "version", "framing", "chunked", "closes"), FRAMED)
def test_a_reply_is_framed_as_its_client_reads_it(method, status, body, version, framing, chunked, closes) -> None:
    """What tells where the body ends, and nothing else that could (RFC 9112 §6)."""
    _, fields, in_chunks, must_close = rendered(Reply(status, Fields(), body), method=method, version=version)
    assert {b"date": DATE, **framing} == fields
    assert (chunked, closes) == (in_chunks, must_close)


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 304), ("HEAD", 404)])
def test_a_reply_without_content_keeps_the_length_that_it_tells_of(method: str, status: int) -> None:
    """HEAD and 304 say how long the content would be (RFC 9110 §8.6)."""
    reply = Reply(status, Fields.of(("content-length", "42")))
    assert b"42" == rendered(reply, method=method)[1][b"content-length"]


def test_framing_of_the_reply_itself_is_replaced() -> None:
    """Two readers never see two lengths."""
    fields = Fields.of(
        ("content-length", "9"), ("transfer-encoding", "chunked"), ("connection", "x"), ("keep-alive", "y")
    )
    assert {b"date": DATE, b"content-length": b"1"} == rendered(Reply(200, fields, b"a"))[1]
    assert b"content-length" not in rendered(Reply(204, fields))[1]


def test_a_date_is_added_only_where_there_is_none() -> None:
    """The origin's own word on when it answered stays (RFC 9110 §6.6.1)."""
    assert b"then" == rendered(Reply(200, Fields.of(("date", "then"))))[1][b"date"]


def test_a_connection_that_closes_says_so() -> None:
    """RFC 9112 §9.6."""
    for version in ("1.0", "1.1"):
        _, fields, _, closes = rendered(Reply(200, Fields(), b""), close=True, version=version)
        assert (b"close", True) == (fields[b"connection"], closes)


@pytest.mark.parametrize(
    ("status", "line"), [(200, b"HTTP/1.1 200 OK"), (404, b"HTTP/1.1 404 Not Found"), (799, b"HTTP/1.1 799 ")]
)
def test_every_status_has_a_line(status: int, line: bytes) -> None:
    """A code that nobody registered has an empty reason (RFC 9112 §4)."""
    assert line == rendered(Reply(status, Fields()))[0]


def test_field_lines_keep_their_order_and_their_repetitions() -> None:
    """What is sent twice arrives twice (RFC 9110 §5.3)."""
    fields = Fields.of(("set-cookie", "a=1"), ("x", "y"), ("set-cookie", "b=2"))
    head, _, _ = render_head(Reply(200, fields), head_only=False, date=DATE, close=False)
    assert b"set-cookie: a=1\r\nx: y\r\nset-cookie: b=2\r\n" in head


def test_an_interim_response_is_a_head_alone() -> None:
    """RFC 8297: no framing, no date; an HTTP parser reads on for the final response."""
    interim = render_interim(ResponseHead(103, Fields.of(("link", "</a>"))))
    assert b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" == interim
    final, _, _ = render_head(Reply(200, Fields()), head_only=False, date=DATE, close=False)
    parser = httptools.HttpResponseParser(None)
    parser.feed_data(interim + final)
    assert 200 == parser.get_status_code()

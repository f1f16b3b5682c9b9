"""Request heads as bytes: what is asked, framed for the body at hand, and never more than one request."""

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.policy.route import UpstreamRules
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.head import RequestHead
from cacheproxy.upstream.bodies import BytesBody, PartsBody
from cacheproxy.upstream.contract import RequestBody
from cacheproxy.upstream.request_head import authority, completed, prepare, render

HOST = Fields.of(("host", "a.example"))


@pytest.mark.parametrize(
    ("method", "body", "framing"),
    [
        pytest.param("GET", None, b"", id="no-content"),
        pytest.param("DELETE", None, b"", id="no-content-expected"),
        pytest.param("POST", None, b"content-length: 0\r\n", id="9110-8.6-empty-content-is-said"),
        pytest.param("GET", BytesBody(b""), b"content-length: 0\r\n", id="empty"),
        pytest.param("PUT", BytesBody(b"abc"), b"content-length: 3\r\n", id="sized"),
        pytest.param("PUT", PartsBody([], length=7), b"content-length: 7\r\n", id="streamed"),
        pytest.param("POST", PartsBody([]), b"transfer-encoding: chunked\r\n", id="9112-7.1-unsized"),
    ],
)
@pytest.mark.parametrize(
    "claimed", [Fields(), Fields.of(("content-length", "99"), ("transfer-encoding", "gzip, chunked"))]
)
def test_the_framing_follows_from_the_body(
    method: str, body: RequestBody | None, framing: bytes, claimed: Fields
) -> None:
    """Whatever the fields claim, the one framing sent is that of the body."""
    request = RequestHead(method=method, target=b"/", fields=Fields([*claimed, *HOST]))
    assert render(request, body, b"") == b"%b / HTTP/1.1\r\nhost: a.example\r\n%b\r\n" % (method.encode(), framing)


def test_fields_are_sent_as_they_are() -> None:
    """Order, repeats, empty values and bytes beyond ASCII are kept."""
    fields = Fields([(b"host", b"a"), (b"cookie", b"x=1"), (b"a", b""), (b"cookie", b"\xe9")])
    rendered = render(RequestHead(method="GET", target=b"/%2f?a=%41&", fields=fields), None, b"")
    assert rendered == b"GET /%2f?a=%41& HTTP/1.1\r\nhost: a\r\ncookie: x=1\r\na: \r\ncookie: \xe9\r\n\r\n"


@pytest.mark.parametrize(
    ("rules", "host"),
    [
        (UpstreamRules(host="10.0.0.1", port=8000), b"10.0.0.1:8000"),
        (UpstreamRules(host="a.example", port=80), b"a.example"),
        (UpstreamRules(scheme="https", host="a.example", port=443), b"a.example"),
        (UpstreamRules(scheme="https", host="a.example", port=80), b"a.example:80"),
        (UpstreamRules(host="::1", port=8000), b"[::1]:8000"),
        (UpstreamRules(socket="/run/app.sock"), b"localhost"),
    ],
)
def test_a_request_without_a_host_gets_the_origins(rules: UpstreamRules, host: bytes) -> None:
    """Host is the request's field, else its authority, else the origin's own (RFC 9112 §3.2)."""
    bare = RequestHead(method="GET", target=b"/")
    assert render(bare, None, authority(rules)) == b"GET / HTTP/1.1\r\nhost: %b\r\n\r\n" % host
    named = RequestHead(method="GET", target=b"/", authority=b"b.example")
    assert render(named, None, authority(rules)) == b"GET / HTTP/1.1\r\nhost: b.example\r\n\r\n"


@pytest.mark.parametrize(
    "request_head",
    [
        pytest.param(RequestHead(method="GET /x", target=b"/"), id="method-with-space"),
        pytest.param(RequestHead(method="", target=b"/"), id="no-method"),
        pytest.param(RequestHead(method="G\r\nT", target=b"/"), id="method-with-line-end"),
        pytest.param(RequestHead(method="CONNECT", target=b"a:80"), id="connect"),
        pytest.param(RequestHead(method="GET", target=b""), id="no-target"),
        pytest.param(RequestHead(method="GET", target=b"/a b"), id="target-with-space"),
        pytest.param(RequestHead(method="GET", target=b"/\r\na: b"), id="target-with-line-end"),
        pytest.param(RequestHead(method="GET", target=b"/\0"), id="target-with-nul"),
        pytest.param(RequestHead(method="GET", target=b"/", authority=b"a\r\nb: c"), id="authority-with-line-end"),
    ],
)
def test_an_unfit_request_is_refused(request_head: RequestHead) -> None:
    """What is no request line, or would end one early, is our own mistake."""
    with pytest.raises(ValueError, match=r"unfit request line|end its line early"):
        render(request_head, None, b"host")


@pytest.mark.parametrize("evil", [b"\r\nb: c", b"\n", b"\r", b"\0", b"\r\n\r\nGET / HTTP/1.1"])
@pytest.mark.parametrize("as_name", [False, True])
def test_a_field_cannot_end_its_line(evil: bytes, as_name: bool) -> None:
    """CR, LF and NUL in a name or value are refused, never sent."""
    pair = (b"a" + evil, b"b") if as_name else (b"a", b"b" + evil)
    with pytest.raises(ValueError, match="end its line early"):
        render(RequestHead(method="GET", target=b"/", fields=Fields([pair])), None, b"host")


TOKENS = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1).map(str.encode)


@given(
    target=st.binary(min_size=1),
    pairs=st.lists(st.tuples(TOKENS, st.binary()), max_size=5),
    body=st.none() | st.binary(max_size=20),
)
def test_one_request_is_rendered_or_none(target: bytes, pairs: list[tuple[bytes, bytes]], body: bytes | None) -> None:
    """Whatever is in it, a second parser sees exactly one request with this target, or we refused it."""
    fields = Fields(pair for pair in pairs if pair[0] not in {b"expect", b"connection", b"upgrade", b"host"})
    content = None if body is None else BytesBody(body)
    try:
        raw = render(RequestHead(method="PUT", target=target, fields=fields), content, b"host")
    except ValueError:
        return
    server = h11.Connection(h11.SERVER)
    server.receive_data(raw + (body or b""))
    try:
        events = [server.next_event() for _ in range(3 if body else 2)]
    except h11.RemoteProtocolError:
        return
    assert events[0].target == target
    assert [type(event) for event in events[-1:]] == [h11.EndOfMessage]
    assert server.trailing_data == (b"", False)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_what_is_prepared_is_the_request_with_what_is_each_ones_own(method: str) -> None:
    """One request each time, which differs in its id and its body alone; without one it is framed as any other."""
    request = RequestHead(method=method, target=b"/a", fields=HOST)
    prepared = prepare(request)
    for request_id, content in [(b"one", b"abc"), (b"two", b"defg"), (b"three", b"")]:
        identified_by = Fields((*HOST, (b"x-request-id", request_id)))
        body = BytesBody(content) if content else None
        whole = render(request.with_fields(identified_by), body, b"") + content
        sent = completed(prepared, b"x-request-id: " + request_id + b"\r\n", content)
        assert sorted(whole.split(b"\r\n")) == sorted(sent.split(b"\r\n"))


def test_a_request_to_no_host_in_particular_is_not_prepared() -> None:
    """The origin's own host would be put in, which may be another by then."""
    with pytest.raises(ValueError, match="no host"):
        prepare(RequestHead(method="GET", target=b"/"))

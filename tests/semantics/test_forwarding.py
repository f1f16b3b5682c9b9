"""What of a message goes on to the next hop (RFC 9110 §7.6)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.forwarding import (
    HOP_BY_HOP,
    NOT_NOMINABLE,
    connection_fields,
    has_passed,
    remaining_forwards,
    request_fields,
    response_fields,
)
from cacheproxy.semantics.head import RequestHead


def sent(*lines: tuple[str, str], method: str = "GET", version: str = "1.1", **given_: object) -> Fields:
    """The fields a request goes on with."""
    request = RequestHead(method=method, target=b"/", fields=Fields.of(*lines), http_version=version)
    return request_fields(request, **given_)  # type: ignore[arg-type]


TRACES = [(b"via", b"1.1 cacheproxy"), (b"cdn-loop", b"cacheproxy")]


@pytest.mark.parametrize("name", sorted(HOP_BY_HOP))
def test_hop_by_hop_fields_stay_behind(name: bytes) -> None:
    """They are for one connection or one proxy (RFC 9110 §7.6.1, §11.7), in either direction."""
    line = (name.decode(), "x")
    assert list(sent(line, ("a", "1"))) == [(b"a", b"1"), *TRACES]
    assert list(response_fields(Fields.of(line, ("a", "1")))) == [(b"a", b"1")]


def test_fields_named_by_connection_stay_behind() -> None:
    """Whatever Connection nominates is for this hop, on all its lines and in any case."""
    lines = [("connection", "close, X-A"), ("connection", "x-b"), ("x-a", "1"), ("x-b", "2"), ("x-c", "3")]
    assert list(sent(*lines)) == [(b"x-c", b"3"), *TRACES]
    assert list(response_fields(Fields.of(*lines))) == [(b"x-c", b"3")]


@pytest.mark.parametrize("name", [*sorted(NOT_NOMINABLE), b"x-forwarded-for", b"x-forwarded-anything"])
def test_connection_cannot_name_what_others_rely_on(name: bytes) -> None:
    """Fields that frame, identify or steer caches stay, though a client would have them dropped."""
    fields = Fields([(b"connection", name.upper()), (name, b"1")])
    assert connection_fields(fields) == frozenset()


def test_connection_cannot_name_our_identity_fields() -> None:
    """What we tell the origin of the session cannot be taken away by the client."""
    lines = [("connection", "x-user-id, x-a"), ("x-user-id", "5"), ("x-a", "1")]
    assert list(sent(*lines, protected=[b"x-user-id"])) == [(b"x-user-id", b"5"), *TRACES]


@pytest.mark.parametrize(
    ("lines", "version", "via"),
    [
        pytest.param([], "1.1", b"1.1 cacheproxy", id="9110-7.6.3-first"),
        pytest.param([], "1.0", b"1.0 cacheproxy", id="9110-7.6.3-received-protocol"),
        pytest.param(
            [("via", "1.0 a"), ("via", "1.1 b")], "1.1", b"1.0 a, 1.1 b, 1.1 cacheproxy", id="9110-7.6.3-append"
        ),
    ],
)
def test_via_names_every_hop(lines: list[tuple[str, str]], version: str, via: bytes) -> None:
    """We are added at the end, with the version the message came in."""
    assert sent(*lines, version=version).all(b"via") == [via]


@pytest.mark.parametrize(
    ("lines", "traced"),
    [
        pytest.param([], b"us", id="8586-2-first"),
        pytest.param([("cdn-loop", "a"), ("cdn-loop", "b; x=y")], b"a, b; x=y, us", id="8586-2-append"),
        pytest.param([("cdn-loop", "a"), ("connection", "cdn-loop")], b"a, us", id="8586-3-not-nominable"),
    ],
)
def test_cdn_loop_names_every_hop(lines: list[tuple[str, str]], traced: bytes) -> None:
    """We are added at the end, and nobody before us is lost."""
    assert sent(*lines, loop_id=b"us").all(b"cdn-loop") == [traced]


@pytest.mark.parametrize(
    ("lines", "passed"),
    [
        ([], False),
        (["us"], True),
        (["a, us;x=y"], True),
        (["a", "us"], True),
        (["us-2, a.us"], False),
        (["US"], False),
        (["a; x=us"], False),
    ],
)
def test_a_request_that_came_by_before_is_known(lines: list[str], *, passed: bool) -> None:
    """By our own identifier, as the whole of it, among those of others (RFC 8586 §2)."""
    fields = Fields.of(*(("cdn-loop", line) for line in lines))
    assert has_passed(RequestHead(method="GET", target=b"/", fields=fields), b"us") is passed


@pytest.mark.parametrize("te", ["trailers", "deflate, Trailers;q=0.5", "deflate", ""])
def test_no_trailers_are_asked_for(te: str) -> None:
    """Trailers are not passed on, so the origin is not told that anybody takes them (RFC 9110 §6.5.1, §10.1.4)."""
    assert sent(("te", te), ("connection", "te")).names().isdisjoint({b"te", b"connection"})


@pytest.mark.parametrize(
    ("method", "value", "left", "forwarded"),
    [
        pytest.param("TRACE", "5", 5, b"4", id="9110-7.6.2-trace"),
        pytest.param("OPTIONS", "0", 0, b"0", id="9110-7.6.2-answer-here"),
        pytest.param("OPTIONS", "x", None, b"x", id="9110-7.6.2-malformed"),
        pytest.param("OPTIONS", "9" * 9, 999_999_999, b"999999998", id="9110-7.6.2-large"),
        pytest.param("OPTIONS", "9" * 30, None, b"9" * 30, id="9110-7.6.2-absurd"),
        pytest.param("GET", "5", None, b"5", id="9110-7.6.2-other-methods"),
    ],
)
def test_max_forwards_is_counted_down(method: str, value: str, left: int | None, forwarded: bytes) -> None:
    """For TRACE and OPTIONS; elsewhere it is passed on as it is."""
    request = RequestHead(method=method, target=b"/", fields=Fields.of(("max-forwards", value)))
    assert remaining_forwards(request) == left
    assert request_fields(request).all(b"max-forwards") == [forwarded]


def test_without_max_forwards_there_is_no_limit() -> None:
    """OPTIONS without it is simply forwarded."""
    assert remaining_forwards(RequestHead(method="OPTIONS", target=b"*")) is None


def test_surrogate_capability_is_declared_where_it_is_obeyed() -> None:
    """The origin learns that Surrogate-Control can be targeted at us."""
    assert sent(surrogate=True).get(b"surrogate-capability") == b'cacheproxy="Surrogate/1.0"'
    assert b"surrogate-capability" not in sent()


def test_orders_for_this_cache_do_not_reach_the_client() -> None:
    """Surrogate-Control and our own targeted field end here; CDN-Cache-Control is for every cache on the way."""
    fields = Fields.of(("surrogate-control", "x"), ("cacheproxy-cache-control", "x"), ("cdn-cache-control", "x"))
    assert [name for name, _ in response_fields(fields)] == [b"cdn-cache-control"]


@given(
    st.lists(
        st.tuples(st.sampled_from([b"connection", b"host", b"cookie", b"te", b"via", b"x"]), st.binary(max_size=30))
    )
)
def test_no_connection_field_drops_host_or_cookie(lines: list[tuple[bytes, bytes]]) -> None:
    """Whatever Connection says, Host and Cookie go on as they came, and Connection does not."""
    request = RequestHead(method="GET", target=b"/", fields=Fields(lines))
    fields = request_fields(request)
    for name in (b"host", b"cookie"):
        assert fields.all(name) == request.fields.all(name)
    assert fields.all(b"connection") in ([], [b"te"])

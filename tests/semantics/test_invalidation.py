"""What an answer to an unsafe method makes untrue (RFC 9111 §4.4, RFC 9875)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.head import RequestHead, ResponseHead
from cacheproxy.semantics.invalidation import (
    changes_something,
    invalidated,
    names_target,
)

Lines = list[tuple[str, str]]


def exchange(method: str, status: int, *lines: tuple[str, str]) -> tuple[RequestHead, ResponseHead]:
    """A request for /a?b on example.org, and its answer."""
    request = RequestHead(method=method, target=b"/a?b", authority=b"example.org")
    return request, ResponseHead(status, Fields.of(*lines))


@pytest.mark.parametrize(
    ("method", "status", "changes"),
    [
        pytest.param("POST", 200, True, id="9111-4.4-post"),
        pytest.param("PUT", 204, True, id="9111-4.4-put"),
        pytest.param("DELETE", 204, True, id="9111-4.4-delete"),
        pytest.param("PATCH", 303, True, id="9111-4.4-redirect"),
        pytest.param("M-SEARCH", 200, True, id="9111-4.4-unknown-safety"),
        pytest.param("get", 200, True, id="9110-9.1-case-sensitive"),
        pytest.param("POST", 500, False, id="9111-4.4-error"),
        pytest.param("POST", 404, False, id="9111-4.4-client-error"),
        pytest.param("POST", 103, False, id="interim"),
        pytest.param("GET", 200, False, id="9110-9.2.1-get"),
        pytest.param("HEAD", 200, False, id="9110-9.2.1-head"),
        pytest.param("OPTIONS", 200, False, id="9110-9.2.1-options"),
        pytest.param("TRACE", 200, False, id="9110-9.2.1-trace"),
        pytest.param("QUERY", 200, False, id="query"),
    ],
)
def test_unsafe_methods_that_succeed_change_something(method: str, status: int, *, changes: bool) -> None:
    """The request's own target is untrue after them, and after them only."""
    request, response = exchange(method, status)
    assert changes_something(request, response) == changes
    assert invalidated(request, response) == ([b"/a?b"] if changes else [])


@pytest.mark.parametrize(
    ("lines", "targets"),
    [
        pytest.param([("location", "/c")], [b"/a?b", b"/c"], id="9111-4.4-location"),
        pytest.param([("content-location", "c?d")], [b"/a?b", b"/c?d"], id="9111-4.4-content-location"),
        pytest.param([("location", "/c"), ("content-location", "/d")], [b"/a?b", b"/c", b"/d"], id="9111-4.4-both"),
        pytest.param([("location", "/a?b"), ("content-location", "/a?b")], [b"/a?b"], id="each-once"),
        pytest.param([("location", "http://example.org/c")], [b"/a?b", b"/c"], id="9111-4.4-same-origin"),
        pytest.param([("location", "http://other.org/c")], [b"/a?b"], id="9111-4.4-another-origin"),
        pytest.param([("location", "http://example.org:81/c")], [b"/a?b"], id="9111-4.4-another-port"),
    ],
)
def test_what_the_answer_names_is_untrue_too(lines: Lines, targets: list[bytes]) -> None:
    """Location and Content-Location count where they are on the same origin: no other's cache can be emptied."""
    assert invalidated(*exchange("POST", 201, *lines)) == targets


@pytest.mark.parametrize(
    ("location", "same"),
    [
        ("/a?b", True),
        ("http://example.org/a?b", True),
        ("/a", False),
        ("/a?b#c", True),
        ("http://other.org/a?b", False),
    ],
)
def test_a_content_location_may_name_the_target(location: str, *, same: bool) -> None:
    """Path and query are compared as they are."""
    request, _ = exchange("POST", 200)
    assert names_target(location.encode(), request) == same


NAMES = ["location", "content-location"]


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.binary(max_size=50)), max_size=5))
def test_any_bytes_may_come_in_what_is_named(lines: list[tuple[str, bytes]]) -> None:
    """The own target is always among what is untrue; nothing raises."""
    request, response = exchange("POST", 200)
    response = ResponseHead(200, Fields.of(*lines))
    assert invalidated(request, response)[0] == b"/a?b"

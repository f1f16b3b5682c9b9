"""What the names in templates stand for."""

import pytest

from cacheproxy.policy.identity import Identity
from cacheproxy.policy.lookup import cookies_of, event_lookup, lookup_of, query_values, scalar_at
from cacheproxy.policy.paths import Param


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", "7"),
        ("query.page", "2"),
        ("query.twice", None),
        ("query.none", None),
        ("header.X-Market", "de, at"),
        ("header.x-none", None),
        ("cookie.lang", "de"),
        ("cookie.none", None),
        ("session.org_id", "5"),
        ("session.profile.plan", "pro"),
        ("session.admin", None),
        ("session.none", None),
        ("method", "GET"),
        ("host", "example.com"),
        ("tenant", "acme"),
        ("route", "r"),
        ("client_ip", "10.0.0.1"),
        ("nothing", None),
        ("nowhere.x", None),
    ],
)
def test_names_stand_for_what_the_request_has(make_route, make_request, name: str, value: str | None) -> None:
    """Path, query, fields, cookies, session, and a few words of our own; None for all else."""
    request = make_request(
        "/a/7?page=2&twice=1&twice=2",
        ("X-Market", "de"),
        ("X-Market", "at"),
        ("Cookie", "a=b; lang=de"),
        host=b"Example.com:80",
    )
    session = {"org_id": 5, "profile": {"plan": "pro"}, "admin": True}
    identity = Identity(client_ip="10.0.0.1", session=session, tenant="acme")
    lookup = lookup_of(make_route("r", "GET /a/{id}"), request, {"id": Param(b"7", "7")}, identity)
    assert lookup(name) == value


def test_a_path_parameter_hides_a_word_of_ours(make_route, make_request) -> None:
    """In ``/{host}/x`` the name host is what the path captured."""
    lookup = lookup_of(make_route("r", "/{host}"), make_request("/h"), {"host": Param(b"h", "h")}, Identity())
    assert lookup("host") == "h"


@pytest.mark.parametrize("value", [None, True, 1.5, [], {}, {"x": 1}])
def test_only_texts_and_whole_numbers_have_a_spelling(value: object) -> None:
    """True, 1.5 and null are spelled differently from language to language, so they name nothing."""
    assert scalar_at({"id": value}, "id") is None


@pytest.mark.parametrize(
    ("name", "value"),
    [("data.id", "7"), ("data.a.b", "x"), ("type", "t"), ("data", None), ("data.none.x", None), ("data.id.x", None)],
)
def test_events_are_looked_up_by_dotted_names(name: str, value: str | None) -> None:
    """``data.id`` walks into the event; what is not there, or no scalar, is None."""
    assert event_lookup({"type": "t", "data": {"id": 7, "a": {"b": "x"}}})(name) == value


def test_cookies_are_read_in_order_and_without_their_spaces(make_request) -> None:
    """Several lines count as one; what has no equals sign is no cookie."""
    request = make_request("/", ("Cookie", "a=1;b = 2 ;junk"), ("Cookie", "a=3=4"))
    assert list(cookies_of(request)) == [("a", "1"), ("b", "2"), ("a", "3=4")]


def test_a_parameter_given_twice_has_no_value(make_request) -> None:
    """Upstreams take the first or the last: a limit or tag that picked one could be evaded."""
    assert query_values(make_request("/?a=1&b=2&a=3")) == {"b": "2"}

"""What to do about a request (RFC 9111 §4)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.head import RequestHead
from cacheproxy.semantics.plan import (
    Fetch,
    Forward,
    Plan,
    Refuse,
    Revalidate,
    Serve,
    ServeStale,
    is_error,
    may_serve_on_error,
    plan,
)
from cacheproxy.semantics.ranges import Missing
from cacheproxy.semantics.rules import CacheRules, ClientControl, Mode
from cacheproxy.semantics.storing import PassReason

HEARD = CacheRules(client_cache_control=ClientControl.HONOR)
ETAG = Fields.of(("etag", '"a"'))

Lines = list[tuple[str, str]]


def get(*lines: tuple[str, str], method: str = "GET") -> RequestHead:
    """A request with these fields."""
    return RequestHead(method=method, target=b"/", fields=Fields.of(*lines))


def test_a_fresh_response_is_served(stored_response) -> None:
    """Within its lifetime, what is stored answers with its age."""
    stored = stored_response(lifetime_s=60.0, initial_age_s=5.0)
    assert plan(get(), stored, CacheRules(), 1054.5) == Serve(stored, 59.5)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [pytest.param(ETAG, Revalidate, id="validator"), pytest.param(Fields(), Fetch, id="none")],
)
def test_a_stale_response_is_validated_or_fetched_anew(stored_response, fields: Fields, expected: type) -> None:
    """At the end of its lifetime it is asked about, if it has a validator (RFC 9111 §4.3)."""
    said = plan(get(), stored_response(fields=fields), CacheRules(), 1060.0)
    assert isinstance(said, expected)
    assert said.reason is Forward.STALE  # type: ignore[union-attr]


def test_last_modified_is_a_validator(stored_response) -> None:
    """A response without an entity tag is revalidated by its date."""
    stored = stored_response(fields=Fields.of(("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")))
    assert isinstance(plan(get(), stored, CacheRules(), 1060.0), Revalidate)


@pytest.mark.parametrize(
    ("method", "vary_miss", "reason"),
    [
        pytest.param("GET", False, Forward.URI_MISS, id="9211-2.2-uri-miss"),
        pytest.param("GET", True, Forward.VARY_MISS, id="9211-2.2-vary-miss"),
        pytest.param("HEAD", False, Forward.URI_MISS, id="head"),
        pytest.param("PUT", False, Forward.METHOD, id="9211-2.2-method"),
        pytest.param("M-SEARCH", False, Forward.METHOD, id="unknown-method"),
    ],
)
def test_without_a_stored_response_the_origin_is_asked(method: str, *, vary_miss: bool, reason: Forward) -> None:
    """The reason says whether anything was stored under the key at all."""
    assert plan(get(method=method), None, CacheRules(), 0.0, vary_miss=vary_miss) == Fetch(reason=reason)


def test_a_method_that_the_policy_caches_is_planned_like_get(stored_response) -> None:
    """POST is answered from the cache where the route's methods name it."""
    rules = CacheRules(methods=frozenset({"POST"}))
    assert isinstance(plan(get(method="POST"), stored_response(), rules, 1000.0), Serve)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_get_and_head_are_answered_from_what_get_brought(stored_response, method: str) -> None:
    """HEAD is answered from a stored GET (RFC 9110 §9.3.2)."""
    assert isinstance(plan(get(method=method), stored_response(), CacheRules(), 1000.0), Serve)


FRESH, STALE = 1030.0, 1100.0


@pytest.mark.parametrize(
    ("lines", "now", "expected"),
    [
        pytest.param([("cache-control", "no-cache")], FRESH, Revalidate, id="9111-5.2.1.4"),
        pytest.param([("pragma", "no-cache")], FRESH, Revalidate, id="9111-5.4"),
        pytest.param([("pragma", "No-Cache, x")], FRESH, Revalidate, id="9111-5.4-case"),
        pytest.param([("pragma", "foo")], FRESH, Serve, id="9111-5.4-extension"),
        pytest.param([("pragma", "no-cache"), ("cache-control", "x")], FRESH, Serve, id="9111-5.4-cache-control-wins"),
        pytest.param([("cache-control", "max-age=0")], FRESH, Revalidate, id="9111-5.2.1.1-zero"),
        pytest.param([("cache-control", "max-age=29")], FRESH, Revalidate, id="9111-5.2.1.1-too-old"),
        pytest.param([("cache-control", "max-age=30")], FRESH, Serve, id="9111-5.2.1.1-young-enough"),
        pytest.param([("cache-control", "min-fresh=30")], FRESH, Serve, id="9111-5.2.1.3-fresh-enough"),
        pytest.param([("cache-control", "min-fresh=31")], FRESH, Revalidate, id="9111-5.2.1.3-not-fresh-enough"),
        pytest.param([("cache-control", "no-store")], FRESH, Fetch, id="9111-5.2.1.5"),
        pytest.param([("cache-control", "only-if-cached")], FRESH, Serve, id="9111-5.2.1.7-stored"),
        pytest.param([("cache-control", "only-if-cached, max-age=0")], FRESH, Refuse, id="9111-5.2.1.7-not-as-asked"),
        pytest.param([("cache-control", "only-if-cached")], STALE, Refuse, id="9111-5.2.1.7-stale"),
        pytest.param([("cache-control", "max-stale=40")], STALE, ServeStale, id="9111-5.2.1.2"),
        pytest.param([("cache-control", "max-stale=39")], STALE, Revalidate, id="9111-5.2.1.2-too-stale"),
        pytest.param([("cache-control", "max-stale")], STALE, ServeStale, id="9111-5.2.1.2-any"),
        pytest.param(
            [("cache-control", "max-stale, max-age=99")], STALE, Revalidate, id="9111-5.2.1.1-too-old-and-stale"
        ),
        pytest.param([("cache-control", "max-stale, max-age=100")], STALE, ServeStale, id="9111-5.2.1.1-old-and-stale"),
        pytest.param([("cache-control", "max-stale, min-fresh=0")], STALE, Revalidate, id="9111-5.2.1.3-must-be-fresh"),
        pytest.param([("cache-control", "max-stale, no-cache")], STALE, Revalidate, id="9111-5.2.1.4-wins"),
        pytest.param(
            [("cache-control", "only-if-cached, max-stale")], STALE, ServeStale, id="9111-5.2.1.7-and-max-stale"
        ),
    ],
)
def test_a_clients_directives_are_obeyed_where_it_is_heard(
    stored_response, lines: Lines, now: float, expected: type
) -> None:
    """Every request directive, on a response of 60 seconds that is 30 or 100 seconds old."""
    assert isinstance(plan(get(*lines), stored_response(fields=ETAG), HEARD, now), expected)


@pytest.mark.parametrize("line", ["no-cache", "no-store", "max-age=0", "min-fresh=999", "only-if-cached"])
def test_a_clients_directives_are_no_lever_elsewhere(stored_response, line: str) -> None:
    """By default a client can neither force a request to the origin nor refuse itself an answer."""
    request = get(("cache-control", line), ("pragma", "no-cache"))
    assert isinstance(plan(request, stored_response(), CacheRules(), FRESH), Serve)
    assert plan(request, None, CacheRules(), FRESH) == Fetch(reason=Forward.URI_MISS)


def test_only_if_cached_never_reaches_the_origin() -> None:
    """Without a stored response it is 504 (RFC 9111 §5.2.1.7), whatever else is asked."""
    for lines in ([], [("if-match", '"a"')]):
        assert plan(get(("cache-control", "only-if-cached"), *lines), None, HEARD, 0.0) == Refuse(504)


@pytest.mark.parametrize("name", ["if-match", "if-unmodified-since"])
def test_conditions_for_the_origin_alone_go_to_it(stored_response, name: str) -> None:
    """If-Match and If-Unmodified-Since are not for caches to judge (RFC 9111 §4.3.2)."""
    expected = Fetch(reason=Forward.BYPASS, detail=PassReason.PRECONDITION, storable=False)
    assert plan(get((name, "x")), stored_response(), CacheRules(), FRESH) == expected


def test_a_clients_no_store_shares_nothing(stored_response) -> None:
    """What comes of a request with no-store is not to be stored, nor given to others."""
    said = plan(get(("cache-control", "no-store")), stored_response(), HEARD, FRESH)
    assert said == Fetch(reason=Forward.REQUEST, detail=PassReason.REQUEST_NO_STORE, storable=False)


NO_LEAVE = Fetch(reason=Forward.BYPASS, detail=PassReason.AUTHORIZATION, storable=False)


@pytest.mark.parametrize(
    ("cache_control", "allowed", "expected"),
    [
        pytest.param("max-age=60", False, NO_LEAVE, id="no-leave"),
        pytest.param("max-age=60, public", False, None, id="9111-3.5-public"),
        pytest.param("s-maxage=60", False, None, id="9111-3.5-s-maxage"),
        pytest.param("max-age=60", True, None, id="the-policy-allows-it"),
    ],
)
def test_a_request_with_authorization(
    stored_response, cache_control: str, allowed: bool, expected: Plan | None
) -> None:
    """It is answered from the cache only with the origin's leave or the policy's (RFC 9111 §3.5)."""
    stored = stored_response(fields=Fields.of(("cache-control", cache_control)))
    said = plan(get(("authorization", "x")), stored, CacheRules(allow_authorization=allowed), FRESH)
    assert isinstance(said, Serve) if expected is None else said == expected


def test_authorization_on_a_miss_is_a_miss() -> None:
    """With nothing stored, Authorization changes nothing: the answer is judged when it comes."""
    assert plan(get(("authorization", "x")), None, CacheRules(), 0.0) == Fetch(reason=Forward.URI_MISS)


@pytest.mark.parametrize(
    ("swr_s", "must_revalidate", "now", "expected"),
    [
        pytest.param(30.0, False, 1059.9, Serve, id="5861-3-fresh"),
        pytest.param(30.0, False, 1060.0, ServeStale, id="5861-3-window-begins"),
        pytest.param(30.0, False, 1090.0, ServeStale, id="5861-3-window-ends"),
        pytest.param(30.0, False, 1090.1, Revalidate, id="5861-3-window-over"),
        pytest.param(0.0, False, 1060.0, Revalidate, id="5861-3-no-window"),
        pytest.param(30.0, True, 1060.0, Revalidate, id="9111-5.2.2.2-forbidden"),
    ],
)
def test_stale_while_revalidate_and_its_window(
    stored_response, swr_s: float, must_revalidate: bool, now: float, expected: type
) -> None:
    """Within the window the stale answer is served and refreshed behind; not a moment longer."""
    stored = stored_response(fields=ETAG, swr_s=swr_s, must_revalidate=must_revalidate)
    said = plan(get(), stored, CacheRules(), now)
    assert isinstance(said, expected)
    assert not isinstance(said, ServeStale) or said.refresh


def test_a_stale_answer_that_the_client_asked_for_is_not_refreshed(stored_response) -> None:
    """max-stale takes what there is and asks for nothing more."""
    said = plan(get(("cache-control", "max-stale")), stored_response(), HEARD, STALE)
    assert isinstance(said, ServeStale)
    assert not said.refresh


@pytest.mark.parametrize(
    ("swr_s", "must_revalidate", "expected"),
    [
        pytest.param(30.0, False, ServeStale, id="window"),
        pytest.param(0.0, False, Revalidate, id="no-window"),
        pytest.param(30.0, True, Revalidate, id="must-revalidate"),
    ],
)
def test_a_soft_purge_makes_a_fresh_response_stale(
    stored_response, swr_s: float, must_revalidate: bool, expected: type
) -> None:
    """Purged softly, it is served under stale-while-revalidate at most, whatever the client would take."""
    stored = stored_response(fields=ETAG, swr_s=swr_s, must_revalidate=must_revalidate)
    said = plan(get(("cache-control", "max-stale")), stored, HEARD, FRESH, soft_purged=True)
    assert isinstance(said, expected)


def test_an_immutable_response_is_validated_if_the_client_insists(stored_response) -> None:
    """Immutable spares our own revalidations, of which there are none, not those a client asks for (RFC 8246 §2)."""
    stored = stored_response(fields=Fields.of(("cache-control", "max-age=60, immutable"), ("etag", '"a"')))
    assert isinstance(plan(get(), stored, HEARD, FRESH), Serve)
    assert isinstance(plan(get(("cache-control", "no-cache")), stored, HEARD, FRESH), Revalidate)


@pytest.fixture
def part(stored_response):
    """Bytes 0 to 4 of 10."""
    return stored_response(status=206, fields=Fields.of(("content-range", "bytes 0-4/10")), body=b"01234")


def test_a_stored_part_answers_a_range_it_holds(part) -> None:
    """A part is served for a range within it (RFC 9111 §3.3)."""
    assert isinstance(plan(get(("range", "bytes=1-2")), part, CacheRules(), FRESH), Serve)


@pytest.mark.parametrize(
    ("request_", "missing"),
    [
        pytest.param(get(), Missing(b"bytes=5-", None), id="9111-3.4-the-rest"),
        pytest.param(get(("range", "bytes=4-6")), None, id="another-range"),
        pytest.param(get(method="HEAD"), None, id="head"),
    ],
)
def test_a_stored_part_is_completed(part, request_: RequestHead, missing: Missing | None) -> None:
    """What it does not hold is fetched: for a whole response, only what lacks."""
    said = plan(request_, part, CacheRules(), FRESH)
    assert said == Fetch(reason=Forward.PARTIAL, stored=part, missing=missing)


def test_a_stored_part_that_does_not_do_is_no_reason_to_ask_if_only_the_cache_is_asked(part) -> None:
    """only-if-cached and a part that lacks something is 504."""
    assert plan(get(("cache-control", "only-if-cached")), part, HEARD, FRESH) == Refuse()


@pytest.mark.parametrize(
    ("sie_s", "must_revalidate", "now", "allowed"),
    [
        pytest.param(30.0, False, 1061.0, True, id="5861-4-within"),
        pytest.param(30.0, False, 1090.0, True, id="5861-4-at-the-end"),
        pytest.param(30.0, False, 1090.1, False, id="5861-4-after"),
        pytest.param(0.0, False, 1060.0, False, id="5861-4-not-granted"),
        pytest.param(30.0, True, 1061.0, False, id="9111-5.2.2.2-forbidden"),
    ],
)
def test_stale_if_error_and_its_window(
    stored_response, sie_s: float, must_revalidate: bool, now: float, allowed: bool
) -> None:
    """Within the window it may stand in for the origin."""
    stored = stored_response(sie_s=sie_s, must_revalidate=must_revalidate)
    assert may_serve_on_error(stored, CacheRules(), now) == allowed


@pytest.mark.parametrize(("window_s", "allowed"), [(None, True), (5.0, False), (50.0, True)])
def test_a_policy_that_overrides_decides_anew(stored_response, window_s: float | None, allowed: bool) -> None:
    """In override mode the policy's window of now counts, not the one it was stored under."""
    rules = CacheRules(mode=Mode.OVERRIDE, stale_if_error_s=window_s)
    assert may_serve_on_error(stored_response(sie_s=30.0), rules, 1070.0) == allowed


@pytest.mark.parametrize("status", range(200, 600))
def test_errors_that_a_stale_answer_stands_in_for(status: int) -> None:
    """500, 502, 503 and 504, and no others (RFC 5861 §4)."""
    assert is_error(status) == (status in (500, 502, 503, 504))


NAMES = ["authorization", "cache-control", "if-match", "if-range", "pragma", "range"]


@given(
    st.lists(st.tuples(st.sampled_from(NAMES), st.binary(max_size=30)), max_size=5),
    st.sampled_from([200, 206, 404]),
    st.floats(0, 1e9),
    st.booleans(),
)
def test_any_request_has_a_plan(
    stored_response, lines: list[tuple[str, bytes]], status: int, now: float, purged: bool
) -> None:
    """There is always a plan, and it never calls fresh what is past its lifetime or purged."""
    stored = stored_response(status=status, fields=Fields.of(("content-range", "bytes 0-9/20")), swr_s=5.0)
    request = RequestHead(method="GET", target=b"/", fields=Fields.of(*lines))
    said = plan(request, stored, HEARD, now, soft_purged=purged)
    assert not isinstance(said, Serve) or (said.age_s < stored.lifetime_s and not purged)

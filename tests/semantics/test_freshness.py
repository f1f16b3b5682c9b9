"""Lifetimes and ages (RFC 9111 §4.2)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.semantics.cache_control import MAX_DELTA_S, CacheControl
from cacheproxy.semantics.dates import format_http_date
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.freshness import (
    HEURISTIC_MAX_S,
    current_age,
    date_of,
    explicit_lifetime,
    heuristic_lifetime,
    initial_age,
    told_age,
)

NOW = 1_700_000_000.25
OLDEST = float(MAX_DELTA_S)


def at(delta_s: float) -> str:
    """The HTTP date of NOW, moved by ``delta_s``."""
    return format_http_date(NOW + delta_s).decode()


def arrived(fields: Fields, *, requested_at: float, received_at: float) -> float:
    """The initial age of a response with ``fields``."""
    return initial_age(date_of(fields), told_age(fields), requested_at=requested_at, received_at=received_at)


@pytest.mark.parametrize(
    ("fields", "lifetime_s"),
    [
        pytest.param([("cache-control", "max-age=60")], 60.0, id="9111-4.2.1-max-age"),
        pytest.param([("cache-control", "max-age=60, s-maxage=9")], 9.0, id="9111-5.2.2.10-s-maxage-wins"),
        pytest.param([("cache-control", "max-age=60"), ("expires", at(-99))], 60.0, id="9111-5.3-max-age-over-expires"),
        pytest.param([("cache-control", "max-age=0"), ("expires", at(99))], 0.0, id="9111-5.3-max-age-0-over-expires"),
        pytest.param([("expires", at(60)), ("date", at(0))], 60.0, id="9111-4.2.1-expires-less-date"),
        pytest.param([("expires", at(300)), ("date", at(400))], 0.0, id="9111-4.2.1-expires-before-date"),
        pytest.param([("expires", at(60))], 59.75, id="9111-4.2.1-no-date-then-when-it-came"),
        pytest.param([("expires", at(60)), ("date", "foo")], 59.75, id="9111-4.2.1-bad-date-then-when-it-came"),
        pytest.param([("expires", "0"), ("date", at(0))], 0.0, id="9111-5.3-invalid-is-past"),
        pytest.param([("expires", ""), ("date", at(0))], 0.0, id="9111-5.3-empty-is-past"),
        pytest.param([("expires", at(60)), ("expires", at(61))], 0.0, id="9111-4.2.1-two-expires-are-stale"),
        pytest.param([("expires", at(60)), ("expires", at(60)), ("date", at(0))], 60.0, id="repeated-expires"),
        pytest.param([("expires", "Fri, 31 Dec 9999 23:59:59 GMT"), ("date", at(0))], OLDEST, id="9111-1.2.2-far"),
        pytest.param([("cdn-cache-control", "no-transform"), ("expires", at(60))], None, id="9213-2.2-expires-ignored"),
        pytest.param([], None, id="9111-4.2.1-silent"),
    ],
)
def test_the_origin_gives_the_lifetime(fields: list[tuple[str, str]], lifetime_s: float | None) -> None:
    """s-maxage, else max-age, else Expires less Date."""
    response = Fields.of(*fields)
    assert explicit_lifetime(CacheControl.effective(response), response, NOW) == lifetime_s


@pytest.mark.parametrize(
    ("status", "fields", "lifetime_s"),
    [
        pytest.param(200, [("last-modified", at(-1000)), ("date", at(0))], 100.0, id="9111-4.2.2-a-tenth"),
        pytest.param(200, [("last-modified", at(-1000))], 100.025, id="9111-4.2.2-no-date-then-when-it-came"),
        pytest.param(200, [("last-modified", at(-(10**8)))], HEURISTIC_MAX_S, id="9111-4.2.2-at-most-a-day"),
        pytest.param(200, [("last-modified", at(500)), ("date", at(0))], 0.0, id="modified-in-the-future"),
        pytest.param(200, [("last-modified", "yesterday")], None, id="invalid-date"),
        pytest.param(200, [], None, id="nothing-to-guess-from"),
        pytest.param(201, [("last-modified", at(-1000))], None, id="9110-15.1-not-this-status"),
        pytest.param(
            599,
            [("last-modified", at(-1000)), ("cache-control", "public"), ("date", at(0))],
            100.0,
            id="9111-5.2.2.9-public",
        ),
        pytest.param(
            200, [("last-modified", at(-1000)), ("pragma", "no-cache")], None, id="9111-5.4-pragma-forbids-a-guess"
        ),
        pytest.param(
            200,
            [("last-modified", at(-1000)), ("date", at(0)), ("pragma", "no-cache"), ("cdn-cache-control", "public")],
            100.0,
            id="9213-2.2-pragma-ignored",
        ),
    ],
)
def test_where_the_origin_is_silent_the_lifetime_is_guessed(
    status: int, fields: list[tuple[str, str]], lifetime_s: float | None
) -> None:
    """A tenth of the time since the last modification, for the status codes that allow it."""
    response = Fields.of(*fields)
    guess = heuristic_lifetime(CacheControl.effective(response), status, response, NOW)
    assert guess == pytest.approx(lifetime_s)


@pytest.mark.parametrize("status", range(200, 600))
def test_only_the_status_codes_of_rfc_9110_allow_a_guess(status: int) -> None:
    """RFC 9110 §15.1 lists them; no other is kept on a guess."""
    response = Fields.of(("last-modified", at(-1000)), ("date", at(0)))
    guess = heuristic_lifetime(CacheControl(), status, response, NOW)
    assert (guess is not None) == (status in {200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501})


@pytest.mark.parametrize(
    ("fields", "age_s"),
    [
        pytest.param([], 0.5, id="9111-4.2.3-only-the-delay"),
        pytest.param([("age", "30")], 30.5, id="9111-4.2.3-age-and-delay"),
        pytest.param([("date", at(-7200))], 7200.0, id="9111-4.2.3-apparent-age"),
        pytest.param([("date", at(7200))], 0.5, id="9111-4.2.3-fast-clock"),
        pytest.param([("date", at(-10)), ("age", "25")], 25.5, id="9111-4.2.3-the-greater-of-both"),
        pytest.param([("age", "99999999999")], OLDEST, id="9111-1.2.2-overflow"),
        pytest.param([("age", "0,7200")], 0.5, id="9111-5.1-first-of-a-list"),
        pytest.param([("age", "7200,0")], 7200.5, id="9111-5.1-first-of-a-list-old"),
        pytest.param([("age", "abc")], OLDEST, id="9111-5.1-not-a-number"),
        pytest.param([("age", "-7200")], OLDEST, id="9111-5.1-negative"),
        pytest.param([("age", "7200.0")], OLDEST, id="9111-5.1-decimal"),
        pytest.param([("age", "7200;foo=1")], OLDEST, id="9111-5.1-parameter"),
        pytest.param([("age", "0, 0")], OLDEST, id="9111-5.1-joined-lines"),
        pytest.param([("age", "0"), ("age", "7200")], OLDEST, id="9111-5.1-two-lines"),
        pytest.param([("age", "")], OLDEST, id="9111-5.1-empty"),
    ],
)
def test_a_response_arrives_with_an_age(fields: list[tuple[str, str]], age_s: float) -> None:
    """The corrected initial age; an Age that cannot be understood is older than any lifetime."""
    assert arrived(Fields.of(*fields), requested_at=NOW - 0.5, received_at=NOW) == pytest.approx(age_s)


def test_a_date_has_whole_seconds_only() -> None:
    """What was sent a quarter of a second ago does not look as if it were older than it is."""
    assert arrived(Fields.of(("date", at(0))), requested_at=NOW, received_at=NOW + 0.5) == 0.5


@pytest.mark.parametrize(
    ("now", "age_s"), [(NOW, 7.0), (NOW + 3.5, 10.5), (NOW - 10, 7.0), (NOW - 10.5, OLDEST), (NOW - 10_000, OLDEST)]
)
def test_age_grows_with_the_clock_and_never_shrinks(now: float, age_s: float) -> None:
    """Current age is the initial age and the time since; what comes from the future is as old as can be."""
    assert current_age(7.0, NOW, now) == age_s


@given(
    st.lists(st.tuples(st.sampled_from(["age", "date", "expires", "last-modified", "pragma"]), st.binary(max_size=40)))
)
def test_any_bytes_may_come_in_dates_and_ages(pairs: list[tuple[str, bytes]]) -> None:
    """Ages are within [0, 2^31] and lifetimes within [0, 2^31], whatever the fields hold."""
    fields = Fields.of(*pairs)
    control = CacheControl.effective(fields)
    assert 0.0 <= arrived(fields, requested_at=NOW, received_at=NOW + 1) <= OLDEST
    for lifetime_s in (explicit_lifetime(control, fields, NOW), heuristic_lifetime(control, 200, fields, NOW)):
        assert lifetime_s is None or 0.0 <= lifetime_s <= OLDEST

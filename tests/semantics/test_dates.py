"""HTTP dates (RFC 9110 §5.6.7)."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.semantics.dates import format_http_date, parse_http_date

NOV_1994 = 784_111_777.0


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"Sun, 06 Nov 1994 08:49:37 GMT", id="9110-5.6.7-IMF-fixdate"),
        pytest.param(b"Sunday, 06-Nov-94 08:49:37 GMT", id="9110-5.6.7-rfc850"),
        pytest.param(b"Sun Nov  6 08:49:37 1994", id="9110-5.6.7-asctime"),
        pytest.param(b"sUN, 06 nOV 1994 08:49:37 gmt", id="9111-4.2-case-insensitive"),
        pytest.param(b"Sun, 06 Nov 1994 08:49:37 UTC", id="9111-4.2-UTC-is-GMT"),
        pytest.param(b" Sun, 06 Nov 1994 08:49:37 GMT\t", id="9110-5.5-white-space-around"),
        pytest.param(b"Mon, 06 Nov 1994 08:49:37 GMT", id="wrong-weekday-is-not-checked"),
    ],
)
def test_each_form_of_a_date_is_read(text: bytes) -> None:
    """The three forms name the same second, in any case of letters."""
    assert parse_http_date(text) == NOV_1994


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"0", id="9111-5.3-zero"),
        pytest.param(b"", id="empty"),
        pytest.param(b"Sun, 06 Nov 1994 08:49:37 AEST", id="9111-4.2-other-zone"),
        pytest.param(b"Sun, 06 Nov 1994 08:49:37 +0000", id="numeric-zone"),
        pytest.param(b"Sun 06 Nov 1994 08:49:37 GMT", id="no-comma"),
        pytest.param(b"Sun, 06  Nov  1994 08:49:37 GMT", id="two-spaces"),
        pytest.param(b"Sun, 06-Nov-1994 08:49:37 GMT", id="dashes"),
        pytest.param(b"Sun, 06 Nov 94 08:49:37 GMT", id="two-digit-year"),
        pytest.param(b"Sun, 06 Nov 1994 08.49.37 GMT", id="points"),
        pytest.param(b"Sun, 06 Nov 1994 8:49:37 GMT", id="one-digit-hour"),
        pytest.param(b"Sun, 31 Feb 1994 08:49:37 GMT", id="no-such-day"),
        pytest.param(b"Sun, 06 Nov 0000 08:49:37 GMT", id="year-zero"),
        pytest.param(b"Sun, 06 Foo 1994 08:49:37 GMT", id="no-such-month"),
        pytest.param(b"Sun, 06 Nov 1994 24:49:37 GMT", id="hour-24"),
        pytest.param(b"Sun, 06 Nov 1994 08:60:37 GMT", id="minute-60"),
        pytest.param(b"Sun, 06 Nov 1994 08:49:61 GMT", id="second-61"),
        pytest.param(b"Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT", id="two-dates"),
    ],
)
def test_what_is_not_a_date_is_none(text: bytes) -> None:
    """Anything but the three forms is no date at all: the caller reads that as expired."""
    assert parse_http_date(text) is None


@pytest.mark.parametrize(
    ("text", "at"),
    [
        pytest.param(b"Thursday, 01-Jan-70 00:00:00 GMT", 0.0, id="70-is-1970"),
        pytest.param(b"Thursday, 18-Aug-50 02:01:18 GMT", 2_544_400_878.0, id="50-is-2050"),
        pytest.param(b"Fri, 30 Jun 1972 23:59:60 GMT", 78_796_800.0, id="leap-second"),
        pytest.param(b"Sun, 21 Nov 2286 04:46:39 GMT", 10_000_039_599.0, id="far-future"),
    ],
)
def test_dates_at_the_limits(text: bytes, at: float) -> None:
    """Two-digit years fall between 1970 and 2069; leap seconds and years beyond 32 bits count."""
    assert parse_http_date(text) == at


@given(st.integers(min_value=-62_135_596_800, max_value=253_402_300_799))
def test_what_is_written_is_read_back(second: int) -> None:
    """Formatting and parsing are inverse for every second of the years 1 to 9999."""
    assert parse_http_date(format_http_date(float(second))) == second


@given(st.floats(min_value=-1e14, max_value=1e14))
def test_any_time_can_be_written(at: float) -> None:
    """Times beyond the calendar are written as its ends."""
    assert format_http_date(at).endswith(b" GMT")


@given(st.binary(max_size=64))
def test_any_bytes_may_be_offered_as_a_date(value: bytes) -> None:
    """The parser answers and never raises."""
    at = parse_http_date(value)
    assert at is None or isinstance(at, float)


def test_a_long_value_is_refused_at_once() -> None:
    """A megabyte of digits takes no longer than a date."""
    value = b"Sun, " + b"0" * 1_000_000
    started = time.perf_counter()
    assert parse_http_date(value) is None
    assert time.perf_counter() - started < 0.1

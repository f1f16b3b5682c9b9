"""Durations, sizes and rates."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.policy.units import duration_s, rate, size_bytes


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("250ms", 0.25), ("10s", 10), ("1.5s", 1.5), ("5m", 300), ("1h", 3600), ("2d", 172800), ("0s", 0)],
)
def test_durations(text: str, seconds: float) -> None:
    """A duration is a number and its unit."""
    assert duration_s(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "10", 10, 1.5, True, None, "s", "-1s", "1 s ", "1h30m", "1e3s", "\u0661s", "5M", [], "9999999d"]
)
def test_what_is_no_duration(text: object) -> None:
    """A bare number is refused too: nobody has to guess its unit."""
    with pytest.raises(ValueError, match=r".+"):
        duration_s(text)


@pytest.mark.parametrize(
    ("text", "size"), [("0B", 0), ("64KiB", 65536), ("1MiB", 1 << 20), ("10MB", 10**7), ("1.5KiB", 1536)]
)
def test_sizes(text: str, size: int) -> None:
    """MB is a million, MiB is 2**20."""
    assert size_bytes(text) == size


@pytest.mark.parametrize("text", ["", "1", 1, "1M", "1mib", "-1B", None])
def test_what_is_no_size(text: object) -> None:
    """``1M`` could be two things, so it is none."""
    with pytest.raises(ValueError, match=r".+"):
        size_bytes(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("100/minute", (100, 60)),
        ("10/s", (10, 1)),
        ("10 / sec", (10, 1)),
        ("100 per 60s", (100, 60)),
        ("5/250ms", (5, 0.25)),
        ("1000/h", (1000, 3600)),
        ("7 per day", (7, 86400)),
        ("7/d", (7, 86400)),
    ],
)
def test_rates(text: str, expected: tuple[int, float]) -> None:
    """A rate is a whole number of requests, and the time they are for."""
    assert rate(text) == expected


@pytest.mark.parametrize(
    "text", ["", "100", 100, "100/", "/minute", "0/s", "5/0s", "1.5/s", "-1/s", "1/fortnight", None]
)
def test_what_is_no_rate(text: object) -> None:
    """A rate that lets nobody in, or has no time, is a mistake."""
    with pytest.raises(ValueError, match=r".+"):
        rate(text)


@given(st.one_of(st.text(), st.integers(), st.floats(), st.none(), st.booleans()))
def test_nothing_but_value_error_comes_of_any_value(value: object) -> None:
    """Whatever stands in a file, the answer is a value or a ValueError."""
    for read in (duration_s, size_bytes, rate):
        try:
            read(value)
        except ValueError:
            continue

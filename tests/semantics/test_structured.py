"""Structured Fields as plain values (RFC 8941)."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.semantics.structured import LONGEST_BYTES, parse_dictionary, parse_list


def test_members_are_plain_values() -> None:
    """Parameters are left out; what has no single value is None."""
    assert parse_dictionary(b'a=1;x=2, b, c="s", d=(1 2), e=?0') == {
        b"a": 1,
        b"b": True,
        b"c": "s",
        b"d": None,
        b"e": False,
    }
    assert parse_list(b'1, "s", (1 2)') == [1, "s", None]


@pytest.mark.parametrize("value", [b"a=1,", b"A=1", b"a=\xff", b"a==1", b'a="'])
def test_what_is_malformed_is_nothing(value: bytes) -> None:
    """One mistake and the whole field is void (RFC 8941 §4.2)."""
    assert parse_dictionary(value) is None
    assert parse_list(value) is None


@pytest.mark.parametrize("unit", [b"a,", b'"a",', b"a;b", b"(", b" ", b"a=1, "])
def test_a_field_of_any_length_is_read_in_bounded_time(unit: bytes) -> None:
    """What is too long is void at once; what is just short enough takes well under a second."""
    assert parse_list(b"a" * (LONGEST_BYTES + 1)) is None
    started = time.perf_counter()
    parse_list(unit * (LONGEST_BYTES // len(unit)))
    parse_dictionary(unit * (LONGEST_BYTES // len(unit)))
    assert time.perf_counter() - started < 2.0


@given(st.binary(max_size=80))
def test_any_bytes_may_come(value: bytes) -> None:
    """The parser answers and never raises."""
    assert parse_dictionary(value) is None or isinstance(parse_dictionary(value), dict)
    assert parse_list(value) is None or isinstance(parse_list(value), list)

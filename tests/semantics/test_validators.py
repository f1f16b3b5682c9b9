"""Entity tags and strong validators (RFC 9110 §8.8)."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.validators import entity_tags, strong_validator, weak_match

MODIFIED = "Sun, 06 Nov 1994 08:49:37 GMT"
LATER = "Sun, 06 Nov 1994 08:49:38 GMT"


@pytest.mark.parametrize(
    ("value", "tags"),
    [
        pytest.param(b'"a", W/"b","c,d"', [b'"a"', b'W/"b"', b'"c,d"'], id="9110-8.8.3"),
        pytest.param(b'""', [b'""'], id="9110-8.8.3-empty-tag"),
        pytest.param('"é"'.encode(), ['"é"'.encode()], id="9110-8.8.3-obs-text"),
        pytest.param(b"abc", [], id="unquoted"),
        pytest.param(b'"a b"', [], id="space-in-a-tag"),
        pytest.param(b'"a', [], id="endless"),
    ],
)
def test_entity_tags_are_read_from_a_list(value: bytes, tags: list[bytes]) -> None:
    """Well-formed tags in order; what is malformed is left out."""
    assert entity_tags(value) == tags


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        pytest.param(b'W/"1"', b'W/"1"', True, id="9110-8.8.3.2-both-weak"),
        pytest.param(b'W/"1"', b'W/"2"', False, id="9110-8.8.3.2-other"),
        pytest.param(b'W/"1"', b'"1"', True, id="9110-8.8.3.2-one-weak"),
        pytest.param(b'"1"', b'"1"', True, id="9110-8.8.3.2-both-strong"),
    ],
)
def test_weak_comparison(one: bytes, other: bytes, *, same: bool) -> None:
    """The table of RFC 9110 §8.8.3.2."""
    assert weak_match(one, other) == same


@pytest.mark.parametrize(
    ("lines", "validator"),
    [
        pytest.param([("etag", '"a"')], b'"a"', id="9110-8.8.1-strong-tag"),
        pytest.param([("etag", 'W/"a"')], None, id="9110-8.8.1-weak-tag"),
        pytest.param([("etag", "abc")], None, id="unquoted-tag"),
        pytest.param([("etag", '"a" b')], None, id="malformed-tag"),
        pytest.param(
            [("last-modified", MODIFIED), ("date", LATER)], MODIFIED.encode(), id="9110-8.8.2.2-a-second-older"
        ),
        pytest.param([("last-modified", MODIFIED), ("date", MODIFIED)], None, id="9110-8.8.2.2-same-second"),
        pytest.param([("last-modified", MODIFIED)], None, id="9110-8.8.2.2-no-date"),
        pytest.param([("last-modified", "x"), ("date", LATER)], None, id="bad-date"),
        pytest.param([("etag", 'W/"a"'), ("last-modified", MODIFIED), ("date", LATER)], None, id="weak-tag-says-no"),
        pytest.param([], None, id="nothing"),
    ],
)
def test_a_strong_validator(lines: list[tuple[str, str]], validator: bytes | None) -> None:
    """What tells versions apart byte for byte: a strong entity tag, or a date that is old enough."""
    assert strong_validator(Fields.of(*lines)) == validator


@given(st.binary(max_size=100))
def test_any_bytes_may_come_as_entity_tags(value: bytes) -> None:
    """The parser answers and never raises, and finds only what is there."""
    assert all(tag in value for tag in entity_tags(value))


@pytest.mark.parametrize("unit", [b'"', b'W/"', b'"a', b"W/"])
def test_entity_tags_are_read_in_linear_time(unit: bytes) -> None:
    """A hundred thousand bytes of any nasty unit are read in well under a second."""
    started = time.perf_counter()
    entity_tags(unit * (100_000 // len(unit)))
    assert time.perf_counter() - started < 1.0

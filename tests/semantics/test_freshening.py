"""Stored responses brought up to date (RFC 9111 §3.2, §4.3.4, §4.3.5)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.semantics.dates import format_http_date
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.freshening import (
    NEVER_UPDATED,
    dated,
    freshen,
    head_agrees,
    validated,
    without_cookies,
)

Lines = list[tuple[str, str]]


def test_fields_of_a_304_replace_those_stored() -> None:
    """All lines of a name go, and those that came take their place; the rest stays (RFC 9111 §3.2)."""
    stored = Fields.of(("a", "1"), ("a", "2"), ("b", "1"), ("cache-control", "max-age=1"))
    arrived = Fields.of(("a", "3"), ("cache-control", "max-age=9"), ("c", "1"))
    assert list(freshen(stored, arrived)) == [
        (b"b", b"1"), (b"a", b"3"), (b"cache-control", b"max-age=9"), (b"c", b"1")
    ]  # fmt: skip


@pytest.mark.parametrize("name", sorted(NEVER_UPDATED))
def test_what_describes_the_stored_bytes_stays(name: bytes) -> None:
    """A 304 does not change how the body that it did not bring is read (RFC 9111 §3.2)."""
    assert freshen(Fields([(name, b"old")]), Fields([(name, b"new")])) == Fields([(name, b"old")])


@pytest.mark.parametrize("name", ["content-type", "content-location", "expires", "x-frame-options", "set-cookie2"])
def test_everything_else_is_updated(name: str) -> None:
    """Content-Type included, as a proxy keeps bytes and not what it made of them."""
    assert freshen(Fields.of((name, "old")), Fields.of((name, "new"))) == Fields.of((name, "new"))


@pytest.mark.parametrize(
    "lines",
    [
        [("connection", "x"), ("x", "new")],
        [("keep-alive", "1")],
        [("transfer-encoding", "chunked")],
        [("upgrade", "x")],
    ],
)
def test_fields_of_the_connection_update_nothing(lines: Lines) -> None:
    """What was for the hop is not stored by a 304 either."""
    assert freshen(Fields.of(("x", "old")), Fields.of(*lines)) == Fields.of(("x", "old"))


def test_a_304_is_dated() -> None:
    """Without a Date of its own it counts from when it came, not from the stored one."""
    assert dated(Fields(), 784_111_777.5).get(b"date") == format_http_date(784_111_777)
    assert dated(Fields.of(("date", "x")), 0.0).all(b"date") == [b"x"]


def test_cookies_of_a_304_are_for_who_asked() -> None:
    """They are kept only if every one means the same for all."""
    arrived = Fields.of(("set-cookie", "lang=en"), ("set-cookie", "theme=x"), ("a", "1"))
    assert without_cookies(arrived) == Fields.of(("a", "1"))
    assert without_cookies(arrived, frozenset({b"lang"})) == Fields.of(("a", "1"))
    assert without_cookies(arrived, frozenset({b"lang", b"theme"})) == arrived


DAY1, DAY2 = "Sun, 06 Nov 1994 08:49:37 GMT", "Mon, 07 Nov 1994 08:49:37 GMT"


@pytest.mark.parametrize(
    ("stored", "arrived", "indices"),
    [
        pytest.param(
            [[("etag", '"a"')], [("etag", '"b"')], [("etag", '"a"')]], [("etag", '"a"')], [0, 2], id="9111-4.3.4-strong"
        ),
        pytest.param([[("etag", '"b"')], [("etag", '"c"')]], [("etag", '"a"')], [], id="9111-4.3.4-strong-of-none"),
        pytest.param(
            [[("etag", '"b"')], [("etag", 'W/"a"')], [("etag", '"a"')]],
            [("etag", 'W/"a"')],
            [1],
            id="9111-4.3.4-weak-newest",
        ),
        pytest.param([[("etag", '"b"')], []], [("etag", 'W/"a"')], [], id="9111-4.3.4-weak-of-none"),
        pytest.param(
            [[("last-modified", DAY2)], [("last-modified", DAY1)], [("last-modified", DAY1)]],
            [("last-modified", DAY1)],
            [1],
            id="9111-4.3.4-date-newest",
        ),
        pytest.param([[], []], [("last-modified", DAY1)], [], id="9111-4.3.4-date-of-none"),
        pytest.param([[("etag", '"a"')]], [], [0], id="9111-4.3.4-no-validator-and-only-one"),
        pytest.param([[("etag", '"a"')], [("etag", '"b"')]], [], [], id="9111-4.3.4-no-validator-and-several"),
        pytest.param([[("etag", '"a"')]], [("etag", '"b"')], [0], id="only-one-was-asked-about"),
        pytest.param([], [("etag", '"b"')], [], id="nothing-stored"),
    ],
)
def test_which_stored_responses_a_304_validates(stored: list[Lines], arrived: Lines, indices: list[int]) -> None:
    """All with its strong validator, else the newest with its weak one, else the only one."""
    assert validated([Fields.of(*lines) for lines in stored], Fields.of(*arrived)) == indices


@pytest.mark.parametrize(
    ("stored", "head", "agrees"),
    [
        pytest.param([("etag", '"a"')], [("etag", '"a"'), ("content-length", "10")], True, id="9111-4.3.5-same"),
        pytest.param([], [], True, id="9111-4.3.5-nothing-to-compare"),
        pytest.param([("etag", '"a"')], [], True, id="9111-4.3.5-not-sent"),
        pytest.param([], [("content-length", "11")], False, id="9111-4.3.5-another-length"),
        pytest.param([("etag", '"a"')], [("etag", '"b"')], False, id="9111-4.3.5-another-tag"),
        pytest.param([], [("etag", '"b"')], False, id="9111-4.3.5-a-tag-it-had-not"),
        pytest.param([("last-modified", DAY1)], [("last-modified", DAY2)], False, id="9111-4.3.5-another-date"),
    ],
)
def test_a_head_tells_whether_what_is_stored_still_holds(stored: Lines, head: Lines, *, agrees: bool) -> None:
    """Where its validators and its length are those stored, it updates it; else it shows it to be out of date."""
    assert head_agrees(Fields.of(*stored), 10, Fields.of(*head)) == agrees


names = st.sampled_from([b"a", b"b", b"etag", b"connection", b"content-length"])
lines = st.lists(st.tuples(names, st.binary(max_size=20)), max_size=6)


@given(lines, lines)
def test_freshening_twice_is_freshening_once(
    stored: list[tuple[bytes, bytes]], arrived: list[tuple[bytes, bytes]]
) -> None:
    """The same 304 again changes nothing."""
    once = freshen(Fields(stored), Fields(arrived))
    assert freshen(once, Fields(arrived)) == once

"""Byte ranges from what is stored, and parts put together (RFC 9110 §14, RFC 9111 §3.4)."""

import time
from email.parser import BytesParser

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.head import RequestHead
from cacheproxy.semantics.ranges import (
    MAX_RANGES,
    ByteRange,
    ContentRange,
    Missing,
    combine,
    covers,
    missing_part,
    parse_content_range,
    parse_range,
    select,
)

BODY = b"0123456789A"
MODIFIED = "Sun, 06 Nov 1994 08:49:37 GMT"
LATER = "Sun, 06 Nov 1994 08:49:47 GMT"

Lines = list[tuple[str, str]]


def get(value: str | None = None, *lines: tuple[str, str], method: str = "GET") -> RequestHead:
    """A request for a range."""
    ranged = [] if value is None else [("range", value)]
    return RequestHead(method=method, target=b"/", fields=Fields.of(*ranged, *lines))


@pytest.mark.parametrize(
    ("value", "ranges"),
    [
        pytest.param(b"bytes=0-1", (ByteRange(0, 1),), id="9110-14.1.2-first-and-last"),
        pytest.param(b"bytes=1-", (ByteRange(1, None),), id="9110-14.1.2-open"),
        pytest.param(b"bytes=-5", (ByteRange(None, 5),), id="9110-14.1.2-suffix"),
        pytest.param(b"bytes= 0-1 ,, -2", (ByteRange(0, 1), ByteRange(None, 2)), id="9110-5.6.1-list"),
        pytest.param(b"BYTES=0-1", (ByteRange(0, 1),), id="9110-14.1-unit-case"),
        pytest.param(b"items=0-1", None, id="9110-14.2-other-unit"),
        pytest.param(b"bytes=1-0", None, id="9110-14.1.1-backwards"),
        pytest.param(b"bytes=-", None, id="neither"),
        pytest.param(b"bytes=0-1,x", None, id="one-malformed"),
        pytest.param(b"bytes=", None, id="none"),
        pytest.param(b"bytes=0-" + b"9" * 30, None, id="absurd-number"),
        pytest.param(
            b"bytes=" + b"0-0," * (MAX_RANGES - 1) + b"0-0", (ByteRange(0, 0),) * MAX_RANGES, id="as-many-as-may"
        ),
        pytest.param(b"bytes=" + b"0-0," * MAX_RANGES + b"0-0", None, id="9110-14.2-too-many"),
    ],
)
def test_ranges_are_read_or_ignored(value: bytes, ranges: tuple[ByteRange, ...] | None) -> None:
    """What is not understood is ignored, and the whole is served (RFC 9110 §14.2)."""
    assert parse_range(value) == ranges


@pytest.mark.parametrize(
    ("lines", "part"),
    [
        pytest.param(["bytes 0-4/10"], ContentRange(0, 4, 10), id="9110-14.4"),
        pytest.param(["bytes 0-4/*"], None, id="9110-14.4-unknown-length"),
        pytest.param(["bytes */10"], None, id="9110-14.4-unsatisfied"),
        pytest.param(["bytes 5-4/10"], None, id="9110-14.4-backwards"),
        pytest.param(["bytes 0-10/10"], None, id="9110-14.4-beyond"),
        pytest.param(["items 0-4/10"], None, id="other-unit"),
        pytest.param(["bytes 0-4/10", "bytes 0-4/10"], None, id="twice"),
        pytest.param([], None, id="absent"),
    ],
)
def test_content_range(lines: list[str], part: ContentRange | None) -> None:
    """One range of a known length, or nothing."""
    assert parse_content_range(Fields.of(*(("content-range", line) for line in lines))) == part


@pytest.mark.parametrize(
    ("asked", "body", "content_range"),
    [
        pytest.param("bytes=0-1", b"01", b"bytes 0-1/11", id="9110-14.1.2-first-and-last"),
        pytest.param("bytes=1-", b"123456789A", b"bytes 1-10/11", id="9110-14.1.2-open"),
        pytest.param("bytes=-1", b"A", b"bytes 10-10/11", id="9110-14.1.2-suffix"),
        pytest.param("bytes=5-99", b"56789A", b"bytes 5-10/11", id="9110-14.1.2-cut-at-the-end"),
        pytest.param("bytes=-99", BODY, b"bytes 0-10/11", id="9110-14.1.2-longer-suffix"),
        pytest.param("bytes=99-, 2-3", b"23", b"bytes 2-3/11", id="9110-14.2-one-of-two-satisfiable"),
    ],
)
def test_a_range_is_cut_from_a_whole_response(stored_response, asked: str, body: bytes, content_range: bytes) -> None:
    """A single range becomes a 206 with its own length (RFC 9110 §15.3.7.1)."""
    stored = stored_response(body=BODY, fields=Fields.of(("content-length", "11"), ("etag", '"a"')))
    answer = select(get(asked), stored)
    assert (answer.status, answer.body) == (206, body)
    assert list(answer.fields) == [
        (b"etag", b'"a"'), (b"content-length", b"%d" % len(body)), (b"content-range", content_range)
    ]  # fmt: skip


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(get(), id="no-range"),
        pytest.param(get("items=0-1"), id="9110-14.2-other-unit"),
        pytest.param(get("bytes=0-1", method="HEAD"), id="9110-14.2-head"),
        pytest.param(get("bytes=0-9,0-9"), id="9110-14.2-more-than-the-whole"),
        pytest.param(get("bytes=0-1", ("if-range", '"b"')), id="9110-13.1.5-another-version"),
        pytest.param(get("bytes=0-1", ("if-range", 'W/"a"')), id="9110-13.1.5-weak"),
        pytest.param(get("bytes=0-1", ("if-range", LATER)), id="9110-13.1.5-another-date"),
    ],
)
def test_the_whole_is_served_where_the_range_does_not_apply(stored_response, request_: RequestHead) -> None:
    """A range that is ignored leaves 200 and all of the body."""
    stored = stored_response(body=BODY, fields=Fields.of(("etag", '"a"'), ("last-modified", MODIFIED), ("date", LATER)))
    answer = select(request_, stored)
    assert (answer.status, answer.fields, answer.body) == (200, stored.fields, BODY)


@pytest.mark.parametrize(
    ("fields", "if_range"),
    [
        pytest.param([("etag", '"a"')], '"a"', id="9110-13.1.5-tag"),
        pytest.param([("last-modified", MODIFIED), ("date", LATER)], MODIFIED, id="9110-13.1.5-date"),
    ],
)
def test_if_range_of_the_same_version(stored_response, fields: Lines, if_range: str) -> None:
    """A strong validator that is what is stored lets the range through."""
    stored = stored_response(body=BODY, fields=Fields.of(*fields))
    assert select(get("bytes=0-1", ("if-range", if_range)), stored).status == 206


def test_a_weak_date_never_lets_a_range_through(stored_response) -> None:
    """Last-Modified in the same second as Date could be of two versions (RFC 9110 §8.8.2.2)."""
    stored = stored_response(body=BODY, fields=Fields.of(("last-modified", MODIFIED), ("date", MODIFIED)))
    assert select(get("bytes=0-1", ("if-range", MODIFIED)), stored).status == 200


def test_a_date_never_tells_codings_apart(stored_response) -> None:
    """Forms in several codings have one Last-Modified: a part of one is never sent for another (RFC 9110 §8.8.1)."""
    fields = Fields.of(("last-modified", MODIFIED), ("date", LATER), ("vary", "Accept-Encoding"))
    stored = stored_response(body=BODY, fields=fields)
    assert select(get("bytes=0-1", ("if-range", MODIFIED)), stored).status == 200
    assert select(get("bytes=0-1"), stored).status == 206


@pytest.mark.parametrize("status", [301, 404, 500])
def test_ranges_are_of_successes_only(stored_response, status: int) -> None:
    """A stored error is served as it is (RFC 9110 §14.2)."""
    assert select(get("bytes=0-1"), stored_response(status=status)).status == status


@pytest.mark.parametrize("asked", ["bytes=11-", "bytes=-0", "bytes=99-100, 50-"])
def test_a_range_beyond_the_end_is_416(stored_response, asked: str) -> None:
    """It says how long the representation is (RFC 9110 §15.5.17), and nothing of its content."""
    stored = stored_response(body=BODY, fields=Fields.of(("content-type", "a/b"), ("etag", '"a"')))
    answer = select(get(asked), stored)
    assert (answer.status, answer.body) == (416, b"")
    assert list(answer.fields) == [(b"etag", b'"a"'), (b"content-range", b"bytes */11"), (b"content-length", b"0")]


def test_nothing_can_be_cut_from_an_empty_body(stored_response) -> None:
    """Every range of nothing is 416."""
    assert select(get("bytes=0-"), stored_response(body=b"")).status == 416


@pytest.mark.parametrize("content_type", ["text/plain", None])
def test_several_ranges_are_a_multipart(stored_response, content_type: str | None) -> None:
    """Each part has its Content-Range, and the type of the whole (RFC 9110 §14.6)."""
    typed = [] if content_type is None else [("content-type", content_type)]
    answer = select(get("bytes=0-1,-2"), stored_response(body=BODY, fields=Fields.of(*typed)))
    head = b"Content-Type: " + (answer.fields.get(b"content-type") or b"") + b"\r\n\r\n"
    message = BytesParser().parsebytes(head + answer.body)
    parts = message.get_payload()
    assert answer.status == 206
    assert answer.fields.get(b"content-length") == b"%d" % len(answer.body)
    assert message.get_content_type() == "multipart/byteranges"
    assert [part["content-range"] for part in parts] == ["bytes 0-1/11", "bytes 9-10/11"]
    assert [part.get_payload() for part in parts] == ["01", "9A"]
    assert [part["content-type"] for part in parts] == [content_type, content_type]


@given(st.binary(min_size=1, max_size=60), st.binary(max_size=30))
def test_any_range_gives_bytes_of_the_body(stored_response, body: bytes, asked: bytes) -> None:
    """Whatever is asked for, a 206 with one range holds exactly the bytes it says."""
    request = RequestHead(method="GET", target=b"/", fields=Fields.of(("range", b"bytes=" + asked)))
    answer = select(request, stored_response(body=body))
    part = parse_content_range(answer.fields)
    assert answer.status in (200, 206, 416)
    if part is not None:
        assert answer.body == body[part.first : part.last + 1]
        assert part.complete == len(body)


MOST = 1 << 20
TAG = ("etag", '"a"')


def a_part(stored_response, content_range: str, body: bytes, *lines: tuple[str, str]):
    """A stored 206."""
    return stored_response(status=206, body=body, fields=Fields.of(("content-range", content_range), *lines))


@pytest.mark.parametrize(
    ("asked", "body", "content_range"),
    [
        pytest.param("bytes=4-5", b"45", b"bytes 4-5/10", id="within"),
        pytest.param("bytes=4-", b"456789", b"bytes 4-9/10", id="to-the-end"),
        pytest.param("bytes=6-99", b"6789", b"bytes 6-9/10", id="cut-at-the-end"),
        pytest.param("bytes=-6", b"456789", b"bytes 4-9/10", id="suffix"),
        pytest.param("bytes=-1", b"9", b"bytes 9-9/10", id="short-suffix"),
        pytest.param("bytes=3-5", None, None, id="begins-before"),
        pytest.param("bytes=-7", None, None, id="suffix-begins-before"),
        pytest.param("bytes=-0", None, None, id="no-bytes"),
        pytest.param("bytes=4-5,7-8", None, None, id="several"),
        pytest.param("items=4-5", None, None, id="other-unit"),
    ],
)
def test_a_range_is_cut_from_a_part_that_has_it(
    stored_response, asked: str, body: bytes | None, content_range: bytes | None
) -> None:
    """Bytes 4 to 9 of 10 answer every range within them (RFC 9111 §3.3)."""
    stored = a_part(stored_response, "bytes 4-9/10", b"456789")
    assert covers(stored, get(asked)) == (body is not None)
    if body is not None:
        answer = select(get(asked), stored)
        assert (answer.status, answer.body, answer.fields.get(b"content-range")) == (206, body, content_range)


@pytest.mark.parametrize("asked", ["bytes=4-", "bytes=3-5", "bytes=-1"])
def test_a_part_before_the_end_has_no_end(stored_response, asked: str) -> None:
    """Bytes 0 to 4 of 10 cannot answer for the last ones."""
    assert not covers(a_part(stored_response, "bytes 0-4/10", b"01234"), get(asked))


@pytest.mark.parametrize(
    ("asked", "body"),
    [("bytes=-5", b"01234"), ("bytes=6-8", b"234"), ("bytes=6-", b"234"), ("bytes=-1", b"4")],
)
def test_a_part_that_is_shorter_than_it_says(stored_response, asked: str, body: bytes) -> None:
    """Six bytes announced, five there: a range is counted from the end it names, and says what it holds."""
    stored = a_part(stored_response, "bytes 4-9/10", b"01234")
    answer = select(get(asked), stored)
    part = parse_content_range(answer.fields)
    assert answer.body == body
    assert part is not None
    assert part.last - part.first + 1 == len(body)


def test_bytes_that_are_not_there_are_not_served(stored_response) -> None:
    """Past the end of a short part there is nothing."""
    assert not covers(a_part(stored_response, "bytes 4-9/10", b"01234"), get("bytes=9-9"))


def test_a_part_of_another_version_is_not_served(stored_response) -> None:
    """If-Range holds for parts as well."""
    stored = a_part(stored_response, "bytes 0-4/10", b"01234", ("etag", '"a"'))
    assert not covers(stored, get("bytes=0-1", ("if-range", '"b"')))
    assert not covers(stored, get("bytes=0-1", method="HEAD"))


def test_a_part_whose_range_is_unknown_is_served_as_it_is(stored_response) -> None:
    """Nothing invents a Content-Range."""
    stored = stored_response(status=206, body=b"x")
    assert select(get("bytes=0-0"), stored).fields == stored.fields


@pytest.mark.parametrize(
    ("content_range", "body", "missing"),
    [
        pytest.param("bytes 0-4/10", b"01234", Missing(b"bytes=5-", b'"a"'), id="9111-3.4-the-rest"),
        pytest.param("bytes 4-9/10", b"456789", Missing(b"bytes=0-3", b'"a"'), id="9111-3.4-the-beginning"),
        pytest.param("bytes 0-9/10", b"012", Missing(b"bytes=3-", b'"a"'), id="9111-3.4-cut-short"),
        pytest.param("bytes 0-8/10", b"012345678", Missing(b"bytes=9-", b'"a"'), id="9111-3.4-the-last-byte"),
        pytest.param("bytes 1-9/10", b"123456789", Missing(b"bytes=0-0", b'"a"'), id="9111-3.4-the-first-byte"),
        pytest.param("bytes 3-5/10", b"345", None, id="9111-3.4-both-ends-lack"),
        pytest.param("bytes 0-9/10", b"0123456789", None, id="nothing-lacks"),
        pytest.param("nonsense", b"x", None, id="unknown"),
    ],
)
def test_what_lacks_of_a_part(stored_response, content_range: str, body: bytes, missing: Missing | None) -> None:
    """One further range that makes it whole, bound to the same version."""
    assert missing_part(a_part(stored_response, content_range, body, ("etag", '"a"')), MOST) == missing


@pytest.mark.parametrize(("most_bytes", "lacks"), [(10, True), (9, False)])
def test_nothing_lacks_of_what_may_not_be_kept_whole(stored_response, most_bytes: int, *, lacks: bool) -> None:
    """Whoever asks for all of a response that is too large to be stored is sent to the origin for all of it."""
    assert (missing_part(a_part(stored_response, "bytes 0-4/10", b"01234", TAG), most_bytes) is not None) is lacks


@pytest.mark.parametrize(("most_bytes", "joined"), [(7, True), (6, False)])
def test_parts_grow_no_larger_than_a_whole_may_be(stored_response, most_bytes: int, *, joined: bool) -> None:
    """Range by range, a client could have the cache put together what it would never store at once."""
    kept = a_part(stored_response, "bytes 0-4/10", b"01234", TAG)
    came = a_part(stored_response, "bytes 5-6/10", b"56", TAG)
    assert (combine(kept, came, most_bytes) is not None) is joined


@pytest.mark.parametrize(
    ("old", "new", "status", "body", "content_range"),
    [
        pytest.param(("0-4", b"01234"), ("5-9", b"56789"), 200, b"0123456789", None, id="9111-3.4-whole"),
        pytest.param(("5-9", b"56789"), ("0-4", b"01234"), 200, b"0123456789", None, id="9111-3.4-whole-reversed"),
        pytest.param(("0-3", b"0123"), ("2-6", b"23456"), 206, b"0123456", b"bytes 0-6/10", id="9111-3.4-overlap"),
        pytest.param(("2-3", b"23"), ("0-6", b"0123456"), 206, b"0123456", b"bytes 0-6/10", id="9111-3.4-within"),
    ],
)
def test_parts_of_one_version_are_put_together(
    stored_response,
    old: tuple[str, bytes],
    new: tuple[str, bytes],
    status: int,
    body: bytes,
    content_range: bytes | None,
) -> None:
    """Adjacent or overlapping parts with the same strong validator are one; the newer fields win."""
    kept = a_part(stored_response, f"bytes {old[0]}/10", old[1], TAG, ("x", "old"), ("y", "kept"))
    came = a_part(stored_response, f"bytes {new[0]}/10", new[1], TAG, ("x", "new"))
    both = combine(kept, came, MOST)
    assert both is not None
    assert (both.status, both.body, both.fields.get(b"content-range")) == (status, body, content_range)
    assert (both.fields.all(b"x"), both.fields.get(b"y")) == ([b"new"], b"kept")
    assert both.fields.get(b"content-length") == b"%d" % len(body)


def test_a_part_joins_a_whole(stored_response) -> None:
    """A whole response with the same validator takes the part's fields, and stays whole."""
    kept = stored_response(body=b"0123456789", fields=Fields.of(TAG, ("x", "old")))
    both = combine(kept, a_part(stored_response, "bytes 0-1/10", b"01", TAG, ("x", "new")), MOST)
    assert both is not None
    assert (both.status, both.body, both.fields.all(b"x")) == (200, b"0123456789", [b"new"])


@pytest.mark.parametrize(
    ("kept", "came"),
    [
        pytest.param(("bytes 0-4/10", b"01234", []), ("bytes 5-9/10", b"56789", []), id="9111-3.4-no-validator"),
        pytest.param(
            ("bytes 0-4/10", b"01234", [TAG]), ("bytes 5-9/10", b"56789", [("etag", '"b"')]), id="9111-3.4-another"
        ),
        pytest.param(
            ("bytes 0-4/10", b"01234", [("etag", 'W/"a"')]),
            ("bytes 5-9/10", b"56789", [("etag", 'W/"a"')]),
            id="9111-3.4-weak",
        ),
        pytest.param(("bytes 0-3/10", b"0123", [TAG]), ("bytes 5-9/10", b"56789", [TAG]), id="gap"),
        pytest.param(("bytes 6-9/10", b"6789", [TAG]), ("bytes 0-4/10", b"01234", [TAG]), id="gap-reversed"),
        pytest.param(("bytes 0-4/10", b"01234", [TAG]), ("bytes 5-10/11", b"56789A", [TAG]), id="another-length"),
        pytest.param(("bytes 0-4/10", b"012", [TAG]), ("bytes 5-9/10", b"56789", [TAG]), id="cut-short"),
        pytest.param(("nonsense", b"012", [TAG]), ("bytes 5-9/10", b"56789", [TAG]), id="unknown"),
    ],
)
def test_parts_that_may_not_be_put_together(
    stored_response, kept: tuple[str, bytes, Lines], came: tuple[str, bytes, Lines]
) -> None:
    """Different versions, gaps and contradictions are never joined."""
    old = a_part(stored_response, kept[0], kept[1], *kept[2])
    assert combine(old, a_part(stored_response, came[0], came[1], *came[2]), MOST) is None


@pytest.mark.parametrize(("status", "body"), [(404, b"x"), (200, b"")])
def test_a_part_does_not_join_what_is_no_representation(stored_response, status: int, body: bytes) -> None:
    """An error or an empty body is not added to."""
    kept = stored_response(status=status, body=body, fields=Fields.of(TAG))
    assert combine(kept, a_part(stored_response, "bytes 0-0/10", b"0", TAG), MOST) is None


@given(st.binary(min_size=2, max_size=40), st.data())
def test_parts_put_together_are_the_body(stored_response, body: bytes, data: st.DataObject) -> None:
    """Two parts of a body that touch, put together, are bytes of that body."""
    length = len(body)
    cuts = [sorted(data.draw(st.tuples(st.integers(0, length), st.integers(0, length)))) for _ in range(2)]
    assume(all(first < stop for first, stop in cuts))
    kept, came = (
        a_part(stored_response, f"bytes {first}-{stop - 1}/{length}", body[first:stop], TAG) for first, stop in cuts
    )
    both = combine(kept, came, MOST)
    touching = cuts[0][0] <= cuts[1][1] and cuts[1][0] <= cuts[0][1]
    assert (both is not None) == touching
    if both is not None:
        assert both.body == body[min(cuts[0][0], cuts[1][0]) : max(cuts[0][1], cuts[1][1])]


@given(st.lists(st.tuples(st.sampled_from(["content-range", "etag", "last-modified", "date"]), st.binary(max_size=40))))
def test_any_bytes_may_come_as_a_part(stored_response, lines: list[tuple[str, bytes]]) -> None:
    """Parts are read, cut and joined without an error, whatever they say."""
    stored = stored_response(status=206, fields=Fields.of(*lines))
    missing_part(stored, MOST)
    combine(stored, stored, MOST)
    covers(stored, get("bytes=0-1", ("if-range", '"a"')))
    select(get("bytes=-1"), stored)


@pytest.mark.parametrize("unit", ["0-0,", ",", "-", " ", "9", "0-0 ,"])
def test_ranges_are_read_in_linear_time(unit: str) -> None:
    """A hundred thousand bytes of any nasty unit are read in well under a second."""
    started = time.perf_counter()
    parse_range(b"bytes=" + unit.encode() * (100_000 // len(unit)))
    assert time.perf_counter() - started < 1.0

"""Conditional requests, both ways (RFC 9110 §13, RFC 9111 §4.3)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.semantics.conditional import (
    completion_fields,
    fill_fields,
    not_modified,
    not_modified_fields,
    revalidation_fields,
)
from cacheproxy.semantics.dates import format_http_date
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.head import RequestHead
from cacheproxy.semantics.ranges import Missing

MODIFIED_AT = 784_111_777.0
MODIFIED = format_http_date(MODIFIED_AT).decode()
EARLIER = format_http_date(MODIFIED_AT - 1).decode()
LATER = format_http_date(MODIFIED_AT + 1).decode()
RFC850 = "Sunday, 06-Nov-94 08:49:37 GMT"

Lines = list[tuple[str, str]]


def asks(*lines: tuple[str, str], method: str = "GET") -> RequestHead:
    """A request with these fields."""
    return RequestHead(method=method, target=b"/", fields=Fields.of(*lines))


@pytest.mark.parametrize(
    ("none_match", "etag", "unchanged"),
    [
        pytest.param('"a"', '"a"', True, id="9110-13.1.2-same"),
        pytest.param('"b"', '"a"', False, id="9110-13.1.2-other"),
        pytest.param('W/"a"', '"a"', True, id="9110-13.1.2-weak-comparison"),
        pytest.param('"a"', 'W/"a"', True, id="9110-13.1.2-weak-comparison-stored"),
        pytest.param('"x", "a", "y"', '"a"', True, id="9110-13.1.2-in-a-list"),
        pytest.param("*", '"a"', True, id="9110-13.1.2-star"),
        pytest.param("*", None, True, id="9110-13.1.2-star-without-a-tag"),
        pytest.param('"a"', None, False, id="9110-13.1.2-nothing-to-compare"),
        pytest.param("a", '"a"', False, id="unquoted"),
        pytest.param("a", "a", True, id="malformed-but-equal"),
        pytest.param('W\\"a"', 'W\\"a"', True, id="malformed-weak-but-equal"),
        pytest.param('"é"', '"é"', True, id="9110-8.8.3-obs-text"),
    ],
)
def test_if_none_match(stored_response, none_match: str, etag: str | None, *, unchanged: bool) -> None:
    """A client that names what is stored gets 304."""
    fields = Fields() if etag is None else Fields.of(("etag", etag))
    assert not_modified(asks(("if-none-match", none_match)), stored_response(fields=fields)) == unchanged


@pytest.mark.parametrize(
    ("since", "stored", "unchanged"),
    [
        pytest.param(MODIFIED, [("last-modified", MODIFIED)], True, id="9110-13.1.3-same"),
        pytest.param(LATER, [("last-modified", MODIFIED)], True, id="9110-13.1.3-later"),
        pytest.param(EARLIER, [("last-modified", MODIFIED)], False, id="9110-13.1.3-earlier"),
        pytest.param(RFC850, [("last-modified", MODIFIED)], True, id="9110-5.6.7-rfc850"),
        pytest.param("x", [("last-modified", MODIFIED)], False, id="9110-13.1.3-invalid-is-ignored"),
        pytest.param(MODIFIED, [("date", MODIFIED)], True, id="9111-4.3.2-date-instead"),
        pytest.param(EARLIER, [("date", MODIFIED)], False, id="9111-4.3.2-newer-by-its-date"),
        pytest.param(LATER, [("last-modified", "x"), ("date", MODIFIED)], True, id="9111-4.3.2-bad-last-modified"),
        pytest.param(MODIFIED, [], True, id="9111-4.3.2-when-it-came"),
        pytest.param(EARLIER, [], False, id="9111-4.3.2-newer-by-when-it-came"),
    ],
)
def test_if_modified_since(stored_response, since: str, stored: Lines, *, unchanged: bool) -> None:
    """A client whose copy is as new gets 304."""
    kept = stored_response(fields=Fields.of(*stored), received_at=MODIFIED_AT)
    assert not_modified(asks(("if-modified-since", since)), kept) == unchanged


def test_if_none_match_takes_precedence(stored_response) -> None:
    """With both, the date is not looked at (RFC 9110 §13.2.2)."""
    kept = stored_response(fields=Fields.of(("etag", '"a"'), ("last-modified", MODIFIED)))
    assert not_modified(asks(("if-none-match", '"a"'), ("if-modified-since", EARLIER)), kept)
    assert not not_modified(asks(("if-none-match", '"b"'), ("if-modified-since", LATER)), kept)


def test_two_dates_are_none(stored_response) -> None:
    """If-Modified-Since twice is malformed, and ignored."""
    kept = stored_response(fields=Fields.of(("last-modified", MODIFIED)))
    assert not not_modified(asks(("if-modified-since", LATER), ("if-modified-since", LATER)), kept)


@pytest.mark.parametrize(
    ("method", "status", "unchanged"),
    [
        pytest.param("GET", 200, True, id="get"),
        pytest.param("HEAD", 200, True, id="head"),
        pytest.param("POST", 200, False, id="9110-13.2.1-post"),
        pytest.param("GET", 404, False, id="9110-13.2.1-error"),
        pytest.param("GET", 301, False, id="9110-13.2.1-redirect"),
    ],
)
def test_conditions_hold_for_successful_reads(stored_response, method: str, status: int, *, unchanged: bool) -> None:
    """Only GET and HEAD of a 2xx can be answered 304 (RFC 9110 §13.2.1)."""
    kept = stored_response(status=status, fields=Fields.of(("etag", '"a"')))
    assert not_modified(asks(("if-none-match", '"a"'), method=method), kept) == unchanged


def test_an_unconditional_request_is_never_answered_304(stored_response) -> None:
    """No condition, no 304."""
    assert not not_modified(asks(), stored_response(fields=Fields.of(("etag", '"a"'))))


def test_a_304_carries_what_a_cache_needs() -> None:
    """Nothing that describes the body, and Last-Modified only without an entity tag (RFC 9110 §15.4.5)."""
    full = Fields.of(
        ("cache-control", "max-age=1"), ("content-location", "/a"), ("date", MODIFIED), ("expires", LATER),
        ("vary", "x"), ("content-length", "5"), ("content-type", "a/b"), ("content-encoding", "gzip"),
        ("last-modified", MODIFIED), ("x-other", "1"), ("etag", '"a"'),
    )  # fmt: skip
    kept = [name for name, _ in not_modified_fields(full)]
    assert kept == [b"cache-control", b"content-location", b"date", b"expires", b"vary", b"x-other", b"etag"]
    assert b"last-modified" in not_modified_fields(full.without([b"etag"]))


@pytest.mark.parametrize(
    ("stored", "asked"),
    [
        pytest.param([[("etag", '"a"')]], [(b"if-none-match", b'"a"')], id="9111-4.3.1-tag"),
        pytest.param([[("etag", 'W/"a"')]], [(b"if-none-match", b'W/"a"')], id="9111-4.3.1-weak-tag"),
        pytest.param(
            [[("etag", '"a"'), ("last-modified", MODIFIED)]],
            [(b"if-none-match", b'"a"'), (b"if-modified-since", MODIFIED.encode())],
            id="9111-4.3.1-both",
        ),
        pytest.param(
            [[("last-modified", MODIFIED)]], [(b"if-modified-since", MODIFIED.encode())], id="9111-4.3.1-date"
        ),
        pytest.param(
            [[("etag", '"a"'), ("last-modified", MODIFIED)], [("etag", '"b"')], [("etag", '"a"')], []],
            [(b"if-none-match", b'"a", "b"')],
            id="9111-4.3.1-all-variants",
        ),
        pytest.param([[("etag", "")]], [], id="empty-tag"),
    ],
)
def test_the_origin_is_asked_about_what_is_stored(stored: list[Lines], asked: list[tuple[bytes, bytes]]) -> None:
    """Our validators replace the client's conditions and its range; the rest of the request stays."""
    client = Fields.of(("foo", "1"), ("if-none-match", '"x"'), ("if-modified-since", EARLIER), ("range", "bytes=0-1"))
    fields = revalidation_fields(client, [Fields.of(*lines) for lines in stored])
    assert list(fields) == [(b"foo", b"1"), *asked]


def test_an_origin_is_not_asked_about_more_than_it_takes() -> None:
    """However many variants were stored under long entity tags: the best is offered, and others as far as they fit."""
    stored = [Fields.of(("etag", f'"{number:0300}"')) for number in range(32)]
    offered = revalidation_fields(Fields(), stored).get(b"if-none-match") or b""
    assert offered.startswith(b'"%0300d", "' % 0)
    assert len(offered) <= 2048
    fitting = [Fields.of(("etag", f'"{"a" * 1021}"')), Fields.of(("etag", f'"{"b" * 1021}"'))]
    assert len(revalidation_fields(Fields(), fitting).get(b"if-none-match") or b"") == 2048
    huge = revalidation_fields(Fields(), [Fields.of(("etag", '"' + "x" * 5000 + '"'))])
    assert 5002 == len(huge.get(b"if-none-match") or b"")


@pytest.mark.parametrize(
    ("keep_range", "kept"), [(False, [b"foo"]), (True, [b"foo", b"range", b"if-range"])], ids=["whole", "range"]
)
def test_a_fill_asks_unconditionally(kept: list[bytes], *, keep_range: bool) -> None:
    """What is fetched for all is asked for without one client's conditions."""
    client = Fields.of(
        ("foo", "1"), ("if-none-match", "x"), ("if-modified-since", "x"), ("if-match", "x"),
        ("if-unmodified-since", "x"), ("range", "bytes=0-1"), ("if-range", "x"),
    )  # fmt: skip
    assert [name for name, _ in fill_fields(client, keep_range=keep_range)] == kept


@pytest.mark.parametrize(
    ("missing", "asked"),
    [
        pytest.param(Missing(b"bytes=5-", None), [(b"range", b"bytes=5-")], id="no-validator"),
        pytest.param(
            Missing(b"bytes=5-", b'"a"'), [(b"range", b"bytes=5-"), (b"if-range", b'"a"')], id="9110-13.1.5-if-range"
        ),
    ],
)
def test_the_rest_of_a_part_is_asked_for(missing: Missing, asked: list[tuple[bytes, bytes]]) -> None:
    """The range that lacks, of the same version or else all of the new one."""
    assert list(completion_fields(Fields.of(("foo", "1"), ("if-none-match", "x")), missing)) == [(b"foo", b"1"), *asked]


CONDITIONS = ["if-none-match", "if-modified-since", "if-range", "range", "if-match", "if-unmodified-since"]


@given(
    st.lists(st.tuples(st.sampled_from(CONDITIONS), st.binary(max_size=40)), max_size=4),
    st.lists(st.tuples(st.sampled_from(["etag", "last-modified", "date"]), st.binary(max_size=40)), max_size=4),
)
def test_any_bytes_may_come_as_conditions(
    stored_response, conditions: list[tuple[str, bytes]], response: list[tuple[str, bytes]]
) -> None:
    """Conditions are judged without an error, whatever they hold, and never sent on as the client's."""
    head = RequestHead(method="GET", target=b"/", fields=Fields.of(*conditions))
    kept = stored_response(fields=Fields.of(*response))
    assert not_modified(head, kept) in (True, False)
    assert not {b"range", b"if-range", b"if-match"} & {
        name for name, _ in revalidation_fields(head.fields, [kept.fields])
    }

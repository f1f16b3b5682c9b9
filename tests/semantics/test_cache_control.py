"""Cache-Control, Surrogate-Control and targeted fields (RFC 9111 §5.2, RFC 9213)."""

import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.semantics.cache_control import MAX_DELTA_S, SILENT, CacheControl, delta_seconds, parse
from cacheproxy.semantics.fields import Fields


@pytest.mark.parametrize(
    ("value", "read"),
    [
        pytest.param(b"max-age=60", CacheControl(max_age_s=60), id="9111-5.2.2.1"),
        pytest.param(b"MaX-aGe=60", CacheControl(max_age_s=60), id="9111-5.2-case-insensitive"),
        pytest.param(b'max-age="60"', CacheControl(max_age_s=60), id="9111-5.2-quoted-form-accepted"),
        pytest.param(b"max-age=00060", CacheControl(max_age_s=60), id="9111-1.2.2-leading-zeros"),
        pytest.param(b"max-age=99999999999", CacheControl(max_age_s=MAX_DELTA_S), id="9111-1.2.2-overflow"),
        pytest.param(b"max-age=" + b"9" * 5000, CacheControl(max_age_s=MAX_DELTA_S), id="9111-1.2.2-huge"),
        pytest.param(b"max-age=2147483649", CacheControl(max_age_s=MAX_DELTA_S), id="9111-1.2.2-just-over"),
        pytest.param(b"max-age", CacheControl(max_age_s=0), id="9111-4.2.1-no-value-is-stale"),
        pytest.param(b"max-age=", CacheControl(max_age_s=0), id="9111-4.2.1-empty-is-stale"),
        pytest.param(b"max-age=-60", CacheControl(max_age_s=0), id="9111-4.2.1-negative-is-stale"),
        pytest.param(b"max-age=60.0", CacheControl(max_age_s=0), id="9111-4.2.1-decimal-is-stale"),
        pytest.param(b"max-age=a60", CacheControl(max_age_s=0), id="9111-4.2.1-letters-are-stale"),
        pytest.param(b"max-age='60'", CacheControl(max_age_s=0), id="9111-4.2.1-single-quotes-are-stale"),
        pytest.param(b"max-age =60", CacheControl(max_age_s=0), id="9111-5.2-space-before-equals"),
        pytest.param(b"max-age= 60", CacheControl(max_age_s=0), id="9111-5.2-space-after-equals"),
        pytest.param(b"max-age=1, max-age=60", CacheControl(max_age_s=1), id="9111-4.2.1-shortest-of-two"),
        pytest.param(b"max-age=60, max-age=1", CacheControl(max_age_s=1), id="9111-4.2.1-shortest-of-two-reversed"),
        pytest.param(b"max-age=60, max-age=x", CacheControl(max_age_s=0), id="9111-4.2.1-one-invalid-is-stale"),
        pytest.param(b"s-maxage=9, max-age=1", CacheControl(s_maxage_s=9, max_age_s=1), id="9111-5.2.2.10"),
        pytest.param(b"no-cache", CacheControl(no_cache=True), id="9111-5.2.2.4"),
        pytest.param(
            b'no-cache="A, b"', CacheControl(no_cache_fields=frozenset({b"a", b"b"})), id="9111-5.2.2.4-qualified"
        ),
        pytest.param(b"no-cache=a", CacheControl(no_cache_fields=frozenset({b"a"})), id="9111-5.2.2.4-token-form"),
        pytest.param(b'no-cache="a", no-cache', CacheControl(no_cache=True), id="9111-5.2.2.4-both-means-all"),
        pytest.param(b'no-cache=""', CacheControl(no_cache=True), id="9111-5.2.2.4-empty-list-means-all"),
        pytest.param(b'no-cache="a b"', CacheControl(no_cache=True), id="9111-5.2.2.4-bad-name-means-all"),
        pytest.param(b"no-store", CacheControl(no_store=True), id="9111-5.2.2.5"),
        pytest.param(b"no-store=x", CacheControl(no_store=True), id="9111-5.2.2.5-argument-changes-nothing"),
        pytest.param(b"private", CacheControl(private=True), id="9111-5.2.2.7"),
        pytest.param(b'private="x-a"', CacheControl(private_fields=frozenset({b"x-a"})), id="9111-5.2.2.7-qualified"),
        pytest.param(b"public", CacheControl(public=True), id="9111-5.2.2.9"),
        pytest.param(b"public=x", SILENT, id="9111-5.2.2.9-argument-loosens-nothing"),
        pytest.param(b"must-revalidate", CacheControl(must_revalidate=True), id="9111-5.2.2.2"),
        pytest.param(b"proxy-revalidate", CacheControl(proxy_revalidate=True), id="9111-5.2.2.8"),
        pytest.param(b"must-understand", CacheControl(must_understand=True), id="9111-5.2.2.3"),
        pytest.param(b"no-transform", CacheControl(no_transform=True), id="9111-5.2.2.6"),
        pytest.param(b"immutable", CacheControl(), id="8246-2-is-for-clients"),
        pytest.param(b"stale-while-revalidate=30", CacheControl(stale_while_revalidate_s=30), id="5861-3"),
        pytest.param(b"stale-if-error=x", CacheControl(stale_if_error_s=0), id="5861-4-invalid-is-none-at-all"),
        pytest.param(b"only-if-cached", CacheControl(only_if_cached=True), id="9111-5.2.1.7"),
        pytest.param(b"max-stale", CacheControl(max_stale_s=MAX_DELTA_S), id="9111-5.2.1.2-any-staleness"),
        pytest.param(b"max-stale=5", CacheControl(max_stale_s=5), id="9111-5.2.1.2"),
        pytest.param(b"max-stale=x", CacheControl(max_stale_s=0), id="9111-5.2.1.2-invalid-is-none"),
        pytest.param(b"min-fresh=5, min-fresh=9", CacheControl(min_fresh_s=9), id="9111-5.2.1.3-longest"),
        pytest.param(b"foobar, max-age=60", CacheControl(max_age_s=60), id="9111-5.2.3-extension"),
        pytest.param(b'x="max-age=60", max-age=1', CacheControl(max_age_s=1), id="quoted-comma-before"),
        pytest.param(b'max-age=1, x="max-age=60"', CacheControl(max_age_s=1), id="quoted-comma-after"),
        pytest.param(b'x="a\\", no-store", max-age=1', CacheControl(max_age_s=1), id="quoted-quote"),
        pytest.param(b'x="a, no-store', CacheControl(no_store=True), id="endless-quote-swallows-nothing"),
        pytest.param(b'x="a\\', SILENT, id="endless-quote-and-backslash"),
        pytest.param(b",, ,no-store,,", CacheControl(no_store=True), id="9110-5.6.1.2-empty-members"),
        pytest.param(b"=60", SILENT, id="no-name"),
        pytest.param(b"", SILENT, id="empty"),
    ],
)
def test_directives_are_read_in_their_safer_sense(value: bytes, read: CacheControl) -> None:
    """Every directive in every form: what is malformed or contradictory never loosens anything."""
    assert parse(value) == read


def test_all_lines_are_taken_together() -> None:
    """Two Cache-Control lines say what one with both would (RFC 9110 §5.3)."""
    fields = Fields.of(("cache-control", "max-age=60"), ("cache-control", "no-store"))
    assert CacheControl.of(fields) == CacheControl(max_age_s=60, no_store=True)


def test_no_line_says_nothing() -> None:
    """Without the field, no directive holds."""
    assert CacheControl.of(Fields()) is SILENT


def test_a_value_is_parsed_once() -> None:
    """Equal values share one object: parsing is memoised."""
    assert parse(b"max-age=61, public") is parse(b"max-age=61, " + b"public")


def test_a_huge_value_is_not_remembered() -> None:
    """What an origin could fill memory with is parsed anew."""
    value = b"max-age=60, x=" + b"a" * 600
    assert parse(value) is not parse(value)
    assert parse(value).max_age_s == 60


@pytest.mark.parametrize(
    ("fields", "effective"),
    [
        pytest.param(
            [
                ("cacheproxy-cache-control", "max-age=1"),
                ("cdn-cache-control", "max-age=2"),
                ("cache-control", "max-age=4"),
            ],
            CacheControl(max_age_s=1, targeted=True),
            id="9213-2.2-our-own-first",
        ),
        pytest.param(
            [("surrogate-control", "max-age=3"), ("cdn-cache-control", "max-age=2")],
            CacheControl(max_age_s=2, targeted=True),
            id="9213-3.1-cdn-before-surrogate",
        ),
        pytest.param(
            [("surrogate-control", "max-age=3"), ("cache-control", "no-store")],
            CacheControl(max_age_s=3, targeted=True),
            id="surrogate-replaces-cache-control",
        ),
        pytest.param(
            [("cdn-cache-control", "max-age=60"), ("cache-control", "private, no-store")],
            CacheControl(max_age_s=60, targeted=True),
            id="9213-2.2-replaces-all",
        ),
        pytest.param(
            [("cdn-cache-control", ""), ("cache-control", "max-age=4")],
            CacheControl(max_age_s=4),
            id="9213-2.1-empty-is-ignored",
        ),
        pytest.param(
            [("cdn-cache-control", "max-age=60,"), ("cache-control", "no-store")],
            CacheControl(no_store=True),
            id="9213-2.1-malformed-is-ignored",
        ),
        pytest.param(
            [("cdn-cache-control", "max-age=60;a=1, no-cache;b")],
            CacheControl(max_age_s=60, no_cache=True, targeted=True),
            id="9213-2.1-parameters-are-ignored",
        ),
        pytest.param(
            [("cdn-cache-control", "MAX-AGE=60"), ("cache-control", "max-age=4")],
            CacheControl(max_age_s=4),
            id="9213-2.1-keys-are-lower-case",
        ),
        pytest.param(
            [("cdn-cache-control", "max-age=1.5")],
            CacheControl(max_age_s=0, targeted=True),
            id="9213-2.1-decimal-is-stale",
        ),
        pytest.param(
            [("cdn-cache-control", "max-age=(1 2)")],
            CacheControl(max_age_s=0, targeted=True),
            id="9213-2.1-list-is-stale",
        ),
        pytest.param(
            [("cdn-cache-control", 'max-age=9, private="x-a"')],
            CacheControl(max_age_s=9, private_fields=frozenset({b"x-a"}), targeted=True),
            id="9213-2.1-string",
        ),
        pytest.param(
            [("cdn-cache-control", "max-age=9, private=?0")],
            CacheControl(max_age_s=9, targeted=True),
            id="9213-2.1-false-says-it-is-not",
        ),
        pytest.param(
            [("cdn-cache-control", "max-age=5, max-age=9")],
            CacheControl(max_age_s=9, targeted=True),
            id="8941-4.2.2-last-member-wins",
        ),
        pytest.param(
            [("surrogate-control", "max-age=3;cacheproxy")],
            CacheControl(max_age_s=3, targeted=True),
            id="surrogate-target-is-us",
        ),
        pytest.param(
            [("surrogate-control", "max-age=3;other, no-store;other"), ("cache-control", "max-age=4")],
            CacheControl(max_age_s=4),
            id="surrogate-target-is-another",
        ),
        pytest.param(
            [("surrogate-control", "no-store;cacheproxy")],
            CacheControl(no_store=True, targeted=True),
            id="surrogate-no-store-for-us",
        ),
        pytest.param(
            [("surrogate-control", "max-age=3600+600")],
            CacheControl(max_age_s=3600, targeted=True),
            id="surrogate-second-figure-is-left-aside",
        ),
        pytest.param(
            [("surrogate-control", 'content="ESI/1.0"'), ("cache-control", "max-age=4")],
            CacheControl(max_age_s=4),
            id="surrogate-without-a-lifetime",
        ),
        pytest.param(
            [("surrogate-control", "max-age"), ("cache-control", "max-age=4")],
            CacheControl(max_age_s=0, targeted=True),
            id="surrogate-malformed-is-stale",
        ),
    ],
)
def test_a_field_meant_for_this_cache_replaces_cache_control(
    fields: list[tuple[str, str]], effective: CacheControl
) -> None:
    """The order is our own field, CDN-Cache-Control, Surrogate-Control, Cache-Control; an invalid one is skipped."""
    assert CacheControl.effective(Fields.of(*fields)) == effective


@given(st.binary(max_size=200))
def test_any_bytes_may_come_as_cache_control(value: bytes) -> None:
    """Each parser answers and never raises, whatever it is given."""
    parse(value)
    for name in ("cdn-cache-control", "surrogate-control", "cacheproxy-cache-control"):
        CacheControl.effective(Fields.of((name, value), ("cache-control", value)))


@given(st.lists(st.sampled_from(['x="', '"', ",", "max-age=9", "no-store", "\\", " ", "=", "private"]), max_size=12))
def test_no_store_is_never_overlooked(parts: list[str]) -> None:
    """A no-store that stands for itself at the end counts, unless a quotation that closes holds it."""
    value = ("".join(parts) + ", no-store").encode()
    if value.count(b'"') == 0:
        assert parse(value).no_store


@given(st.binary(max_size=12))
def test_delta_seconds_is_digits_only(value: bytes) -> None:
    """Anything but digits is None; digits are their number, at most 2^31 (RFC 9111 §1.2.2)."""
    expected = min(int(value), MAX_DELTA_S) if value.isdigit() else None
    assert delta_seconds(value) == expected


@pytest.mark.parametrize("unit", [b'"', b"\\", b'"\\', b",", b"a=", b' "a', b'x="a\\",', b"(", b";"])
def test_parsing_takes_linear_time(unit: bytes) -> None:
    """A hundred thousand bytes of any nasty unit are read in well under a second."""
    value = unit * (100_000 // len(unit))
    started = time.perf_counter()
    parse(value)
    CacheControl.effective(Fields.of(("surrogate-control", value), ("cdn-cache-control", value)))
    assert time.perf_counter() - started < 1.0


def test_directives_are_values() -> None:
    """Equal directives are equal objects, so they can be keys and be compared."""
    assert replace(SILENT, max_age_s=1) == parse(b"max-age=1")

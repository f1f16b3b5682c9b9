"""Which stored response fits a request (RFC 9111 §4.1)."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.vary import VariantRef, choose, variance, vary_names


@pytest.mark.parametrize(
    ("lines", "names"),
    [
        pytest.param([], (), id="no-vary"),
        pytest.param(["Foo, bar"], (b"bar", b"foo"), id="sorted-and-lower-case"),
        pytest.param(["b", "a, b"], (b"a", b"b"), id="lines-taken-together"),
        pytest.param([" ,, foo ,"], (b"foo",), id="9110-5.6.1.2-empty-members"),
        pytest.param(["*"], None, id="9111-4.1-star"),
        pytest.param(["*, *"], None, id="9111-4.1-star-star"),
        pytest.param(["", "*"], None, id="9111-4.1-star-on-a-second-line"),
        pytest.param(["foo, *"], None, id="9111-4.1-star-among-others"),
    ],
)
def test_vary_names_fields(lines: list[str], names: tuple[bytes, ...] | None) -> None:
    """The nominated names in canonical order; None where nothing ever fits."""
    assert vary_names(Fields.of(*(("vary", line) for line in lines))) == names


def same(name: str, one: list[str], other: list[str]) -> bool:
    """Whether two requests are one to a response that varies on ``name``."""
    names = (name.encode(),)
    first = variance(names, Fields.of(*((name, value) for value in one)))
    return first == variance(names, Fields.of(*((name, value) for value in other)))


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        pytest.param("foo", ["1, 2"], ["1", "2"], id="9111-4.1-lines-combined"),
        pytest.param("foo", ["1,2"], [" 1 ,  2 "], id="9111-4.1-white-space-at-commas"),
        pytest.param("foo", ["a  b"], ["a b"], id="9111-4.1-white-space-within"),
        pytest.param("foo", ['"a", "b, c"'], ['"a","b, c"'], id="9111-4.1-white-space-outside-quotes"),
        pytest.param("accept-language", ["en, de"], ["de, en"], id="9110-12.5.4-order"),
        pytest.param("accept-language", ["en, de"], ["eN, De"], id="9110-12.5.4-case"),
        pytest.param("accept-language", ["en, de"], [" en ,   de"], id="9110-12.5.4-white-space"),
        pytest.param("accept-language", ["en;q=0.5"], ["en ; Q=0.50"], id="9110-12.4.2-weights"),
        pytest.param("accept-language", ["en"], ["en;q=1.0, en"], id="9110-12.4.2-weight-1"),
        pytest.param("accept-encoding", ["gzip, br"], ["br,x-gzip"], id="9110-8.4.1.3-alias-and-order"),
        pytest.param("accept-encoding", ["gzip"], ["GZIP;q=1"], id="9110-12.5.3-case"),
        pytest.param("accept-language", ["en;q=2"], ["en"], id="invalid-weight-counts-as-none"),
    ],
)
def test_requests_that_mean_the_same_have_the_same_variance(name: str, one: list[str], other: list[str]) -> None:
    """Differences without meaning are normalised away."""
    assert same(name, one, other)


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        pytest.param("foo", ["1"], ["2"], id="value"),
        pytest.param("foo", ["1"], [], id="absent"),
        pytest.param("foo", [""], [], id="empty-is-not-absent"),
        pytest.param("foo", ["1, 2"], ["2, 1"], id="order-of-an-unknown-field"),
        pytest.param("foo", ["a"], ["A"], id="case-of-an-unknown-field"),
        pytest.param("foo", ['"a,b"'], ['"a, b"'], id="white-space-in-quotes"),
        pytest.param("foo", ['"a, b'], ['"a,b'], id="white-space-in-an-endless-quote"),
        pytest.param("accept-language", ["en;q=0.5"], ["en;q=0.6"], id="weight"),
        pytest.param("accept-encoding", ["gzip;q=0"], ["gzip"], id="refused"),
        pytest.param("accept-encoding", [""], [], id="9110-12.5.3-empty-accepts-nothing"),
    ],
)
def test_requests_that_differ_have_different_variances(name: str, one: list[str], other: list[str]) -> None:
    """What might bring another response is told apart."""
    assert not same(name, one, other)


def ref(value: str | None, *, language: str | None = None, received_at: float = 0.0) -> VariantRef:
    """A stored response to a request with this Accept-Language, in this Content-Language."""
    fields = Fields() if value is None else Fields.of(("accept-language", value))
    return VariantRef(
        names=(b"accept-language", b"foo"),
        variance=variance((b"accept-language", b"foo"), fields),
        content_language=None if language is None else language.encode(),
        received_at=received_at,
    )


def test_the_newest_exact_match_comes_first() -> None:
    """Of several that fit, the most recent one is used (RFC 9111 §4.1)."""
    variants = [ref("en", received_at=1.0), ref("de", received_at=9.0), ref("en", received_at=2.0)]
    assert choose(variants, Fields.of(("accept-language", "en"))) == [2, 0]


@pytest.mark.parametrize(
    ("accept", "languages", "chosen"),
    [
        pytest.param("fr;q=0.5, de;q=1.0", ["de"], [0], id="9110-12.5.4-liked-best"),
        pytest.param("fr, de;q=0.9", ["de"], [], id="9110-12.5.4-not-liked-best"),
        pytest.param("DE", ["de"], [0], id="4647-case"),
        pytest.param("de", ["de-CH"], [0], id="4647-3.3.1-a-kind-of-it"),
        pytest.param("de-CH", ["de"], [], id="4647-3.3.1-more-general"),
        pytest.param("de", ["den"], [], id="4647-3.3.1-not-a-prefix-of-letters"),
        pytest.param("de", ["de-CH", "de"], [1, 0], id="exact-language-first"),
        pytest.param("en, de", ["de"], [0], id="equally-liked"),
        pytest.param("de;q=0", ["de"], [], id="9110-12.4.2-refused"),
        pytest.param("*", ["de"], [], id="any-language-says-nothing"),
        pytest.param("de, *", ["de"], [], id="any-other-as-well"),
        pytest.param("", ["de"], [], id="empty"),
        pytest.param("de", [None], [], id="language-unknown"),
        pytest.param("de", [""], [], id="language-empty"),
    ],
)
def test_a_language_is_selected_by_weight(accept: str, languages: list[str | None], chosen: list[int]) -> None:
    """A response in the language liked best fits, though it answered another Accept-Language."""
    variants = [ref("xx, en", language=language) for language in languages]
    assert choose(variants, Fields.of(("accept-language", accept))) == chosen


def test_without_accept_language_no_language_is_selected() -> None:
    """A client that does not say gets no guess."""
    assert choose([ref("en", language="en")], Fields()) == []


def test_other_fields_must_match_for_a_language_to_be_selected() -> None:
    """Language selection loosens Accept-Language alone."""
    assert choose([ref("en", language="de")], Fields.of(("accept-language", "de"), ("foo", "1"))) == []


def test_a_response_that_does_not_vary_on_language_is_not_selected_by_it() -> None:
    """Content-Language alone is no reason to use a response."""
    variant = VariantRef(names=(b"foo",), variance=b"foo:1", content_language=b"de")
    assert choose([variant], Fields.of(("accept-language", "de"))) == []


def test_a_variance_of_another_shape_does_not_match() -> None:
    """A stored variance that is not of its names is never taken for a match."""
    variant = VariantRef(names=(b"accept-language", b"foo"), variance=b"x", content_language=b"de")
    assert choose([variant], Fields.of(("accept-language", "de"))) == []


values = st.binary(max_size=30)


@given(
    st.lists(st.tuples(st.sampled_from([b"accept-language", b"accept-encoding", b"foo", b"bar"]), values), max_size=6)
)
def test_a_request_always_matches_itself(pairs: list[tuple[bytes, bytes]]) -> None:
    """Whatever the fields hold, the response to a request is found again for an equal one."""
    names = (b"accept-encoding", b"accept-language", b"bar", b"foo")
    fields = Fields(pairs)
    kept = VariantRef(names=names, variance=variance(names, fields))
    assert choose([kept], fields) == [0]
    assert kept.variance.count(b"\n") == len(names) - 1


@given(st.binary(max_size=20), st.binary(max_size=20), st.binary(max_size=20), st.binary(max_size=20))
def test_fields_do_not_run_into_each_other(a: bytes, b: bytes, c: bytes, d: bytes) -> None:
    """Two fields' values are told apart from any other two's, unless they are equal up to white space."""
    names = (b"x", b"y")
    one = variance(names, Fields([(b"x", a), (b"y", b)]))
    other = variance(names, Fields([(b"x", c), (b"y", d)]))
    alone = [variance((b"x",), Fields([(b"x", value)])) for value in (a, b, c, d)]
    assert (one == other) == (alone[0] == alone[2] and alone[1] == alone[3])


@given(st.permutations(["en;q=0.3", "de", "fr;q=0.7", "it;q=0"]))
def test_the_order_of_preferences_never_matters(order: list[str]) -> None:
    """Every order of an Accept-Language is the same request."""
    assert same("accept-language", [", ".join(order)], ["de, en;q=0.3, fr;q=0.7, it;q=0"])


@pytest.mark.parametrize("unit", ['"', '"\\', ", ", " ", "a;q=", ";q=0.1,"])
def test_normalising_takes_linear_time(unit: str) -> None:
    """A hundred thousand bytes of any nasty unit are normalised in well under a second."""
    value = unit * (100_000 // len(unit))
    started = time.perf_counter()
    for name in ("foo", "accept-language"):
        variance((name.encode(),), Fields.of((name, value)))
    assert time.perf_counter() - started < 1.0


@pytest.mark.parametrize("name", [b"x-any", b"accept-language"])
def test_a_long_value_fits_itself_alone(name: bytes) -> None:
    """Past 4 KiB a value is compared as it came: what normalising it costs anybody could cause."""
    one, other = b"a, " * 2000 + b"b", b"a," * 2000 + b"b"
    asked = [variance((name,), Fields([(name, value)])) for value in (one, other, one)]
    assert asked[0] == asked[2] != asked[1]

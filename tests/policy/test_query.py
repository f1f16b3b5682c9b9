"""The query as a key sees it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.policy.key_rules import QueryRules
from cacheproxy.policy.query import SplitQuery, parameters, split_query

ALL = QueryRules()
QUERIES = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "%61", "c", "", "A"]), st.sampled_from(["", "=", "=1", "=2", "=%31", "=x+y", "=1=2"])
    ),
    max_size=5,
).map(lambda pairs: "&".join(name + value for name, value in pairs).encode())


@pytest.mark.parametrize(
    ("target", "values", "rest"),
    [
        pytest.param(b"/p", {}, None, id="no-query"),
        pytest.param(b"/p?", {}, b"", id="bare-mark-is-not-nothing"),
        pytest.param(b"/p?a=1", {"a": "1"}, None, id="named-once"),
        pytest.param(b"/p?b=2&a=1", {"a": "1", "b": "2"}, None, id="named-in-any-order"),
        pytest.param(b"/p?a=1&x=2", {"a": "1"}, b"x=2", id="others-are-kept"),
        pytest.param(b"/p?y=1&x=2", {}, b"y=1&x=2", id="others-in-order"),
        pytest.param(b"/p?a=1&a=2", {}, b"a=1&a=2", id="duplicates-are-not-taken"),
        pytest.param(b"/p?a=1&a=1", {}, b"a=1&a=1", id="equal-duplicates-neither"),
        pytest.param(b"/p?%61=1&a=2", {}, b"%61=1&a=2", id="duplicates-under-another-spelling"),
        pytest.param(b"/p?a=%31", {"a": "1"}, b"a=%31", id="odd-spelling-is-kept-too"),
        pytest.param(b"/p?%61=1", {"a": "1"}, b"%61=1", id="odd-spelling-of-a-name"),
        pytest.param(b"/p?a", {"a": ""}, b"a", id="without-equals-sign"),
        pytest.param(b"/p?a=", {"a": ""}, None, id="empty-value"),
        pytest.param(b"/p?a=x+y", {"a": "x y"}, b"a=x+y", id="plus-is-a-space-oddly-spelled"),
        pytest.param(b"/p?a=x%20y", {"a": "x y"}, None, id="space-as-a-script-spells-it"),
        pytest.param(b"/p?a=1;b=2", {"a": "1;b=2"}, b"a=1;b=2", id="semicolons-do-not-separate"),
        pytest.param(b"/p?a=1&&", {"a": "1"}, b"&", id="empty-parameters"),
        pytest.param(b"/p?a=1?b=2", {"a": "1?b=2"}, b"a=1?b=2", id="second-question-mark"),
        pytest.param(b"/p?a=%ff", {"a": "\\xff"}, b"a=%ff", id="not-utf-8"),
        pytest.param(b"/p?A=1", {}, b"A=1", id="names-have-case"),
    ],
)
def test_what_a_template_takes_and_what_is_left(target: bytes, values: dict[str, str], rest: bytes | None) -> None:
    """Of a template that names a and b; nothing it does not take is lost."""
    assert split_query(target, ["a", "b"], ALL) == SplitQuery(values, rest)


@pytest.mark.parametrize(
    ("rules", "rest"),
    [
        (QueryRules(ignore=("utm_*", "fbclid")), b"x=1&y=2"),
        (QueryRules(allow=("x",)), b"x=1"),
        (QueryRules(allow=()), None),
        (QueryRules(ignore=("*",)), None),
    ],
)
def test_only_a_policy_may_ignore_parameters(rules: QueryRules, rest: bytes | None) -> None:
    """Tracking parameters stay out of the key where the policy says so."""
    assert split_query(b"/p?utm_source=a&x=1&fbclid=b&y=2", [], rules).rest == rest


@given(QUERIES, QUERIES)
def test_different_queries_stay_different(one: bytes, other: bytes) -> None:
    """Two queries look the same only if they differ in the order of parameters that occur once, and in nothing else."""
    split = [split_query(b"/p?" + query, ["a", "b"], ALL) for query in (one, other)]
    if split[0] == split[1]:
        assert sorted(one.split(b"&")) == sorted(other.split(b"&"))


@given(st.binary(max_size=60))
def test_any_bytes_are_a_query(query: bytes) -> None:
    """Splitting never fails, and no parameter is lost on the way."""
    assert b"&".join(parameter.raw for parameter in parameters(query)) == query

"""Conditions on requests: what holds, what decided, and what is dangerous to store by."""

from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.errors import PolicyError
from cacheproxy.policy.conditions import ABSENT, Ask, Condition, Every, Not, Some, decisive, holds, parse_test, written
from cacheproxy.policy.identity import Identity
from cacheproxy.policy.keys import NoKey, NoKeyReason, cache_key
from cacheproxy.policy.lookup import values_of
from cacheproxy.policy.route import Route

ROUTE = """
session: {}
tenant: {from: session.org}
routes:
  - name: a
    match: GET /a/{id}
    cache: {key: "a:{id}", CACHE}
"""
ANN = Identity(session_id="s", session={"user_id": 7, "admin": True, "plan": {"name": "pro"}}, tenant="red")


@pytest.fixture
def said(load, make_request):
    """Whether a condition, as a policy writes it, holds for ``/a/5`` with a query and fields."""

    def say(when: str, query: str = "", *fields: tuple[str, str], identity: Identity = ANN) -> bool:
        policy, router = load(ROUTE.replace("CACHE", f"store_when: {when}"))
        condition = policy.routes[0].store_when
        assert condition is not None
        request = make_request("/a/5" + query, *fields)
        match = router.match("GET", request.path, request.authority)
        return holds(condition, values_of(request, match.params, identity))

    return say


@pytest.mark.parametrize(
    ("when", "query", "fields", "wanted"),
    [
        ("{query.x: present}", "?x", [], True),
        ("{query.x: present}", "?y=1", [], False),
        ("{query.x: absent}", "", [], True),
        ("{query.x: absent}", "?x", [], False),
        ("{query.x: 1}", "?x=1", [], True),
        ("{query.x: 1}", "?x=01", [], False),
        ("{query.x: '1'}", "?x=%31", [], True),
        ("{query.x: true}", "?x=true", [], True),
        ("{query.x: 1}", "?x=0&x=1", [], True),
        ("{query.x: [1, 2, absent]}", "?x=2", [], True),
        ("{query.x: [1, 2, absent]}", "", [], True),
        ("{query.x: [1, 2, absent]}", "?x=3", [], False),
        ("{query.x: '>10'}", "?x=11", [], True),
        ("{query.x: '>10'}", "?x=10", [], False),
        ("{query.x: '>= 10'}", "?x=10", [], True),
        ("{query.x: '<1.5'}", "?x=1.25", [], True),
        ("{query.x: '<=-1'}", "?x=-2", [], True),
        ("{query.x: '<10'}", "?x=", [], False),
        ("{query.x: '<10'}", "?x=1e1", [], False),
        ("{query.x: '<10'}", "?x=nan", [], False),
        ("{query.x: '<10'}", "?x=%D9%A1", [], False),
        ("{header.X-Debug: present}", "", [("x-debug", "")], True),
        ("{header.x-debug: 'a, b'}", "", [("X-Debug", "a"), ("X-Debug", "b")], True),
        ("{header.accept: '*json*'}", "", [("accept", "text/html, application/json;q=1")], True),
        ("{header.accept: 'text/*'}", "", [("accept", "application/json")], False),
        ("{header.accept: '=*/*'}", "", [("accept", "text/html")], False),
        ("{header.accept: '=*/*'}", "", [("accept", "*/*")], True),
        ("{header.x: '=present'}", "", [("x", "there")], False),
        ("{header.x: '=present'}", "", [("x", "present")], True),
        ("{header.x: 'a*a'}", "", [("x", "a")], False),
        ("{header.x: 'a*b*c'}", "", [("x", "a-c-b")], False),
        ("{header.x: 'a*b*c'}", "", [("x", "abbc")], True),
        ("{cookie.beta: 1}", "", [("cookie", "a=2; beta=1")], True),
        ("{param.id: 5}", "", [], True),
        ("{param.id: '<5'}", "", [], False),
        ("{method: GET}", "", [], True),
        ("{method: [POST, HEAD]}", "", [], False),
        ("{tenant: red}", "", [], True),
        ("{session.user_id: 7}", "", [], True),
        ("{session.admin: true}", "", [], True),
        ("{session.plan.name: 'p*'}", "", [], True),
        ("{session.email: absent}", "", [], True),
        ("{query.x: 1, query.y: 2}", "?x=1&y=2", [], True),
        ("{query.x: 1, query.y: 2}", "?x=1", [], False),
        ("{any: [{query.x: 1}, {query.y: 2}]}", "?y=2", [], True),
        ("{any: [{query.x: 1}, {query.y: 2}]}", "?z=2", [], False),
        ("{all: [{query.x: 1}, {any: [{query.y: 2}, {query.z: 3}]}]}", "?x=1&z=3", [], True),
        ("{not: {query.x: 1}}", "?x=2", [], True),
        ("{not: {query.x: 1, query.y: 1}}", "?x=1", [], True),
        ("{query.x: present, not: {query.x: 1}}", "?x=1", [], False),
    ],
)
def test_a_condition_holds(said, when: str, query: str, fields: list[tuple[str, str]], wanted: bool) -> None:
    """Presence, equality, globs, numbers and lists, joined by all, any and not."""
    assert wanted == said(when, query, *fields)


def test_nobody_is_nothing(said) -> None:
    """Without a session and a tenant their fields are absent."""
    assert said("{session.user_id: absent, tenant: absent}", identity=Identity())


@pytest.mark.parametrize(
    ("when", "because"),
    [
        ("{query.x: 1, header.y: absent}", "query.x: 1"),
        ("{any: [{query.x: 1}, {query.z: [1, 2]}]}", "query.z: [1, 2]"),
        ("{any: [{query.x: 1}, {query.y: 2}]}", "any: [{query.x: 1}, {query.y: 2}]"),
        ("{not: {query.z: 2}}", "not: {query.z: 2}"),
        ("{query.z: 2, header.y: absent}", "query.z: 2, header.y: absent"),
    ],
)
def test_the_part_that_decided_is_named(load, make_request, when: str, because: str) -> None:
    """The first that fails of those that must all hold, the first that holds of those of which one must."""
    policy, _ = load(ROUTE.replace("CACHE", f"store_when: {when}"))
    condition = policy.routes[0].store_when
    assert condition is not None
    assert because == decisive(condition, values_of(make_request("/a/5?z=2"), {}, ANN))


WORDS = st.sampled_from(["", "a", "b", "ab", "1", "12"])
TESTS = st.sampled_from(["present", "absent", "a", "1", ">1", "a*", "=a*"]).map(parse_test)
CONDITIONS: st.SearchStrategy[Condition] = st.recursive(
    st.builds(
        lambda name, tests: Ask(f"query.{name}", tuple(tests)), st.sampled_from("xy"), st.lists(TESTS, min_size=1)
    ),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: Every(tuple(parts))),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: Some(tuple(parts))),
        inner.map(Not),
    ),
    max_leaves=6,
)


@given(CONDITIONS, st.dictionaries(st.sampled_from(["query.x", "query.y"]), st.lists(WORDS, min_size=1, max_size=2)))
def test_the_opposite_holds_where_a_condition_does_not(
    condition: Condition, given_values: dict[str, list[str]]
) -> None:
    """There is no third way, whatever is asked and whatever is given; and what decided is part of what was written."""
    values: Any = lambda subject: given_values.get(subject, [])  # noqa: E731 (a lookup)
    assert holds(condition, values) != holds(Not(condition), values)
    assert decisive(condition, values) in written(condition)


@given(st.text("ab*", max_size=6), st.text("ab", max_size=8))
def test_a_glob_is_what_it_is_elsewhere(glob: str, value: str) -> None:
    """As in ``query.ignore``: a star stands for anything, nothing included."""
    if glob:
        assert fnmatchcase(value, glob) == parse_test(glob).fits(value)


def test_a_long_value_is_read_once() -> None:
    """A pattern with many stars does not look for them in all the ways there are."""
    assert not parse_test("*a" * 30 + "*b").fits("a" * 50_000)


def test_absent_fits_no_value() -> None:
    """It is about there being none."""
    assert not ABSENT.fits("")


def test_a_condition_takes_a_request_past_the_cache(load, make_request) -> None:
    """``bypass.when``, beside what bypasses by its presence alone."""
    policy, _ = load(ROUTE.replace("CACHE", "bypass: {query: now, when: {header.x-debug: ['1', 'true']}}"))
    route = policy.routes[0]
    _assert_reason(route, make_request("/a/5?now"), NoKeyReason.ASKED)
    _assert_reason(route, make_request("/a/5", ("x-debug", "true")), NoKeyReason.WHEN)
    _assert_reason(route, make_request("/a/5", ("x-debug", "0")), NoKeyReason.INCOMPLETE)


def _assert_reason(route: Route, request: Any, reason: NoKeyReason) -> None:
    assert NoKey(reason) == cache_key(route, request, {}, ANN, prefix="cp")


@pytest.mark.parametrize(
    ("cache", "cautioned"),
    [
        ("store_when: {header.x-preview: absent}", []),
        ("store_when: {not: {header.x-preview: present}}", []),
        ("store_when: {header.x-preview: present}", ["store_when"]),
        ("store_when: {header.x-preview: [absent, '0']}", ["store_when"]),
        ("store_when: {not: {header.x-preview: absent}}", ["store_when"]),
        ("store_when: {not: {header.x-preview: 1}}", ["store_when"]),
        ("store_when: {any: [{header.x-a: absent}, {header.x-b: 1}]}", ["store_when"]),
        ("store_when: {header.x-preview: 1}, suffix: '{header.X-Preview=}'", []),
        ("store_when: {header.x-preview: 1}, scope: user", []),
        ("store_when: {query.page: '<10'}", []),
        ("store_when: {query.page: '<10'}, query: {ignore: ['pa*']}", ["store_when"]),
        ("store_when: {query.page: '<10'}, query: {allow: [q]}", ["store_when"]),
        ("store_when: {cookie.beta: 1}", []),
        ("store_when: {cookie.beta: 1}, ttl: origin", ["store_when"]),
        ("store_when: {session.admin: true}, ttl: origin", ["store_when"]),
        ("store_when: {param.id: 5, method: GET, tenant: red}", []),
        ("lookup_when: {header.x-refresh: absent}", ["lookup_when"]),
        ("lookup_when: {header.x-refresh: absent}, store_when: {header.x-refresh: absent}", []),
        ("lookup_when: {header.x-refresh: absent}, bypass: {header: X-Refresh}", []),
        ("lookup_when: {header.x-refresh: absent}, bypass: {when: {header.x-refresh: present}}", []),
        ("lookup_when: {header.x-refresh: present}", []),
        ("bypass: {when: {header.x-debug: 1}}", []),
    ],
)
def test_what_one_client_could_have_stored_for_others_is_told(load, cache: str, cautioned: list[str]) -> None:
    """A field that is not in the key, and may be there when something is stored; with its line and column."""
    policy, _ = load(ROUTE.replace("CACHE", cache))
    assert [caution.path for caution in policy.cautions] == [f"routes[0].cache.{name}" for name in cautioned]
    assert all(caution.line == 8 and caution.column > 20 and "not in the key" in caution.message
               for caution in policy.cautions)  # fmt: skip


def test_conditions_of_the_defaults_are_held_against_each_route(load) -> None:
    """What the path of one route binds, that of another may not."""
    text = """
defaults: {cache: {store_when: {param.id: present}}}
routes:
  - {name: a, match: "GET /a/{id}", cache: {}}
  - {name: b, match: "GET /b", cache: {}}
"""
    with pytest.raises(PolicyError) as caught:
        load(text)
    assert ["routes[1].cache.store_when.param.id: the path does not bind `id`"] == [
        f"{fault.path}: {fault.message}" for fault in caught.value.faults
    ]

"""What clients are told of their limits."""

import json

import http_sfv
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.limits.contract import Limited, LimitState
from cacheproxy.limits.headers import limit_fields, limit_lines, limited_fields, limited_problem
from cacheproxy.policy.route import LimitHeaders, LimitMode, LimitRule
from cacheproxy.semantics.fields import Fields

MINUTE = LimitRule(name="per-minute", limit=50, period_s=60)
HOUR = LimitRule(name="per-hour", limit=1000, period_s=3600)
SHADOW = LimitRule(name="planned", limit=1, period_s=1, mode=LimitMode.SHADOW)
STATES = (
    LimitState(rule=MINUTE, remaining=49, reset_s=29.2),
    LimitState(rule=HOUR, remaining=7, reset_s=3000),
    LimitState(rule=SHADOW, remaining=0, reset_s=1),
)
LIMITED = Limited(rule=HOUR, retry_after_s=7.2, states=STATES, violated=(HOUR,))


def test_standard_fields_are_those_of_the_draft() -> None:
    """RateLimit-Policy tells q and w, RateLimit r and t, for every enforced rule."""
    assert limit_fields(STATES, LimitHeaders.STANDARD) == (
        (b"ratelimit-policy", b'"per-minute";q=50;w=60, "per-hour";q=1000;w=3600'),
        (b"ratelimit", b'"per-minute";r=49;t=30, "per-hour";r=7;t=3000'),
    )


def test_legacy_fields_are_of_the_limit_nearest_to_refusing() -> None:
    """The three fields have room for one limit, and the reset is in seconds from now."""
    assert limit_fields(STATES, LimitHeaders.LEGACY) == (
        (b"x-ratelimit-limit", b"1000"),
        (b"x-ratelimit-remaining", b"7"),
        (b"x-ratelimit-reset", b"3000"),
    )


def test_both_is_both_and_none_is_none() -> None:
    """The default tells both ways."""
    both = (*limit_fields(STATES, LimitHeaders.STANDARD), *limit_fields(STATES, LimitHeaders.LEGACY))
    assert limit_fields(STATES) == both
    assert limit_fields(STATES, LimitHeaders.NONE) == ()


def test_a_shadow_rule_is_told_to_nobody() -> None:
    """What is only being tried out has no fields."""
    assert limit_fields(STATES[2:]) == ()


@pytest.mark.parametrize("style", list(LimitHeaders))
def test_a_refusal_always_says_when_to_return(style: LimitHeaders) -> None:
    """Retry-After is there in every style, in whole seconds, rounded up."""
    assert limited_fields(LIMITED, style).all(b"retry-after") == [b"8"]


def test_a_refusal_tells_only_the_exceeded_quota_and_no_time_after_retry_after() -> None:
    """Retry-After should not point before the t of any quota told of."""
    fields = limited_fields(LIMITED)
    assert fields.get(b"ratelimit") == b'"per-hour";r=0;t=8'
    assert fields.get(b"ratelimit-policy") == b'"per-minute";q=50;w=60, "per-hour";q=1000;w=3600'
    assert fields.get(b"x-ratelimit-remaining") == b"0"
    assert fields.get(b"x-ratelimit-reset") == b"8"


def test_a_refusal_is_a_problem_that_no_cache_keeps() -> None:
    """The body names the violated policies as the draft's problem type says."""
    problem = json.loads(limited_problem(LIMITED))
    assert problem["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
    assert problem["violated-policies"] == ["per-hour"]
    assert (problem["status"], problem["retry-after"]) == (429, 8)
    assert limited_fields(LIMITED).get(b"content-type") == b"application/problem+json"
    assert limited_fields(LIMITED).get(b"cache-control") == b"no-store"


def test_the_shortest_wait_is_one_second() -> None:
    """Zero would mean at once."""
    assert limited_fields(Limited(rule=MINUTE, retry_after_s=0.00001)).get(b"retry-after") == b"1"


@given(st.text(min_size=1), st.integers(1, 10**9), st.floats(0.001, 10**9), st.floats(0, 10**9))
def test_the_fields_are_structured_fields(name: str, limit: int, period_s: float, reset_s: float) -> None:
    """Whatever a rule is called, an independent parser reads the fields and finds the numbers."""
    rule = LimitRule(name=name, limit=limit, period_s=period_s)
    fields = Fields(limit_fields([LimitState(rule=rule, remaining=limit, reset_s=reset_s)], LimitHeaders.STANDARD))
    policy, state = http_sfv.List(), http_sfv.List()
    policy.parse(fields.get(b"ratelimit-policy") or b"")
    state.parse(fields.get(b"ratelimit") or b"")
    assert (policy[0].params["q"], state[0].params["r"]) == (limit, limit)
    assert policy[0].params["w"] >= max(1, period_s)
    assert state[0].params["t"] >= reset_s
    assert isinstance(policy[0].value, str)


@pytest.mark.parametrize("style", list(LimitHeaders))
@pytest.mark.parametrize("states", [STATES, STATES[:1], STATES[1:], STATES[2:], ()], ids=len)
def test_the_lines_are_the_fields(states: tuple[LimitState, ...], style: LimitHeaders) -> None:
    """What is written at once says what is written field by field."""
    fields = limit_fields(states, style)
    assert b"".join(b"\r\n%s: %s" % pair for pair in fields) == limit_lines(states, style)

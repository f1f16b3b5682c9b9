"""What a policy says of limits beyond their rate, and of logging in."""

import pytest

from cacheproxy.errors import PolicyError
from cacheproxy.policy.route import LimitHeaders, LimitRule, OnLimit, Precision, Served

ROUTE = "\nroutes:\n  - {name: a, match: /a, limits: [x]}\n"


def costs(rule: LimitRule) -> tuple[int, int, int]:
    """What a hit, a stale answer and a miss count."""
    return rule.cost_of(Served.HIT), rule.cost_of(Served.STALE), rule.cost_of(Served.MISS)


@pytest.mark.parametrize(
    ("written", "expected", "waits"),
    [
        ("{}", (1, 1, 1), False),
        ("{cost: 3}", (3, 3, 3), False),
        ("{count: miss}", (0, 0, 1), True),
        ("{count: miss, cost: 3}", (0, 0, 3), True),
        ("{cost: {hit: 0}}", (0, 1, 1), True),
        ("{cost: {hit: 0, stale: 0, miss: 1}}", (0, 0, 1), True),
        ("{cost: {hit: 2, stale: 2, miss: 2}}", (2, 2, 2), False),
        ("{count: miss, cost: {hit: 0, stale: 0, miss: 2}}", (0, 0, 2), True),
    ],
)
def test_what_a_request_counts(load, written: str, expected: tuple[int, int, int], waits: bool) -> None:
    """One number for all, or one for each way of being answered; then the rule waits until that is known."""
    policy, _ = load(f"limits:\n  x: {written}{ROUTE}")
    [rule] = policy.routes[0].limits
    assert (expected, waits) == (costs(rule), rule.waits_for_plan)


@pytest.mark.parametrize(
    ("written", "limit", "concurrency"),
    [("{}", 100, 0), ("{concurrency: 5}", 0, 5), ("{concurrency: 5, rate: 7/s}", 7, 5)],
)
def test_a_rate_requests_in_flight_or_both(load, written: str, limit: int, concurrency: int) -> None:
    """Where only requests in flight are bounded, there is no rate by default."""
    policy, _ = load(f"limits:\n  x: {written}{ROUTE}")
    [rule] = policy.routes[0].limits
    assert (limit, concurrency) == (rule.limit, rule.concurrency)


def test_what_becomes_of_a_request_over_its_limit(load) -> None:
    """Rejected unless the policy says otherwise; held back for a second unless it says how long."""
    policy, _ = load(
        """
limits:
  a: {}
  b: {on_limit: stale_else_reject, precision: leased}
  c: {on_limit: delay}
  d: {on_limit: delay, max_delay: 250ms}
routes:
  - {name: a, match: /a, limits: [a, b, c, d]}
"""
    )
    a, b, c, d = policy.routes[0].limits
    assert (OnLimit.REJECT, Precision.EXACT) == (a.on_limit, a.precision)
    assert (OnLimit.STALE_ELSE_REJECT, Precision.LEASED) == (b.on_limit, b.precision)
    assert [(OnLimit.DELAY, 1.0), (OnLimit.DELAY, 0.25)] == [(each.on_limit, each.max_delay_s) for each in (c, d)]


@pytest.mark.parametrize(("line", "style"), [("", "both"), ("limit_headers: none\n", "none")])
def test_what_responses_say_of_limits(load, line: str, style: str) -> None:
    """Both kinds of fields unless the file says otherwise, on every route."""
    policy, _ = load(f"{line}limits:\n  x: {{}}{ROUTE}")
    assert LimitHeaders(style) is policy.routes[0].limit_headers


@pytest.mark.parametrize(
    "place", ["/login", "/login?next={target}", "/a/b?x=1&next={target}&y=2", "https://id.example/login?to={target}"]
)
def test_places_to_log_in(load, place: str) -> None:
    """A path of our own or a whole URL, told of the target in its query if it wants to be."""
    policy, _ = load(
        f"session: {{}}\nroutes:\n  - {{name: a, match: /a, session: required, session_redirect: '{place}'}}\n"
    )
    assert place == policy.routes[0].session_redirect


@pytest.mark.parametrize(
    "place",
    ["login", "//evil.example", "/\\\\evil.example", "ftp://a/", "javascript:alert(1)", "https:///x", "/{target}",
     "/login?{target}{target}", "/login?next={url}", "/login?next={", "/lögin", "/a\\tb"],
)  # fmt: skip
def test_no_place_to_log_in(load, place: str) -> None:
    """What could lead elsewhere, or is no URL, is refused where it is written."""
    with pytest.raises(PolicyError) as caught:
        load(f'session: {{}}\nroutes:\n  - {{name: a, match: /a, session: required, session_redirect: "{place}"}}\n')
    assert ["routes[0].session_redirect"] == [fault.path for fault in caught.value.faults]

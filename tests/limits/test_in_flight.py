"""Requests in flight, counted here."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.limits.contract import Admitted, Check, Limited
from cacheproxy.limits.in_flight import InFlight, Permits
from cacheproxy.policy.route import LimitMode, LimitRule


def rule(concurrency: int = 2, name: str = "r", mode: LimitMode = LimitMode.ENFORCE) -> LimitRule:
    """So many at once."""
    return LimitRule(name=name, limit=0, period_s=60.0, concurrency=concurrency, mode=mode)


def alone() -> InFlight:
    """In a process without companions."""
    return InFlight(lambda: 1)


def entered(in_flight: InFlight, *checks: Check) -> Permits:
    """The places of a request that is let in."""
    outcome = in_flight.enter(checks)
    assert not isinstance(outcome, Limited)
    return outcome[0]


def test_so_many_at_once_and_not_one_more() -> None:
    """The third is refused until one of the two has left."""
    in_flight, check = alone(), Check(rule(), "a")
    first, _ = entered(in_flight, check), entered(in_flight, check)
    refusal = in_flight.enter([check])
    assert isinstance(refusal, Limited)
    assert (refusal.rule, refusal.violated) == (check.rule, (check.rule,))
    first.release()
    entered(in_flight, check)


def test_whoever_leaves_twice_leaves_once() -> None:
    """A place is given back once, whatever ends a request."""
    in_flight, check = alone(), Check(rule(1), "a")
    first = entered(in_flight, check)
    first.release()
    first.release()
    entered(in_flight, check)
    assert isinstance(in_flight.enter([check]), Limited)


def test_subjects_and_rules_are_told_apart() -> None:
    """Each has places of its own."""
    in_flight = alone()
    for check in (Check(rule(1), "a"), Check(rule(1), "b"), Check(rule(1, "s"), "a")):
        entered(in_flight, check)


def test_refused_by_one_rule_counts_under_none() -> None:
    """All places or none."""
    in_flight, free, full = alone(), Check(rule(1, "free"), "a"), Check(rule(1, "full"), "a")
    entered(in_flight, full)
    assert isinstance(in_flight.enter([free, full]), Limited)
    entered(in_flight, free)


def test_a_rule_in_shadow_lets_everybody_in() -> None:
    """And says whom it would have refused."""
    in_flight, check = alone(), Check(rule(1, mode=LimitMode.SHADOW), "a")
    entered(in_flight, check)
    outcome = in_flight.enter([check])
    assert not isinstance(outcome, Limited)
    assert Admitted(shadowed=(check.rule,)) == outcome[1]


@pytest.mark.parametrize(("concurrency", "replicas", "share"), [(20, 3, 6), (20, 1, 20), (2, 3, 1), (20, 0, 20)])
def test_the_replicas_divide_it(concurrency: int, replicas: int, share: int) -> None:
    """Each admits its share, and at least one; nobody known is one of them."""
    in_flight, check = InFlight(lambda: replicas), Check(rule(concurrency), "a")
    outcomes = [in_flight.enter([check]) for _ in range(concurrency + 1)]
    assert share == sum(not isinstance(outcome, Limited) for outcome in outcomes)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), max_size=60))
def test_never_more_than_the_limit_and_nothing_is_left_behind(steps: list[tuple[str, bool]]) -> None:
    """Whatever comes and goes: at most two of each subject at once, and at the end no memory of anybody."""
    in_flight, held = alone(), {"a": list[Permits](), "b": list[Permits]()}
    for subject, comes in steps:
        if comes:
            outcome = in_flight.enter([Check(rule(), subject)])
            assert isinstance(outcome, Limited) == (len(held[subject]) == 2)
            if not isinstance(outcome, Limited):
                held[subject].append(outcome[0])
        elif held[subject]:
            held[subject].pop().release()
    for permits in (*held["a"], *held["b"]):
        permits.release()
    assert 0 == len(in_flight)

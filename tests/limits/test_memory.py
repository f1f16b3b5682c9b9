"""What is particular to counting in process."""

import pytest

from cacheproxy.limits.contract import Admitted, Check
from cacheproxy.limits.memory import MemoryLimiter
from cacheproxy.policy.route import Algorithm, LimitRule


def test_the_table_is_bounded_and_forgets_who_was_away_the_longest(clock) -> None:
    """Beyond the bound the least recently admitted subject is forgotten; one that keeps coming stays limited."""
    limiter = MemoryLimiter(clock, max_subjects=10)
    rule = LimitRule(name="r", limit=100, period_s=60)
    for number in range(99):
        limiter.decide([Check(rule, f"passer-by-{number}"), Check(rule, "regular")])
    assert len(limiter) == 10
    assert limiter.decide([Check(rule, "regular")]).states[0].remaining == 0


def test_who_is_refused_takes_no_place(clock) -> None:
    """A refused request writes nothing, so that a flood of them displaces nobody."""
    limiter = MemoryLimiter(clock)
    gate = Check(LimitRule(name="gate", limit=1, period_s=60), "all")
    each = LimitRule(name="each", limit=1, period_s=60)
    outcomes = [limiter.decide([gate, Check(each, f"client-{number}")]) for number in range(50)]
    assert sum(isinstance(outcome, Admitted) for outcome in outcomes) == 1
    assert len(limiter) == 2


@pytest.mark.parametrize("algorithm", list(Algorithm))
@pytest.mark.parametrize("jump_s", [-86_400, 86_400])
def test_a_clock_that_is_set_moves_no_limit(clock, algorithm: Algorithm, jump_s: int) -> None:
    """Set back, it would close a limit for as long as it was ahead; set forward, it would grant another window."""
    clock.now = lambda: wall_s
    wall_s = 1_700_000_000.0
    limiter = MemoryLimiter(clock)
    check = Check(LimitRule(name="r", limit=2, period_s=60, algorithm=algorithm), "a")
    assert [True, True, False] == [isinstance(limiter.decide([check]), Admitted) for _ in range(3)]
    wall_s += jump_s
    assert not isinstance(limiter.decide([check]), Admitted)
    clock.pass_s(121)
    assert isinstance(limiter.decide([check]), Admitted)

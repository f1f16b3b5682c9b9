"""What every limiter does, wherever it counts."""

import asyncio

import pytest

from cacheproxy.limits.contract import Admitted, Check, Limited, Limiter
from cacheproxy.policy.route import Algorithm, LimitMode, LimitRule

ALGORITHMS = pytest.mark.parametrize("algorithm", list(Algorithm))


def rule(name: str = "r", limit: int = 3, period_s: float = 60, **more: object) -> LimitRule:
    """A rule of three a minute, unless said otherwise."""
    return LimitRule(name=name, limit=limit, period_s=period_s, **more)  # type: ignore[arg-type]


async def count_admitted(limiter: Limiter, checks: list[Check], requests: int) -> int:
    """How many of ``requests`` pass."""
    outcomes = [await limiter.admit(checks) for _ in range(requests)]
    return sum(isinstance(outcome, Admitted) for outcome in outcomes)


@ALGORITHMS
async def test_the_limit_is_admitted_and_not_one_more(limiter: Limiter, algorithm: Algorithm) -> None:
    """Of ten requests at once under a limit of three, three pass."""
    assert await count_admitted(limiter, [Check(rule(algorithm=algorithm), "a")], 10) == 3


@ALGORITHMS
async def test_the_limit_holds_for_requests_at_the_same_moment(limiter: Limiter, algorithm: Algorithm) -> None:
    """Of fifty concurrent requests under a limit of twenty, twenty pass."""
    check = Check(rule(limit=20, algorithm=algorithm), "a")
    outcomes = await asyncio.gather(*(limiter.admit([check]) for _ in range(50)))
    assert sum(isinstance(outcome, Admitted) for outcome in outcomes) == 20


@ALGORITHMS
async def test_who_waits_as_told_is_admitted(limiter: Limiter, clock, algorithm: Algorithm) -> None:
    """Retry-After is exact to the microsecond through every limiter."""
    checks = [Check(rule(algorithm=algorithm), "a")]
    await count_admitted(limiter, checks, 3)
    outcome = await limiter.admit(checks)
    assert isinstance(outcome, Limited)
    clock.pass_us(round(outcome.retry_after_s * 1e6) - 1)
    assert isinstance(await limiter.admit(checks), Limited)
    clock.pass_us(1)
    assert isinstance(await limiter.admit(checks), Admitted)


@ALGORITHMS
async def test_each_subject_has_its_own_quota(limiter: Limiter, algorithm: Algorithm) -> None:
    """One client over its limit takes nothing from another."""
    each = rule(algorithm=algorithm)
    assert await count_admitted(limiter, [Check(each, "a")], 5) == 3
    assert await count_admitted(limiter, [Check(each, "b")], 5) == 3


@ALGORITHMS
async def test_a_rejected_request_counts_against_no_limit(limiter: Limiter, algorithm: Algorithm) -> None:
    """All or nothing: what the narrow limit rejects does not spend the wide one."""
    narrow = Check(rule("narrow", 1, algorithm=algorithm), "a")
    wide = Check(rule("wide", 3, algorithm=algorithm), "a")
    assert await count_admitted(limiter, [narrow, wide], 5) == 1
    assert await count_admitted(limiter, [wide], 5) == 2


async def test_limits_of_every_algorithm_and_subject_are_asked_together(limiter: Limiter) -> None:
    """A request under all five algorithms, each for another subject, is counted by all of them or none."""
    checks = [Check(rule(algorithm, 5, algorithm=algorithm), f"of-{algorithm}") for algorithm in Algorithm]
    narrow = Check(rule("narrow", 2), "x")
    assert await count_admitted(limiter, [*checks, narrow], 5) == 2
    assert [await count_admitted(limiter, [check], 5) for check in checks] == [3] * 5


async def test_the_longest_wait_is_told(limiter: Limiter) -> None:
    """Of two limits that refuse, the one that takes longer names the wait, and both are named as violated."""
    short, long = rule("short", 1, 10, algorithm=Algorithm.GCRA), rule("long", 1, 100, algorithm=Algorithm.GCRA)
    checks = [Check(short, "a"), Check(long, "a")]
    await limiter.admit(checks)
    outcome = await limiter.admit(checks)
    assert isinstance(outcome, Limited)
    assert (outcome.rule, outcome.retry_after_s, outcome.violated) == (long, 100, (short, long))


@ALGORITHMS
async def test_what_remains_is_told(limiter: Limiter, algorithm: Algorithm) -> None:
    """``remaining`` counts down with the requests admitted, on a refusal too, and never below zero."""
    checks = [Check(rule(algorithm=algorithm), "a")]
    told = [(await limiter.admit(checks)).states[0].remaining for _ in range(5)]
    assert told == [2, 1, 0, 0, 0]


@ALGORITHMS
async def test_costs_are_counted(limiter: Limiter, algorithm: Algorithm) -> None:
    """A request of cost three leaves two of five, and a second one is refused without spending them."""
    each = rule(limit=5, algorithm=algorithm)
    assert await count_admitted(limiter, [Check(each, "a", cost=3)], 2) == 1
    assert await count_admitted(limiter, [Check(each, "a")], 5) == 2


@ALGORITHMS
async def test_what_is_owed_is_charged_first(limiter: Limiter, algorithm: Algorithm) -> None:
    """Two used elsewhere leave one of three; owing more than there is leaves none, and no longer wait."""
    each = rule(algorithm=algorithm)
    assert isinstance(await limiter.admit([Check(each, "a", owed=2)]), Admitted)
    assert isinstance(await limiter.admit([Check(each, "a")]), Limited)
    owing = await limiter.admit([Check(each, "b", owed=100)])
    assert isinstance(owing, Limited)
    assert owing.retry_after_s <= 120


async def test_what_is_owed_is_charged_once(limiter: Limiter) -> None:
    """A debt beside a limit of another subject is paid like any other, one time."""
    each = rule(limit=5)
    outcome = await limiter.admit([Check(each, "a", owed=2), Check(rule("other"), "b")])
    assert outcome.states[0].remaining == 2


@ALGORITHMS
async def test_a_shadow_limit_refuses_nobody_and_says_whom_it_would(limiter: Limiter, algorithm: Algorithm) -> None:
    """In shadow mode all pass, those over the limit are named, and enforced limits still count them."""
    shadow = rule("shadow", 1, algorithm=algorithm, mode=LimitMode.SHADOW)
    enforced = rule("enforced", 3, algorithm=algorithm)
    outcomes = [await limiter.admit([Check(shadow, "a"), Check(enforced, "a")]) for _ in range(4)]
    assert [o.shadowed for o in outcomes if isinstance(o, Admitted)] == [(), (shadow,), (shadow,)]
    assert isinstance(outcomes[3], Limited)
    assert outcomes[3].violated == (enforced,)


async def test_no_limits_admit_everything(limiter: Limiter) -> None:
    """A request without checks is admitted."""
    assert await limiter.admit([]) == Admitted()

"""Refusals from memory: they save the call, and never refuse whom the limiter would admit."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.limits.contract import Admitted, Check, Limited
from cacheproxy.limits.memory import MemoryLimiter
from cacheproxy.limits.refusals import RefusalMemory
from cacheproxy.policy.route import Algorithm, LimitRule
from cacheproxy.redis_link.contract import Budget


class Counted(MemoryLimiter):
    """Knows how often it was asked."""

    asked = 0

    async def admit(self, checks: Sequence[Check], budget: Budget | None = None) -> Admitted | Limited:
        """As MemoryLimiter."""
        self.asked += 1
        return await super().admit(checks, budget)


@pytest.fixture
def inner(clock) -> Counted:
    """What is asked where the answer is not known."""
    return Counted(clock)


def rule(limit: int = 3, **more) -> LimitRule:
    """Three a minute."""
    return LimitRule(name="r", limit=limit, period_s=60, **more)


async def test_a_blocked_client_costs_no_call(inner: Counted, clock) -> None:
    """Of a thousand requests of a client over its limit, the limiter is asked about the first refused one only."""
    limiter = RefusalMemory(inner, clock)
    outcomes = [await limiter.admit([Check(rule_, "a")]) for rule_ in [rule()] * 1000]
    assert inner.asked == 4
    assert sum(isinstance(outcome, Admitted) for outcome in outcomes) == 3


async def test_who_is_not_refused_is_admitted_as_the_limiter_says(inner: Counted, clock) -> None:
    """At once, too, where the limiter needs nobody for that; a client over its limit is not admitted at once."""
    limiter, check = RefusalMemory(inner, clock), Check(rule(1), "a")
    assert isinstance(limiter.admit_now([check]), Admitted)
    assert isinstance(await limiter.admit([check]), Limited)
    assert limiter.admit_now([check]) is None


async def test_a_blocked_client_is_told_a_wait_that_shrinks(inner: Counted, clock) -> None:
    """The wait told from memory is what is left of it."""
    limiter, check = RefusalMemory(inner, clock), Check(rule(1), "a")
    await limiter.admit([check])
    first = await limiter.admit([check])
    clock.pass_s(10)
    second = await limiter.admit([check])
    assert isinstance(first, Limited)
    assert isinstance(second, Limited)
    assert first.retry_after_s == 60
    assert second.retry_after_s == pytest.approx(50)


async def test_cheaper_requests_are_asked_about(inner: Counted, clock) -> None:
    """What costs less than what was refused may still fit."""
    limiter, five = RefusalMemory(inner, clock), rule(5)
    await limiter.admit([Check(five, "a", cost=3)])
    assert isinstance(await limiter.admit([Check(five, "a", cost=3)]), Limited)
    assert isinstance(await limiter.admit([Check(five, "a", cost=2)]), Admitted)


async def test_a_rule_that_was_replaced_is_asked_about(inner: Counted, clock) -> None:
    """After a reload that raises the limit, nobody is refused by the old one."""
    limiter, old = RefusalMemory(inner, clock), rule(1, algorithm=Algorithm.SLIDING_LOG)
    for _ in range(3):
        await limiter.admit([Check(old, "a")])
    assert isinstance(await limiter.admit([Check(replace(old, limit=100), "a")]), Admitted)


async def test_what_is_owed_is_not_swallowed(inner: Counted, clock) -> None:
    """A request that brings a debt always reaches the limiter."""
    limiter, one = RefusalMemory(inner, clock), rule(1)
    for _ in range(3):
        await limiter.admit([Check(one, "a")])
    asked = inner.asked
    await limiter.admit([Check(one, "a", owed=1)])
    assert inner.asked == asked + 1


async def test_the_memory_is_bounded(inner: Counted, clock) -> None:
    """However many clients are refused, only so many are remembered."""
    limiter, one = RefusalMemory(inner, clock, max_subjects=10), rule(1)
    for number in range(100):
        await limiter.admit([Check(one, str(number))])
        await limiter.admit([Check(one, str(number))])
    assert len(limiter) == 10


steps = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 1_000_000, 19_999_999, 20_000_000, 60_000_000]), st.integers(1, 3), st.sampled_from("ab")
    ),
    max_size=60,
)


@given(algorithm=st.sampled_from(Algorithm), requests=steps)
async def test_it_never_disagrees_with_the_limiter(new_clock, algorithm: Algorithm, requests) -> None:
    """On any run of requests the outcome with the memory is the outcome without."""
    clock, every = new_clock(), rule(algorithm=algorithm)
    plain, remembering = MemoryLimiter(clock), RefusalMemory(MemoryLimiter(clock), clock)
    for gap_us, cost, subject in requests:
        clock.pass_us(gap_us)
        check = Check(every, subject, cost)
        assert type(await remembering.admit([check])) is type(plain.decide([check]))

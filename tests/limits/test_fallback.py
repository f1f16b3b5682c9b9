"""Limits during an outage of Redis, and on both sides of it."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.errors import StateError
from cacheproxy.limits.contract import Admitted, Check, Limited, Limiter
from cacheproxy.limits.fallback import Debts, FallbackLimiter
from cacheproxy.limits.memory import MemoryLimiter
from cacheproxy.policy.route import Algorithm, LimitMode, LimitRule, WithoutRedis
from cacheproxy.redis_link.contract import Budget


class Breakable:
    """The shared limiter, with a switch."""

    def __init__(self, inner: Limiter) -> None:
        self.inner = inner
        self.up = True

    async def admit(self, checks: Sequence[Check], budget: Budget | None = None) -> Admitted | Limited:
        """As ``inner`` while up."""
        if not self.up:
            raise StateError("refused")
        return await self.inner.admit(checks, budget)


def rule(without_redis: WithoutRedis = WithoutRedis.LOCAL, limit: int = 90, **more) -> LimitRule:
    """Ninety a minute by log, unless said otherwise."""
    return LimitRule(
        name=f"r-{without_redis}",
        limit=limit,
        period_s=60,
        without_redis=without_redis,
        **{"algorithm": Algorithm.SLIDING_LOG, **more},
    )


async def admitted(limiters: Sequence[Limiter], checks: list[Check], each: int) -> int:
    """How many pass of ``each`` requests through each of ``limiters``, in turns."""
    outcomes = [await limiter.admit(checks) for _ in range(each) for limiter in limiters]
    return sum(isinstance(outcome, Admitted) for outcome in outcomes)


@pytest.fixture
def shared(clock) -> Breakable:
    """What stands for Redis."""
    return Breakable(MemoryLimiter(clock))


@pytest.fixture
def replicas(shared: Breakable, clock) -> list[FallbackLimiter]:
    """Three sidecars that know of each other."""
    return [FallbackLimiter(shared, clock, lambda: 3) for _ in range(3)]


async def test_allow_admits_everything(shared: Breakable, replicas: list[FallbackLimiter]) -> None:
    """A rule that allows without Redis refuses nobody during the outage."""
    shared.up = False
    assert await admitted(replicas, [Check(rule(WithoutRedis.ALLOW), "a")], 100) == 300


async def test_deny_refuses_everything_for_a_second(shared: Breakable, replicas: list[FallbackLimiter]) -> None:
    """A rule that denies without Redis says to come back soon, and counts nothing."""
    shared.up = False
    outcome = await replicas[0].admit([Check(rule(WithoutRedis.DENY), "a"), Check(rule(), "a")])
    assert isinstance(outcome, Limited)
    assert (outcome.retry_after_s, outcome.rule.without_redis) == (1.0, WithoutRedis.DENY)
    assert await admitted(replicas, [Check(rule(), "a")], 100) == 90


async def test_a_denying_rule_in_shadow_denies_nobody(shared: Breakable, replicas: list[FallbackLimiter]) -> None:
    """Shadow holds during an outage too."""
    shared.up = False
    check = Check(rule(WithoutRedis.DENY, mode=LimitMode.SHADOW), "a")
    assert isinstance(await replicas[0].admit([check]), Admitted)


@pytest.mark.parametrize("algorithm", list(Algorithm))
async def test_local_divides_the_limit(
    shared: Breakable, replicas: list[FallbackLimiter], algorithm: Algorithm
) -> None:
    """Three replicas without Redis admit the limit between them, a third each."""
    shared.up = False
    check = Check(rule(algorithm=algorithm), "a")
    assert await admitted(replicas[:1], [check], 100) == 30
    assert await admitted(replicas[1:], [check], 100) == 60


async def test_an_outage_grants_no_second_window(shared: Breakable, replicas: list[FallbackLimiter]) -> None:
    """What was admitted through Redis counts against the shares, and what they admit counts in Redis afterwards."""
    checks = [Check(rule(), "a")]
    assert await admitted(replicas, checks, 20) == 60
    shared.up = False
    assert await admitted(replicas, checks, 5) == 15
    shared.up = True
    assert await admitted(replicas, checks, 50) == 15


async def test_an_outage_that_lost_redis_data_grants_no_second_window(
    shared: Breakable, replicas: list[FallbackLimiter], clock
) -> None:
    """Where Redis comes back empty, at least what was admitted during the outage still counts."""
    checks = [Check(rule(), "a")]
    shared.up = False
    assert await admitted(replicas, checks, 50) == 90
    shared.inner, shared.up = MemoryLimiter(clock), True
    await admitted(replicas, [Check(rule(), "b")], 1)
    assert await admitted(replicas, checks, 50) == 0


async def test_debts_are_paid_once(shared: Breakable, replicas: list[FallbackLimiter], clock) -> None:
    """After the return, and a period, the whole limit is there again."""
    checks = [Check(rule(), "a")]
    shared.up = False
    await admitted(replicas, checks, 50)
    shared.up = True
    await admitted(replicas, checks, 1)
    clock.pass_s(60)
    assert await admitted(replicas, checks, 50) == 90


async def test_a_debt_older_than_the_period_is_forgotten(shared: Breakable, replicas, clock) -> None:
    """A long outage costs no client what it used at its beginning."""
    checks = [Check(rule(), "a")]
    shared.up = False
    await admitted(replicas, checks, 50)
    clock.pass_s(61)
    shared.up = True
    assert await admitted(replicas, checks, 50) == 90


async def test_after_the_return_other_requests_take_the_debts_along(
    shared: Breakable, replicas: list[FallbackLimiter]
) -> None:
    """What a client was admitted through one replica is soon known to the others, without the client's doing."""
    shared.up = False
    for number in range(100):
        await admitted(replicas[:1], [Check(rule(), f"client-{number}")], 30)
    shared.up = True
    await admitted(replicas[:1], [Check(rule(), "another")], 2)
    assert await admitted(replicas[1:2], [Check(rule(), "client-99")], 100) == 60


async def test_a_debt_is_not_lost_where_redis_goes_away_again(
    shared: Breakable, replicas: list[FallbackLimiter], clock
) -> None:
    """Debts stay known until Redis has them: here it answers one request and fails the report after it."""
    shared.up = False
    await admitted(replicas[:1], [Check(rule(), "a")], 30)

    class Flapping(MemoryLimiter):
        async def admit(self, checks: Sequence[Check], budget: Budget | None = None) -> Admitted | Limited:
            shared.up = False
            return await super().admit(checks, budget)

    shared.inner, shared.up = Flapping(clock), True
    await admitted(replicas[:1], [Check(rule(), "another")], 1)
    shared.inner, shared.up = MemoryLimiter(clock), True
    assert await admitted(replicas[:1], [Check(rule(), "a")], 100) == 60


async def test_whether_it_runs_without_redis_can_be_asked(shared: Breakable, replicas: list[FallbackLimiter]) -> None:
    """``degraded`` follows the last answer."""
    assert not replicas[0].degraded
    shared.up = False
    await admitted(replicas, [Check(rule(), "a")], 1)
    assert replicas[0].degraded
    shared.up = True
    await admitted(replicas, [Check(rule(), "a")], 1)
    assert not replicas[0].degraded


def test_debts_are_bounded(clock) -> None:
    """A flood of clients during an outage takes a bounded place."""
    debts = Debts(clock, 10)
    debts.note((Check(rule(), f"client-{number}"), 1) for number in range(100))
    assert len(debts.take_some(most=100)) == 10


schedules = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from([0, 1_000_000, 9_000_000, 31_000_000]), st.booleans()), max_size=120
)


@given(schedule=schedules)
async def test_one_client_never_gets_two_windows_whatever_the_outages(new_clock, schedule) -> None:
    """On any schedule over three replicas, debts reported on return, no period exceeds the limit by over two shares.

    More cannot be known: a replica that the client has not been to knows nothing of it when the outage begins.
    """
    clock = new_clock()
    shared = Breakable(MemoryLimiter(clock))
    replicas = [FallbackLimiter(shared, clock, lambda: 3) for _ in range(3)]
    check = Check(rule(limit=9), "a")
    times = []
    for replica, gap_us, up in schedule:
        clock.pass_us(gap_us)
        if up and not shared.up:
            shared.up = True
            await admitted(replicas, [Check(rule(limit=9), "b")], 1)
        shared.up = up
        if isinstance(await replicas[replica].admit([check]), Admitted):
            times.append(clock.us)
    late = times[9 + 2 * 3 :]
    assert all(end - begin >= 60_000_000 for begin, end in zip(times, late, strict=False))

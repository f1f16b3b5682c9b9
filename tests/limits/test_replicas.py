"""Three replicas over one real Valkey: what clients are admitted in all."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from cacheproxy.clock import SystemClock
from cacheproxy.limits.contract import Admitted, Check, Limiter
from cacheproxy.limits.fallback import FallbackLimiter
from cacheproxy.limits.redis import RedisLimiter
from cacheproxy.limits.refusals import RefusalMemory
from cacheproxy.policy.route import Algorithm, LimitRule, WithoutRedis
from cacheproxy.redis_link.connect import Tuning, connect
from cacheproxy.redis_link.contract import Role

REPLICAS = 3
LIMIT = 90


class Replica:
    """One sidecar's link to Valkey, and whether it has come back after a loss."""

    def __init__(self, url: str) -> None:
        self.back = asyncio.Event()
        self.roles = connect(url, Tuning(limit_s=10.0), self._changed)

    def _changed(self, role: Role, up: bool, reason: str) -> None:
        if up:
            self.back.set()


@pytest.fixture
async def replicas(fresh_valkey) -> AsyncIterator[list[Replica]]:
    """Three replicas, each with connections of its own."""
    found = [Replica(fresh_valkey.url) for _ in range(REPLICAS)]
    yield found
    for each in found:
        await each.roles.aclose()


def limiter_of(replica: Replica) -> FallbackLimiter:
    """A limiter as a sidecar has it."""
    clock = SystemClock()
    return FallbackLimiter(RefusalMemory(RedisLimiter(replica.roles.limits, "p"), clock), clock, lambda: REPLICAS)


async def admitted(limiters: list[FallbackLimiter], check: Check, each: int) -> int:
    """How many of ``each`` requests through every limiter pass, all at the same moment."""

    async def one(limiter: Limiter) -> bool:
        return isinstance(await limiter.admit([check]), Admitted)

    return sum(await asyncio.gather(*(one(limiter) for _ in range(each) for limiter in limiters)))


@pytest.mark.parametrize("algorithm", list(Algorithm))
async def test_three_replicas_admit_exactly_the_limit(replicas: list[Replica], algorithm: Algorithm) -> None:
    """Of 600 requests at once through three replicas, exactly the limit passes, by the server's clock."""
    check = Check(LimitRule(name="r", limit=LIMIT, period_s=86_400, algorithm=algorithm), "a")
    assert await admitted([limiter_of(each) for each in replicas], check, 200) == LIMIT


async def test_losing_valkey_in_the_middle_keeps_the_limit_within_a_tenth(
    replicas: list[Replica], fresh_valkey
) -> None:
    """Half of the limit is used when Valkey is killed: the divided rest holds, whatever comes."""
    rule = LimitRule(name="r", limit=LIMIT, period_s=86_400, without_redis=WithoutRedis.LOCAL)
    limiters, check = [limiter_of(each) for each in replicas], Check(rule, "a")
    before = await admitted(limiters, check, LIMIT // REPLICAS // 2)
    fresh_valkey.kill()
    during = await admitted(limiters, check, 200)
    assert before == LIMIT // 2
    assert before + during == pytest.approx(LIMIT, rel=0.1)
    assert all(limiter.degraded for limiter in limiters)


async def test_valkey_back_and_empty_grants_no_second_window(replicas: list[Replica], fresh_valkey) -> None:
    """After a crash that lost every count, what was admitted meanwhile is charged first."""
    rule = LimitRule(name="r", limit=LIMIT, period_s=86_400, without_redis=WithoutRedis.LOCAL)
    limiters, check = [limiter_of(each) for each in replicas], Check(rule, "a")
    await admitted(limiters, check, 1)
    fresh_valkey.kill()
    assert await admitted(limiters, check, 200) >= LIMIT - REPLICAS
    await admitted(limiters, check, 1)  # finds that nobody listens any more, where the burst only lost its connection
    fresh_valkey.start()
    for each in replicas:
        await each.back.wait()
    await admitted(limiters, Check(rule, "another"), 1)
    assert await admitted(limiters, check, 200) <= REPLICAS

"""What is particular to counting in Redis."""

import asyncio
import itertools

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cacheproxy.limits.contract import Admitted, Check
from cacheproxy.limits.memory import MemoryLimiter
from cacheproxy.limits.redis import RedisLimiter
from cacheproxy.policy.route import Algorithm, LimitMode, LimitRule
from cacheproxy.redis_link.connect import Tuning, connect

rules = st.builds(
    LimitRule,
    name=st.just("r"),
    limit=st.integers(1, 6),
    period_s=st.sampled_from([60.0, 61.000007, 3600.0]),
    burst=st.integers(0, 8),
    algorithm=st.sampled_from(Algorithm),
    mode=st.sampled_from(LimitMode),
)
vast = st.builds(
    LimitRule,
    name=st.just("r"),
    limit=st.sampled_from([10**6, 10**9]),
    period_s=st.just(10 * 365 * 86400.0),
    algorithm=st.sampled_from(Algorithm),
)
gaps = st.sampled_from([0, 1, 7_000_000, 59_999_999, 60_000_000, 61_000_007, 3_600_000_000, -1_000_000, -(10**12)])
steps = st.tuples(gaps | st.integers(0, 10**8), st.lists(st.tuples(st.integers(1, 8), st.integers(0, 4)), min_size=3))

fresh = itertools.count()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    of=st.lists(rules | vast, min_size=3, max_size=3, unique_by=lambda rule: rule.algorithm),
    steps=st.lists(steps, max_size=20),
)
async def test_lua_agrees_with_the_arithmetic(link, clock, of: list[LimitRule], steps) -> None:
    """On any run of requests, gaps, costs, debts and clock jumps, Redis and memory answer the same in every field."""
    subject = f"s{next(fresh)}"
    memory = MemoryLimiter(clock)
    redis = RedisLimiter(link, "diff", time_us=lambda: clock.us)
    for gap_us, costs in steps:
        clock.pass_us(gap_us)
        checks = [Check(rule, subject, cost, owed) for rule, (cost, owed) in zip(of, costs, strict=False)]
        assert await redis.admit(checks) == memory.decide(checks)


async def test_time_is_the_servers(link) -> None:
    """Without a clock of its own the limiter counts by Redis' time, so replicas with wrong clocks agree."""
    rule = LimitRule(name="r", limit=1, period_s=3600, algorithm=Algorithm.GCRA)
    first, second = RedisLimiter(link, "p"), RedisLimiter(link, "p")
    assert isinstance(await first.admit([Check(rule, "a")]), Admitted)
    refused = await second.admit([Check(rule, "a")])
    assert 3590 < refused.states[0].reset_s <= 3600


async def test_keys_expire_when_nothing_counted_is_in_sight(link) -> None:
    """Every key has a TTL no longer than until all of its quota is back, so an idle subject leaves nothing behind."""
    limiter = RedisLimiter(link, "p")
    for algorithm in Algorithm:
        await limiter.admit([Check(LimitRule(name="r", limit=5, period_s=10, algorithm=algorithm), "a")])
    keys = await link.call("KEYS", "*")
    ttls = await asyncio.gather(*(link.call("PTTL", key) for key in keys))
    assert len(ttls) == len(Algorithm)
    assert all(0 < ttl <= 21_000 for ttl in ttls)


async def test_keys_of_one_subject_share_a_slot(link) -> None:
    """The subject is the hash tag, so that in a Cluster all limits of one client are one script call."""
    limiter = RedisLimiter(link, "p")
    rules = [LimitRule(name=name, limit=5, period_s=10, algorithm=Algorithm.GCRA) for name in ("x", "y")]
    await limiter.admit([Check(rule, "client_ip=192.0.2.1") for rule in rules])
    keys = await link.call("KEYS", "*")
    assert sorted(keys) == [
        b"p:limits:{client_ip=192.0.2.1}:x:gcra:10",
        b"p:limits:{client_ip=192.0.2.1}:y:gcra:10",
    ]


async def test_a_log_is_no_longer_than_its_limit(link, clock) -> None:
    """However many requests come over many windows, the list holds at most ``limit`` times."""
    limiter = RedisLimiter(link, "p", time_us=lambda: clock.us)
    check = Check(LimitRule(name="r", limit=7, period_s=60, algorithm=Algorithm.SLIDING_LOG), "a")
    lengths = set()
    for _ in range(100):
        clock.pass_s(3)
        await limiter.admit([check])
        lengths.add(await link.call("LLEN", (await link.call("KEYS", "*"))[0]))
    assert max(lengths) == 7


async def test_in_a_cluster_limits_of_several_subjects_are_asked_together(fresh_valkey) -> None:
    """Keys in different slots cannot share a script: a Cluster still counts all of a request's limits, or none."""
    fresh_valkey.kill()
    fresh_valkey.start("--cluster-enabled", "yes")
    with fresh_valkey.client() as client:
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        while b"cluster_state:ok" not in client.execute_command("CLUSTER", "INFO"):
            pass
    roles = connect(fresh_valkey.url.replace("redis://", "redis+cluster://"), Tuning(limit_s=10.0))
    limiter = RedisLimiter(roles.limits, "p", cluster=True)
    narrow = Check(LimitRule(name="narrow", limit=2, period_s=3600), "client_ip=192.0.2.1")
    wide = Check(LimitRule(name="wide", limit=9, period_s=3600), "session.user_id=7")
    outcomes = [await limiter.admit([narrow, wide]) for _ in range(5)]
    assert [isinstance(outcome, Admitted) for outcome in outcomes] == [True, True, False, False, False]
    assert (await limiter.admit([wide])).states[0].remaining == 6
    await roles.aclose()

"""Permits in batches: few calls, and never more than the limit."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.errors import StateError
from cacheproxy.limits.arithmetic import quota_of
from cacheproxy.limits.contract import Admitted, Check, Limited
from cacheproxy.limits.leased import LeasedLimiter
from cacheproxy.limits.memory import MemoryLimiter
from cacheproxy.policy.route import Algorithm, LimitMode, LimitRule, Precision
from cacheproxy.redis_link.contract import Budget

ALGORITHMS = pytest.mark.parametrize("algorithm", list(Algorithm))


class Shared(MemoryLimiter):
    """What stands for Redis: knows what it was asked, can be held, and can be lost."""

    def __init__(self, clock) -> None:
        super().__init__(clock)
        self.costs: list[int] = []
        self.up = True
        self.gate = asyncio.Event()
        self.gate.set()

    async def admit(self, checks: Sequence[Check], budget: Budget | None = None) -> Admitted | Limited:
        """As MemoryLimiter, when the gate is open."""
        self.costs += [check.cost for check in checks]
        await self.gate.wait()
        if not self.up:
            raise StateError("refused")
        return self.decide(checks)

    def admit_now(self, checks: Sequence[Check]) -> None:
        """Nothing is known without asking, as with Redis."""

    refusal_now = admit_now


def rule(limit: int = 1000, period_s: float = 60, **more) -> LimitRule:
    """A thousand a minute, leased."""
    return LimitRule(name="r", limit=limit, period_s=period_s, **{"precision": Precision.LEASED, **more})


@ALGORITHMS
async def test_a_busy_client_costs_few_calls(clock, algorithm: Algorithm) -> None:
    """Nine hundred requests in a row, of a limit of a thousand, take under fifty calls."""
    shared = Shared(clock)
    limiter = LeasedLimiter(shared, clock)
    check = Check(rule(algorithm=algorithm), "a")
    outcomes = [await limiter.admit([check]) for _ in range(900)]
    assert all(isinstance(outcome, Admitted) for outcome in outcomes)
    assert len(shared.costs) < 50


@ALGORITHMS
async def test_one_busy_client_gets_the_whole_limit_and_not_one_more(clock, algorithm: Algorithm) -> None:
    """Near its end the quota is taken permit by permit, so nothing is stranded."""
    limiter, each = LeasedLimiter(Shared(clock), clock), rule(algorithm=algorithm)
    outcomes = [await limiter.admit([Check(each, "a")]) for _ in range(1200)]
    assert sum(isinstance(outcome, Admitted) for outcome in outcomes) == quota_of(each).capacity


async def test_an_idle_clients_permits_are_single(clock) -> None:
    """Requests far apart are counted one by one: a batch would only be lost."""
    shared = Shared(clock)
    limiter = LeasedLimiter(shared, clock)
    for _ in range(20):
        await limiter.admit([Check(rule(), "a")])
        clock.pass_s(1)
    assert shared.costs == [1] * 20


@pytest.mark.parametrize("gap_us", [100, 250, 500])
async def test_batches_settle_where_they_are_spent_in_time(clock, gap_us: int) -> None:
    """At a steady pace half of a batch takes an eighth to a third of the tenth of a second that permits last."""
    shared = Shared(clock)
    limiter, check = LeasedLimiter(shared, clock), Check(rule(10_000_000), "a")
    for _ in range(20_000):
        await limiter.admit([check])
        clock.pass_us(gap_us)
    settled = shared.costs[-10:]
    assert min(settled) * gap_us / 2 >= 100_000 / 8
    assert max(settled) * gap_us / 2 <= 100_000 / 3


async def test_requests_at_the_same_moment_take_one_batch(clock) -> None:
    """While one request takes permits the others wait for them, rather than each take a batch."""
    shared = Shared(clock)
    limiter = LeasedLimiter(shared, clock)
    for _ in range(100):
        await limiter.admit([Check(rule(), "a")])
    shared.costs.clear()
    shared.gate.clear()
    requests = asyncio.gather(*(limiter.admit([Check(rule(), "a")]) for _ in range(100)))
    await asyncio.sleep(0)
    shared.gate.set()
    outcomes = await requests
    assert all(isinstance(outcome, Admitted) for outcome in outcomes)
    assert len(shared.costs) <= 3


async def test_what_remains_counts_down_evenly(clock) -> None:
    """A client does not see the batches: its remaining goes down by one with each request."""
    limiter = LeasedLimiter(Shared(clock), clock)
    check = Check(rule(algorithm=Algorithm.FIXED_WINDOW), "a")
    told = [(await limiter.admit([check])).states[0].remaining for _ in range(100)]
    assert told == list(range(999, 899, -1))


async def test_exact_rules_beside_leased_ones_are_asked_each_time(clock) -> None:
    """A request under both is counted by both, and the leased permits in hand are kept for others."""
    shared = Shared(clock)
    limiter = LeasedLimiter(shared, clock)
    leased, exact = Check(rule(), "a"), Check(LimitRule(name="exact", limit=3, period_s=60), "a")
    for _ in range(20):
        await limiter.admit([leased])
    in_hand = limiter._purses["r", "a"].permits
    shared.costs.clear()
    outcomes = [await limiter.admit([leased, exact]) for _ in range(5)]
    assert sum(isinstance(outcome, Admitted) for outcome in outcomes) == 3
    assert limiter._purses["r", "a"].permits == in_hand > 0
    assert set(shared.costs) == {1}


async def test_where_a_batch_is_too_much_the_request_alone_is_asked_for(clock) -> None:
    """What another replica has left of the quota is given out to the last permit."""
    shared, each = Shared(clock), rule(algorithm=Algorithm.FIXED_WINDOW)
    limiter = LeasedLimiter(shared, clock)
    for _ in range(40):
        await limiter.admit([Check(each, "a")])
    in_hand = limiter._purses["r", "a"].permits
    shared.charge([Check(each, "a", shared.decide([Check(each, "a", 0)]).states[0].remaining - 5)])
    outcomes = [await limiter.admit([Check(each, "a")]) for _ in range(in_hand + 20)]
    assert sum(isinstance(outcome, Admitted) for outcome in outcomes) == in_hand + 5


async def test_a_shadow_rule_is_not_leased(clock) -> None:
    """What is only being tried out is counted request by request."""
    shared = Shared(clock)
    limiter = LeasedLimiter(shared, clock)
    for _ in range(20):
        await limiter.admit([Check(rule(mode=LimitMode.SHADOW), "a")])
    assert shared.costs == [1] * 20


async def test_what_is_owed_is_not_swallowed(clock) -> None:
    """A request that brings a debt reaches Redis, though permits are in hand."""
    shared = Shared(clock)
    limiter = LeasedLimiter(shared, clock)
    for _ in range(20):
        await limiter.admit([Check(rule(), "a")])
    calls = len(shared.costs)
    await limiter.admit([Check(rule(), "a", owed=5)])
    assert len(shared.costs) == calls + 1


async def test_a_debt_is_charged_once_though_a_batch_was_too_much(clock) -> None:
    """The request that is asked for alone, after its batch was refused, does not pay again."""
    shared, each = Shared(clock), rule(algorithm=Algorithm.FIXED_WINDOW)
    limiter = LeasedLimiter(shared, clock)
    for _ in range(63):
        await limiter.admit([Check(each, "a")])
    shared.charge([Check(each, "a", shared.decide([Check(each, "a", 0)]).states[0].remaining - 15)])
    await limiter.admit([Check(each, "a", owed=6)])
    assert shared.decide([Check(each, "a", 0)]).states[0].remaining == 15 - 6 - 1


async def test_a_smaller_limit_after_a_reload_gives_no_more_than_it_counts(clock) -> None:
    """A batch sized by the old limit is cut to the new one, of which no more can have been counted."""
    limiter = LeasedLimiter(Shared(clock), clock)
    for _ in range(200):
        await limiter.admit([Check(rule(10_000, algorithm=Algorithm.SLIDING_LOG), "a")])
    clock.pass_s(61)
    smaller = Check(rule(5, algorithm=Algorithm.SLIDING_LOG), "a")
    outcomes = [await limiter.admit([smaller]) for _ in range(50)]
    assert sum(isinstance(outcome, Admitted) for outcome in outcomes) == 5


async def test_permits_in_hand_outlive_redis_for_a_moment(clock) -> None:
    """What was counted may be spent; then the loss is told, and who waits is not kept waiting by the one before."""
    shared = Shared(clock)
    limiter = LeasedLimiter(shared, clock)
    for _ in range(20):
        await limiter.admit([Check(rule(), "a")])
    shared.up = False
    for _ in range(limiter._purses["r", "a"].permits):
        assert isinstance(await limiter.admit([Check(rule(), "a")]), Admitted)
    outcomes = await asyncio.gather(*(limiter.admit([Check(rule(), "a")]) for _ in range(5)), return_exceptions=True)
    assert all(isinstance(outcome, StateError) for outcome in outcomes)


async def test_who_gives_up_waiting_leaves_the_way_free(clock) -> None:
    """A request cancelled while it takes permits does not keep the next from taking them."""
    shared = Shared(clock)
    limiter = LeasedLimiter(shared, clock)
    shared.gate.clear()
    taking = asyncio.create_task(limiter.admit([Check(rule(), "a")]))
    await asyncio.sleep(0)
    taking.cancel()
    shared.gate.set()
    assert isinstance(await limiter.admit([Check(rule(), "a")]), Admitted)


async def test_the_purses_are_bounded(clock) -> None:
    """However many clients come, permits are held for so many."""
    limiter = LeasedLimiter(Shared(clock), clock, max_subjects=10)
    for number in range(100):
        await limiter.admit([Check(rule(), str(number))])
    assert len(limiter._purses) == 10


async def test_a_flood_of_clients_takes_no_busy_clients_permits(clock) -> None:
    """Those that took none for the longest are forgotten first: what is in hand elsewhere is not lost to its client."""
    limiter, each = LeasedLimiter(Shared(clock), clock, max_subjects=200), rule()
    admitted = 0
    for number in range(1200):
        admitted += isinstance(await limiter.admit([Check(each, "busy")]), Admitted)
        await limiter.admit([Check(each, f"flood-{number}")])
    assert admitted == quota_of(each).capacity


async def admissions(clock, limit: int, algorithm: Algorithm, schedule: list[tuple[int, int, int]]) -> list[int]:
    """When requests were admitted: for each (replica, gap, burst) that many arrive there, that long after the last."""
    shared = Shared(clock)
    replicas = [LeasedLimiter(shared, clock) for _ in range(2)]
    check = Check(rule(limit, 1.0, algorithm=algorithm), "a")
    times: list[int] = []
    for replica, gap_us, burst in schedule:
        clock.pass_us(gap_us)
        outcomes = [await replicas[replica].admit([check]) for _ in range(burst)]
        times += [clock.us for outcome in outcomes if isinstance(outcome, Admitted)]
    return times


def estimate(times: list[int]) -> Fraction:
    """At the last of ``times``, this second's count and the fading share of the last one's."""
    counts = Counter(at // 1_000_000 for at in times)
    second, elapsed_us = divmod(times[-1], 1_000_000)
    return counts[second] + counts[second - 1] * (1 - Fraction(elapsed_us, 1_000_000))


def keeps_promise(algorithm: Algorithm, limit: int, times: list[int]) -> bool:
    """Whether admissions at ``times`` keep what ``algorithm`` promises of ``limit`` a second (limits.arithmetic)."""
    match algorithm:
        case Algorithm.SLIDING_LOG:
            return all(late - early >= 1_000_000 for early, late in zip(times, times[limit:], strict=False))
        case Algorithm.FIXED_WINDOW:
            return all(count <= limit for count in Counter(at // 1_000_000 for at in times).values())
        case Algorithm.SLIDING_WINDOW:
            return all(estimate(times[: index + 1]) <= limit for index in range(len(times)))
        case _:
            spans = [(b - a, j - i + 1) for i, a in enumerate(times) for j, b in enumerate(times[i:], start=i)]
            return all(count <= limit + Fraction(span_us * limit, 1_000_000) for span_us, count in spans)


@ALGORITHMS
@pytest.mark.parametrize(
    "schedule",
    [
        pytest.param([(0, 0, 32), (0, 49_999, 300), (1, 0, 300), (1, 950_001, 300)], id="spent-as-late-as-may-be"),
        pytest.param([(0, 970_000, 32), (0, 30_001, 20), (1, 0, 300)], id="over-the-edge-of-a-window"),
        pytest.param(
            [(0, 999_999, 32), (0, 49_999, 20), (1, 0, 300)], id="over-the-edge-of-a-window-at-the-last-moment"
        ),
        pytest.param([(0, 0, 150), (0, 2_000_000, 1), (0, 49_999, 300), (1, 0, 300)], id="a-batch-from-a-full-bucket"),
        pytest.param([(0, 0, 32), (0, 50_000, 20), (1, 0, 300), (1, 999_999, 300)], id="kept-too-long"),
    ],
)
async def test_permits_spent_late_break_no_promise(clock, algorithm: Algorithm, schedule) -> None:
    """The worst that can be done with permits in hand admits no more than exact counting may."""
    times = await admissions(clock, 200, algorithm, schedule)
    assert len(times) > 100
    assert keeps_promise(algorithm, 200, times)


schedules = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.sampled_from([0, 1, 49_999, 50_000, 950_001, 1_000_000, 3_000_000]),
        st.sampled_from([1, 5, 30]),
    ),
    max_size=12,
)


@given(algorithm=st.sampled_from(Algorithm), limit=st.sampled_from([3, 40]), schedule=schedules)
async def test_replicas_together_keep_every_promise_of_the_limit(new_clock, algorithm, limit: int, schedule) -> None:
    """On any schedule of bursts over two replicas, what is admitted keeps what is promised of exact counting."""
    assert keeps_promise(algorithm, limit, await admissions(new_clock(), limit, algorithm, schedule))


async def test_a_busy_client_never_waits_for_the_next_batch(clock) -> None:
    """While one request takes permits ahead, the others spend those in hand."""
    shared = Shared(clock)
    limiter, check = LeasedLimiter(shared, clock), Check(rule(1_000_000), "a")
    for _ in range(2000):
        await limiter.admit([check])
    while limiter.admit_now([check]) is not None:
        pass
    shared.gate.clear()
    taking = asyncio.create_task(limiter.admit([check]))
    await asyncio.sleep(0)
    outcomes = [await limiter.admit([check]) for _ in range(50)]
    assert all(isinstance(outcome, Admitted) for outcome in outcomes)
    assert not taking.done()
    shared.gate.set()
    assert isinstance(await taking, Admitted)


async def test_permits_taken_ahead_are_counted_and_spent_in_time(clock) -> None:
    """Of a quota that comes back within the test, no more is admitted than the bucket holds and what came back."""
    shared = Shared(clock)
    each = rule(100_000, 10.0, burst=5000)
    limiter, check = LeasedLimiter(shared, clock), Check(each, "a")
    admitted = 0
    for _ in range(400):
        clock.pass_s(0.001)
        for _ in range(30):
            admitted += isinstance(await limiter.admit([check]), Admitted)
    kept_back = 1000  # what comes back in the time that a permit may lie in a purse
    assert 0.9 * (5000 - kept_back + 400 * 10) <= admitted <= 5000 + 400 * 10


async def test_when_redis_is_lost_while_taking_ahead_what_is_in_hand_is_spent(clock) -> None:
    """The request that was to take more is admitted by a permit that was counted before."""
    shared = Shared(clock)
    limiter, check = LeasedLimiter(shared, clock), Check(rule(1_000_000), "a")
    for _ in range(2000):
        await limiter.admit([check])
    while limiter.admit_now([check]) is not None:
        pass
    shared.up = False
    assert isinstance(await limiter.admit([check]), Admitted)


async def test_what_is_left_is_spent_to_the_last(clock) -> None:
    """Where a batch is refused, permits in hand are spent before anybody is."""
    shared = Shared(clock)
    limiter, check = LeasedLimiter(shared, clock), Check(rule(3000, 86_400.0, algorithm=Algorithm.FIXED_WINDOW), "a")
    for _ in range(1500):
        await limiter.admit([check])
    used_up = Check(check.rule, "a", shared.decide([Check(check.rule, "a", 0)]).states[0].remaining)
    in_hand = sum(purse.permits + purse.ahead for purse in limiter._purses.values())
    assert in_hand > 0
    shared.decide([used_up])
    outcomes = [await limiter.admit([check]) for _ in range(in_hand + 5)]
    assert [True] * in_hand + [False] * 5 == [isinstance(outcome, Admitted) for outcome in outcomes]

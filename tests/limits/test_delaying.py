"""Requests that are held back, by a clock that only tests move."""

import asyncio

import pytest

from cacheproxy.limits.contract import Admitted, Check, Limited
from cacheproxy.limits.delaying import DelayingLimiter
from cacheproxy.limits.memory import MemoryLimiter
from cacheproxy.policy.route import Algorithm, LimitRule, OnLimit


class Sleeper:
    """Sleeps by the test's clock, and wakes whoever is due when that has moved."""

    def __init__(self, clock) -> None:
        self._clock = clock
        self._asleep: list[tuple[float, asyncio.Future[None]]] = []

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock is so far."""
        waking = asyncio.get_running_loop().create_future()
        self._asleep.append((self._clock.monotonic() + seconds, waking))
        await waking

    async def pass_s(self, seconds: float) -> None:
        """Let time pass in steps of a hundredth, so that each wakes at its moment."""
        for _ in range(round(seconds * 100)):
            self._clock.pass_s(0.01)
            for due, waking in self._asleep:
                if due <= self._clock.monotonic() + 1e-9 and not waking.done():
                    waking.set_result(None)
            await settled()


async def settled() -> None:
    """Let every task run until it waits."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
def sleeper(clock) -> Sleeper:
    """Sleeps by the clock of the test."""
    return Sleeper(clock)


@pytest.fixture
def limiter(clock, sleeper) -> DelayingLimiter:
    """Over a limiter in memory."""
    return DelayingLimiter(MemoryLimiter(clock), clock, sleep=sleeper.sleep, max_waiting=50)


def rule(limit: int = 10, burst: int = 1, max_delay_s: float = 1.0, **more) -> LimitRule:
    """Ten a second, one at once, a second's patience."""
    more = {"on_limit": OnLimit.DELAY, **more}
    return LimitRule(name="r", limit=limit, period_s=1.0, burst=burst, max_delay_s=max_delay_s, **more)


def asking(limiter: DelayingLimiter, check: Check, number: int) -> list["asyncio.Task[Admitted | Limited]"]:
    """So many requests at the same moment, in order."""
    return [asyncio.create_task(limiter.admit([check])) for _ in range(number)]


async def test_a_burst_is_spread_over_time(limiter, sleeper) -> None:
    """Five at once at ten a second: one now and one more each tenth of a second, in the order they came."""
    requests = asking(limiter, Check(rule(), "a"), 5)
    for passed in range(5):
        await settled()
        assert [True] * (passed + 1) + [False] * (4 - passed) == [request.done() for request in requests]
        await sleeper.pass_s(0.1)
    outcomes = [request.result() for request in requests]
    assert all(isinstance(outcome, Admitted) for outcome in outcomes)
    assert [0, 10, 20, 30, 40] == [round(outcome.delayed_s * 100) for outcome in outcomes]
    assert 0 == len(limiter)


async def test_who_would_wait_too_long_is_refused_at_once(limiter, sleeper) -> None:
    """Of fifteen the first passes, ten find a place within the second, and four do not; they hear when one is free."""
    requests = asking(limiter, Check(rule(), "a"), 15)
    await settled()
    refused = [request.result() for request in requests if request.done() and isinstance(request.result(), Limited)]
    assert (4, 10) == (len(refused), len(limiter))
    assert pytest.approx(1.1) == refused[0].retry_after_s
    await sleeper.pass_s(1.1)
    assert 11 == sum(isinstance(request.result(), Admitted) for request in requests)


async def test_nobody_overtakes_those_that_wait(limiter, sleeper) -> None:
    """A request that comes while others wait gets the place behind them, though the rate has room just then."""
    check = Check(rule(), "a")
    early = asking(limiter, check, 3)
    await settled()
    await sleeper.pass_s(0.05)
    [late] = asking(limiter, check, 1)
    await sleeper.pass_s(0.2)
    assert all(request.done() for request in early)
    assert not late.done()
    await sleeper.pass_s(0.1)
    assert isinstance(late.result(), Admitted)


async def test_subjects_do_not_wait_for_each_other(limiter) -> None:
    """A queue is one subject's."""
    waiting = asking(limiter, Check(rule(), "a"), 2)
    await settled()
    assert isinstance(await limiter.admit([Check(rule(), "b")]), Admitted)
    for request in waiting:
        request.cancel()


async def test_who_leaves_is_forgotten(limiter) -> None:
    """A client that hangs up while it waits holds no place among those that may."""
    requests = asking(limiter, Check(rule(), "a"), 5)
    await settled()
    for request in requests:
        request.cancel()
    await settled()
    assert 0 == len(limiter)


async def test_only_so_many_are_held_back(clock, sleeper) -> None:
    """Past the bound the next is refused, whoever it is."""
    limiter = DelayingLimiter(MemoryLimiter(clock), clock, sleep=sleeper.sleep, max_waiting=2)
    requests = [request for subject in "abc" for request in asking(limiter, Check(rule(), subject), 2)]
    await settled()
    assert 2 == len(limiter)
    assert isinstance(requests[5].result(), Limited)
    for request in requests:
        request.cancel()


async def test_what_another_replica_takes_meanwhile_is_waited_for_again(clock, sleeper) -> None:
    """Woken and still over: back in line, as long as the patience lasts; then refused."""
    shared = MemoryLimiter(clock)
    limiter = DelayingLimiter(shared, clock, sleep=sleeper.sleep)
    check = Check(rule(max_delay_s=0.25), "a")
    await shared.admit([check])
    [request] = asking(limiter, check, 1)
    for _ in range(2):
        await settled()
        await sleeper.pass_s(0.09)
        assert not request.done()
        clock.pass_s(0.01)
        await shared.admit([check])
    await sleeper.pass_s(0.01)
    assert isinstance(request.result(), Limited)


async def test_rules_that_reject_are_not_waited_for(limiter) -> None:
    """Where a request is over such a rule too, it is refused at once."""
    rejecting = LimitRule(name="s", limit=1, period_s=60.0)
    checks = [Check(rule(), "a"), Check(rejecting, "a")]
    await limiter.admit(checks)
    assert isinstance(await limiter.admit(checks), Limited)


async def test_a_window_that_ends_late_is_not_waited_for(limiter) -> None:
    """The wait told decides, whatever the algorithm."""
    check = Check(
        LimitRule(name="w", limit=1, period_s=3600.0, algorithm=Algorithm.FIXED_WINDOW, on_limit=OnLimit.DELAY), "a"
    )
    await limiter.admit([check])
    assert isinstance(await limiter.admit([check]), Limited)


async def test_without_waiting_nobody_overtakes_and_nobody_is_refused(limiter) -> None:
    """``admit_now`` answers as long as nobody waits; a refusal of what might be held back is never certain."""
    check, other = Check(rule(), "a"), Check(rule(on_limit=OnLimit.REJECT), "b")
    assert isinstance(limiter.admit_now([check]), Admitted)
    assert (None, None) == (limiter.admit_now([check]), limiter.refusal_now([check]))
    waiting = asking(limiter, check, 1)
    await settled()
    assert limiter.admit_now([check]) is None
    assert isinstance(limiter.admit_now([other]), Admitted)
    assert isinstance(limiter.refusal_now([other]), Limited)
    waiting[0].cancel()

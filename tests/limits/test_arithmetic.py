"""The promises of each algorithm, checked against what was admitted and nothing else."""

from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.limits.arithmetic import Quota, State, charge, decide, quota_of
from cacheproxy.policy.route import Algorithm, LimitRule

START_US = 1_700_000_000_000_000
BUCKETS = (Algorithm.GCRA, Algorithm.TOKEN_BUCKET)
EXACT_LAST = 2**53 - 1


@st.composite
def quotas(draw: st.DrawFn, *algorithms: Algorithm) -> Quota:
    """A small quota, so that few requests bring it to its edges."""
    rule = LimitRule(
        name="any",
        limit=draw(st.integers(1, 6)),
        period_s=draw(st.sampled_from([0.000007, 0.00001, 0.001, 1.0, 7.0])),
        burst=draw(st.integers(0, 8)),
        algorithm=draw(st.sampled_from(algorithms or tuple(Algorithm))),
    )
    return quota_of(rule)


@st.composite
def arrivals(draw: st.DrawFn, quota: Quota) -> list[tuple[int, int]]:
    """Times, never going back, and costs; with gaps that like the edges of ``quota``."""
    gap = st.sampled_from([0, 0, 1, quota.span // 3, quota.span - 1, quota.span, quota.span + 1, 2 * quota.span])
    now, found = START_US, []
    for step, cost in draw(st.lists(st.tuples(gap | st.integers(0, quota.span), st.integers(1, 3)), max_size=40)):
        now += step
        found.append((now, cost))
    return found


@st.composite
def runs(draw: st.DrawFn, *algorithms: Algorithm) -> tuple[Quota, list[tuple[int, int]]]:
    """A quota and what arrives under it."""
    quota = draw(quotas(*algorithms))
    return quota, draw(arrivals(quota))


def admitted(quota: Quota, requests: list[tuple[int, int]]) -> list[int]:
    """When each unit of cost was admitted."""
    state: State = ()
    times: list[int] = []
    for now_us, cost in requests:
        verdict = decide(quota, state, now_us, cost)
        if verdict.wait_us == 0:
            state = verdict.state
            times += [now_us] * min(cost, quota.capacity)
    return times


@given(runs(Algorithm.SLIDING_LOG))
def test_log_never_exceeds_the_limit_in_any_period(run: tuple[Quota, list[tuple[int, int]]]) -> None:
    """Between an admission and the one ``limit`` later lies at least a period."""
    quota, requests = run
    times = admitted(quota, requests)
    assert all(late - early >= quota.span for early, late in zip(times, times[quota.capacity :], strict=False))


@given(runs(*BUCKETS))
def test_gcra_never_exceeds_burst_and_rate_in_any_time(run: tuple[Quota, list[tuple[int, int]]]) -> None:
    """In any time w at most burst + w / interval are admitted."""
    quota, requests = run
    times = admitted(quota, requests)
    for first, began_us in enumerate(times):
        for count, ended_us in enumerate(times[first:], start=1):
            assert count <= quota.capacity + Fraction(ended_us - began_us, quota.span)


@given(runs(*BUCKETS))
def test_gcra_admits_what_a_token_bucket_admits(run: tuple[Quota, list[tuple[int, int]]]) -> None:
    """The textbook token bucket, in exact fractions, takes the same decisions and has the same tokens left."""
    quota, requests = run
    state: State = ()
    tokens, before_us = Fraction(quota.capacity), START_US
    for now_us, asked in requests:
        cost = min(asked, quota.capacity)
        tokens = min(Fraction(quota.capacity), tokens + Fraction(now_us - before_us, quota.span))
        before_us = now_us
        verdict = decide(quota, state, now_us, asked)
        assert (verdict.wait_us == 0) == (tokens >= cost)
        if tokens >= cost:
            tokens, state = tokens - cost, verdict.state
        assert verdict.remaining == tokens // 1


@given(runs(Algorithm.FIXED_WINDOW, Algorithm.SLIDING_WINDOW))
def test_windows_never_exceed_the_limit_between_their_edges(run: tuple[Quota, list[tuple[int, int]]]) -> None:
    """In each period counted from the epoch at most ``limit`` are admitted."""
    quota, requests = run
    counts = Counter(now_us // quota.span for now_us in admitted(quota, requests))
    assert all(count <= quota.capacity for count in counts.values())


@given(runs(Algorithm.SLIDING_WINDOW))
def test_sliding_window_never_exceeds_its_estimate(run: tuple[Quota, list[tuple[int, int]]]) -> None:
    """At each admission, this window's count and the fading share of the last one's are within the limit."""
    quota, requests = run
    times = admitted(quota, requests)
    for index, now_us in enumerate(times):
        counts = Counter(earlier // quota.span for earlier in times[: index + 1])
        window, elapsed = divmod(now_us, quota.span)
        estimate = counts[window] + Fraction(counts[window - 1] * (quota.span - elapsed), quota.span)
        assert estimate <= quota.capacity


@given(runs())
def test_who_waits_as_told_is_admitted_and_not_a_microsecond_earlier(run: tuple[Quota, list[tuple[int, int]]]) -> None:
    """Retry-After is exact for every algorithm: neither too long nor too short."""
    quota, requests = run
    state: State = ()
    for now_us, cost in requests:
        verdict = decide(quota, state, now_us, cost)
        if verdict.wait_us:
            assert decide(quota, state, now_us + verdict.wait_us, cost).wait_us == 0
            assert decide(quota, state, now_us + verdict.wait_us - 1, cost).wait_us == 1
        state = verdict.state


@given(runs())
def test_what_remains_can_be_taken_and_no_more(run: tuple[Quota, list[tuple[int, int]]]) -> None:
    """``remaining`` is what one more request may cost at this moment."""
    quota, requests = run
    state: State = ()
    for now_us, cost in requests:
        verdict = decide(quota, state, now_us, cost)
        state = verdict.state
        assert decide(quota, state, now_us, verdict.remaining).wait_us == 0
        if verdict.remaining < quota.capacity:
            assert decide(quota, state, now_us, verdict.remaining + 1).wait_us > 0


@given(runs())
def test_all_is_back_at_the_reset(run: tuple[Quota, list[tuple[int, int]]]) -> None:
    """After ``reset_us`` the whole capacity remains again."""
    quota, requests = run
    state: State = ()
    for now_us, cost in requests:
        verdict = decide(quota, state, now_us, cost)
        state = verdict.state
        assert decide(quota, state, now_us + verdict.reset_us, 0).remaining == quota.capacity


@given(runs())
def test_a_rejected_request_is_not_counted(run: tuple[Quota, list[tuple[int, int]]]) -> None:
    """Who keeps asking while over the limit waits no longer for it."""
    quota, requests = run
    state: State = ()
    for now_us, cost in requests:
        verdict = decide(quota, state, now_us, cost)
        if verdict.wait_us:
            assert verdict.state == state
        state = verdict.state


@given(runs(), st.integers(0, 10**14))
def test_a_clock_that_goes_back_locks_nobody_out_for_long(
    run: tuple[Quota, list[tuple[int, int]]], back_us: int
) -> None:
    """However far the clock goes back, nobody waits longer than filling the whole quota takes, twice."""
    quota, requests = run
    state: State = ()
    for now_us, cost in requests:
        state = decide(quota, state, now_us, cost).state
    verdict = decide(quota, state, START_US - back_us)
    assert verdict.wait_us <= 2 * max(quota.span, quota.capacity * quota.span)


@given(runs(), st.integers(0, 20))
def test_a_charge_takes_what_there_is_and_no_more(run: tuple[Quota, list[tuple[int, int]]], owed: int) -> None:
    """What was used already is counted as far as there is room, so that nobody waits longer than for a full quota."""
    quota, requests = run
    state: State = ()
    for now_us, cost in requests:
        state = decide(quota, state, now_us, cost).state
    now_us = requests[-1][0] if requests else START_US
    before = decide(quota, state, now_us, 0).remaining
    after = decide(quota, charge(quota, state, now_us, owed), now_us, 0).remaining
    assert after == max(0, before - owed)


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_more_than_the_capacity_takes_all_of_it(algorithm: Algorithm) -> None:
    """A cost that no quota could ever grant is granted when the quota is whole, rather than never."""
    quota = quota_of(LimitRule(name="any", limit=5, period_s=10, algorithm=algorithm))
    verdict = decide(quota, (), START_US, 6)
    assert (verdict.wait_us, verdict.remaining) == (0, 0)


@given(st.integers(1, 10**9), st.floats(0.001, 10 * 365 * 86400))
def test_the_sliding_windows_products_stay_exact(limit: int, period_s: float) -> None:
    """However large the limit and long the period, the counter's products fit Lua's doubles."""
    quota = quota_of(LimitRule(name="any", limit=limit, period_s=period_s, algorithm=Algorithm.SLIDING_WINDOW))
    assert quota.capacity * quota.span <= EXACT_LAST or quota.span == 1
    assert quota.span * quota.tick_us >= round(period_s * 1e6)


def test_who_keeps_to_the_rate_is_never_refused() -> None:
    """One hundred a minute, evenly spaced, pass a GCRA without any burst."""
    quota = quota_of(LimitRule(name="any", limit=100, period_s=60, burst=1, algorithm=Algorithm.GCRA))
    assert len(admitted(quota, [(START_US + 600_000 * n, 1) for n in range(1000)])) == 1000

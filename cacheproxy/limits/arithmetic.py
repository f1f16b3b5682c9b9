"""The five algorithms: a quota, what is known of a subject, and the time, to a verdict. Pure.

Times are integer microseconds and nothing is a float, so that the Lua in ``lua/`` comes to the same verdicts: every
product stays under 2**53, where Lua's doubles are exact. ``lua/*.lua`` says the same, line for line.

What each promises of the requests it admits (of cost 1):

- GCRA, TOKEN_BUCKET: in any time ``w``, at most ``burst + w / interval``, where interval is ``period / limit``.
- SLIDING_LOG: in any time of one period, at most ``limit``.
- FIXED_WINDOW: in each period counted from the epoch, at most ``limit``; around an edge up to twice that.
- SLIDING_WINDOW: as FIXED_WINDOW, and the last window, weighted by what of it is still in sight, counts as well.
"""

from bisect import bisect_right
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from cacheproxy.policy.route import Algorithm, LimitRule, Precision

_EXACT = 1 << 52
"""Integers to twice this are exact in a double (IEEE 754), the only number Lua has."""

_BUCKETS = frozenset({Algorithm.GCRA, Algorithm.TOKEN_BUCKET})

State = tuple[int, ...]
"""What is known of a subject, empty for one never seen. The meaning belongs to the algorithm."""


class Quota(NamedTuple):
    """A rule in integers: ``span`` is the emission interval (GCRA) or the window, in ticks of ``tick_us``."""

    algorithm: Algorithm
    capacity: int
    span: int
    tick_us: int = 1


class Verdict(NamedTuple):
    """Admitted if ``wait_us`` is 0; then ``state`` and the rest are as after counting, else as they were."""

    wait_us: int
    """How long a client that is alone must wait to be admitted."""
    remaining: int
    reset_us: int
    """How long until all of the quota is back."""
    state: State


def quota_of(rule: LimitRule) -> Quota:
    """The integers of ``rule``; where its burst is 0, ``limit`` may come at once.

    Permits of a LEASED rule are counted up to ``lease_s`` before they are used. So that no promise is broken by that,
    a bucket holds as much less as comes back in that time, and a log looks back as much longer.
    """
    lease_us = 0 if rule.precision is Precision.EXACT else int(lease_s(rule) * 1e6)
    return _quota(rule.algorithm, rule.limit, rule.period_s, rule.burst, lease_us)


def lease_s(rule: LimitRule) -> float:
    """How long a permit taken in advance may be used: a tenth of a second, or less under short periods."""
    return min(0.1, rule.period_s / 20)


def share_of(quota: Quota, replicas: int) -> Quota:
    """What one of ``replicas`` may admit of ``quota`` by itself: at least 1, even if the sum is more then."""
    span = quota.span * replicas if quota.algorithm in _BUCKETS else quota.span
    return quota._replace(capacity=max(1, quota.capacity // replicas), span=span)


@lru_cache(maxsize=1024)
def _quota(algorithm: Algorithm, limit: int, period_s: float, burst: int, lease_us: int) -> Quota:
    period_us = max(1, round(period_s * 1e6))
    if algorithm in _BUCKETS:
        interval_us = -(-period_us // limit)
        return Quota(algorithm, max(1, (burst or limit) - -(-lease_us // interval_us)), interval_us)
    if algorithm is Algorithm.SLIDING_WINDOW:
        tick_us = -(-limit * period_us // _EXACT)
        return Quota(algorithm, limit, -(-period_us // tick_us), tick_us)
    return Quota(algorithm, limit, period_us + (lease_us if algorithm is Algorithm.SLIDING_LOG else 0))


def decide(quota: Quota, state: State, now_us: int, cost: int = 1) -> Verdict:
    """Whether ``cost`` more is within ``quota``. A cost past the capacity means all of it; 0 asks where one stands."""
    return _DECIDE[quota.algorithm](quota, state, now_us, min(cost, quota.capacity))


def charge(quota: Quota, state: State, now_us: int, owed: int) -> State:
    """The state after counting ``owed`` as far as there is room: what was used already cannot be refused."""
    taken = min(owed, decide(quota, state, now_us, 0).remaining)
    return decide(quota, state, now_us, taken).state if taken else state


def _gcra(quota: Quota, state: State, now_us: int, cost: int) -> Verdict:
    """The state is the theoretical arrival time (ITU-T I.371 §A). A token bucket is the same seen from the other side.

    A time too far ahead comes from a clock that has gone back, and is read as the farthest possible.
    """
    full_us = now_us + quota.capacity * quota.span
    arrival_us = min(max(state[0], now_us), full_us) if state else now_us
    after_us = arrival_us + cost * quota.span
    if after_us > full_us:
        return Verdict(after_us - full_us, (full_us - arrival_us) // quota.span, arrival_us - now_us, state)
    return Verdict(0, (full_us - after_us) // quota.span, after_us - now_us, (after_us,))


def _fixed_window(quota: Quota, state: State, now_us: int, cost: int) -> Verdict:
    """The state is the window's number and its count. One from the future (the clock went back) is still in force."""
    window = now_us // quota.span
    used = state[1] if state and state[0] >= window else 0
    reset_us = (window + 1) * quota.span - now_us
    left = quota.capacity - used - cost
    if left < 0:
        return Verdict(reset_us, max(0, left + cost), reset_us, state)
    return Verdict(0, left, reset_us if used + cost else 0, (window, used + cost))


def _sliding_window(quota: Quota, state: State, now_us: int, cost: int) -> Verdict:
    """The state is the window's number, its count and the last window's."""
    span = quota.span
    now = now_us // quota.tick_us
    window, elapsed = divmod(now, span)
    used, last = _counts(state, window)
    fading = span - elapsed
    room = (quota.capacity - used) * span - last * fading
    if room < cost * span:
        until = now + _fade(quota, used, last, fading, cost)
        cleared = now + _cleared(used, last, fading, span)
        return Verdict(until * quota.tick_us - now_us, max(0, room // span), cleared * quota.tick_us - now_us, state)
    used += cost
    cleared = now + _cleared(used, last, fading, span)
    reset_us = max(0, cleared * quota.tick_us - now_us)
    return Verdict(0, room // span - cost, reset_us, (window, used, last))


def _counts(state: State, window: int) -> tuple[int, int]:
    """This window's count and the last one's. A state from the future (the clock went back) is still in force."""
    if not state or state[0] < window - 1:
        return 0, 0
    return (0, state[1]) if state[0] == window - 1 else (state[1], state[2])


def _fade(quota: Quota, used: int, last: int, fading: int, cost: int) -> int:
    """Ticks until the earlier counts have faded enough for ``cost``: in this window if it has room, or the next."""
    room = quota.capacity - used - cost
    if room >= 0:
        return fading - room * quota.span // last
    return fading + quota.span - (quota.capacity - cost) * quota.span // used


def _cleared(used: int, last: int, fading: int, span: int) -> int:
    """Ticks until nothing counted is in sight."""
    if used:
        return fading + span
    return fading if last else 0


def _sliding_log(quota: Quota, state: State, now_us: int, cost: int) -> Verdict:
    """The state is the times admitted, oldest first. Time does not go back within it, unless by more than a window."""
    if state and state[-1] > now_us + quota.span:
        state = ()
    horizon_us = (max(now_us, state[-1]) if state else now_us) - quota.span
    live = state[bisect_right(state, horizon_us) :]
    left = quota.capacity - len(live) - cost
    if left < 0:
        wait_us = live[-left - 1] + quota.span - now_us
        return Verdict(wait_us, max(0, left + cost), live[-1] + quota.span - now_us, state)
    live += (horizon_us + quota.span,) * cost
    return Verdict(0, left, live[-1] + quota.span - now_us if live else 0, live)


_DECIDE: dict[Algorithm, Callable[[Quota, State, int, int], Verdict]] = {
    Algorithm.GCRA: _gcra,
    Algorithm.TOKEN_BUCKET: _gcra,
    Algorithm.FIXED_WINDOW: _fixed_window,
    Algorithm.SLIDING_WINDOW: _sliding_window,
    Algorithm.SLIDING_LOG: _sliding_log,
}

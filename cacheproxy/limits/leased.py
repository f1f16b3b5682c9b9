"""Permits taken in small batches and spent in process: most requests under a LEASED rule cost no Redis call.

Every permit was counted before it is spent, so all replicas together never admit more than the limit. What a replica
takes and does not spend in time is lost to the client: batches therefore grow with use, and shrink to single permits as
the quota runs out.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from cacheproxy.clock import Clock
from cacheproxy.errors import StateError
from cacheproxy.limits.arithmetic import lease_s, quota_of
from cacheproxy.limits.contract import Admitted, Check, Limited, Limiter, LimitState
from cacheproxy.policy.route import Algorithm, LimitMode, Precision
from cacheproxy.redis_link.contract import Budget

MAX_BATCH = 2048
"""A tenth of a second's, for the busiest client that one replica can serve; more would hold up Redis."""
SHARE = 8
"""A batch is at most this part of what remains, so that a few replicas do not take it all from each other."""
AHEAD = 64
"""Batches of at least so many are taken before the last is spent, so that no request has to wait for the next."""


@dataclass(slots=True)
class _Purse:
    """The permits in hand for one subject of one rule. ``remaining`` and ``reset_at`` are as last told."""

    permits: int = 0
    taken_at: float = 0.0
    until: float = 0.0
    ahead: int = 0
    """Permits for when the others are spent."""
    ahead_taken_at: float = 0.0
    ahead_until: float = 0.0
    batch: int = 1
    remaining: int = 0
    reset_at: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by the one request that takes more; the others spend what is here, or what it brings."""

    def covers(self, cost: int, now: float) -> bool:
        """Whether ``cost`` can be spent."""
        if self.permits >= cost and now < self.until:
            return True
        if self.ahead < cost or now >= self.ahead_until:
            return False
        self.permits, self.taken_at, self.until = self.ahead, self.ahead_taken_at, self.ahead_until
        self.ahead = 0
        return True

    def put(self, permits: int, taken_at: float, until: float) -> None:
        """Add a batch, behind what can still be spent."""
        if self.covers(1, taken_at):
            self.ahead, self.ahead_taken_at, self.ahead_until = permits, taken_at, until
        else:
            self.permits, self.taken_at, self.until, self.ahead = permits, taken_at, until, 0

    @property
    def low(self) -> bool:
        """Whether the next batch should be taken now."""
        return self.permits * 2 < self.batch >= AHEAD and not self.ahead

    def wanted(self, now: float) -> int:
        """How many to take next, so that they are spent in about half of the time that they last."""
        if now >= self.until:
            return self.batch // 2
        if not self.low:
            return self.batch * 2  # all were spent in time, by somebody who may want many more
        lasting_s, spending_s = self.until - self.taken_at, now - self.taken_at
        if spending_s * 8 < lasting_s:
            return self.batch * 2
        return self.batch // 2 if spending_s * 3 > lasting_s else self.batch


class LeasedLimiter:
    """Spends permits in hand, and takes more from ``inner``; exact rules are asked about as ever."""

    def __init__(self, inner: Limiter, clock: Clock, *, max_subjects: int = 100_000) -> None:
        """Hold permits for at most ``max_subjects``."""
        self._inner = inner
        self._clock = clock
        self._max_subjects = max_subjects
        self._purses: dict[tuple[str, str], _Purse] = {}

    async def admit(self, checks: Sequence[Check], budget: Budget | None = None) -> Admitted | Limited:
        """Count one request against all of ``checks``, or none. StateError as ``inner``."""
        first = next((check for check in checks if _leased(check)), None)
        if first is None:
            return await self._inner.admit(checks, budget)
        known = self.admit_now(checks) or self.refusal_now(checks)
        if known is not None:
            return known
        async with self._purse(first).lock:
            held = self._in_hand(checks, self._clock.monotonic())
            if not any(purse.low for purse in held):
                known = self._spend(checks) or self.refusal_now(checks)
            try:
                return known or await self._take(checks, budget)
            except StateError:
                if (spent := self._spend(checks)) is None:
                    raise
                return spent

    def refusal_now(self, checks: Sequence[Check]) -> Limited | None:
        """What ``inner`` is sure to refuse, where permits in hand do not reach."""
        return None if self._in_hand(checks, self._clock.monotonic()) else self._inner.refusal_now(checks)

    def admit_now(self, checks: Sequence[Check]) -> Admitted | None:
        """Admitted by permits in hand, which are spent; None, and nothing spent, where it is time to take more."""
        now = self._clock.monotonic()
        held = self._in_hand(checks, now)
        for purse in held:
            if purse.low and not purse.lock.locked():
                return None
        return _spent(checks, held, now) if held else None

    def _spend(self, checks: Sequence[Check]) -> Admitted | None:
        now = self._clock.monotonic()
        held = self._in_hand(checks, now)
        return _spent(checks, held, now) if held else None

    def _in_hand(self, checks: Sequence[Check], now: float) -> list[_Purse]:
        """A purse for each check, with enough in it; empty where one lacks."""
        held = []
        for check in checks:
            purse = self._purses.get(_key(check))
            if purse is None or not _covers(purse, check, now):
                return []
            held.append(purse)
        return held

    async def _take(self, checks: Sequence[Check], budget: Budget | None) -> Admitted | Limited:
        """Ask for a batch under each leased rule; where that is too much to ask, for just this request."""
        began = self._clock.monotonic()
        asked = [self._in_batch(check, began) if _leased(check) else check for check in checks]
        outcome = await self._inner.admit(asked, budget)
        if isinstance(outcome, Limited) and any(
            ask.cost > check.cost for ask, check in zip(asked, checks, strict=True)
        ):
            self._forgo_batches(checks)
            if (spent := self._spend(checks)) is not None:
                return spent
            asked = [replace(check, owed=0) for check in checks]
            outcome = await self._inner.admit(asked, budget)
        if isinstance(outcome, Limited):
            return outcome
        counted = zip(checks, asked, outcome.states, strict=True)
        states = (self._fill(*each, began) if _leased(each[0]) else each[2] for each in counted)
        return Admitted(tuple(states), outcome.shadowed)

    def _forgo_batches(self, checks: Sequence[Check]) -> None:
        """There is too little left to take more than one at a time, for now."""
        for check in checks:
            if _leased(check):
                self._purse(check).batch = 1

    def _in_batch(self, check: Check, now: float) -> Check:
        """``check`` at the cost of a batch: twice the last if that was spent in time, half of it if not."""
        purse = self._purse(check)
        if _covers(purse, check, now) and not purse.low:
            return check
        known = min(purse.remaining, quota_of(check.rule).capacity)
        purse.batch = max(1, min(purse.wanted(now), known // SHARE, MAX_BATCH))
        return replace(check, cost=max(check.cost, purse.batch))

    def _fill(self, check: Check, ask: Check, state: LimitState, began: float) -> LimitState:
        """Put the rest of what was counted in hand. Times run from before that, so that none is spent too late."""
        purse = self._purse(check)
        purse.remaining, purse.reset_at = state.remaining, began + state.reset_s
        if ask.cost > check.cost or not _covers(purse, check, began):
            purse.put(ask.cost - check.cost, began, began + _life_s(state))
        return _state(check, purse, began)

    def _purse(self, check: Check) -> _Purse:
        key = _key(check)
        purse = self._purses[key] = self._purses.pop(key, _Purse())  # the last that more was taken for
        if len(self._purses) > self._max_subjects:
            del self._purses[next(iter(self._purses))]
        return purse


def _leased(check: Check) -> bool:
    return check.rule.precision is Precision.LEASED and check.rule.mode is LimitMode.ENFORCE


def _covers(purse: _Purse, check: Check, now: float) -> bool:
    return purse.covers(check.cost, now) and not check.owed and _leased(check)


def _spent(checks: Sequence[Check], held: Sequence[_Purse], now: float) -> Admitted:
    """Admitted by what is ``held`` for each check."""
    states = []
    for check, purse in zip(checks, held, strict=True):
        purse.permits -= check.cost
        states.append(_state(check, purse, now))
    return Admitted(tuple(states))


def _life_s(state: LimitState) -> float:
    """How long permits counted just now may be used. A sliding window's counts are in sight for one window more."""
    quota = quota_of(state.rule)
    match state.rule.algorithm:
        case Algorithm.FIXED_WINDOW:
            return min(lease_s(state.rule), state.reset_s)
        case Algorithm.SLIDING_WINDOW:
            return min(lease_s(state.rule), state.reset_s - quota.span * quota.tick_us / 1e6)
        case _:
            return lease_s(state.rule)


def _state(check: Check, purse: _Purse, now: float) -> LimitState:
    return LimitState(
        rule=check.rule, remaining=purse.remaining + purse.permits + purse.ahead, reset_s=max(0.0, purse.reset_at - now)
    )


def _key(check: Check) -> tuple[str, str]:
    return check.rule.name, check.subject

"""Requests over their limit that are held back rather than refused, each until the next moment that its rate has free.

As nginx does with ``limit_req burst=``: who would have to wait longer than the rule allows is refused at once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from cacheproxy.clock import Clock
from cacheproxy.limits.contract import Admitted, Check, Limited, Limiter, LimitState
from cacheproxy.policy.route import OnLimit
from cacheproxy.redis_link.contract import Budget

MAX_WAITING = 1024
"""Requests held back at once in this process; beyond them, those over their limit are refused."""

Key = tuple[str, str]


class DelayingLimiter:
    """Holds back what ``inner`` refuses under DELAY rules, in order of arrival, and asks again."""

    def __init__(
        self,
        inner: Limiter,
        clock: Clock,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        """Wait by ``sleep``, whose seconds are those of ``clock``."""
        self._inner = inner
        self._clock = clock
        self._sleep = sleep
        self._max_waiting = max_waiting
        self._waiting = 0
        self._taken_until: dict[Key, float] = {}
        """For each subject that waits, the moment (monotonic) up to which its rate is spoken for."""

    async def admit(self, checks: Sequence[Check], budget: Budget | None = None) -> Admitted | Limited:
        """Count one request against all of ``checks``, or none, if need be after a while. StateError as ``inner``."""
        arrived = self._clock.monotonic()
        outcome = self._behind_others(checks, arrived) or await self._inner.admit(checks, budget)
        if isinstance(outcome, Admitted):
            return outcome
        free_at = self._take_place(checks, outcome, arrived)
        while free_at is not None and isinstance(outcome, Limited):
            await self._wait(_subject(checks, outcome), free_at)
            outcome = await self._inner.admit(checks)
            if isinstance(outcome, Limited):  # another replica was first
                free_at = _patient(outcome, self._clock.monotonic() + outcome.retry_after_s, arrived)
        if isinstance(outcome, Admitted):
            return outcome._replace(delayed_s=self._clock.monotonic() - arrived)
        return outcome

    def admit_now(self, checks: Sequence[Check]) -> Admitted | None:
        """As ``inner``; None where others wait already."""
        if self._taken_until and self._behind_others(checks, self._clock.monotonic()):
            return None
        return self._inner.admit_now(checks)

    def refusal_now(self, checks: Sequence[Check]) -> Limited | None:
        """As ``inner``; None where a request might be held back."""
        if any(check.rule.on_limit is OnLimit.DELAY for check in checks):
            return None
        return self._inner.refusal_now(checks)

    def __len__(self) -> int:
        """How many requests are held back."""
        return self._waiting

    def _behind_others(self, checks: Sequence[Check], now: float) -> Limited | None:
        """What keeps a request from passing those that wait already; None where nobody does."""
        for check in checks if self._taken_until else ():
            wait_s = self._taken_until.get(_key(check), now) - now
            if wait_s > 0:
                state = LimitState(rule=check.rule, remaining=0, reset_s=wait_s)
                return Limited(rule=check.rule, retry_after_s=wait_s, states=(state,), violated=(check.rule,))
        return None

    def _take_place(self, checks: Sequence[Check], limited: Limited, arrived: float) -> float | None:
        """The moment that is this request's from now on; None where it may not wait so long, or too many do."""
        check, rule = _subject(checks, limited), limited.rule
        free_at = max(self._clock.monotonic() + limited.retry_after_s, self._taken_until.get(_key(check), 0.0))
        if self._waiting >= self._max_waiting or _patient(limited, free_at, arrived) is None:
            return None
        self._taken_until[_key(check)] = free_at + check.cost * rule.period_s / rule.limit
        return free_at

    async def _wait(self, check: Check, until: float) -> None:
        key = _key(check)
        self._waiting += 1
        try:
            await self._sleep(max(0.0, until - self._clock.monotonic()))
        finally:
            self._waiting -= 1
            if self._taken_until.get(key, 0.0) <= self._clock.monotonic() or not self._waiting:
                self._taken_until.pop(key, None)


def _patient(limited: Limited, free_at: float, arrived: float) -> float | None:
    """``free_at``, where each rule that the request is over lets it wait so long."""
    waits = all(rule.on_limit is OnLimit.DELAY for rule in limited.violated)
    return free_at if waits and free_at - arrived <= limited.rule.max_delay_s else None


def _subject(checks: Sequence[Check], limited: Limited) -> Check:
    """The check that is waited for."""
    return next(check for check in checks if check.rule is limited.rule)


def _key(check: Check) -> Key:
    return check.rule.name, check.subject

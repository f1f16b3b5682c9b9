"""A client over its limit is refused from memory, and costs no Redis call, until the moment it may return."""

from collections.abc import Sequence
from dataclasses import dataclass

from cacheproxy.clock import Clock
from cacheproxy.limits.contract import Admitted, Check, Limited, Limiter, LimitState
from cacheproxy.policy.route import LimitRule
from cacheproxy.redis_link.contract import Budget

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Refusal:
    rule: LimitRule
    cost: int
    until: float


class RefusalMemory:
    """Remembers what ``inner`` refused. It never refuses what ``inner`` would admit.

    Whoever is over a limit stays so until the time told, since only waiting frees a quota. What costs less than what
    was refused might pass, and is asked about; so is everything under a rule that a reload has replaced.
    """

    def __init__(self, inner: Limiter, clock: Clock, *, max_subjects: int = 100_000) -> None:
        """Remember at most ``max_subjects``; beyond that, those refused first are asked about again."""
        self._inner = inner
        self._clock = clock
        self._max_subjects = max_subjects
        self._refusals: dict[Key, _Refusal] = {}

    async def admit(self, checks: Sequence[Check], budget: Budget | None = None) -> Admitted | Limited:
        """As ``inner``, without asking it where the answer is known. StateError as ``inner``."""
        known = self.refusal_now(checks)
        if known is not None:
            return known
        began = self._clock.monotonic()
        outcome = await self._inner.admit(checks, budget)
        if isinstance(outcome, Limited):
            self._remember(checks, outcome, began)
        return outcome

    def admit_now(self, checks: Sequence[Check]) -> Admitted | None:
        """As ``inner``, unless a refusal is known."""
        return None if self.refusal_now(checks) else self._inner.admit_now(checks)

    def refusal_now(self, checks: Sequence[Check]) -> Limited | None:
        """The refusal that a request with ``checks`` is sure to meet, or None where that is not known."""
        now = self._clock.monotonic()
        for check in checks:
            known = self._refusals.get((check.rule.name, check.subject))
            if known is None:
                continue
            if known.until <= now or known.rule is not check.rule:
                del self._refusals[check.rule.name, check.subject]
            elif check.cost >= known.cost and not any(each.owed for each in checks):
                wait_s = known.until - now
                state = LimitState(rule=check.rule, remaining=0, reset_s=wait_s)
                return Limited(rule=check.rule, retry_after_s=wait_s, states=(state,), violated=(check.rule,))
        return None

    def __len__(self) -> int:
        """How many refusals are remembered."""
        return len(self._refusals)

    def _remember(self, checks: Sequence[Check], limited: Limited, began: float) -> None:
        """Counted from before ``inner`` was asked: it decided later, so the client is never held back too long."""
        for check in checks:
            if check.rule is limited.rule:
                refusal = _Refusal(check.rule, check.cost, began + limited.retry_after_s)
                self._refusals[check.rule.name, check.subject] = refusal
        if len(self._refusals) > self._max_subjects:
            del self._refusals[next(iter(self._refusals))]

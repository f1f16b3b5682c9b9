"""Limits while Redis does not answer: each rule allows, denies, or counts its share here."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

from cacheproxy.clock import Clock
from cacheproxy.errors import StateError
from cacheproxy.limits.arithmetic import Quota, State, charge, decide, quota_of, share_of
from cacheproxy.limits.contract import Admitted, Check, Limited, Limiter, LimitState
from cacheproxy.limits.memory import MemoryLimiter
from cacheproxy.policy.route import LimitMode, LimitRule, WithoutRedis
from cacheproxy.redis_link.contract import Budget

DENIED_FOR_S = 1.0
"""When a client that is denied only for want of Redis may try again: about when the link has been probed."""


class FallbackLimiter:
    """Asks ``inner``, and answers by itself where that does not say. Never StateError.

    A LOCAL rule is counted here, at its share of the limit among the replicas. No window is granted twice: what this
    replica admitted before the outage is known to its share already, and what it admitted during the outage is charged
    to Redis afterwards, before anything else is.
    """

    def __init__(
        self, inner: Limiter, clock: Clock, replicas: Callable[[], int], *, max_subjects: int = 100_000
    ) -> None:
        """``replicas`` gives their last known number; ``max_subjects`` bounds what is counted here."""
        self._inner = inner
        self._replicas = replicas
        self._local = MemoryLimiter(clock, max_subjects=max_subjects, quota=self._share)
        self._debts = Debts(clock, max_subjects)
        self.degraded = False
        """Whether the last answer was not Redis'."""

    async def admit(self, checks: Sequence[Check], budget: Budget | None = None) -> Admitted | Limited:
        """Count one request against all of ``checks``, or none."""
        owing = self._debts.take(checks)
        try:
            outcome = await self._inner.admit(owing, budget)
        except StateError:
            self.degraded = True
            self._debts.note((check, check.owed) for check in owing)
            return self._without(checks)
        self.degraded = False
        if isinstance(outcome, Admitted):
            self._count_here(checks)
        if self._debts.owed:
            await self._report_some(budget)
        return outcome

    def admit_now(self, checks: Sequence[Check]) -> Admitted | None:
        """As ``inner``; None while something is owed, which is charged first."""
        if self.degraded or self._debts.owed:
            return None
        admitted = self._inner.admit_now(checks)
        if admitted is not None:
            self._count_here(checks)
        return admitted

    def refusal_now(self, checks: Sequence[Check]) -> Limited | None:
        """As ``inner``; None while something is owed, which is charged first."""
        return None if self.degraded or self._debts.owed else self._inner.refusal_now(checks)

    def _count_here(self, checks: Sequence[Check]) -> None:
        """Let what this replica admitted be known to its share, should Redis be lost."""
        for check in checks:
            if check.rule.without_redis is WithoutRedis.LOCAL:
                self._local.charge((check,))

    async def _report_some(self, budget: Budget | None) -> None:
        """Charge some of what others were admitted without Redis: each request after an outage takes a few along."""
        owing = self._debts.take_some()
        try:
            await self._inner.admit(owing, budget)
        except StateError:
            self._debts.note((check, check.owed) for check in owing)

    def _without(self, checks: Sequence[Check]) -> Admitted | Limited:
        denying = tuple(c.rule for c in checks if c.rule.without_redis is WithoutRedis.DENY and _enforced(c.rule))
        if denying:
            states = tuple(LimitState(rule=rule, remaining=0, reset_s=DENIED_FOR_S) for rule in denying)
            return Limited(rule=denying[0], retry_after_s=DENIED_FOR_S, states=states, violated=denying)
        local = _local(checks)
        outcome = self._local.decide(local)
        if isinstance(outcome, Admitted):
            self._debts.note((check, check.cost) for check in local)
        return outcome

    def _share(self, rule: LimitRule) -> Quota:
        return share_of(quota_of(rule), max(1, self._replicas()))


class Debts:
    """What was admitted without Redis and is still in sight of its limit; bounded."""

    def __init__(self, clock: Clock, max_subjects: int) -> None:
        """Age debts by ``clock``: what has left the window need not be paid."""
        self._clock = clock
        self._max_subjects = max_subjects
        self.owed: OrderedDict[tuple[str, str], tuple[LimitRule, State]] = OrderedDict()
        """What each subject of each rule owes, as the state of its quota."""

    def note(self, admitted: Iterable[tuple[Check, int]]) -> None:
        """Remember that each check was admitted at the cost beside it."""
        now_us = self._now_us()
        for check, cost in admitted:
            key = check.rule.name, check.subject
            _, state = self.owed.get(key, (check.rule, ()))
            if cost:
                self.owed[key] = check.rule, charge(quota_of(check.rule), state, now_us, cost)
        while len(self.owed) > self._max_subjects:
            self.owed.popitem(last=False)

    def take(self, checks: Sequence[Check]) -> Sequence[Check]:
        """``checks`` with what they owe, which is no longer remembered here."""
        if not self.owed:
            return checks
        return [Check(c.rule, c.subject, c.cost, c.owed + self._pay(c.rule.name, c.subject)) for c in checks]

    def take_some(self, most: int = 64) -> list[Check]:
        """Checks that cost nothing and only pay what is owed; empty when nothing is."""
        keys = list(self.owed)[:most]
        return [Check(self.owed[key][0], key[1], 0, self._pay(*key)) for key in keys]

    def _pay(self, name: str, subject: str) -> int:
        rule, state = self.owed.pop((name, subject), (None, ()))
        if rule is None:
            return 0
        quota = quota_of(rule)
        return quota.capacity - decide(quota, state, self._now_us(), 0).remaining

    def _now_us(self) -> int:
        return int(self._clock.monotonic() * 1e6)


def _local(checks: Sequence[Check]) -> list[Check]:
    return [check for check in checks if check.rule.without_redis is WithoutRedis.LOCAL]


def _enforced(rule: LimitRule) -> bool:
    return rule.mode is LimitMode.ENFORCE

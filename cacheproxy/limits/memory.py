"""Limits counted in this process: without Redis at all, and as what is left while it does not answer."""

from collections import OrderedDict
from collections.abc import Callable, Sequence

from cacheproxy.clock import Clock
from cacheproxy.limits.arithmetic import Quota, State, Verdict, charge, decide, quota_of
from cacheproxy.limits.contract import Admitted, Check, Limited
from cacheproxy.limits.outcome import outcome_of
from cacheproxy.policy.route import LimitMode, LimitRule
from cacheproxy.redis_link.contract import Budget

Key = tuple[str, str, str]


class MemoryLimiter:
    """A bounded table of subjects. Past the bound, the one not seen for the longest is forgotten first."""

    def __init__(
        self, clock: Clock, *, max_subjects: int = 100_000, quota: Callable[[LimitRule], Quota] = quota_of
    ) -> None:
        """Count by ``clock``. ``quota`` says what a rule allows here: with several replicas, a share of it."""
        self._clock = clock
        self._max_subjects = max_subjects
        self._quota = quota
        self._states: OrderedDict[Key, State] = OrderedDict()

    async def admit(self, checks: Sequence[Check], budget: Budget | None = None) -> Admitted | Limited:  # noqa: ARG002
        """Count one request against all of ``checks``, or none. Never StateError."""
        return self.decide(checks)

    def admit_now(self, checks: Sequence[Check]) -> Admitted | None:
        """Admitted and counted, or None."""
        outcome = self.decide(checks)
        return outcome if isinstance(outcome, Admitted) else None

    def refusal_now(self, checks: Sequence[Check]) -> Limited | None:
        """The refusal, or None. Counts nothing."""
        if any(check.owed for check in checks):
            return None
        now_us = self._now_us()
        outcome = outcome_of(checks, [self._verdict(check, now_us, check.cost)[:3] for check in checks])
        return outcome if isinstance(outcome, Limited) else None

    def decide(self, checks: Sequence[Check]) -> Admitted | Limited:
        """As ``admit``, which never has to wait."""
        now_us = self._now_us()
        for check in checks:
            if check.owed:
                self._charge(check, check.owed, now_us)
        verdicts = [self._verdict(check, now_us, check.cost) for check in checks]
        if any(
            verdict.wait_us and check.rule.mode is LimitMode.ENFORCE
            for check, verdict in zip(checks, verdicts, strict=True)
        ):
            verdicts = [
                v if v.wait_us else self._verdict(check, now_us, 0) for check, v in zip(checks, verdicts, strict=True)
            ]
        else:
            self._keep(checks, verdicts)
        return outcome_of(checks, [verdict[:3] for verdict in verdicts])

    def charge(self, checks: Sequence[Check]) -> None:
        """Count ``checks`` as far as there is room: what was admitted elsewhere."""
        now_us = self._now_us()
        for check in checks:
            self._charge(check, check.cost, now_us)

    def __len__(self) -> int:
        """How many subjects are known."""
        return len(self._states)

    def _now_us(self) -> int:
        return int(self._clock.monotonic() * 1e6)

    def _verdict(self, check: Check, now_us: int, cost: int) -> Verdict:
        return decide(self._quota(check.rule), self._states.get(_key(check), ()), now_us, cost)

    def _charge(self, check: Check, owed: int, now_us: int) -> None:
        state = self._states.get(_key(check), ())
        self._write(_key(check), charge(self._quota(check.rule), state, now_us, owed))

    def _keep(self, checks: Sequence[Check], verdicts: Sequence[Verdict]) -> None:
        for check, verdict in zip(checks, verdicts, strict=True):
            if not verdict.wait_us:
                self._write(_key(check), verdict.state)

    def _write(self, key: Key, state: State) -> None:
        self._states[key] = state
        self._states.move_to_end(key)
        if len(self._states) > self._max_subjects:
            self._states.popitem(last=False)


def _key(check: Check) -> Key:
    return check.rule.name, check.rule.algorithm, check.subject

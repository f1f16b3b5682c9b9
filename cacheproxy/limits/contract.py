"""What may be asked of a limiter."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from cacheproxy.policy.route import LimitRule
from cacheproxy.redis_link.contract import Budget


@dataclass(frozen=True, slots=True)
class Check:
    """One limit to ask about, and for whom (``limits.subjects.subject_of``; hashed where it may be a secret)."""

    rule: LimitRule
    subject: str
    cost: int = 1
    owed: int = 0
    """What the subject used while it could not be counted: charged first, as far as there is room."""


class LimitState(NamedTuple):
    """Where a subject stands: how many are left, and the seconds until all are back."""

    rule: LimitRule
    remaining: int
    reset_s: float


class Admitted(NamedTuple):
    """The request may pass."""

    states: tuple[LimitState, ...] = ()
    shadowed: tuple[LimitRule, ...] = ()
    """Shadow rules that would have refused it: for the metrics."""
    delayed_s: float = 0.0
    """How long it was held back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limited:
    """The request is over ``rule``. A client that waits ``retry_after_s`` and is alone is admitted."""

    rule: LimitRule
    """Of the rules it is over, the one to be waited for the longest."""
    retry_after_s: float
    states: tuple[LimitState, ...] = ()
    violated: tuple[LimitRule, ...] = ()
    """Every enforced rule it is over."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a limiter said of a request, which is not to be asked again about the same checks."""

    checks: tuple[Check, ...]
    verdict: Admitted | Limited


class Limiter(Protocol):
    """Counts. A rejected request counts against no limit."""

    async def admit(self, checks: Sequence[Check], budget: Budget | None = None) -> Admitted | Limited:
        """Count one request against all of ``checks`` in one step, or none. StateError if it could not be told."""
        ...

    def admit_now(self, checks: Sequence[Check]) -> Admitted | None:
        """Admitted and counted, where ``admit`` would do that without waiting for anything; else None."""
        ...

    def refusal_now(self, checks: Sequence[Check]) -> Limited | None:
        """The refusal that ``admit`` would give without waiting for anything; else None. Counts nothing."""
        ...

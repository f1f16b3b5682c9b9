"""What may be asked of a limiter."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from cacheproxy.policy.route import LimitRule
from cacheproxy.redis_link.contract import Budget


@dataclass(frozen=True, slots=True)
class Check:
    """One limit to ask about, and for whom (``limits.subjects.subject_of``; hashed where it may be a secret)."""

    rule: LimitRule
    subject: str
    cost: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitState:
    """Where a subject stands: how many are left, and the seconds until all are back."""

    rule: LimitRule
    remaining: int
    reset_s: float


@dataclass(frozen=True, slots=True)
class Admitted:
    """The request may pass."""

    states: tuple[LimitState, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limited:
    """The request is over ``rule``. A client that waits ``retry_after_s`` and is alone is admitted."""

    rule: LimitRule
    retry_after_s: float
    states: tuple[LimitState, ...] = ()


class Limiter(Protocol):
    """Counts. A rejected request counts against no limit."""

    async def admit(self, checks: Sequence[Check], budget: Budget | None = None) -> Admitted | Limited:
        """Count one request against all of ``checks`` in one step, or none. StateError if it could not be told."""
        ...

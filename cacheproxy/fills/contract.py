"""One fill per key among all replicas: the lease."""

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from cacheproxy.redis_link.contract import Budget
from cacheproxy.semantics.tag_clock import Stamp


@dataclass(frozen=True, slots=True)
class Held:
    """The lease is ours: fill under ``stamp``. ``token`` releases it, and nobody else's does; empty: none has to."""

    key: str
    token: str
    stamp: Stamp
    vacant: bool = False
    """Whether it is known that nothing was stored under the key when the lease was given: no need to look again."""


@dataclass(frozen=True, slots=True)
class Taken:
    """Another replica fills this key."""

    key: str
    token: str
    """The holder's."""
    expires_in_s: float = 0.0
    """After this the lease runs out by itself."""


class Waited(Enum):
    """How the wait on another replica's lease ended."""

    FILLED = "filled"
    """Look up again."""
    GAVE_UP = "gave-up"
    """What came may not be shared: fetch for yourself, and remember it."""
    LOST = "lost"
    """The holder died or its lease ran out: compete again."""
    WAITED_OUT = "waited-out"
    """Patience is over: fetch for yourself, and store nothing. What might be served stale was looked at before."""


class Leases(Protocol):
    """Hands out at most one lease per key and age limit."""

    async def acquire(self, key: str, budget: Budget | None = None) -> Held | Taken:
        """The lease on ``key`` with a tag-clock stamp taken in the same step, or who has it. StateError."""
        ...

    def acquire_now(self, key: str) -> Held | None:
        """The lease on ``key``, which need not be released, if it can be had without waiting; else None."""
        ...

    async def wait(self, taken: Taken, patience_s: float) -> Waited:
        """Wait, holding no connection, until ``taken`` ends; at most ``patience_s``. Never raises StateError."""
        ...

    async def release(self, held: Held, outcome: Waited) -> None:
        """Give the lease back and wake those who wait with ``outcome`` (FILLED or GAVE_UP, LOST if the fill failed)."""
        ...

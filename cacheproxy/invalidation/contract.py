"""Purges: what is asked, what is answered, and who follows."""

from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import Protocol

from cacheproxy.redis_link.contract import Budget
from cacheproxy.semantics.tag_clock import Stamp


class PurgeMode(StrEnum):
    """Hard: gone. Soft: stale, so that it may still be served while or instead of being refreshed."""

    HARD = "hard"
    SOFT = "soft"


@dataclass(frozen=True, slots=True, kw_only=True)
class Purge:
    """What to purge: tags compared whole. Everything else (keys, paths, routes, all) has been turned into tags."""

    tags: tuple[str, ...]
    mode: PurgeMode = PurgeMode.HARD

    def __post_init__(self) -> None:
        """ValueError if it names nothing: that is a mistake, and never means everything."""
        if not self.tags:
            raise ValueError("a purge must name at least one tag")


@dataclass(frozen=True, slots=True)
class Watch:
    """Asks, with a purge, whether any of ``tags`` was purged since ``stamp``: just before it, in the same step."""

    stamp: Stamp
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What became of a purge. ``at_us`` is tag-clock time; replicas are named by their ids."""

    event_id: str
    at_us: int
    acknowledged: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
    """Live replicas that did not acknowledge in time; empty without ``wait``."""
    epoch: str = ""
    """The tag clock's."""
    undisturbed: bool = False
    """Whether it is certain that nothing else has purged what its asker watched."""


class Purger(Protocol):
    """Carries out purges, durably."""

    async def begin(self, budget: Budget | None = None) -> Stamp:
        """A tag-clock stamp, to be taken before the origin is contacted. StateError."""
        ...

    async def purge(self, purge: Purge, *, wait_s: float | None = None) -> Receipt:
        """Purge on every replica; with ``wait_s``, come back when all live ones have. StateError if not recorded."""
        ...

    def purge_now(self, purge: Purge) -> bool:
        """Purge as ``purge_soon``, where that needs no waiting; False, and nothing is done, where it does."""
        ...

    async def purge_soon(self, purge: Purge, watch: Watch | None = None) -> Receipt | None:
        """Purge now if Redis answers, else as soon as it does: kept (bounded) and applied before L2 is read again."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """A purge as the bus brings it to a replica: the tag clock's epoch and time, and what it names."""

    epoch: str
    at_us: int
    tags: tuple[str, ...]
    mode: PurgeMode


class Mirror(Protocol):
    """What a replica keeps in process and the bus keeps true (L1, the sessions' L1)."""

    def apply(self, purge: Applied) -> None:
        """Forget, or mark stale, what ``purge`` names. Idempotent; order does not matter."""
        ...

    def trust(self, trusted: bool, *, epoch: str = "", base_us: int = 0, until: float = inf) -> None:  # noqa: FBT001
        """Answer from memory (link alive, tag clock in ``epoch``), or answer nothing until trusted again.

        ``until`` is a moment of ``clock.monotonic``: from then on nothing is answered, whether or not anybody came to
        say so. A process that was paused has no other way to know, on its first step, that it was deaf meanwhile.
        """
        ...

    def clear(self) -> None:
        """Forget everything: a gap may have swallowed purges."""
        ...

"""A stored response, and what may be asked of a place that keeps them."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from cacheproxy.redis_link.contract import Budget
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.tag_clock import Stamp, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A stored response with all that is needed to judge and to serve it. Times are epoch seconds."""

    key: str
    """The primary cache key's text."""
    vary: tuple[bytes, ...] = ()
    """The field names its Vary nominated, lower-case and sorted."""
    variance: bytes = b""
    """Their normalised values in the request it answered (``semantics.vary.variance``)."""
    status: int
    fields: Fields
    body: bytes
    requested_at: float
    received_at: float
    lifetime_s: float
    """Freshness lifetime, from ``received_at`` less the age it came with (RFC 9111 §4.2)."""
    initial_age_s: float = 0.0
    """Corrected initial age (RFC 9111 §4.2.3)."""
    swr_s: float = 0.0
    sie_s: float = 0.0
    must_revalidate: bool = False
    """No stale answer of any kind (must-revalidate, proxy-revalidate, s-maxage, no-cache)."""
    keep_until: float
    """When stores may drop it: beyond this it is of no use, not even to revalidate."""
    stamp: Stamp
    tags: tuple[str, ...] = ()
    route: str = ""


class Tier(StrEnum):
    """Which store answered."""

    L1 = "l1"
    L2 = "l2"


@dataclass(frozen=True, slots=True)
class Found:
    """An entry that the tag clock did not kill: VALID, or STALE where it was softly purged."""

    entry: Entry
    verdict: Verdict
    tier: Tier
    vouched_us: int = 0
    """Tag-clock time up to which no purge is known to have killed it; 0 where that is when its fill began."""


class Store(Protocol):
    """Keeps stored responses. Dead ones (by the tag clock) are never given out, nor kept where that is known."""

    @property
    def local(self) -> bool:
        """Whether all that is kept is in this process, so that ``peek`` says whatever ``read`` would."""
        ...

    def peek(self, key: str, request: Fields, tags: Collection[str] = ()) -> Found | None:
        """The most fitting entry for ``request`` that is at hand in this process; never waits. ``tags`` as to read."""
        ...

    async def read(
        self, key: str, request: Fields, budget: Budget | None = None, tags: Collection[str] = ()
    ) -> Found | None:
        """The most fitting entry for ``request``: its variance matches, or the best of the languages asked for.

        ``tags`` are those which an entry under ``key`` must carry, and has from then on: naming them saves a trip.
        StateError if the store did not say.
        """
        ...

    async def variants(self, key: str, budget: Budget | None = None) -> list[Entry]:
        """All entries under ``key``, the newest first (for validation, RFC 9111 §4.3.3). StateError as above."""
        ...

    async def write(self, entry: Entry, budget: Budget | None = None) -> None:
        """Keep ``entry``, replacing the one of the same key and variance. StateError if it was not kept."""
        ...

    def write_now(self, entry: Entry) -> bool:
        """Do what ``write`` does, where that needs no waiting; else False, and nothing is done."""
        ...

    async def delete(self, key: str, budget: Budget | None = None) -> int:
        """Drop every variant under ``key``; how many there were, as far as known. StateError if not done."""
        ...

"""Stamps without a trip to Redis: the tag clock as far as this replica has heard of it."""

from math import inf

from cacheproxy.clock import Clock, SystemClock
from cacheproxy.invalidation.contract import Applied
from cacheproxy.semantics.tag_clock import Stamp


class HeardClock:
    """A Mirror that keeps nothing but the epoch and the last time that was heard, of a purge of our own or the bus's.

    A fill may bear any time that the clock gave out before it began: an earlier one is only refused more often. The
    next purge of anything is later than what was heard, so the moment after that will do, and a purge that this
    replica knows of does not refuse what it fetches afterwards.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        """Nothing was heard yet."""
        self._monotonic = (clock or SystemClock()).monotonic
        self._epoch = ""
        self._at_us = 0
        self._until = -inf

    def stamp(self) -> Stamp | None:
        """A stamp for a fill that begins now; None while the bus is lost."""
        return Stamp(self._epoch, self._at_us + 1) if self._monotonic() < self._until else None

    def apply(self, purge: Applied) -> None:
        """Note when it was. Of another epoch than ours only the bus can say whether it is the older or the newer."""
        if purge.epoch == self._epoch:
            self._at_us = max(self._at_us, purge.at_us)
        else:
            self._until = -inf

    def trust(self, trusted: bool, *, epoch: str = "", base_us: int = 0, until: float = inf) -> None:  # noqa: FBT001 - Mirror's
        """Give stamps of ``epoch`` until then, all of them after ``base_us``."""
        self._until = until if trusted else -inf
        if trusted:
            heard_us = self._at_us if epoch == self._epoch else 0
            self._epoch, self._at_us = epoch, max(heard_us, base_us)

    def clear(self) -> None:
        """Nothing: it keeps nothing that a purge could have made untrue."""

"""Stamps without a trip to Redis: the tag clock as far as this replica has heard of it."""

from math import inf

from cacheproxy.clock import Clock, SystemClock
from cacheproxy.invalidation.contract import Applied
from cacheproxy.semantics.tag_clock import Stamp


class HeardClock:
    """A Mirror that keeps the epoch and the last times that were heard: of a purge, our own or the bus's, and a beat.

    A fill may bear any time that the clock gave out before it began: an earlier one is only refused more often. The
    next purge of anything is later than what was heard, so the moment after that will do, and a purge that this
    replica knows of does not refuse what it fetches afterwards. A stamp as old as the last purge would be refused with
    everything like it by the next, which drops what began longer ago than any entry lives; heartbeats keep it young.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        """Nothing was heard yet."""
        self._monotonic = (clock or SystemClock()).monotonic
        self._epoch = ""
        self._at_us = 0
        self._beat_us = 0
        self._until = -inf

    def stamp(self) -> Stamp | None:
        """A stamp for a fill that begins now; None while the bus is lost."""
        return Stamp(self._epoch, self._last_us + 1) if self._monotonic() < self._until else None

    def beat(self, epoch: str, at_us: int) -> None:
        """A heartbeat came, for which the clock gave out this time. The last one counts, though it be the earlier."""
        if epoch == self._epoch:
            self._beat_us = at_us

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
            if epoch != self._epoch:
                self._epoch, self._at_us, self._beat_us = epoch, 0, 0
            self._at_us = max(self._at_us, base_us)

    def clear(self) -> None:
        """Nothing: it keeps nothing that a purge could have made untrue."""

    @property
    def _last_us(self) -> int:
        return max(self._at_us, self._beat_us)

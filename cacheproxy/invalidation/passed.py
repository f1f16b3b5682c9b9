"""The purges that a replica has followed lately, so that a clock that went back can be told those it lost. No I/O."""

from collections.abc import Sequence

from cacheproxy.invalidation.contract import Applied, Purge
from cacheproxy.invalidation.outbox import EVERYTHING, Outbox


class Passed:
    """Every record after one moment, bounded in tags: beyond ``at_most`` the oldest are forgotten."""

    def __init__(self, at_most: int = 10_000) -> None:
        """Nothing has passed."""
        self._at_most = at_most
        self._since_us = 0
        self._purges: dict[int, Applied | None] = {}
        self._tags = 0

    def restart(self, since_us: int) -> None:
        """Forget all: what is to come follows the record of ``since_us``."""
        self._since_us = since_us
        self._purges.clear()
        self._tags = 0

    def step(self, at_us: int) -> None:
        """A record was passed, whatever it purges."""
        self._purges[at_us] = None
        while len(self._purges) + self._tags > self._at_most:
            self._since_us = next(iter(self._purges))
            self._tags -= _tags(self._purges.pop(self._since_us))

    def note(self, purge: Applied) -> None:
        """The record of that moment purges this."""
        if purge.at_us in self._purges:
            self._purges[purge.at_us] = purge
            self._tags += len(purge.tags)

    def after(self, at_us: int) -> Sequence[Purge]:
        """What was purged after the record of ``at_us``; everything, where that one is not remembered."""
        if at_us != self._since_us and at_us not in self._purges:
            return [EVERYTHING]
        lost = Outbox()
        for moment, purge in self._purges.items():
            if moment > at_us and purge is not None:
                lost.put(Purge(tags=purge.tags, mode=purge.mode))
        return lost.take()


def _tags(purge: Applied | None) -> int:
    return 0 if purge is None else len(purge.tags)

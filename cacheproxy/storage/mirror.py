"""This process's copy of the tag clock: which tags were purged lately, as the bus told us."""

from collections.abc import Collection
from math import inf
from typing import Protocol

from cacheproxy.semantics.tag_clock import PurgeTimes, Stamp, Verdict, judge


class Purged(Protocol):
    """A purge as the bus brings it: the shape of ``invalidation.contract.Applied``."""

    @property
    def epoch(self) -> str:
        """The tag clock's epoch."""
        ...

    @property
    def at_us(self) -> int:
        """The purge's time by the tag clock."""
        ...

    @property
    def tags(self) -> tuple[str, ...]:
        """What it names."""
        ...

    @property
    def mode(self) -> str:
        """``hard`` or ``soft``."""
        ...


_NEVER = PurgeTimes()


class ClockMirror:
    """Judges stamps by the purges that were applied here. Bounded: beyond ``max_tags`` it forgets, strictly.

    ``turn`` grows with every change that could alter a verdict, so that a verdict is good while it stands still.
    """

    def __init__(self, max_tags: int = 10_000) -> None:
        """Trust nothing until told to."""
        self.trusted_until = -inf
        """The moment of the monotonic clock from which on nothing may be answered."""
        self.turn = 0
        self._max_tags = max_tags
        self._epoch = ""
        self._base_us = 0
        self._purges: dict[str, PurgeTimes] = {}

    def apply(self, purge: Purged) -> None:
        """Note what ``purge`` names. Order and repetition do not matter."""
        self.turn += 1
        if purge.epoch != self._epoch:
            # The tag clock was lost and made anew, or this purge is from before that. Only the bus can tell.
            self.distrust()
            return
        for tag in purge.tags:
            known = self._purges.get(tag, _NEVER)
            self._purges[tag] = _later(known, purge.at_us, soft=purge.mode == "soft")
        if len(self._purges) > self._max_tags:
            self._forget_older_half()

    def trust(self, *, epoch: str, base_us: int, until: float) -> None:
        """Answer ``until`` then: the clock is in ``epoch``, and what began at or before ``base_us`` is dead."""
        if epoch != self._epoch:
            self._epoch, self._base_us = epoch, 0
            self._purges.clear()
            self.turn += 1
        if base_us > self._base_us:
            self._base_us = base_us
            self.turn += 1
        self.trusted_until = until

    def distrust(self) -> None:
        """Answer nothing until trusted again."""
        self.trusted_until = -inf

    def judge(self, stamp: Stamp, tags: Collection[str], vouched_us: int = 0) -> Verdict:
        """The verdict on what was filled under ``stamp`` with ``tags``, as far as this process was told.

        ``vouched_us`` is up to when the tag clock itself has said that it lives: what we missed or forgot before that
        does not matter then.
        """
        if max(stamp.began_at_us, vouched_us) <= self._base_us:
            return Verdict.DEAD
        return judge(stamp, tags, epoch=self._epoch, base_us=-1, purges=self._purges)

    def heard(self, stamp: Stamp, tags: Collection[str]) -> Verdict:
        """The verdict of the purges we know of alone: what we do not know counts for nothing."""
        return judge(
            stamp, tags, epoch=stamp.epoch, base_us=-1, purges=self._purges if stamp.epoch == self._epoch else {}
        )

    def _forget_older_half(self) -> None:
        by_age = sorted(self._purges.items(), key=lambda each: _last(each[1]))
        half = len(by_age) // 2
        self._base_us = max(self._base_us, _last(by_age[half - 1][1]))
        self._purges = dict(by_age[half:])


def _later(known: PurgeTimes, at_us: int, *, soft: bool) -> PurgeTimes:
    if soft:
        return PurgeTimes(known.hard_us, max(known.soft_us, at_us))
    return PurgeTimes(max(known.hard_us, at_us), known.soft_us)


def _last(times: PurgeTimes) -> int:
    return max(times.hard_us, times.soft_us)

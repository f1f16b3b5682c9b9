"""The tag clock in Redis, read: which fields to ask for, and what they say.

One hash, ``{prefix}:clock`` with literal braces: ``epoch``, ``now``, ``base`` (microseconds), and for each recently
purged tag ``t:`` + tag = "hard_us soft_us".
"""

from collections.abc import Sequence
from dataclasses import dataclass

from cacheproxy.errors import StateError
from cacheproxy.redis_link.contract import Command
from cacheproxy.semantics.tag_clock import PurgeTimes, Stamp, Verdict, judge


def clock_key(prefix: str) -> str:
    """The key of the tag clock. In a cluster the braces put it into one slot with the event stream."""
    return f"{{{prefix}}}:clock"


@dataclass(frozen=True, slots=True)
class ClockView:
    """The tag clock as it was read: None for ``epoch`` where there is no clock."""

    epoch: str | None
    base_us: int
    purges: dict[str, PurgeTimes]
    asked: tuple[str, ...]
    now_us: int = 0
    """The time up to which it knows of every purge."""

    def knows(self, tags: Sequence[str]) -> bool:
        """Whether all ``tags`` were asked for: those of most entries are the very ones that their key has."""
        return tags == self.asked or frozenset(self.asked).issuperset(tags)

    def judge(self, stamp: Stamp, tags: Sequence[str]) -> Verdict:
        """The verdict on what was filled under ``stamp`` with ``tags``, all of which were asked for."""
        if self.epoch is None:
            return Verdict.DEAD
        return judge(stamp, tags, epoch=self.epoch, base_us=self.base_us, purges=self.purges)

    def plus(self, later: "ClockView") -> "ClockView":
        """Both views, good up to the time of this one; no clock at all if it was made anew in between."""
        epoch = later.epoch if later.epoch == self.epoch else None
        return ClockView(epoch, later.base_us, self.purges | later.purges, self.asked + later.asked, self.now_us)


NO_CLOCK = ClockView(None, 0, {}, ())


def clock_command(key: str, tags: Sequence[str]) -> Command:
    """The command that reads the clock as far as it concerns ``tags``."""
    return ("HMGET", key, "epoch", "now", "base", *["t:" + tag for tag in tags])


def read_clock(tags: Sequence[str], reply: Sequence[bytes | None]) -> ClockView:
    """What ``reply`` to ``clock_command`` says. StateError where it cannot be understood."""
    epoch, now, base, *times = reply
    try:
        purges: dict[str, PurgeTimes] = {}
        if times.count(None) != len(tags):
            purges = {tag: _times(text) for tag, text in zip(tags, times, strict=True) if text is not None}
        made = None if epoch is None else epoch.decode()
        return ClockView(made, int(base or 0), purges, tuple(tags), int(now or 0))
    except ValueError as error:
        raise StateError("error", f"the tag clock is unreadable: {error}") from None


def _times(text: bytes) -> PurgeTimes:
    hard_us, soft_us = text.split(b" ")
    return PurgeTimes(int(hard_us), int(soft_us))

"""Turns what services publish into purges that hold for every replica.

A *recorded* event (``cacheproxy.client``) has its time already: it purges what was filled before it was published,
whoever maps it and however late. So each replica maps it for its own memory at once and notes it in the clock, and that
all of them do is harmless. The clock says up to when that is done, for each set of rules it was done under (``m:``); a
replica that starts goes on from there, so an event is not lost even when nobody listened.

A *plain* message has no time and no name, and every replica hears it. Its text does not tell it apart: two articles'
worth of ``{"type": "articles.changed"}`` are two purges, and to merge them by text would lose the later one. Its place
does: replicas hear heartbeats and messages in the same order, so "the seventh after that heartbeat" is the same message
for all. The first to get there purges and leaves that position as a guard; the others see it and need not. A replica
that has not heard a heartbeat yet purges under a name of its own, which is at worst a purge too many.
"""

import secrets
from dataclasses import dataclass, field

from cacheproxy.errors import StateError
from cacheproxy.invalidation.contract import Applied, Purge, PurgeMode, Purger
from cacheproxy.invalidation.events import Interpreter, Refusal
from cacheproxy.invalidation.messages import BeatSaid, EventRecord
from cacheproxy.invalidation.observer import Drops
from cacheproxy.invalidation.tag_clock import Marked, TagClock


@dataclass(slots=True)
class _Run:
    """Plain messages after one marker, up to ``position``, and what those not yet settled purge."""

    marker: str = field(default_factory=lambda: secrets.token_hex(8))
    position: int = 0
    purges: list[Purge] = field(default_factory=list)


class Listener:
    """One connection's worth of events: what was heard, and what is still to be recorded."""

    def __init__(self, clock: TagClock, purger: Purger, interpreter: Interpreter, drops: Drops) -> None:
        """Record by ``clock``, and by ``purger`` what the clock does not take."""
        self._clock = clock
        self._purger = purger
        self._interpreter = interpreter
        self._drops = drops
        self._runs = [_Run()]
        self._marked: list[Marked] = []
        self._epoch = ""

    def plain(self, payload: bytes) -> None:
        """A plain message came."""
        self._runs[-1].position += 1
        purge = self._interpreted(payload)
        if purge is not None:
            self._runs[-1].purges.append(purge)

    def recorded(self, event: EventRecord) -> Applied | None:
        """A recorded event came: what it purges here and now, if it is understood."""
        purge = self._interpreted(event.payload)
        if purge is None:
            return None
        if event.epoch != self._epoch:
            self._epoch, self._marked = event.epoch, []  # what an earlier epoch purged is gone with it
        self._marked.append(Marked(at_us=event.at_us, purge=purge))
        return Applied(epoch=event.epoch, at_us=event.at_us, tags=purge.tags, mode=purge.mode)

    def beat(self, beat: BeatSaid) -> None:
        """A heartbeat came: a new marker."""
        marker = f"{self._interpreter.digest}:{beat.epoch}:{beat.at_us}"
        if self._runs[-1].purges:
            self._runs.append(_Run(marker))
        else:
            self._runs[-1] = _Run(marker)

    async def settle(self) -> None:
        """Record what was heard so far. StateError if events could not be marked: then they must be read again."""
        for run in self._runs:
            await self._settle(run)
        self._runs = self._runs[-1:]
        marked, self._marked = self._marked, []
        if marked:
            await self._clock.mark(self._epoch, marked)

    async def _settle(self, run: _Run) -> None:
        purges, run.purges = run.purges, []
        if not purges:
            return
        try:
            await self._clock.hear(run.marker, run.position, purges)
        except StateError:
            for purge in merged(purges):
                await self._purger.purge_soon(purge)

    def _interpreted(self, payload: bytes) -> Purge | None:
        purge = self._interpreter.interpret(payload)
        if isinstance(purge, Refusal):
            self._drops.count(purge)
            return None
        return purge


def merged(purges: list[Purge]) -> list[Purge]:
    """``purges`` as one for each mode, each tag once, and softly only where no other purges it hard."""
    hard = dict.fromkeys(tag for purge in purges if purge.mode is PurgeMode.HARD for tag in purge.tags)
    soft = dict.fromkeys(
        tag for purge in purges if purge.mode is PurgeMode.SOFT for tag in purge.tags if tag not in hard
    )
    both = ((PurgeMode.HARD, hard), (PurgeMode.SOFT, soft))
    return [Purge(tags=tuple(tags), mode=mode) for mode, tags in both if tags]

"""How far this replica has followed the tag clock, and so whether it may answer from memory. No I/O."""

from collections import deque
from collections.abc import Sequence

import structlog

from cacheproxy.clock import Clock
from cacheproxy.errors import StateError
from cacheproxy.invalidation.contract import Applied, Purge
from cacheproxy.invalidation.messages import BeatSaid, Record
from cacheproxy.invalidation.mirrors import Mirrors
from cacheproxy.invalidation.observer import BusObserver
from cacheproxy.invalidation.outbox import EVERYTHING
from cacheproxy.invalidation.passed import Passed
from cacheproxy.invalidation.replay import History, Position
from cacheproxy.invalidation.tag_clock import Beat

log = structlog.get_logger(__name__)

_EPOCHS_KEPT = 16


class Follower:
    """Keeps ``mirrors`` at one position of the clock, and trusted for one lease after each heartbeat of our own."""

    def __init__(self, mirrors: Mirrors, lease_s: float, clock: Clock, observer: BusObserver) -> None:
        """Nowhere yet, and not trusted."""
        self.position: Position | None = None
        self.trusted = False
        self.until = 0.0
        """When trust ends (``clock.monotonic``) unless another heartbeat is heard."""
        self._mirrors = mirrors
        self._lease_s = lease_s
        self._clock = clock
        self._observer = observer
        self._has_begun = False
        self._said_lost = False
        self._passed = Passed()
        self._left: deque[str] = deque(maxlen=_EPOCHS_KEPT)
        """Epochs that have ended, as far as this replica knows."""

    def begin(self, beat: Beat, history: History) -> Sequence[Purge]:
        """A connection is made, ``beat`` is its first word, and ``history`` all that the stream still has.

        Stays where it was if the history goes on from there, else forgets everything and goes on from ``beat``. What
        began before ``since_us`` may have been purged by a record never seen, so mirrors do not vouch for it. Gives
        what must be purged again: a clock that came back from an older copy has lost what was purged since.
        """
        lost = self._lost(beat, history)
        at = self.position
        if at is None or lost is not None or not history.reaches(at.at_us):
            self._restart(beat.epoch, beat.last_us)
        self.until = self._clock.monotonic() + self._lease_s
        return lost or ()

    def follow(self, record: Record) -> bool:
        """Step on to ``record``; False if it was passed already. StateError if one before it is missing."""
        at = self._here()
        if record.epoch != at.epoch:
            at = self._restart(record.epoch, record.after_us)
        if record.at_us <= at.at_us:
            return False
        if record.after_us != at.at_us:
            raise _missing(record.after_us, at)
        self.position = Position(epoch=at.epoch, since_us=at.since_us, at_us=record.at_us)
        self._passed.step(record.at_us)
        return True

    def apply(self, purge: Applied, source: str) -> None:
        """Pass a purge on to the mirrors."""
        self._mirrors.apply(purge)
        self._passed.note(purge)
        self._observer.applied(source)

    def check(self, beat: BeatSaid) -> None:
        """A heartbeat, anyone's, names the last record: we must have come to it. StateError otherwise."""
        at = self._here()
        if beat.epoch != at.epoch:
            self._restart(beat.epoch, beat.last_us)
        elif beat.last_us > at.at_us:
            raise _missing(beat.last_us, at)

    def trust(self, sent_at: float, base_us: int) -> None:
        """Our own heartbeat of ``sent_at`` came round: all that was recorded before it has been applied."""
        at = self._here()
        self.until = sent_at + self._lease_s
        if self.until <= self._clock.monotonic():
            return
        self._mirrors.trust(trusted=True, epoch=at.epoch, base_us=max(base_us, at.since_us), until=self.until)
        self._note(trusted=True)

    def lost(self, error: StateError) -> None:
        """The connection broke, or could not be made: it is said once, however often that is tried again."""
        if not self._said_lost:
            self._said_lost = True
            log.warning("bus_lost", reason=error.reason, detail=error.detail)

    def distrust(self) -> None:
        """Answer nothing until trusted again."""
        self._mirrors.trust(trusted=False)
        self._note(trusted=False)

    def _here(self) -> Position:
        assert self.position is not None, "begin comes first"
        return self.position

    def _lost(self, beat: Beat, history: History) -> Sequence[Purge] | None:
        """What the clock has forgotten though we have not; None where it goes on from where we are, or past it."""
        at = self.position
        if at is None:
            return None
        if at.epoch != beat.epoch:
            return [EVERYTHING] if beat.epoch in self._left else ()
        if not history.reaches(at.at_us) and at.at_us <= beat.last_us:
            return None
        parted_us = min(beat.last_us, history.last_before(at.at_us))
        return None if parted_us == at.at_us else self._passed.after(parted_us)

    def _restart(self, epoch: str, since_us: int) -> Position:
        self._mirrors.clear()
        self._passed.restart(since_us)
        if self.position is not None and self.position.epoch != epoch:
            self._left.append(self.position.epoch)
        if self._has_begun:  # at first there is nothing that could be lost
            self._observer.cleared()
        self._has_begun = True
        # so that they follow the purges of this epoch from here on, though they answer nothing yet
        self._mirrors.trust(trusted=True, epoch=epoch, base_us=since_us)
        self.distrust()
        self.position = Position(epoch=epoch, since_us=since_us, at_us=since_us)
        return self.position

    def _note(self, *, trusted: bool) -> None:
        if trusted != self.trusted:
            self.trusted = trusted
            self._observer.connected(now=trusted)
        if trusted and self._said_lost:
            self._said_lost = False
            log.info("bus_back")


def _missing(said_us: int, at: Position) -> StateError:
    return StateError("lost", f"the bus went from record {at.at_us} to {said_us}")

"""What the bus reports about itself, and the log line for what it drops."""

from collections import Counter
from typing import Protocol

import structlog

from cacheproxy.clock import Clock, SystemClock
from cacheproxy.invalidation.events import Refusal

log = structlog.get_logger(__name__)

LOG_EVERY_S = 60.0


class BusObserver(Protocol):
    """Takes note. Cheap, never waits, never raises."""

    def connected(self, *, now: bool) -> None:
        """Whether memory is answered from ``now``: the bus is heard."""
        ...

    def gap(self) -> None:
        """Nobody may have listened for a while: plain messages may be lost."""
        ...

    def cleared(self) -> None:
        """Memory was emptied: purges may have passed that can no longer be known."""
        ...

    def applied(self, source: str) -> None:
        """One purge was applied here; ``source`` is ``purge``, ``event`` or ``plain``."""
        ...

    def dropped(self, reason: str) -> None:
        """One message was not understood."""
        ...

    def lag(self, seconds: float) -> None:
        """One purge was applied here ``seconds`` after it was made."""
        ...


class Unobserved:
    """Takes note of nothing."""

    def connected(self, *, now: bool) -> None:
        """Nothing."""

    def gap(self) -> None:
        """Nothing."""

    def cleared(self) -> None:
        """Nothing."""

    def applied(self, source: str) -> None:
        """Nothing."""

    def dropped(self, reason: str) -> None:
        """Nothing."""

    def lag(self, seconds: float) -> None:
        """Nothing."""


class Drops:
    """Counts each dropped message by its reason, and logs the counts once a minute, while there are any."""

    def __init__(self, observer: BusObserver, clock: Clock | None = None) -> None:
        """The first drop is logged at once."""
        self._observer = observer
        self._clock = clock or SystemClock()
        self._unsaid: Counter[str] = Counter()
        self._say_at = 0.0

    def count(self, reason: Refusal) -> None:
        """One more, for ``reason``."""
        self._observer.dropped(reason)
        self._unsaid[reason] += 1
        self.say()

    def say(self) -> None:
        """Log what was counted since the last time, unless that was less than a minute ago."""
        now = self._clock.monotonic()
        if self._unsaid and now >= self._say_at:
            log.warning("events_dropped", **self._unsaid)
            self._unsaid.clear()
            self._say_at = now + LOG_EVERY_S

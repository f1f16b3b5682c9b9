"""When to stop asking a server that does not answer, and when to ask it again. Pure: time is given."""

from dataclasses import dataclass
from enum import Enum


class Position(Enum):
    """Closed: calls pass. Open: none do. Half-open: one probe is on its way, and calls still do not pass."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(slots=True, kw_only=True)
class Breaker:
    """Opens after ``threshold`` failures in a row and asks again by single probes, at growing intervals.

    Nygard, Release It!, "Circuit Breaker". Times are seconds of one monotonic clock. The probe is ours, not a client's
    request, so that no request pays for finding out that the server is still gone.
    """

    threshold: int = 3
    first_wait_s: float = 0.25
    longest_wait_s: float = 2.0
    position: Position = Position.CLOSED
    failures: int = 0
    probe_at: float = 0.0
    """When the next probe is due, while open."""
    _wait_s: float = 0.0

    @property
    def closed(self) -> bool:
        """Whether calls may pass."""
        return self.position is Position.CLOSED

    def failed(self, now: float) -> bool:
        """Count a call that was not answered; True if this opened the breaker."""
        self.failures += 1
        return self.failures >= self.threshold and self.trip(now)

    def trip(self, now: float) -> bool:
        """Open at once, for a failure that leaves no doubt; True if it was closed."""
        if not self.closed:
            return False
        self.position = Position.OPEN
        self._wait_s = self.first_wait_s
        self.probe_at = now + self._wait_s
        return True

    def answered(self) -> None:
        """Count a call that was answered. An answer that was under way when the breaker opened does not close it."""
        self.failures = 0

    def begin_probe(self, now: float) -> bool:
        """Whether a probe may go now. If so it is the only one until ``probed`` says how it ended."""
        if self.position is not Position.OPEN or now < self.probe_at:
            return False
        self.position = Position.HALF_OPEN
        return True

    def probed(self, now: float, *, answered: bool) -> None:
        """End the probe: close, or stay open for twice as long as before."""
        if answered:
            self.position = Position.CLOSED
            self.failures = 0
            return
        self.position = Position.OPEN
        self._wait_s = min(self._wait_s * 2, self.longest_wait_s)
        self.probe_at = now + self._wait_s

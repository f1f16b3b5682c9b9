"""What is dropped is counted at once and logged once a minute."""

from dataclasses import dataclass

import structlog

from cacheproxy.invalidation.events import Refusal
from cacheproxy.invalidation.observer import Drops, Unobserved


@dataclass
class Time:
    """A clock that stands still."""

    at: float = 1000.0

    def now(self) -> float:
        """Epoch seconds."""
        return self.at

    def monotonic(self) -> float:
        """The same."""
        return self.at


def test_drops_are_counted_each_and_logged_once_a_minute():
    """The first one is told at once, those of the next minute together, by reason."""
    counted: list[str] = []

    class Counting(Unobserved):
        """Counts."""

        def dropped(self, reason: str) -> None:
            """One more."""
            counted.append(reason)

    time = Time()
    drops = Drops(Counting(), time)
    with structlog.testing.capture_logs() as lines:
        drops.count(Refusal.HUGE)
        for _ in range(3):
            drops.count(Refusal.DEEP)
        time.at += 59
        drops.count(Refusal.HUGE)
        time.at += 1
        drops.say()
        drops.say()
    assert counted == ["huge", "deep", "deep", "deep", "huge"]
    assert [{k: v for k, v in line.items() if k not in ("event", "log_level")} for line in lines] == [
        {"huge": 1},
        {"deep": 3, "huge": 1},
    ]

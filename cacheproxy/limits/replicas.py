"""How many replicas share the limits, as far as this one knows: the divisor of what each may admit by itself."""

from collections.abc import Callable

from cacheproxy.clock import Clock

ASKED_EVERY_S = 0.25
SETTLES_S = 3.0
"""A number must have been lower for so long before it counts: after a loss of contact others are heard one by one."""


class Replicas:
    """The last known number. It grows at once and shrinks slowly: too low a number admits too much."""

    def __init__(self, heard: Callable[[], int], clock: Clock) -> None:
        """``heard`` gives how many were heard of when anybody was heard of last."""
        self._heard = heard
        self._clock = clock
        self._number = 1
        self._asked_at = float("-inf")
        self._lower_since: float | None = None

    def __call__(self) -> int:
        """At least 1."""
        now = self._clock.monotonic()
        if now - self._asked_at >= ASKED_EVERY_S:
            self._asked_at = now
            self._take(self._heard(), now)
        return self._number

    def _take(self, heard: int, now: float) -> None:
        if heard >= self._number:
            self._number, self._lower_since = heard, None
        elif self._lower_since is None:
            self._lower_since = now
        elif now - self._lower_since >= SETTLES_S:
            self._number, self._lower_since = max(1, heard), None

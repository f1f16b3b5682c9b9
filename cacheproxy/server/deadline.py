"""A connection's one time limit at a time, on one lazy timer: moving it costs an assignment."""

import asyncio
from collections.abc import Callable
from math import inf


class Deadline:
    """Calls ``expired`` once the time allowed for what comes next is over."""

    __slots__ = ("_at", "_expired", "_fires_at", "_loop", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, expired: Callable[[], None]) -> None:
        """Allow all the time there is."""
        self._loop = loop
        self._expired = expired
        self._at = inf
        self._timer: asyncio.TimerHandle | None = None
        self._fires_at = inf

    def allow(self, seconds: float) -> None:
        """Let ``seconds`` pass from now."""
        self._at = self._loop.time() + seconds
        if self._at < self._fires_at:
            self._arm()

    def lift(self) -> None:
        """Wait as long as it takes: something else limits it."""
        self._at = inf

    def cancel(self) -> None:
        """Never expire."""
        self._at = inf
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._fires_at = inf

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._at, self._tick)
        self._fires_at = self._at

    def _tick(self) -> None:
        self._timer = None
        self._fires_at = inf
        if self._at == inf:
            return
        if self._loop.time() < self._at:
            self._arm()
            return
        self._at = inf
        self._expired()

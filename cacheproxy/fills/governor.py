"""Keeps a purge of many hot keys from becoming a storm of fills at the origin."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Governor:
    """Lets ``at_once`` fills run at a time, and ``waiting`` more wait for their turn."""

    def __init__(self, at_once: int = 32, waiting: int = 10_000) -> None:
        """Nobody runs or waits yet."""
        self.at_once = at_once
        """May be changed: whoever runs then runs on."""
        self._most_waiting = waiting
        self._running = 0
        self._waiting: dict[asyncio.Future[None], None] = {}

    @property
    def has_room(self) -> bool:
        """Whether one more may wait. If not, a refresh is better left to the next request for its key."""
        return len(self._waiting) < self._most_waiting

    @asynccontextmanager
    async def turn(self, patience_s: float) -> AsyncIterator[bool]:
        """Wait for a place, ``patience_s`` at most, and hold it meanwhile. False if patience was over first.

        A request that somebody waits for goes on even so: it must not fail for the sake of those before it.
        """
        if not await self._enter(patience_s):
            yield False
            return
        try:
            yield True
        finally:
            self._leave()

    async def _enter(self, patience_s: float) -> bool:
        if self._running < self.at_once and not self._waiting:
            self._running += 1
            return True
        place = asyncio.get_running_loop().create_future()
        self._waiting[place] = None
        try:
            await asyncio.wait([place], timeout=patience_s)
        except asyncio.CancelledError:
            if place.done():
                self._leave()
            raise
        finally:
            self._waiting.pop(place, None)
        return place.done()

    def _leave(self) -> None:
        self._running -= 1
        while self._waiting and self._running < self.at_once:
            place = next(iter(self._waiting))
            del self._waiting[place]
            place.set_result(None)
            self._running += 1

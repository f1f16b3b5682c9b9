"""Keeps a purge of many hot keys from becoming a storm of fills at the origin."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Governor:
    """Lets ``at_once`` fills run at a time, and ``waiting`` more wait for their turn."""

    def __init__(self, at_once: int = 32, waiting: int = 10_000) -> None:
        """Nobody runs or waits yet."""
        self._places = asyncio.Semaphore(at_once)
        self._most_waiting = waiting
        self._waiting = 0

    @property
    def has_room(self) -> bool:
        """Whether one more may wait. If not, a refresh is better left to the next request for its key."""
        return self._waiting < self._most_waiting

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
            self._places.release()

    async def _enter(self, patience_s: float) -> bool:
        if not self._places.locked():
            return await self._places.acquire()
        self._waiting += 1
        try:
            async with asyncio.timeout(patience_s):
                return await self._places.acquire()
        except TimeoutError:
            return False
        finally:
            self._waiting -= 1

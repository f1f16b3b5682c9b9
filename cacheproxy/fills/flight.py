"""One fill per key in this process: whoever asks while it is under way joins it."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")


class Flights(Generic[Result]):
    """The fills under way. Each is a task of its own: cancelling whoever waits for one never cancels it."""

    def __init__(self, max_flights: int = 10_000) -> None:
        """Let at most ``max_flights`` be joined; those beyond it fly alone."""
        self._max_flights = max_flights
        self._by_key: dict[str, asyncio.Task[Result]] = {}
        self._running: set[asyncio.Task[Result]] = set()

    def find(self, key: str) -> "asyncio.Task[Result] | None":
        """The flight of ``key``, to be awaited through ``asyncio.shield``; None if there is none to join."""
        return self._by_key.get(key)

    def start(self, key: str, work: Coroutine[Any, Any, Result]) -> "asyncio.Task[Result]":
        """Carry out ``work`` as the flight of ``key``, for which there is none."""
        task = asyncio.create_task(work)
        self._running.add(task)
        if len(self._by_key) < self._max_flights:
            self._by_key[key] = task
        task.add_done_callback(lambda ended: self._land(key, ended))
        return task

    def __len__(self) -> int:
        """How many are under way."""
        return len(self._running)

    def _land(self, key: str, ended: "asyncio.Task[Result]") -> None:
        self._running.discard(ended)
        if self._by_key.get(key) is ended:
            del self._by_key[key]
        if not ended.cancelled():
            ended.exception()  # Marks it as seen: nobody may be waiting.

    async def drain(self, timeout_s: float) -> None:
        """Let the flights come to their end; after ``timeout_s`` end them."""
        if self._running:
            await asyncio.wait(self._running, timeout=timeout_s)
        for task in tuple(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

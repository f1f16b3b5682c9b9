"""Tasks that outlive the request that began them."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


class Tasks:
    """Owns tasks: none is lost to the garbage collector, and all end before the program does."""

    def __init__(self) -> None:
        """Start with none."""
        self._running: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, Result]) -> "asyncio.Task[Result]":
        """``work`` as a task of its own; whoever awaits it sees how it ended."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # Marks it as seen: who waited was told, and who left does not care.

    async def drain(self, timeout_s: float) -> None:
        """Let what runs come to its end; after ``timeout_s`` end it. What its end sets going is let run as well."""
        while self._running:
            _, late = await asyncio.wait(self._running.copy(), timeout=timeout_s)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

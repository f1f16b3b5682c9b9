"""One fill per key in a process: whoever comes first sets the work going, all others find it.

The work is a task of its own, owned here, or is done by who came first until he hands it on. A client that hangs up
leaves its wait and nothing else: wait by ``asyncio.shield`` or ``asyncio.wait``.
"""

import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import Any, Generic, TypeVar

from cacheproxy.errors import CacheproxyError

Result = TypeVar("Result")


class AbandonedError(CacheproxyError):
    """The work was cut short by shutdown before it had an outcome."""


class Flights(Generic[Result]):
    """All work under way, by key. At most ``max_flights`` can be found; beyond that each works for itself alone."""

    def __init__(self, max_flights: int = 10_000) -> None:
        """None yet."""
        self._max_flights = max_flights
        self._by_key: dict[str, tuple[asyncio.Task[Result] | None, asyncio.Future[Result]]] = {}
        """The task, which may have ended before its waiters are told, if it is one; and what they wait for."""
        self._tasks: set[asyncio.Task[Result]] = set()
        self._open = 0
        """Flights that are no task of ours."""

    def __len__(self) -> int:
        """How much is under way."""
        return sum(not task.done() for task in self._tasks) + self._open

    def find(self, key: str) -> "asyncio.Future[Result] | None":
        """The work for ``key`` that is under way, or None. Its error, if it has one, is every waiter's."""
        task, flight = self._by_key.get(key, (None, None))
        return None if task is not None and task.done() else flight

    def start(self, key: str | None, work: Coroutine[Any, Any, Result]) -> "asyncio.Future[Result]":
        """Begin ``work``, and let others find it by ``key`` until it ends; nobody, where that is None.

        What comes back is not the task itself: cut short, a task looks to its waiters as if they were.
        """
        flight: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._run(key, flight, work)
        return flight

    def open(self, key: str) -> "asyncio.Future[Result]":
        """Let others find by ``key`` what the caller does himself, and must ``land`` it or ``hand_on`` the rest."""
        flight: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._open += 1
        self._register(key, None, flight)
        return flight

    def land(self, key: str, flight: "asyncio.Future[Result]", result: Result) -> None:
        """End what was opened as ``flight``."""
        self._open -= 1
        self._forget(key, flight)
        flight.set_result(result)

    def hand_on(self, key: str, flight: "asyncio.Future[Result]", rest: Coroutine[Any, Any, Result]) -> None:
        """Let ``rest`` be done by a task, which ends what was opened as ``flight``."""
        self._open -= 1
        self._forget(key, flight)
        self._run(key, flight, rest)

    def _run(self, key: str | None, flight: "asyncio.Future[Result]", work: Coroutine[Any, Any, Result]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        if key is not None:
            self._register(key, task, flight)
        task.add_done_callback(partial(self._ended, key, flight))

    def _register(self, key: str, task: "asyncio.Task[Result] | None", flight: "asyncio.Future[Result]") -> None:
        if self.find(key) is None and len(self._by_key) < self._max_flights:
            self._by_key[key] = task, flight

    def _forget(self, key: str, flight: "asyncio.Future[Result]") -> None:
        if self._by_key.get(key, (None, None))[1] is flight:
            del self._by_key[key]

    async def drain(self, timeout_s: float) -> None:
        """Let what is under way end by itself for ``timeout_s``, then cut it short with AbandonedError."""
        if not self._tasks:
            return
        _, late = await asyncio.wait(set(self._tasks), timeout=timeout_s)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)

    def _ended(self, key: str | None, flight: "asyncio.Future[Result]", task: "asyncio.Task[Result]") -> None:
        self._tasks.discard(task)
        if key is not None:
            self._forget(key, flight)
        if task.cancelled():
            flight.set_exception(AbandonedError("the fill was cut short"))
        elif (error := task.exception()) is not None:
            flight.set_exception(error)
        else:
            flight.set_result(task.result())
        flight.exception()  # marks it as seen: nobody may be left to see it

"""One question for all who ask the same at once: a herd of requests for one key costs one trip."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from functools import cached_property
from typing import Any, Generic, TypeVar

from cacheproxy.errors import StateError

Answer = TypeVar("Answer")


class Joint(Generic[Answer]):
    """Of those who ask the same in one turn of the event loop the first asks for all.

    Commands leave at the end of the turn (``redis_link``), so nobody gets an answer from before they asked.
    """

    def __init__(self) -> None:
        """Nothing was asked yet."""
        self._asked: dict[Hashable, asyncio.Future[Answer]] = {}

    @cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        """The event loop it is used in. To ask which one runs is a system call (until Python 3.12)."""
        return asyncio.get_running_loop()

    async def ask(self, question: Hashable, asking: Callable[[], Awaitable[Answer]]) -> Answer:
        """What ``asking`` gives, or has given to whoever asked ``question`` first. StateError as it says."""
        joined = self._asked.get(question)
        if joined is not None:
            if not joined.done():
                await _end_of(joined)
            return await asking() if joined.cancelled() else joined.result()
        answer: asyncio.Future[Answer] = self._loop.create_future()
        if not self._asked:
            self._loop.call_soon(self._asked.clear)
        self._asked[question] = answer
        try:
            given = await asking()
        except StateError as error:
            answer.set_exception(error)
            answer.exception()  # marks it as seen: nobody may have joined
            raise
        except BaseException:
            answer.cancel()
            raise
        answer.set_result(given)
        return given


def _end_of(joined: "asyncio.Future[Any]") -> "asyncio.Future[None]":
    """Done when ``joined`` is, however that ends; whoever leaves it leaves that alone (``asyncio.wait`` costs 8 us)."""
    end: asyncio.Future[None] = joined.get_loop().create_future()
    joined.add_done_callback(lambda _: None if end.done() else end.set_result(None))
    return end

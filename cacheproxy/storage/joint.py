"""One question for all who ask the same at once: a herd of requests for one key costs one trip."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from cacheproxy.errors import StateError

Answer = TypeVar("Answer")


class Joint(Generic[Answer]):
    """Of those who ask the same in one turn of the event loop the first asks for all.

    Commands leave at the end of the turn (``redis_link``), so nobody gets an answer from before they asked.
    """

    def __init__(self) -> None:
        """Nothing was asked yet."""
        self._asked: dict[Hashable, asyncio.Future[Answer]] = {}

    async def ask(self, question: Hashable, asking: Callable[[], Awaitable[Answer]]) -> Answer:
        """What ``asking`` gives, or has given to whoever asked ``question`` first. StateError as it says."""
        joined = self._asked.get(question)
        if joined is not None:
            await asyncio.wait([joined])
            return await asking() if joined.cancelled() else joined.result()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()
        self._asked[question] = answer
        loop.call_soon(self._asked.pop, question)
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

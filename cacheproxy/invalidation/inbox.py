"""Takes messages off the subscription as they come, so that Redis never has to drop a subscriber that is too slow."""

import asyncio
from collections import deque

from cacheproxy.errors import StateError
from cacheproxy.redis_link.contract import Message, Subscription

CAPACITY_BYTES = 64 << 20
"""Past this, messages stay with the subscription, and in the end with Redis."""
_OVERHEAD_BYTES = 200
BATCH = 256
"""Messages handed out at once: a few milliseconds of work, so that requests get their turn."""
_POLL_S = 60.0


class Inbox:
    """A bounded queue between a subscription and its reader, filled by a task of its own."""

    def __init__(self, subscription: Subscription) -> None:
        """Start to read ``subscription``."""
        self._subscription = subscription
        self._messages: deque[Message] = deque()
        self._size_bytes = 0
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._error: StateError | None = None
        self._filling = asyncio.get_running_loop().create_task(self._fill())

    async def take(self, timeout_s: float) -> list[Message]:
        """The next messages in order, none after ``timeout_s``. StateError after the last of a lost connection."""
        if not self._messages and self._error is None:
            self._news.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._news.wait()
            except TimeoutError:
                return []
        if not self._messages and self._error is not None:
            raise self._error
        batch = [self._messages.popleft() for _ in range(min(BATCH, len(self._messages)))]
        self._size_bytes -= sum(map(_size_bytes, batch))
        self._room.set()
        return batch

    async def aclose(self) -> None:
        """Stop reading and close the subscription."""
        self._filling.cancel()
        # before anything is waited for: who is cancelled meanwhile leaves nothing open
        await self._subscription.aclose()
        await asyncio.wait([self._filling])

    async def _fill(self) -> None:
        try:
            while True:
                message = await self._subscription.next(_POLL_S)
                if message is not None:
                    self._messages.append(message)
                    self._size_bytes += _size_bytes(message)
                    self._news.set()
                while self._size_bytes >= CAPACITY_BYTES:
                    self._room.clear()
                    await self._room.wait()
        except StateError as error:
            self._error = error
            self._news.set()


def _size_bytes(message: Message) -> int:
    return len(message.payload) + _OVERHEAD_BYTES

"""Messages between a subscription and its reader."""

import asyncio

import pytest

from cacheproxy.errors import StateError
from cacheproxy.invalidation import inbox as inbox_module
from cacheproxy.invalidation.inbox import BATCH, Inbox
from cacheproxy.redis_link.contract import Message


class Scripted:
    """A Subscription that gives what it has and then is lost, or silent."""

    def __init__(self, n: int, *, lost: bool = False) -> None:
        """``n`` messages."""
        self.left = n
        self.closed = False
        self._lost = lost

    async def next(self, timeout_s: float) -> Message | None:
        """The next one."""
        if self.left:
            self.left -= 1
            return Message("c", b"%d" % self.left)
        if self._lost:
            raise StateError("lost")
        await asyncio.sleep(timeout_s)
        return None

    async def aclose(self) -> None:
        """Drop the connection."""
        self.closed = True


async def test_messages_come_in_order_and_in_batches():
    """Everything that is there is given out, a few milliseconds of work at a time."""
    inbox = Inbox(Scripted(2 * BATCH + 1))
    batches = [await inbox.take(5) for _ in range(3)]
    assert [len(batch) for batch in batches] == [BATCH, BATCH, 1]
    numbers = [int(message.payload) for batch in batches for message in batch]
    assert numbers == sorted(numbers, reverse=True)
    await inbox.aclose()


async def test_silence_is_no_message():
    """After the time limit there is nothing, and the subscription is still good."""
    scripted = Scripted(0)
    inbox = Inbox(scripted)
    assert await inbox.take(0.01) == []
    await inbox.aclose()
    assert scripted.closed


async def test_what_came_before_the_connection_was_lost_is_not_lost():
    """The error comes after the last message."""
    inbox = Inbox(Scripted(3, lost=True))
    assert len(await inbox.take(5)) == 3
    with pytest.raises(StateError):
        await inbox.take(5)
    await inbox.aclose()


async def test_a_reader_that_is_too_slow_fills_no_memory(monkeypatch):
    """Past its capacity the inbox leaves messages with the subscription, until there is room."""
    monkeypatch.setattr(inbox_module, "CAPACITY_BYTES", 2_010)
    scripted = Scripted(25)
    inbox = Inbox(scripted)
    for _ in range(5):
        await asyncio.sleep(0)
    assert scripted.left == 15
    taken = 0
    while taken < 25:
        taken += len(await inbox.take(5))
    assert scripted.left == 0
    await inbox.aclose()

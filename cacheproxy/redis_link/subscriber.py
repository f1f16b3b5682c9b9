"""Subscriptions, each on a connection of its own that never reconnects behind its owner's back."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from cacheproxy.errors import StateError
from cacheproxy.redis_link.contract import Message, Subscription
from cacheproxy.redis_link.errors import Lost, redis_errors
from cacheproxy.redis_link.wire import Due, Wire, pack

BACKLOG = 10_000
"""Messages kept for a slow owner. Beyond it the connection is dropped: a gap that is seen, not one that is silent."""

DialNear = Callable[[str], Awaitable[Wire]]
"""Opens a wire to the server that a key is on; StateError if there is none to be had."""


class RedisSubscriber:
    """Opens subscriptions by ``dial``; the server must confirm each within ``confirm_s``."""

    def __init__(self, dial: DialNear, *, confirm_s: float = 1.0) -> None:
        """Connect when first asked."""
        self._dial = dial
        self._confirm_s = confirm_s

    async def subscribe(
        self, channels: Sequence[str], patterns: Sequence[str] = (), *, sharded: Sequence[str] = ()
    ) -> Subscription:
        """A subscription that the server has confirmed. StateError otherwise.

        It is with the server that the first channel is on, so that all who ask for the same hear it in the same order.
        """
        near = next(iter((*sharded, *channels, *patterns)), "")
        subscription = RedisSubscription(await self._dial(near))
        try:
            with redis_errors():
                async with asyncio.timeout(self._confirm_s):
                    await subscription.begin(channels, patterns, sharded)
        except BaseException:
            await subscription.aclose()
            raise
        return subscription


class RedisSubscription:
    """One subscriber connection (RESP3: messages come as pushes)."""

    def __init__(self, wire: Wire) -> None:
        """Listen on ``wire``, which is ours alone."""
        self._wire = wire
        self._messages: deque[Message] = deque()
        self._unconfirmed = 0
        self._news = asyncio.Event()
        wire.on_push = self._receive
        wire.on_lost = self._lost

    async def begin(self, channels: Sequence[str], patterns: Sequence[str], sharded: Sequence[str] = ()) -> None:
        """Subscribe, and wait until the server has confirmed every channel and pattern. StateError if it refuses."""
        asked = (
            ("SUBSCRIBE", *sharded, *channels),
            ("PSUBSCRIBE", *patterns),
            ("SSUBSCRIBE", *(sharded if self._wire.has_shards else ())),
        )
        commands = [command for command in asked if len(command) > 1]
        self._unconfirmed = sum(len(command) - 1 for command in commands)
        loop = asyncio.get_running_loop()
        # confirmations are pushes; only a refusal comes as a reply, and it is due at any time
        refusal = Due(loop.create_future(), loop.time(), float("inf"))
        refusal.future.add_done_callback(self._refused)
        self._wire.send(b"".join(map(pack, commands)), (refusal,))
        while self._unconfirmed:
            await self._wait()

    async def next(self, timeout_s: float) -> Message | None:
        """The next message, or None after ``timeout_s`` without one. StateError if the connection is lost."""
        if not self._messages:
            try:
                async with asyncio.timeout(timeout_s):
                    await self._wait()
            except TimeoutError:
                return None
        return self._messages.popleft() if self._messages else None

    async def aclose(self) -> None:
        """Drop the connection."""
        self._wire.drop(StateError(Lost.LOST, "subscription closed"))

    async def _wait(self) -> None:
        if self._wire.lost_by is not None:
            raise self._wire.lost_by
        self._news.clear()
        await self._news.wait()
        if self._wire.lost_by is not None and not self._messages:
            raise self._wire.lost_by

    def _receive(self, push: list[Any]) -> None:
        match push:
            case [b"message" | b"smessage", channel, payload]:
                self._messages.append(Message(channel.decode(), payload))
            case [b"pmessage", pattern, channel, payload]:
                self._messages.append(Message(channel.decode(), payload, pattern.decode()))
            case [b"subscribe" | b"psubscribe" | b"ssubscribe", *_]:
                self._unconfirmed -= 1
            case [b"sunsubscribe", *_]:
                self._wire.drop(StateError(Lost.LOST, "the channel has moved to another node"))
        self._news.set()
        if len(self._messages) > BACKLOG:
            self._wire.drop(StateError(Lost.LOST, "messages came faster than they were taken"))

    def _refused(self, refusal: "asyncio.Future[Any]") -> None:
        if refusal.exception() is None:
            self._wire.drop(StateError(Lost.ERROR, str(refusal.result())))

    def _lost(self, _wire: Wire) -> None:
        self._news.set()

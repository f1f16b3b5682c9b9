"""A request body sent as it is read."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress

from cacheproxy.upstream import limits
from cacheproxy.upstream.connection import Connection
from cacheproxy.upstream.contract import RequestBody

Spawn = Callable[[Coroutine[None, None, None]], asyncio.Task[None]]
"""Starts a task whose owner drains it."""


class Sender:
    """Sends one body in a task of its own, so that the response may come before the body's end."""

    __slots__ = ("_body", "_connection", "_go", "_on_end", "_task", "complete", "started")

    def __init__(
        self,
        connection: Connection,
        body: RequestBody,
        *,
        expects: bool,
        on_end: Callable[[BaseException | None], None],
        spawn: Spawn,
    ) -> None:
        """Send ``body``, after 100 (Continue) or a short wait if one ``expects`` it; ``on_end`` learns how it ended."""
        self._connection = connection
        self._body = body
        self._on_end = on_end
        self._go = asyncio.Event() if expects else None
        self.started = False
        """Whether the body was begun, so that it cannot be sent again."""
        self.complete = False
        self._task = spawn(self._run())
        self._task.add_done_callback(self._ended)

    def go_on(self) -> None:
        """Send: the origin said 100 (Continue)."""
        if self._go is not None:
            self._go.set()

    def stop(self) -> None:
        """Send no more: the exchange is over."""
        self._task.cancel()

    async def _run(self) -> None:
        if self._go is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(limits.CONTINUE_WAIT_S):
                    await self._go.wait()
        self.started = True
        length = self._body.length
        sent = await self._send_chunked() if length is None else await self._send_sized(length)
        if length is not None and sent != length:
            raise ValueError(f"a body of {length} bytes ended after {sent}")
        self.complete = True

    async def _send_sized(self, length: int) -> int:
        sent = 0
        async for chunk in self._body:
            sent += len(chunk)
            if sent > length:
                raise ValueError(f"a body of {length} bytes went on to {sent}")
            self._connection.write(chunk)
            await self._connection.drain()
        return sent

    async def _send_chunked(self) -> int:
        sent = 0
        async for chunk in self._body:
            if chunk:
                sent += len(chunk)
                self._connection.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
                await self._connection.drain()
        self._connection.write(b"0\r\n\r\n")
        return sent

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self._on_end(task.exception())

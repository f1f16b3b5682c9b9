"""The way back to a client: writing with back-pressure, and the date."""

import asyncio
from typing import Protocol

from cacheproxy.semantics.dates import format_http_date


class WallClock(Protocol):
    """What of a clock is needed here."""

    def now(self) -> float:
        """Epoch seconds."""
        ...


class Outlet:
    """Writes to one client. A client that takes nothing for ``stall_s`` is cut off."""

    __slots__ = ("_clock", "_loop", "_room", "_stall", "_stall_s", "_transport")

    def __init__(self, transport: asyncio.Transport, clock: WallClock, stall_s: float) -> None:
        """Write to ``transport``."""
        self._transport = transport
        self._clock = clock
        self._stall_s = stall_s
        self._loop = asyncio.get_running_loop()
        self._room: asyncio.Future[None] | None = None
        self._stall: asyncio.TimerHandle | None = None

    def write(self, data: bytes) -> None:
        """Send ``data``, or nothing if the client is gone."""
        if not self._transport.is_closing():
            self._transport.write(data)

    def date(self) -> bytes:
        """The current time as an IMF-fixdate."""
        return format_http_date(self._clock.now())

    @property
    def full(self) -> bool:
        """Whether the client has to take something before more is written."""
        return self._room is not None

    async def drained(self) -> None:
        """Come back when the client has taken enough to be sent more."""
        if self._room is not None:
            await asyncio.shield(self._room)

    def pause(self) -> None:
        """The client does not keep up."""
        if self._room is None:
            self._room = self._loop.create_future()
            self._watch()

    def resume(self) -> None:
        """There is room again (or nobody left to need it)."""
        if self._stall is not None and not (self._transport.is_closing() and self._left_bytes):
            self._stall.cancel()
            self._stall = None
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        self._room = None

    def finish(self) -> None:
        """Close as soon as the client has taken what is left for it."""
        self._transport.close()
        if self._stall is None and self._left_bytes:
            self._watch()

    @property
    def _left_bytes(self) -> int:
        """What the client has yet to take."""
        return self._transport.get_write_buffer_size()

    def _watch(self) -> None:
        self._stall = self._loop.call_later(self._stall_s, self._check, self._left_bytes)

    def _check(self, before_bytes: int) -> None:
        """Cut off a client that took nothing since it had ``before_bytes`` to take: slow it may be."""
        if self._left_bytes == before_bytes:
            self.abort()
        else:
            self._watch()

    def abort(self) -> None:
        """Cut the connection off without an orderly end."""
        self._transport.abort()

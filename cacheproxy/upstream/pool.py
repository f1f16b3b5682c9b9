"""The connections to the origin: bounded, waited for in order, the last used reused first."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from cacheproxy.upstream.connection import Connection
from cacheproxy.upstream.reasons import Reason, failure

OVERDUE_S = 0.25
"""A client that is behind for so long, with all that is read ahead of it, may have to give way."""

Grant = Connection | None
"""What a waiter is given: a connection, or a place in which to open one."""


class Pool:
    """Hands out connections. Each one, from the start of its dialling to its end, holds one of ``size`` places.

    Places and connections change hands between awaits only, so no schedule can lose one, and they pass straight to
    whoever has waited longest: while somebody waits nothing is idle and no place is free.
    """

    def __init__(
        self, dial: Callable[[], Awaitable[Connection]], *, size: int, wait_s: float, keepalive_s: float
    ) -> None:
        """Open connections with ``dial``, and close those that stay idle for ``keepalive_s``."""
        self._dial = dial
        self._size = size
        self._wait_s = wait_s
        self._overdue_s = min(OVERDUE_S, wait_s / 4)
        self._keepalive_s = keepalive_s
        self._taken = 0
        self._connections: set[Connection] = set()
        self._idle: dict[Connection, None] = {}
        self._waiters: deque[asyncio.Future[Grant]] = deque()
        self._sweep: asyncio.TimerHandle | None = None
        self._press: asyncio.TimerHandle | None = None
        self._closed = False
        self.gave_way = 0
        """How many slow readers lost their connection to somebody who waited for one."""

    def __repr__(self) -> str:
        """Count what is in it."""
        return f"<Pool {self._taken} of {self._size} places, {len(self._idle)} idle, {len(self._waiters)} waiting>"

    async def acquire(self, *, fresh: bool = False) -> Connection:
        """Return a connection for one request, unused so far if ``fresh``.

        UpstreamError if none can be opened, or none was to be had in time.
        """
        if self._closed:
            raise failure(Reason.SHUT_DOWN)
        idle = None if fresh else self.idle()
        if idle is not None:
            return idle
        if self._taken < self._size:
            self._taken += 1
            return await self._open()
        granted = next(iter(self._idle)) if self._idle else await self._turn()
        if granted is None:
            return await self._open()
        if granted.closed:  # between being granted and now: its place went to another
            return await self.acquire(fresh=fresh)
        return await self._replace(granted) if fresh else granted

    def idle(self) -> Connection | None:
        """A connection for one request that can be had at once, or None."""
        while self._idle:
            connection, _ = self._idle.popitem()
            if asyncio.get_running_loop().time() - connection.idle_since < self._keepalive_s:
                return connection
            connection.abort()
        return None

    def close(self) -> None:
        """Close all connections and turn away whoever waits for one. Idempotent."""
        self._closed = True
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(failure(Reason.SHUT_DOWN))
        for connection in list(self._connections):
            connection.fail(failure(Reason.SHUT_DOWN))
        for timer in (self._sweep, self._press):
            if timer is not None:
                timer.cancel()

    @property
    def counts(self) -> dict[str, int]:
        """How many connections are ``idle``, ``held`` back by clients that do not keep up, and otherwise ``busy``."""
        held = sum(connection.paused_s > 0 for connection in self._connections)
        return {"busy": self._taken - len(self._idle) - held, "held": held, "idle": len(self._idle)}

    # opening

    async def _open(self) -> Connection:
        try:
            connection = await self._dial()
        except BaseException:
            self._free_place()
            raise
        if connection.closed:
            self._free_place()
            raise failure(Reason.CONNECT_FAILED, "closed as soon as opened")
        self._connections.add(connection)
        connection.adopt(on_idle=self._idled, on_gone=self._gone)
        if self._closed:
            connection.abort()
            raise failure(Reason.SHUT_DOWN)
        return connection

    async def _replace(self, connection: Connection) -> Connection:
        self._taken += 1  # before its own place is freed, so that nobody is given it
        connection.abort()
        return await self._open()

    # waiting

    async def _turn(self) -> Grant:
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Grant] = loop.create_future()
        self._waiters.append(waiter)
        if self._press is None:
            self._make_room()
        timer = loop.call_later(self._wait_s, self._wait_is_over, waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            self._hand_back(waiter)
            raise
        finally:
            timer.cancel()

    def _make_room(self) -> None:
        """While somebody waits, slow readers may hold a quarter of the connections: the one furthest behind gives way.

        Bodies that come slowly may hold half (``uploads``), so that a quarter is left to everybody else.
        """
        self._press = None
        while self._waiters:
            overdue = [connection for connection in self._connections if connection.paused_s >= self._overdue_s]
            if len(overdue) <= self._size // 4:
                self._press = asyncio.get_running_loop().call_later(self._overdue_s / 2, self._make_room)
                return
            self.gave_way += 1
            last = max(overdue, key=lambda connection: connection.paused_s)
            last.fail(failure(Reason.GAVE_WAY, f"others waited for one of {self._size} connections"))

    def _wait_is_over(self, waiter: asyncio.Future[Grant]) -> None:
        if not waiter.done():
            self._waiters.remove(waiter)
            detail = f"all {self._size} connections busy for {self._wait_s:g} s"
            waiter.set_exception(failure(Reason.POOL_EXHAUSTED, detail))

    def _hand_back(self, waiter: asyncio.Future[Grant]) -> None:
        if waiter in self._waiters:
            self._waiters.remove(waiter)
        if waiter.cancelled() or waiter.exception() is not None:
            return
        granted = waiter.result()
        if granted is None:
            self._free_place()
        elif not granted.closed:
            self._idled(granted)

    def _next_waiter(self) -> asyncio.Future[Grant] | None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                return waiter
        return None

    # a place or a connection becomes free

    def _free_place(self) -> None:
        self._taken -= 1
        while self._taken < self._size:
            waiter = self._next_waiter()
            if waiter is None:
                return
            self._taken += 1
            waiter.set_result(None)

    def _gone(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._idle.pop(connection, None)
        self._free_place()

    def _idled(self, connection: Connection) -> None:
        waiter = self._next_waiter() if self._waiters else None
        if waiter is not None:
            waiter.set_result(connection)
            return
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        self._idle[connection] = None
        if self._sweep is None:
            self._sweep = loop.call_later(self._keepalive_s, self._sweep_idle)

    # idle connections

    def _sweep_idle(self) -> None:
        self._sweep = None
        loop = asyncio.get_running_loop()
        for connection in list(self._idle):
            left_s = connection.idle_since + self._keepalive_s - loop.time()
            if left_s > 0:
                self._sweep = loop.call_later(left_s, self._sweep_idle)
                return
            connection.abort()

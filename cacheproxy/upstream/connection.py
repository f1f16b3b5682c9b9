"""One connection to the origin: transport events, flow control and its one timer. It knows no HTTP."""

import asyncio
import math
from collections.abc import Callable
from typing import Protocol, cast

from cacheproxy.upstream.reasons import Reason, failure

LATE_S = 0.1
"""By this much later than it should be, a timer was held up by us: the process stood still, or its event loop did."""
GRACE_S = 0.05
"""What the origin is then given on top: its answer may be here already, unread."""


class User(Protocol):
    """Whoever uses a connection at the moment."""

    def feed(self, data: bytes) -> None:
        """Take bytes from the origin."""
        ...

    def end(self) -> None:
        """Take note that the origin sends no more."""
        ...

    def lost(self, detail: str) -> None:
        """Take note that the connection broke."""
        ...

    def fail(self, error: Exception) -> None:
        """Take note that a limit ran out."""
        ...

    def flushed(self) -> None:
        """Take note that what was written is on its way, after a time in which the origin did not take it."""
        ...


class Connection(asyncio.Protocol):
    """Bytes to and from the origin. Idle while it has no user: then any byte, or the end, closes it."""

    __slots__ = (
        "_armed_at",
        "_deadline",
        "_limit_reason",
        "_loop",
        "_on_gone",
        "_on_idle",
        "_paused_at",
        "_reading",
        "_stalled_bytes",
        "_timer",
        "_transport",
        "_user",
        "_writable",
        "closed",
        "idle_since",
        "served",
        "stall_s",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, stall_s: float) -> None:
        """Make a connection for ``loop`` on which writing may stall for ``stall_s``."""
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._user: User | None = None
        self._on_idle: Callable[[Connection], None] = _ignore
        self._on_gone: Callable[[Connection], None] = _ignore
        self._timer: asyncio.TimerHandle | None = None
        self._armed_at = math.inf
        self._deadline = math.inf
        self._limit_reason = Reason.FIRST_BYTE_TIMEOUT
        self._writable: asyncio.Future[None] | None = None
        self._stalled_bytes = 0
        self._reading = True
        self._paused_at = 0.0
        self.stall_s = stall_s
        self.closed = False
        self.served = 0
        """How many requests it was used for."""
        self.idle_since = 0.0

    def __repr__(self) -> str:
        """Where it is: closed, idle or busy, and how often it was used."""
        state = "closed" if self.closed else "idle" if self._user is None else "busy"
        return f"<Connection {state}, used {self.served} times>"

    def adopt(self, on_idle: Callable[["Connection"], None], on_gone: Callable[["Connection"], None]) -> None:
        """Tell an owner from now on when it can be used again, and (once) when it is gone."""
        self._on_idle = on_idle
        self._on_gone = on_gone

    # used by whoever has a request to send

    def begin(self, user: User) -> None:
        """Give it to ``user``, until ``finish`` or ``abort``."""
        self._user = user
        self.served += 1

    def write(self, data: bytes) -> None:
        """Send ``data``, now or when the origin takes it."""
        if self._transport is not None and not self.closed:
            self._transport.write(data)

    @property
    def stalled(self) -> bool:
        """Whether the origin is behind in taking in what was written."""
        return self._writable is not None

    async def drain(self) -> None:
        """Wait until the origin takes what was written, or the connection is gone."""
        if self._writable is not None:
            await self._writable

    def limit(self, reason: Reason, seconds: float) -> None:
        """Fail with ``reason`` in ``seconds`` from now, unless the limit is set anew or lifted."""
        self._limit_reason = reason
        deadline = self._deadline = self._loop.time() + seconds
        if deadline < self._armed_at:
            self._arm(deadline)

    def lift_limit(self) -> None:
        """Wait as long as it takes."""
        self._deadline = math.inf

    @property
    def reading(self) -> bool:
        """Whether reading is not paused."""
        return self._reading

    @property
    def paused_s(self) -> float:
        """For how long reading has been paused, 0 where it is not."""
        return 0.0 if self._reading else self._loop.time() - self._paused_at

    def pause(self) -> None:
        """Read no more from the origin for now: its silence is then ours, and not limited."""
        if self._reading and self._transport is not None:
            self._reading = False
            self._paused_at = self._loop.time()
            self._transport.pause_reading()
            self.lift_limit()

    def resume(self) -> bool:
        """Read on; whether reading was paused."""
        if self._reading or self._transport is None or self.closed:
            return False
        self._reading = True
        self._transport.resume_reading()
        return True

    def finish(self) -> None:
        """Go idle, fit for another exchange; close instead if some of the request is still here."""
        if self._writable is not None:
            self.abort()
            return
        self._user = None
        self._deadline = math.inf
        if not self._reading:
            self.resume()
        self._on_idle(self)

    def fail(self, error: Exception) -> None:
        """Close at once, telling the user why."""
        if self._user is not None:
            self._user.fail(error)
        self.abort()

    def abort(self) -> None:
        """Close at once, in whatever state. Idempotent."""
        if self.closed:
            return
        self.closed = True
        self._user = None
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()
        self._wake_writer()
        self._on_gone(self)

    # called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Give ``data`` to the user; unasked for, it would be taken for the next request's response: close."""
        if self._user is None:
            self.abort()
        else:
            self._user.feed(data)

    def eof_received(self) -> None:
        """Tell the user, and let the transport close."""
        if self._user is not None:
            self._user.end()
        self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the user why."""
        user = self._user
        if user is not None:
            user.lost(str(exc or ""))
        self.abort()

    def pause_writing(self) -> None:
        """Stop the writer; the origin must take something soon."""
        self._writable = self._loop.create_future()
        self._stalled_bytes = self._unsent()
        self.limit(Reason.WRITE_TIMEOUT, self.stall_s)

    def resume_writing(self) -> None:
        """Let the writer go on."""
        self._deadline = math.inf
        self._wake_writer()
        if self._user is not None:
            self._user.flushed()

    def _wake_writer(self) -> None:
        if self._writable is not None:
            if not self._writable.done():
                self._writable.set_result(None)
            self._writable = None

    def _unsent(self) -> int:
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def _arm(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed_at = deadline
        self._timer = self._loop.call_at(deadline, self._tick)

    def _tick(self) -> None:
        self._timer = None
        late_s = self._loop.time() - self._armed_at
        self._armed_at = math.inf
        if self._deadline > self._loop.time():
            if self._deadline != math.inf:
                self._arm(self._deadline)
        elif self._limit_reason is Reason.WRITE_TIMEOUT and self._unsent() < self._stalled_bytes:
            self._stalled_bytes = self._unsent()
            self.limit(Reason.WRITE_TIMEOUT, self.stall_s)
        elif late_s > LATE_S:
            self._arm(self._loop.time() + GRACE_S)
        else:
            self.fail(failure(self._limit_reason))


def _ignore(_: Connection) -> None:
    """Stand in for an owner while there is none."""

"""A client's connection: heads in, replies out, one request at a time, every wait bounded.

uvicorn runs the listener and makes one of these per connection (``docs/decisions/0002``). It is long because all
that can happen to a connection is in one place: each step must hold after any other.
"""

import asyncio
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.server import ServerState

from cacheproxy.clock import Clock
from cacheproxy.engine.problems import unread
from cacheproxy.errors import ClientError
from cacheproxy.server.adapter import Arrived
from cacheproxy.server.body import ClientGoneError, Intake, WholeBody, split_body
from cacheproxy.server.cycle import Cycle
from cacheproxy.server.deadline import Deadline
from cacheproxy.server.edge import Edge
from cacheproxy.server.head import MAX_HEAD_BYTES, split_head
from cacheproxy.server.outlet import Outlet
from cacheproxy.server.pass_lane import PendingPass
from cacheproxy.server.room import make_room
from cacheproxy.server.wire import render_head


class EdgeProtocol(asyncio.Protocol):
    """One connection."""

    def __init__(
        self,
        edge: Edge,
        clock: Clock,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],  # noqa: ARG002 - uvicorn passes it
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """``edge`` and ``clock`` are bound beforehand; the rest is uvicorn's."""
        self._edge = edge
        self._clock = clock
        self._config = config
        self._server_state = server_state
        self._loop = _loop or asyncio.get_event_loop()
        self._transport: asyncio.Transport
        self._outlet: Outlet
        self._peer = ""
        self._scheme = "http"
        self._buffer = b""
        self._intake: Intake | None = None
        self._cycle: Cycle | PendingPass | None = None
        """The request under way."""
        self._task: asyncio.Task[None] | None = None
        self._lingering = -1
        """Bytes still read and dropped after a refusal; -1 while not lingering."""
        self._awaiting_head = False
        self._paused = False
        self._half_closed = False
        self._deadline = Deadline(self._loop, self._expire)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        self._transport = cast("asyncio.Transport", transport)
        self._outlet = Outlet(self._transport, self._clock, self._edge.limits.write_s)
        peer = transport.get_extra_info("peername")
        self._peer = peer[0] if isinstance(peer, tuple) else ""
        self._scheme = "https" if transport.get_extra_info("sslcontext") else "http"
        connections = self._server_state.connections
        if len(connections) >= self._edge.limits.max_connections and not make_room(connections):
            self._transport.abort()
            return
        connections.add(self)  # type: ignore[arg-type]
        self._deadline.allow(self._edge.limits.keepalive_s)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The client is gone: whatever ran for it alone is cancelled."""
        self._server_state.connections.discard(self)
        self._buffer = b""
        self._deadline.cancel()
        self._fail_body(ClientGoneError())
        if isinstance(self._cycle, PendingPass):
            # The ordinary way takes it up, and then learns that its client has left.
            self._loop.call_soon(self._take_up(self._cycle).cancel)
        elif isinstance(self._cycle, Cycle) and self._cycle.goes_on and self._task is not None:
            # It may have been taken up just now: cancelled before its first step, it would not see to what was sent.
            self._loop.call_soon(self._task.cancel)
        elif self._task is not None:
            self._task.cancel()
        if self._task is not None:
            self._task.add_done_callback(self._server_state.tasks.discard)
        self._outlet.resume()

    def eof_received(self) -> bool:
        """The client will send no more; it may still be waiting for its answer."""
        self._half_closed = True
        self._fail_body(ClientGoneError())
        return self._cycle is not None

    def pause_writing(self) -> None:
        """The client does not keep up with what is sent: it is not heard either."""
        self._outlet.pause()
        if self._cycle is None:
            self._pause_reading(paused=True)

    def resume_writing(self) -> None:
        """The client took enough."""
        self._outlet.resume()
        if self._cycle is None and self._lingering < 0:
            self._pause_reading(paused=False)
            self._go_on()

    def give_way(self) -> bool:
        """Close, so that another may connect, if no request is under way here; whether that was so."""
        if self._cycle is not None or self._lingering >= 0 or self._outlet.full:
            return False
        self._server_state.connections.discard(self)
        self._transport.close()
        return True

    def shutdown(self) -> None:
        """The server stops: finish the current request, then close."""
        if self._cycle is None:
            self._transport.close()
        else:
            self._cycle.keep_alive = False

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        if self._lingering >= 0:
            self._linger(data)
            return
        if self._buffer or self._cycle is not None:
            self._buffer += data
            self._go_on()
        elif not self._express(data) and not self._pass_on(data):
            self._buffer = data
            self._go_on(data)

    def _go_on(self, tried: bytes = b"") -> None:
        """Take what is here; ``tried`` is the part of it that neither lane could take whole."""
        try:
            self._advance(tried)
        except ClientError as error:
            self._refuse(error)
        if self._half_closed and self._cycle is None and not self._outlet.full:
            self._close()

    def _advance(self, tried: bytes) -> None:
        """Read on until more bytes, or the current response, are needed."""
        while self._buffer:
            if self._intake is not None:
                self._take_body(self._intake)
            elif self._cycle is not None:
                self._pause_reading(paused=len(self._buffer) > MAX_HEAD_BYTES)
                return
            elif not self._take_head(tried):
                return

    def _take_head(self, tried: bytes) -> bool:
        """Start on the head at the buffer's front; False if it is not complete yet."""
        self._buffer = self._buffer.removeprefix(b"\r\n")  # RFC 9112 §2.2: some clients end their bodies with a line
        if self._buffer is not tried and self._pass_on(self._buffer):
            return True
        split = split_head(self._buffer)
        if split is None:
            self._await_head()
            return False
        raw, self._buffer = split
        if raw != tried and self._express(raw):
            return not self._outlet.full
        arrived = self._edge.read(raw, self._scheme, self._peer)
        if arrived.framing.upgrades:
            self._hand_over_websocket(raw)
            return False
        self._start(raw, arrived)
        return True

    def _express(self, raw: bytes) -> bool:
        """Answer at once if ``raw`` is a head that is known and needs nothing but memory. On any doubt: False."""
        edge, peer = self._edge, self._peer
        answer = None if edge.draining else edge.lane.answer(raw, trusted=edge.trusts(peer), peer=peer)
        if answer is None:
            return False
        head, body = answer
        self._transport.write(head)
        if body:
            self._transport.write(body)
        self._awaiting_head = False
        self._server_state.total_requests += 1
        self._deadline.allow(edge.limits.keepalive_s)
        return True

    def _await_head(self) -> None:
        """From its first byte a head has one time limit, however slowly it drips in."""
        if self._buffer and not self._awaiting_head:
            self._awaiting_head = True
            self._deadline.allow(self._edge.limits.head_s)

    def _start(self, raw: bytes, arrived: Arrived) -> None:
        self._awaiting_head = False
        split = split_body(arrived.framing, self._buffer)
        if split is None:
            length = arrived.framing.length
            self._intake = Intake(length, lambda paused: self._pause_reading(paused=paused), self._continue)
            self._deadline.allow(self._edge.limits.body_s)
            self._cycle = Cycle(self._edge, self._outlet, raw, arrived, self._intake.body)
            self._spawn(self._cycle)
            return
        content, self._buffer = split
        self._deadline.lift()
        self._cycle = Cycle(self._edge, self._outlet, raw, arrived, WholeBody(content) if content else None)
        self._spawn(self._cycle)

    def _pass_on(self, data: bytes) -> bool:
        """Send the request at the front of ``data`` on at once if it is known how. On any doubt: False."""
        if self._edge.draining:
            return False
        pending = self._edge.pass_lane.begin(data, self._scheme, self._peer)
        if pending is None:
            return False
        self._buffer = pending.rest
        self._awaiting_head = False
        self._deadline.lift()
        self._cycle = pending
        pending.dispatched.sent.when_told(self._passed)
        return True

    def _passed(self) -> None:
        """Something came of a request that was sent on at once."""
        pending = self._cycle
        if not isinstance(pending, PendingPass):
            return
        answer = None if self._edge.draining or not pending.keep_alive else pending.answer(self._outlet.date)
        if answer is None:
            self._take_up(pending)
        else:
            self._outlet.write(answer)
            self._end(pending, again=True)

    def _take_up(self, pending: PendingPass) -> "asyncio.Task[None]":
        """Let the ordinary way go on from where ``pending`` got to."""
        arrived = self._edge.read(pending.raw, self._scheme, self._peer)
        body = WholeBody(pending.content) if pending.content else None
        self._cycle = Cycle(self._edge, self._outlet, pending.raw, arrived, body, pending.dispatched)
        self._cycle.keep_alive = pending.keep_alive
        return self._spawn(self._cycle)

    def _spawn(self, cycle: Cycle) -> "asyncio.Task[None]":
        task = self._task = self._loop.create_task(self._run(cycle))
        self._server_state.tasks.add(task)
        return task

    async def _run(self, cycle: Cycle) -> None:
        self._end(cycle, again=await cycle.run())

    def _end(self, cycle: Cycle | PendingPass, *, again: bool) -> None:
        if self._task is not None:
            self._server_state.tasks.discard(self._task)
            self._task = None
        self._cycle = None
        self._server_state.total_requests += 1
        if self._transport.is_closing():
            return
        if not again or not cycle.keep_alive or (self._half_closed and not self._buffer):
            self._close()
            return
        self._deadline.allow(self._edge.limits.keepalive_s)
        full = self._outlet.full
        if full or self._paused:
            self._pause_reading(paused=full)
        if not full and (self._buffer or self._half_closed):
            self._go_on()

    def _continue(self) -> None:
        if isinstance(self._cycle, Cycle):
            self._cycle.continue_()

    def _take_body(self, intake: Intake) -> None:
        self._deadline.allow(self._edge.limits.body_s)
        self._buffer = intake.take(self._buffer)
        if intake.done:
            self._intake = None
            self._deadline.lift()

    def _fail_body(self, error: ClientError) -> None:
        if self._intake is not None and self._cycle is not None:
            self._cycle.keep_alive = False
            self._intake.body.fail(error)
            self._intake = None

    def _refuse(self, error: ClientError) -> None:
        """Answer ``error`` and close. If a request is under way, its body ends with the error instead."""
        if self._cycle is not None:
            self._buffer = b""
            self._fail_body(error)
            self._cycle.keep_alive = False
            return
        self._edge.refused(error.reason)
        reply = unread(error)
        head, _, _ = render_head(reply, head_only=False, date=self._outlet.date(), close=True)
        assert isinstance(reply.body, bytes)
        self._outlet.write(head + reply.body)
        self._close()

    def _close(self) -> None:
        """Close so that the client still reads what was sent: unread input would turn the close into a reset."""
        if self._half_closed or not self._transport.can_write_eof() or self._transport.is_closing():
            self._outlet.finish()
            return
        self._lingering = self._edge.limits.linger_bytes
        self._intake = None
        self._buffer = b""
        self._pause_reading(paused=False)
        self._transport.write_eof()
        self._deadline.allow(self._edge.limits.linger_s)

    def _linger(self, data: bytes) -> None:
        self._lingering -= len(data)
        if self._lingering < 0:
            self._transport.abort()

    def _hand_over_websocket(self, raw: bytes) -> None:
        """Give the connection to uvicorn's WebSocket protocol, which reads the (checked) head again."""
        self._server_state.connections.discard(self)
        self._deadline.cancel()
        make = cast("Any", self._config.ws_protocol_class)
        protocol = make(config=self._config, server_state=self._server_state, app_state={})
        protocol.connection_made(self._transport)
        self._transport.set_protocol(protocol)
        protocol.data_received(raw + self._buffer)

    def _pause_reading(self, *, paused: bool) -> None:
        if paused == self._paused or self._transport.is_closing():
            return
        self._paused = paused
        if paused:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _expire(self) -> None:
        """The client took too long."""
        if self._intake is not None and self._paused:
            self._deadline.allow(self._edge.limits.body_s)
        elif self._intake is not None:
            self._fail_body(ClientGoneError("body-timeout", 408))
        elif self._awaiting_head and self._lingering < 0:
            self._refuse(ClientError(408, "head-timeout", "the request head did not arrive in time"))
        else:
            self._outlet.finish()

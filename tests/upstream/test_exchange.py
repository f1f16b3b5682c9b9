"""One exchange on a connection without a network: the order of events that sockets cannot be made to give."""

import asyncio

import pytest

from cacheproxy.errors import UpstreamError
from cacheproxy.policy.route import Timeouts
from cacheproxy.upstream.connection import Connection
from cacheproxy.upstream.exchange import Exchange
from cacheproxy.upstream.reasons import Reason

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Wire(asyncio.Transport):
    """A transport that notes what is done to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.aborted = False
        self.unsent = 0

    def write(self, data: bytes) -> None:
        """Note ``data``."""
        self.written += data

    def abort(self) -> None:
        """Note it."""
        self.aborted = True

    def get_write_buffer_size(self) -> int:
        """As the test says."""
        return self.unsent

    def pause_reading(self) -> None:
        """Nothing to pause."""

    def resume_reading(self) -> None:
        """Nothing to resume."""


@pytest.fixture
async def wire() -> Wire:
    """The transport of ``connection``."""
    return Wire()


@pytest.fixture
async def connection(wire: Wire) -> Connection:
    """A connection over ``wire``."""
    connection = Connection(asyncio.get_running_loop(), stall_s=60)
    connection.connection_made(wire)
    return connection


def begin(connection: Connection) -> Exchange:
    """A GET on ``connection``."""
    exchange = Exchange(connection, "GET", Timeouts(), None)
    exchange.send(b"GET / HTTP/1.1\r\n\r\n", None, expects=False, spawn=asyncio.create_task)
    return exchange


async def test_a_cancelled_request_does_not_close_the_next_ones_connection(connection: Connection) -> None:
    """Its response was complete and the connection handed on before the cancellation was seen."""
    first = asyncio.create_task(begin(connection).response())
    await asyncio.sleep(0)
    handed: list[Exchange] = []
    connection.adopt(on_idle=lambda idle: handed.append(begin(idle)), on_gone=lambda _: None)
    connection.data_received(OK)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert not connection.closed
    connection.adopt(on_idle=lambda _: None, on_gone=lambda _: None)
    connection.data_received(OK)
    _, body = await handed[0].response()
    assert body.complete == b"ok"


async def test_a_response_before_its_request_was_taken_in_costs_the_connection(
    connection: Connection, wire: Wire
) -> None:
    """What is left unsent would stand before the next request."""
    exchange = begin(connection)
    connection.pause_writing()
    connection.data_received(OK)
    _, body = await exchange.response()
    assert body.complete == b"ok"
    assert wire.aborted


async def test_a_request_taken_in_late_is_then_timed_as_any(connection: Connection) -> None:
    """Once the origin has taken the request in, the response is due."""
    exchange = Exchange(connection, "GET", Timeouts(first_byte_s=0.01), None)
    connection.pause_writing()
    exchange.send(b"GET / HTTP/1.1\r\n\r\n", None, expects=False, spawn=asyncio.create_task)
    connection.resume_writing()
    with pytest.raises(UpstreamError) as error:
        await exchange.response()
    assert error.value.reason == Reason.FIRST_BYTE_TIMEOUT


async def test_a_connection_says_where_it_is(connection: Connection) -> None:
    """Its repr is for whoever looks at a stuck pool."""
    assert repr(connection) == "<Connection idle, used 0 times>"
    begin(connection)
    assert repr(connection) == "<Connection busy, used 1 times>"
    connection.abort()
    assert repr(connection) == "<Connection closed, used 1 times>"

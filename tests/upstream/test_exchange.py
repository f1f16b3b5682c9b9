"""One exchange on a connection without a network: the order of events that sockets cannot be made to give."""

import asyncio

import pytest

from cacheproxy.errors import UpstreamError
from cacheproxy.policy.route import Timeouts
from cacheproxy.upstream.connection import Connection
from cacheproxy.upstream.exchange import Exchange
from cacheproxy.upstream.limits import AHEAD_BYTES, HIGH_WATER_BYTES
from cacheproxy.upstream.read_ahead import ReadAhead
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
    exchange = Exchange(connection, "GET", Timeouts(), None, ReadAhead(0))
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
    exchange = Exchange(connection, "GET", Timeouts(first_byte_s=0.01), None, ReadAhead(0))
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


def told(connection: Connection) -> tuple[Exchange, list[str]]:
    """A GET on ``connection``, and the state of that each time it is said that something is known."""
    exchange, states = begin(connection), list[str]()
    exchange.when_told(lambda: states.append(repr(connection)))
    return exchange, states


async def test_a_whole_response_is_told_of_when_the_connection_is_free_again(connection: Connection) -> None:
    """Whoever is told may use it for the next request at once; there is nothing to be awaited."""
    exchange, states = told(connection)
    connection.data_received(OK[:-1])
    assert (None, []) == (exchange.whole, states)
    connection.data_received(OK[-1:])
    assert ["<Connection idle, used 1 times>"] == states
    assert exchange.whole is not None
    assert (200, b"ok") == (exchange.whole[0].status, exchange.whole[1])


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK,
        b"HTTP/1.1 103 Early Hints\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n",
        b"nonsense\r\n\r\n",
    ],
    ids=["interim", "interim-alone", "stream", "malformed"],
)
async def test_what_is_no_whole_response_is_told_of_once(connection: Connection, data: bytes) -> None:
    """It is for who awaits the response, and hears of what came before he did."""
    exchange, states = told(connection)
    connection.data_received(data)
    assert (None, 1) == (exchange.whole, len(states))


async def test_who_follows_late_is_told_of_interim_responses_that_came_before(connection: Connection) -> None:
    """And of those that come then, each once; 100 (Continue) is between the origin and us."""
    exchange, heard = begin(connection), list[int]()
    connection.data_received(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n")
    exchange.follow(lambda head: heard.append(head.status))
    connection.data_received(b"HTTP/1.1 102 Processing\r\n\r\n" + OK)
    head, _ = await exchange.response()
    assert ([103, 102], 200) == (heard, head.status)


async def test_who_awaits_what_was_given_up_is_told_so(connection: Connection) -> None:
    """Nobody waits for ever for an answer that cannot come."""
    exchange = begin(connection)
    exchange.abandon()
    with pytest.raises(UpstreamError) as error:
        await exchange.response()
    assert (Reason.SHUT_DOWN, True) == (error.value.reason, connection.closed)


async def test_heads_that_are_the_same_bytes_are_the_same_object(connection: Connection) -> None:
    """So what is made of one can be remembered; others are told apart by a single byte."""
    heads = []
    connection.adopt(on_idle=lambda _: None, on_gone=lambda _: None)
    for data in (OK, OK, OK.replace(b"OK", b"ok", 1)):
        exchange = begin(connection)
        connection.data_received(data)
        heads.append((await exchange.response())[0])
    assert (True, False) == (heads[0] is heads[1], heads[1] is heads[2])


@pytest.mark.parametrize("rest", [b"", b"0\r\n\r\n"], ids=["still-arriving", "all-here"])
async def test_a_body_that_nobody_was_told_of_gives_back_what_it_borrowed(connection: Connection, rest: bytes) -> None:
    """Its client left between its arrival and its being met: for good, that memory would be missing to others."""
    ahead = ReadAhead(AHEAD_BYTES)
    exchange = Exchange(connection, "GET", Timeouts(), None, ahead)
    exchange.send_whole(b"GET / HTTP/1.1\r\n\r\n")
    connection.data_received(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    length = 4 * HIGH_WATER_BYTES
    connection.data_received(b"%x\r\n%b\r\n" % (length, bytes(length)))
    assert ahead.free_bytes < AHEAD_BYTES
    if rest:
        connection.data_received(rest)
    exchange.abandon()
    assert ahead.free_bytes == AHEAD_BYTES

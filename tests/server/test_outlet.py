"""Writing to a client: back-pressure, and what becomes of one that takes nothing."""

import asyncio
from typing import Any, cast

import pytest

from cacheproxy.server.outlet import Outlet

from ..clocks import FakeClock  # noqa: TID252 - of all tests, whatever their root is called


class Client:
    """A transport to a client that takes what it is told to."""

    def __init__(self) -> None:
        """Nothing sent."""
        self.taken = b""
        self.left_bytes = 0
        self.closing = False
        self.aborted = asyncio.Event()

    def write(self, data: bytes) -> None:
        """Take ``data``."""
        self.taken += data

    def is_closing(self) -> bool:
        """Whether it is gone."""
        return self.closing

    def close(self) -> None:
        """An orderly end."""
        self.closing = True

    def abort(self) -> None:
        """The other one."""
        self.aborted.set()

    def get_write_buffer_size(self) -> int:
        """What is still to be taken."""
        return self.left_bytes


@pytest.fixture
def client() -> Client:
    """A client."""
    return Client()


def outlet_to(client: Client, stall_s: float = 60.0) -> Outlet:
    """An outlet that cuts ``client`` off after ``stall_s``."""
    return Outlet(cast("Any", client), FakeClock(1_700_000_000.9), stall_s)


async def test_what_is_written_is_sent_until_the_client_is_gone(client) -> None:
    """Nothing is written to a closed connection."""
    outlet = outlet_to(client)
    outlet.write(b"a")
    client.closing = True
    outlet.write(b"b")
    assert b"a" == client.taken


async def test_the_date_is_the_clocks(client) -> None:
    """As an IMF-fixdate, in whole seconds (RFC 9110 §5.6.7)."""
    assert b"Tue, 14 Nov 2023 22:13:20 GMT" == outlet_to(client).date()


async def test_a_writer_waits_for_a_slow_client(client) -> None:
    """No more is made than the client takes; then all who wait go on."""
    outlet = outlet_to(client)
    await outlet.drained()
    outlet.pause()
    outlet.pause()
    waiting = [asyncio.create_task(outlet.drained()) for _ in range(2)]
    await asyncio.sleep(0)
    assert (True, [False, False]) == (outlet.full, [task.done() for task in waiting])
    outlet.resume()
    await asyncio.gather(*waiting)
    assert not outlet.full


async def test_one_writer_that_is_cancelled_leaves_the_others_waiting(client) -> None:
    """The wait is each writer's own."""
    outlet = outlet_to(client)
    outlet.pause()
    leaving, staying = (asyncio.create_task(outlet.drained()) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait([leaving])
    assert not staying.done()
    outlet.resume()
    await staying


async def test_a_client_that_takes_nothing_is_cut_off(client) -> None:
    """It would hold memory, and a connection to the origin, for ever."""
    client.left_bytes = 9
    outlet_to(client, stall_s=0).pause()
    await client.aborted.wait()


async def test_a_client_that_takes_a_little_is_not_cut_off(client) -> None:
    """Slow is no crime: only if nothing was taken in all the time is it cut off."""
    client.left_bytes = 9
    outlet = outlet_to(client, stall_s=0)
    outlet.pause()
    for left in (8, 7):
        client.left_bytes = left
        await asyncio.sleep(0)
        assert not client.aborted.is_set()
    await client.aborted.wait()


async def test_a_client_that_caught_up_is_not_cut_off(client) -> None:
    """The watch ends with the pause."""
    outlet = outlet_to(client, stall_s=0)
    outlet.pause()
    outlet.resume()
    outlet.resume()
    for _ in range(3):
        await asyncio.sleep(0)
    assert not client.aborted.is_set()


@pytest.mark.parametrize("left", [0, 9])
async def test_a_client_is_given_time_to_take_the_end(client, left: int) -> None:
    """Closing waits for what is still to be taken, but not for ever."""
    client.left_bytes = left
    outlet = outlet_to(client, stall_s=0)
    outlet.finish()
    outlet.resume()
    assert client.closing
    for _ in range(3):
        await asyncio.sleep(0)
    assert (left > 0) == client.aborted.is_set()

"""Places and connections change hands in order, and none is ever lost."""

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cacheproxy.errors import UpstreamError
from cacheproxy.upstream.connection import Connection
from cacheproxy.upstream.pool import Pool
from cacheproxy.upstream.reasons import Reason, failure


class Dial:
    """Opens connections that lead nowhere, when it is let, and fails once when it is told to."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: UpstreamError | None = None
        self.opened: list[Connection] = []
        self.dialling = 0

    async def __call__(self) -> Connection:
        """The next connection."""
        self.dialling += 1
        try:
            await self.gate.wait()
        finally:
            self.dialling -= 1
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        connection = Connection(asyncio.get_running_loop(), stall_s=60)
        self.opened.append(connection)
        return connection


class User:
    """Uses a connection and remembers how it ended."""

    def __init__(self, connection: Connection) -> None:
        self.error: Exception | None = None
        connection.begin(self)

    def fail(self, error: Exception) -> None:
        """Note the error."""
        self.error = error


def pool_of(dial: Dial, size: int = 1, wait_s: float = 60, keepalive_s: float = 60) -> Pool:
    """A pool over ``dial``."""
    return Pool(dial, size=size, wait_s=wait_s, keepalive_s=keepalive_s)


async def acquired(pool: Pool, *, fresh: bool = False) -> Connection:
    """A connection in use."""
    connection = await pool.acquire(fresh=fresh)
    User(connection)
    return connection


async def turns(count: int = 5) -> None:
    """Let the loop turn."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_whoever_waits_longest_is_served_first() -> None:
    """A freed connection passes to the first in the queue, past newcomers."""
    pool = pool_of(Dial())
    connection = await acquired(pool)
    served: list[int] = []

    async def wait(number: int) -> None:
        mine = await acquired(pool)
        served.append(number)
        mine.finish()

    waiting = [asyncio.create_task(wait(number)) for number in range(3)]
    await turns()
    connection.finish()
    newcomer = asyncio.create_task(wait(3))
    await asyncio.gather(*waiting, newcomer)
    assert served == [0, 1, 2, 3]


async def test_a_closed_connection_leaves_its_place_to_the_next() -> None:
    """Who waits opens a connection of its own where one was lost."""
    dial = Dial()
    pool = pool_of(dial)
    first = await acquired(pool)
    waiting = asyncio.create_task(acquired(pool))
    await turns()
    first.abort()
    assert await waiting is dial.opened[1]


async def test_a_failed_dial_leaves_its_place_to_the_next() -> None:
    """An error while opening concerns one request only."""
    dial = Dial()
    pool = pool_of(dial)
    dial.gate.clear()
    failing = asyncio.create_task(acquired(pool))
    waiting = asyncio.create_task(acquired(pool))
    await turns()
    dial.error = failure(Reason.CONNECT_REFUSED)
    dial.gate.set()
    with pytest.raises(UpstreamError):
        await failing
    assert not (await waiting).closed


async def test_a_connection_that_died_on_its_way_to_a_waiter_is_replaced() -> None:
    """Between being granted and being taken a connection may close; the waiter gets another."""
    dial = Dial()
    pool = pool_of(dial)
    first = await acquired(pool)
    waiting = asyncio.create_task(acquired(pool))
    await turns()
    first.finish()
    first.abort()
    assert await waiting is dial.opened[1]


async def test_a_fresh_connection_replaces_the_oldest_idle_one() -> None:
    """Where all places are taken by idle connections, a fresh one costs one of them."""
    dial = Dial()
    pool = pool_of(dial, size=2)
    for connection in [await acquired(pool), await acquired(pool)]:
        connection.finish()
    fresh = await acquired(pool, fresh=True)
    assert fresh is dial.opened[2]
    assert [connection.closed for connection in dial.opened] == [True, False, False]
    assert repr(pool) == "<Pool 2 of 2 places, 1 idle, 0 waiting>"


async def test_a_fresh_connection_takes_over_the_place_it_waited_for() -> None:
    """A waiter that needs a fresh connection does not use the one it is granted, nor lets another have its place."""
    dial = Dial()
    pool = pool_of(dial)
    busy = await acquired(pool)
    fresh = asyncio.create_task(acquired(pool, fresh=True))
    await turns()
    behind = asyncio.create_task(acquired(pool))
    await turns()
    busy.finish()
    granted = await fresh
    assert granted is dial.opened[1]
    assert not behind.done()
    granted.finish()
    assert await behind is granted


async def test_expired_connections_are_not_handed_out() -> None:
    """An idle connection past its time is closed even if nothing has swept it yet."""
    dial = Dial()
    pool = pool_of(dial, size=2, keepalive_s=0)
    (await acquired(pool)).finish()
    assert await acquired(pool) is dial.opened[1]
    assert dial.opened[0].closed


async def test_the_sweep_closes_those_whose_time_is_over_and_no_others() -> None:
    """Idle connections are closed in the order in which they became idle."""
    dial = Dial()
    pool = pool_of(dial, size=2, keepalive_s=0.05)
    first, second = await acquired(pool), await acquired(pool)
    gone: list[Connection] = []
    all_gone = asyncio.Event()

    def note(connection: Connection) -> None:
        gone.append(connection)
        if len(gone) == 2:
            all_gone.set()

    for connection in (first, second):
        connection._on_gone = note
    first.finish()
    asyncio.get_running_loop().call_later(0.02, second.finish)
    await all_gone.wait()
    assert gone == [first, second]


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("handed", [False, True], ids=["waiting", "granted"])
@pytest.mark.parametrize("how", [Connection.finish, Connection.abort], ids=["connection", "place"])
async def test_cancelling_a_waiter_loses_nothing(fresh: bool, handed: bool, how: Callable[[Connection], None]) -> None:
    """A cancelled waiter passes on what it was granted in the same moment."""
    pool = pool_of(Dial())
    busy = await acquired(pool)
    cancelled = asyncio.create_task(acquired(pool, fresh=fresh))
    behind = asyncio.create_task(acquired(pool))
    await turns()
    if handed:
        how(busy)
        cancelled.cancel()
    else:
        cancelled.cancel()
        await turns()
        how(busy)
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    (await behind).finish()
    assert repr(pool) == "<Pool 1 of 1 places, 1 idle, 0 waiting>"


async def test_cancelling_a_dial_frees_its_place() -> None:
    """Nobody's connection is nobody's place."""
    dial = Dial()
    pool = pool_of(dial)
    dial.gate.clear()
    cancelled = asyncio.create_task(acquired(pool))
    await turns()
    assert dial.dialling == 1
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert repr(pool) == "<Pool 0 of 1 places, 0 idle, 0 waiting>"


async def test_closing_while_dialling_closes_what_was_dialled() -> None:
    """A connection that opens after the end is closed at once."""
    dial = Dial()
    pool = pool_of(dial)
    dial.gate.clear()
    late = asyncio.create_task(acquired(pool))
    await turns()
    pool.close()
    dial.gate.set()
    with pytest.raises(UpstreamError, match=Reason.SHUT_DOWN):
        await late
    assert dial.opened[0].closed
    assert repr(pool) == "<Pool 0 of 1 places, 0 idle, 0 waiting>"


async def test_a_connection_lost_as_soon_as_opened_is_no_connection() -> None:
    """An origin that accepts and drops gives an error, not a dead connection."""
    dial = Dial()

    async def dead() -> Connection:
        connection = await dial()
        connection.abort()
        return connection

    pool = Pool(dead, size=1, wait_s=60, keepalive_s=60)
    with pytest.raises(UpstreamError, match=Reason.CONNECT_FAILED):
        await pool.acquire()
    assert repr(pool) == "<Pool 0 of 1 places, 0 idle, 0 waiting>"


STEPS = st.lists(
    st.tuples(st.sampled_from(["acquire", "fresh", "finish", "abort", "cancel", "turn", "refuse"]), st.integers(0, 9)),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(steps=STEPS, size=st.integers(1, 3))
def test_no_schedule_loses_a_place(steps: list[tuple[str, int]], size: int) -> None:
    """After any interleaving of requests, ends, losses, failures and cancellations all places can be had again."""

    async def schedule() -> None:
        dial = Dial()
        pool = pool_of(dial, size=size)
        requests: list[asyncio.Task[Connection]] = []
        for step, which in steps:
            busy = [task.result() for task in requests if task.done() and in_use(task)]
            if step in {"acquire", "fresh"}:
                requests.append(asyncio.create_task(acquired(pool, fresh=step == "fresh")))
            elif step in {"finish", "abort"} and busy:
                getattr(busy[which % len(busy)], step)()
            elif step == "cancel" and requests:
                requests[which % len(requests)].cancel()
            elif step == "refuse":
                dial.error = failure(Reason.CONNECT_REFUSED)
            else:
                await turns(which)
            assert pool._taken <= size
            assert not (pool._idle and pool._waiters)
        dial.error = None
        for task in requests:
            task.cancel()
        await asyncio.gather(*requests, return_exceptions=True)
        for connection in list(pool._connections):
            connection.abort()
        assert repr(pool) == f"<Pool 0 of {size} places, 0 idle, 0 waiting>"
        await asyncio.gather(*(pool.acquire() for _ in range(size)))
        pool.close()

    asyncio.run(schedule())


def in_use(task: asyncio.Task[Connection]) -> bool:
    """Whether the connection that ``task`` got is still its own."""
    if task.cancelled() or task.exception() is not None:
        return False
    return task.result()._user is not None and not task.result().closed


async def test_what_is_idle_is_had_at_once_and_nothing_else_is() -> None:
    """No connection is opened for it, nobody who waits is passed over, and a closed pool has none."""
    dial = Dial()
    pool = Pool(dial, size=1, wait_s=5, keepalive_s=60)
    assert pool.idle() is None
    connection = await pool.acquire()
    User(connection)
    waiting = asyncio.create_task(pool.acquire())
    await asyncio.sleep(0)
    connection.finish()
    assert pool.idle() is None
    assert await waiting is connection
    User(connection)
    connection.finish()
    assert pool.idle() is connection
    User(connection)
    connection.finish()
    pool.close()
    assert (None, 1) == (pool.idle(), len(dial.opened))

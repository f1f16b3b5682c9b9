"""Every way in which Redis fails: the wait is bounded, the reason is right, and the link comes back by itself."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from structlog.testing import capture_logs

from cacheproxy.errors import StateError
from cacheproxy.redis_link.connect import Tuning
from cacheproxy.redis_link.contract import Budget, Role

LIMIT_S = 0.05
PATIENT = Tuning(limit_s=2.0)
NOT_LONG_S = 0.5
"""Far above the limit, for a busy machine, and far below the seconds to minutes that a client library waits."""


class Changes:
    """Notes changes of state, and lets a test wait for one."""

    def __init__(self) -> None:
        self.seen: list[tuple[bool, str]] = []
        self.back = asyncio.Event()

    def __call__(self, role: Role, up: bool, reason: str) -> None:
        """Note what the cache's link says of itself."""
        if role is Role.CACHE:
            self.seen.append((up, reason))
            if up:
                self.back.set()


async def timed(call: Callable[[], Awaitable[object]]) -> tuple[str, float]:
    """The reason ``call`` fails for, and the seconds it took."""
    started = asyncio.get_running_loop().time()
    with pytest.raises(StateError) as failure:
        await call()
    return failure.value.reason, asyncio.get_running_loop().time() - started


def greeting_then(reply: bytes | None):
    """A server that lets clients in and then always answers ``reply``."""
    return lambda server: server.after_hello(reply)


FAULTS = [
    pytest.param(lambda _: lambda _command: None, {"timeout"}, id="hung-from-the-start"),
    pytest.param(greeting_then(None), {"timeout"}, id="hung-after-the-greeting"),
    pytest.param(greeting_then(b"$5\r\nhal"), {"timeout", "lost"}, id="hung-within-a-reply"),
    pytest.param(greeting_then(b""), {"lost"}, id="hangs-up"),
    pytest.param(lambda _: lambda _command: b"", {"lost"}, id="hangs-up-on-the-greeting"),
    pytest.param(greeting_then(b"HTTP/1.1 200 OK\r\n\r\n"), {"lost"}, id="is-a-web-server"),
    pytest.param(lambda _: lambda _command: b"\x15\x03\x01", {"lost"}, id="speaks-tls"),
    pytest.param(greeting_then(b"-LOADING Redis is loading\r\n"), {"loading"}, id="loading"),
    pytest.param(greeting_then(b"-MASTERDOWN Link with MASTER is down\r\n"), {"loading"}, id="master-down"),
    pytest.param(greeting_then(b"-READONLY You can't write\r\n"), {"readonly"}, id="read-only"),
    pytest.param(lambda _: lambda _command: b"-NOAUTH required\r\n", {"error"}, id="wants-a-password"),
    pytest.param(lambda _: lambda _command: b"$3\r\nfoo\r\n", {"error"}, id="greets-with-nonsense"),
]


@pytest.mark.parametrize(("fault", "reasons"), FAULTS)
async def test_a_fault_costs_little_and_passes(scripted, connected, fault, reasons: set[str]) -> None:
    """Twenty calls in a row to a failing server take less than a client library's first time-out, and it recovers."""
    scripted.answer = fault(scripted)
    changes = Changes()
    link = connected(scripted.url, Tuning(limit_s=LIMIT_S), changes).cache
    outcomes = [await timed(lambda: link.call("GET", "k")) for _ in range(20)]
    assert {reason for reason, _ in outcomes} <= reasons | {"open"}
    assert outcomes[0][0] in reasons
    assert max(waited_s for _, waited_s in outcomes) < LIMIT_S + NOT_LONG_S
    assert outcomes[-1][0] == "open"

    scripted.answer = scripted.well
    async with asyncio.timeout(20):
        await changes.back.wait()
    assert await link.call("ECHO", "alive") == b"alive"
    assert [up for up, _ in changes.seen] == [False, True]


async def test_refused_is_told_at_once(connected, fresh_valkey) -> None:
    """Where nobody listens the first call already opens the breaker, and the link comes back with the server."""
    fresh_valkey.kill()
    changes = Changes()
    link = connected(fresh_valkey.url, PATIENT, changes).cache
    reason, waited_s = await timed(lambda: link.call("GET", "k"))
    assert (reason, link.up) == ("refused", False)
    assert waited_s < NOT_LONG_S
    fresh_valkey.start()
    async with asyncio.timeout(20):
        await changes.back.wait()
    assert await link.call("SET", "k", "v") == b"OK"


async def test_an_error_reply_is_not_a_broken_link(scripted, connected) -> None:
    """However often the server refuses a command, the breaker stays closed."""
    scripted.answer = scripted.after_hello(b"-ERR no\r\n")
    link = connected(scripted.url, PATIENT).cache
    for _ in range(20):
        assert (await timed(lambda: link.call("GET", "k")))[0] == "error"
    assert link.up


async def test_an_open_breaker_asks_nothing(scripted, connected) -> None:
    """While open, calls end at once and the server hears none of them."""
    scripted.answer = scripted.after_hello(b"-LOADING\r\n")
    link = connected(scripted.url, PATIENT).cache
    await timed(lambda: link.call("GET", "k"))
    heard = len(scripted.commands)
    outcomes = await asyncio.gather(*(timed(lambda: link.call("GET", "k")) for _ in range(1000)))
    assert {reason for reason, _ in outcomes} == {"open"}
    assert len(scripted.commands) == heard


async def test_losing_and_regaining_is_logged_once_each(scripted, connected) -> None:
    """A thousand failing callers make one line, and the return another."""
    changes = Changes()
    link = connected(scripted.url, Tuning(limit_s=LIMIT_S), changes).cache
    await link.ping(2.0)
    scripted.answer = scripted.after_hello(None)
    with capture_logs() as logs:
        await asyncio.gather(*(timed(lambda: link.call("GET", "k")) for _ in range(1000)))
        for _ in range(5):
            await timed(lambda: link.call("GET", "k"))
        scripted.answer = scripted.well
        async with asyncio.timeout(20):
            await changes.back.wait()
    assert [line["event"] for line in logs] == ["redis_lost", "redis_back"]


async def test_a_hung_server_frees_everything(fresh_valkey, connected) -> None:
    """A thousand callers on a stopped server all leave within the limit; after it goes on, the link works again."""
    changes = Changes()
    link = connected(fresh_valkey.url, Tuning(limit_s=LIMIT_S, connect_s=0.2), changes).cache
    await link.ping(2.0)
    fresh_valkey.pause()
    outcomes = await asyncio.gather(*(timed(lambda: link.call("GET", "k")) for _ in range(1000)))
    fresh_valkey.resume()
    assert {reason for reason, _ in outcomes} <= {"timeout", "open"}
    assert max(waited_s for _, waited_s in outcomes) < LIMIT_S + NOT_LONG_S
    for _ in range(5):
        if link.up:
            await timed(lambda: link.call("BLPOP", "nothing", 0))
    async with asyncio.timeout(20):
        await changes.back.wait()
    assert await link.call("ECHO", "alive") == b"alive"


async def test_a_server_killed_in_mid_call_is_told_at_once(fresh_valkey, connected) -> None:
    """Who waits when the server dies is told then, not at its deadline; the next server is found without help."""
    changes = Changes()
    link = connected(fresh_valkey.url, Tuning(limit_s=30.0), changes).cache
    await link.ping(2.0)
    waiting = asyncio.create_task(timed(lambda: link.call("BLPOP", "nothing", 0)))
    await asyncio.sleep(0)
    fresh_valkey.kill()
    reason, waited_s = await waiting
    assert reason == "lost"
    assert waited_s < 5
    fresh_valkey.start()
    while True:
        try:
            assert await link.call("ECHO", "alive") == b"alive"
            break
        except StateError:
            await asyncio.wait_for(changes.back.wait(), 20)


async def test_a_demoted_master_is_left(fresh_valkey, connected) -> None:
    """A master that became a replica refuses writes: the link drops it, and stays away until it is a master again."""
    changes = Changes()
    link = connected(fresh_valkey.url, PATIENT, changes).cache
    assert await link.call("SET", "k", "v") == b"OK"
    with fresh_valkey.client() as outside:
        outside.replicaof("127.0.0.1", 1)
        reason, _ = await timed(lambda: link.call("SET", "k", "w"))
        assert (reason, link.up) == ("readonly", False)
        outside.replicaof("NO", "ONE")
    async with asyncio.timeout(20):
        await changes.back.wait()
    assert await link.call("SET", "k", "w") == b"OK"


async def test_a_late_reply_reaches_nobody(scripted, connected) -> None:
    """The reply to a caller who left is dropped; the next caller on the same connection gets its own."""
    held: list[bytes] = []

    def answer(command: list[bytes]) -> bytes | None:
        if command[-1] == b"slow":
            held.append(scripted.well(command))
            return None
        return b"".join([*held, scripted.well(command)])

    scripted.answer = answer
    link = connected(scripted.url, PATIENT).cache
    await link.ping(2.0)
    now = asyncio.get_running_loop().time()
    reason, _ = await timed(lambda: link.call("ECHO", "slow", budget=Budget(now + 0.02)))
    assert reason == "timeout"
    assert await link.call("ECHO", "mine") == b"mine"
    assert scripted.connections == 1


async def test_a_hung_connection_is_thrown_away(scripted, connected) -> None:
    """One connection of a healthy server hangs (a firewall forgot it): one call pays, the next has a new connection."""
    hung = True

    def answer(command: list[bytes]) -> bytes | None:
        nonlocal hung
        if command[0] == b"HELLO":
            hung = scripted.connections == 1
            return scripted.HELLO
        return None if hung else scripted.well(command)

    scripted.answer = answer
    link = connected(scripted.url, Tuning(limit_s=LIMIT_S)).cache
    assert (await timed(lambda: link.call("ECHO", "x")))[0] == "timeout"
    assert await link.call("ECHO", "x", budget=Budget(asyncio.get_running_loop().time() + 5)) == b"x"
    assert (link.up, scripted.connections) == (True, 2)


async def test_failures_with_answers_in_between_open_nothing(scripted, connected) -> None:
    """Only failures in a row count: two of three calls lost, again and again, leave the link up."""
    calls = 0

    def answer(command: list[bytes]) -> bytes:
        nonlocal calls
        if command[0] == b"HELLO":
            return scripted.HELLO
        calls += 1
        return b"" if calls % 3 else scripted.well(command)

    scripted.answer = answer
    link = connected(scripted.url, PATIENT).cache
    for _ in range(4):
        for _ in range(2):
            assert (await timed(lambda: link.call("ECHO", "x")))[0] == "lost"
        assert await link.call("ECHO", "x") == b"x"


async def test_a_replica_is_no_server_for_us(fresh_valkey, connected) -> None:
    """A replica would answer reads and refuse writes: it is told at once, and not taken for recovered by a probe."""
    with fresh_valkey.client() as outside:
        outside.replicaof("127.0.0.1", 1)
    link = connected(fresh_valkey.url, PATIENT).cache
    assert (await timed(lambda: link.call("PING")))[0] == "readonly"
    assert not link.up


async def test_one_budget_bounds_all_calls(scripted, connected) -> None:
    """Calls made one after the other under one budget end together at its deadline, however many there are."""
    scripted.answer = scripted.after_hello(None)
    link = connected(scripted.url, PATIENT).cache
    started = asyncio.get_running_loop().time()
    budget = Budget(started + LIMIT_S)
    for _ in range(10):
        await timed(lambda: link.call("GET", "k", budget=budget))
    assert asyncio.get_running_loop().time() - started < LIMIT_S + NOT_LONG_S


async def test_a_slow_connection_is_not_given_up(scripted, connected) -> None:
    """Callers leave at their deadline while the connection is still being made; it is used once it is there."""
    link = connected(scripted.url, Tuning(limit_s=LIMIT_S, connect_s=20)).cache
    scripted.answer = lambda command: None
    assert (await timed(lambda: link.call("GET", "k")))[0] == "timeout"
    for writer in scripted._writers:
        writer.write(scripted.HELLO)
    scripted.answer = scripted.well
    while True:
        try:
            assert await link.call("ECHO", "late") == b"late"
            break
        except StateError as error:
            assert error.reason == "timeout"
    assert scripted.connections == 1

"""RedisLink against a real server: what is answered, what is batched, and that nobody disturbs anybody."""

import asyncio

import pytest

from cacheproxy.errors import StateError
from cacheproxy.redis_link.connect import Roles
from cacheproxy.redis_link.contract import Budget
from cacheproxy.redis_link.scripts import script


async def test_call_gives_the_reply_as_bytes(roles: Roles) -> None:
    """Replies are RESP3 values, never decoded text: bytes, ints, None, dicts."""
    link = roles.cache
    assert await link.call("SET", "k", b"\x00\xff") == b"OK"
    assert await link.call("GET", "k") == b"\x00\xff"
    assert await link.call("GET", "missing") is None
    assert await link.call("HSET", "h", "f", 1) == 1
    assert await link.call("HGETALL", "h") == {b"f": b"1"}


async def test_commands_of_one_turn_travel_together(roles: Roles) -> None:
    """A hundred concurrent callers cost the server one read, not a hundred (counted by the server)."""
    link = roles.cache
    await link.call("SET", "k", "v")
    before = await _reads(roles)
    assert await asyncio.gather(*(link.call("GET", "k") for _ in range(100))) == [b"v"] * 100
    assert await _reads(roles) - before <= 3


async def test_a_refused_command_fails_only_its_own_caller(roles: Roles) -> None:
    """In a shared pipeline an error reply reaches the caller who earned it, and the link stays up."""
    link = roles.cache
    good, bad, also_good = await asyncio.gather(
        link.call("SET", "s", "text"), link.call("NONSENSE"), link.call("ECHO", "x"), return_exceptions=True
    )
    assert (good, also_good) == (b"OK", b"x")
    assert isinstance(bad, StateError)
    assert bad.reason == "error"
    assert link.up


async def test_batch_gives_replies_in_order(roles: Roles) -> None:
    """A batch answers with one reply a command, in the order asked."""
    assert await roles.cache.batch([("SET", "a", 1), ("INCR", "a"), ("GET", "a")]) == [b"OK", 2, b"2"]
    assert await roles.cache.batch([]) == []


async def test_batch_fails_if_one_command_fails(roles: Roles) -> None:
    """One failing command fails the batch, and the replies of the next caller are still their own."""
    with pytest.raises(StateError, match="error"):
        await roles.cache.batch([("SET", "a", "x"), ("INCR", "a")])
    assert await roles.cache.call("GET", "a") == b"x"


async def test_a_script_is_loaded_where_the_server_forgot_it(roles: Roles) -> None:
    """EVALSHA after SCRIPT FLUSH (restart, failover) sends the source once and answers all the same."""
    echo = script("echo", "return {KEYS[1], ARGV[1]}")
    assert await roles.cache.run(echo, ["k"], ["v"]) == [b"k", b"v"]
    await roles.cache.call("SCRIPT", "FLUSH")
    assert await roles.cache.run(echo, ["k"], ["v"]) == [b"k", b"v"]


async def test_what_is_posted_runs_behind_what_was_asked_before(roles: Roles) -> None:
    """A posted script needs nobody to wait for it: whatever is asked next finds its work done, the first time too."""
    link = roles.cache
    append = script("append", "return redis.call('APPEND', KEYS[1], ARGV[1])")
    for text in ("a", "b"):
        written = asyncio.create_task(link.call("APPEND", "k", text.upper()))
        await asyncio.sleep(0)
        link.post(append, ["k"], [text])
        await written
    assert await link.call("GET", "k") == b"AaBb"


async def test_a_posted_script_is_sent_again_where_the_server_forgot_it(roles: Roles) -> None:
    """After SCRIPT FLUSH (restart, failover) it still runs, if later."""
    link = roles.cache
    count = script("count", "return redis.call('INCR', KEYS[1])")
    link.post(count, ["k"])
    await link.call("SCRIPT", "FLUSH")
    link.post(count, ["k"])
    while await link.call("GET", "k") != b"2":
        pass


async def test_a_post_that_redis_refuses_is_lost(roles: Roles) -> None:
    """An error (READONLY after a failover, out of memory) is no work done: who posted is told, once each time."""
    lost: list[str] = []
    bad = script("readonly", "return redis.error_reply('READONLY You can not write against a read only replica.')")
    for _ in range(2):
        roles.cache.post(bad, ["k"], (), lambda: lost.append("lost"))
        assert await roles.cache.call("ECHO", "behind it") == b"behind it"
    assert lost == ["lost", "lost"]


async def test_what_fails_of_a_post_is_nobodys_concern(roles: Roles) -> None:
    """An error of the script and a link that is closed are passed over in silence."""
    bad = script("bad", "return redis.error_reply('ERR my mistake')")
    for _ in range(2):
        roles.cache.post(bad, ["k"])
    assert await roles.cache.call("ECHO", "still here") == b"still here"
    await roles.aclose()
    roles.cache.post(bad, ["k"])


async def test_a_failing_script_is_an_error(roles: Roles) -> None:
    """A script that raises is a StateError("error"), with the server's own words."""
    with pytest.raises(StateError, match="my mistake"):
        await roles.cache.run(script("bad", "return redis.error_reply('ERR my mistake')"), ["k"])


async def test_a_cancelled_caller_shifts_nobodys_reply(roles: Roles) -> None:
    """Callers cancelled before and after sending leave; every other caller still gets the reply to its own command."""
    link = roles.cache
    await link.ping(2.0)
    callers = [asyncio.create_task(link.call("ECHO", str(n))) for n in range(50)]
    await asyncio.sleep(0)
    for caller in callers[::3]:
        caller.cancel()
    await asyncio.sleep(0)
    for caller in callers[1::3]:
        caller.cancel()
    await asyncio.wait(callers)
    answered = {n: caller.result() for n, caller in enumerate(callers) if not caller.cancelled()}
    assert answered == {n: str(n).encode() for n in answered}
    assert set(range(2, 50, 3)) <= set(answered)
    assert await link.call("ECHO", "after") == b"after"


async def test_a_command_whose_caller_left_before_it_was_sent_is_not(roles: Roles) -> None:
    """Cancelled in the very turn in which it was made, a command never reaches the server."""
    await roles.cache.ping(2.0)
    caller = asyncio.create_task(roles.cache.call("SET", "never", 1))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.wait([caller])
    assert await roles.cache.call("EXISTS", "never") == 0


async def test_a_spent_budget_leaves_a_moment(roles: Roles) -> None:
    """With its deadline past, a call still gets a few milliseconds: in a burst our own event loop spends budgets."""
    await roles.cache.ping(2.0)
    spent = Budget(asyncio.get_running_loop().time() - 1)
    assert await roles.cache.call("ECHO", "quick", budget=spent) == b"quick"


async def test_a_spent_budget_leaves_no_more_than_a_moment(roles: Roles) -> None:
    """A server that does not answer in that moment is a time-out, long before the link's own limit."""
    await roles.cache.ping(2.0)
    started = asyncio.get_running_loop().time()
    with pytest.raises(StateError, match="timeout"):
        await roles.cache.call("BLPOP", "nothing", 1, budget=Budget(started - 1))
    assert asyncio.get_running_loop().time() - started < 0.5


async def test_a_crowd_opens_no_more_connections_than_allowed(roles: Roles) -> None:
    """Ten thousand callers at once are all answered over the bounded number of connections."""
    link = roles.cache
    echoed = await asyncio.gather(*(link.call("ECHO", n) for n in range(10_000)))
    assert echoed == [str(n).encode() for n in range(10_000)]
    clients = await link.call("CLIENT", "LIST")
    assert clients.count(b"name=cacheproxy") <= 4


async def test_a_closed_link_refuses(roles: Roles) -> None:
    """After aclose a call fails at once instead of connecting again."""
    await roles.cache.call("PING")
    await roles.aclose()
    with pytest.raises(StateError):
        await roles.cache.call("PING")


async def test_closing_fails_those_who_wait(roles: Roles) -> None:
    """Closing leaves nobody hanging: who waits gets a StateError."""
    await roles.cache.ping(2.0)
    waiting = asyncio.create_task(roles.cache.call("BLPOP", "nothing", 0))
    await asyncio.sleep(0)
    await roles.aclose()
    with pytest.raises(StateError, match="closed"):
        await waiting


async def _reads(roles: Roles) -> int:
    return await _stat(roles, b"total_reads_processed")


async def _stat(roles: Roles, name: bytes) -> int:
    info = await roles.cache.call("INFO", "stats")
    (line,) = (line for line in bytes(info).splitlines() if line.startswith(name))
    return int(line.partition(b":")[2])

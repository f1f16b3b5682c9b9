"""One contract for leases in Redis and in memory; then what only Redis can do wrong."""

import asyncio

import pytest

from cacheproxy.client.wire import Layout
from cacheproxy.errors import StateError
from cacheproxy.fills.contract import Held, Taken, Waited
from cacheproxy.fills.lease import NoLeases, RedisLeases
from cacheproxy.redis_link.connect import Tuning, connect
from cacheproxy.redis_link.contract import Budget
from cacheproxy.semantics.tag_clock import Stamp


async def test_one_holder_for_each_key(pair):
    """Of all who ask at once, one holds the lease, and the others learn whose it is."""
    given = await asyncio.gather(*(leases.acquire("k") for leases in (pair.one, pair.two) for _ in range(5)))
    [held] = [each for each in given if isinstance(each, Held)]
    taken = [each for each in given if isinstance(each, Taken)]
    assert {each.token for each in taken} == {held.token}
    assert all(0 < each.expires_in_s <= 30 for each in taken)


async def test_keys_do_not_touch_each_other(pair):
    """A lease on one key leaves all others free."""
    assert isinstance(await pair.one.acquire("k"), Held)
    assert isinstance(await pair.two.acquire("other"), Held)


async def test_a_later_holder_has_a_later_stamp(pair):
    """The stamp is of the moment in which the lease was had, so a purge between two fills tells them apart."""
    first = await pair.one.acquire("k")
    await pair.one.release(first, Waited.FILLED)
    second = await pair.two.acquire("k")
    assert first.stamp.epoch == second.stamp.epoch
    assert first.stamp.began_at_us < second.stamp.began_at_us
    assert first.token != second.token


@pytest.mark.parametrize("outcome", [Waited.FILLED, Waited.GAVE_UP, Waited.LOST])
async def test_who_waits_is_woken_with_the_outcome(pair, outcome):
    """Every waiter hears how the fill ended, at once and not by asking."""
    held = await pair.one.acquire("k")
    taken = await pair.two.acquire("k")
    waits = [asyncio.create_task(leases.wait(taken, 60)) for leases in (pair.one, pair.two) for _ in range(3)]
    await asyncio.sleep(0)
    await pair.one.release(held, outcome)
    assert await asyncio.gather(*waits) == [outcome] * 6


async def test_who_may_have_missed_a_word_competes_again(redis_pair):
    """The bus broke: every waiter finds out for itself what became of the lease it waits for."""
    pair = redis_pair(30)
    await pair.one.acquire("k")
    taken = await pair.two.acquire("k")
    waits = [asyncio.create_task(pair.two.wait(taken, 60)) for _ in range(3)]
    await asyncio.sleep(0)
    pair.two.deaf()
    assert await asyncio.gather(*waits) == [Waited.LOST] * 3


async def test_a_release_that_was_heard_before_the_wait_is_not_missed(pair):
    """The word that a lease has ended may come before its waiter has begun to wait."""
    held = await pair.one.acquire("k")
    taken = await pair.two.acquire("k")
    other = await pair.two.acquire("other")
    watch = asyncio.create_task(pair.two.wait(await pair.one.acquire("other"), 60))
    await asyncio.sleep(0)
    await pair.one.release(held, Waited.FILLED)
    await pair.two.release(other, Waited.FILLED)
    await watch
    assert await pair.two.wait(taken, 60) is Waited.FILLED


async def test_a_lease_tells_whether_there_is_anything_to_be_found(roles):
    """Beside the entries it is known, in the same step, that nothing has come in meanwhile; elsewhere it is not."""
    beside = RedisLeases(roles.cache, "test", 30, beside_entries=True)
    assert (await beside.acquire("k")).vacant
    await roles.cache.call("SET", "stored", "entry")
    await roles.cache.call("SET", "expiring", "entry", "PX", 60_000)
    assert not (await beside.acquire("stored")).vacant
    assert not (await beside.acquire("expiring")).vacant
    assert not (await RedisLeases(roles.cache, "test", 30).acquire("elsewhere")).vacant
    await beside.aclose()


async def test_one_that_is_alone_holds_off_nobody(roles):
    """It has every lease at once, with a stamp that cost nothing, and there is none to be given back."""
    stamps = [Stamp("e", 1), None]
    leases = RedisLeases(roles.cache, "test", 30, alone=stamps.pop)
    in_company = await leases.acquire("k")
    assert in_company.token
    assert await leases.acquire("k") == Held("k", "", Stamp("e", 1), vacant=True)
    assert await roles.cache.call("GET", Layout("test").lease("k")) == in_company.token.encode()
    await leases.aclose()


async def test_a_lease_that_nobody_waits_for_ends_in_silence(redis_pair):
    """Every replica would have to hear of it: only of those that are awaited they do."""
    pair, heard = redis_pair(30), []
    pair.one.hear = heard.append
    await pair.one.release(await pair.one.acquire("k"), Waited.FILLED)
    held = await pair.one.acquire("awaited")
    waiting = asyncio.create_task(pair.two.wait(await pair.two.acquire("awaited"), 60))
    await asyncio.sleep(0)
    await pair.one.release(held, Waited.GAVE_UP)
    assert await waiting is Waited.GAVE_UP
    assert [held.token] == [said["token"] for said in heard]


async def test_patience_ends_before_the_lease(pair):
    """Who waits no longer than this is told so, and not that the holder died."""
    await pair.one.acquire("k")
    taken = await pair.two.acquire("k")
    assert await pair.two.wait(taken, 0.01) is Waited.WAITED_OUT


async def test_a_holder_that_died_is_followed_within_its_age(make_pair):
    """A lease that nobody releases runs out; its waiters compete again and one of them has it."""
    pair = make_pair(0.05)
    await pair.one.acquire("k")
    taken = await pair.two.acquire("k")
    assert await pair.two.wait(taken, 60) is Waited.LOST
    again = await pair.two.acquire("k")
    while isinstance(again, Taken):  # the two clocks may differ by a millisecond
        assert await pair.two.wait(again, 60) is Waited.LOST
        again = await pair.two.acquire("k")
    assert again.token != taken.token


async def test_a_late_holder_does_not_release_the_next_one(make_pair):
    """Who ran over its age gives back nothing that is another's by now."""
    pair = make_pair(0.02)
    late = await pair.one.acquire("k")
    await pair.two.wait(await pair.two.acquire("k"), 60)
    current = await pair.two.acquire("k")
    while isinstance(current, Taken):
        await pair.two.wait(current, 60)
        current = await pair.two.acquire("k")
    current_key = await pair.one.acquire("unrelated")
    await pair.one.release(late, Waited.FILLED)
    await pair.one.release(current_key, Waited.FILLED)
    if pair.roles is not None:
        holder = await pair.roles.cache.call("GET", Layout("test").lease("k"))
        assert holder in (current.token.encode(), None)


async def test_a_late_holder_leaves_a_lease_in_force(redis_pair):
    """The token is compared in the same step in which the lease is taken away."""
    pair = redis_pair(30)
    stranger = Held("k", "another", Stamp("e", 1))
    held = await pair.one.acquire("k")
    await pair.two.release(stranger, Waited.FILLED)
    assert await pair.roles.cache.call("GET", Layout("test").lease("k")) == held.token.encode()


async def test_a_holder_that_lives_keeps_its_lease(roles):
    """Past its age, as long as it is at work; and not for ever, if its work never ends."""
    leases = RedisLeases(roles.cache, "test", 0.15, longest_s=1.0)
    held = await leases.acquire("k")
    taken = await leases.acquire("k")
    for _ in range(4):
        assert await leases.wait(taken, 60) is Waited.LOST
        taken = await leases.acquire("k")
        assert taken.token == held.token
    while isinstance(taken, Taken):
        await leases.wait(taken, 60)
        taken = await leases.acquire("k")
    await leases.aclose()


async def test_what_was_released_is_renewed_no_more(roles):
    """The next holder's lease is its own, and nothing is left to do when none is held."""
    leases = RedisLeases(roles.cache, "test", 0.1, longest_s=60)
    await leases.release(await leases.acquire("k"), Waited.FILLED)
    if leases._renewing is not None:
        await leases._renewing
    assert leases._renewing is None
    assert isinstance(await RedisLeases(roles.cache, "test", 0.05).acquire("k"), Held)
    taken = await leases.acquire("k")
    assert await leases.wait(taken, 60) is Waited.LOST
    await leases.aclose()


async def test_a_waiter_that_leaves_is_forgotten(redis_pair):
    """A cancelled wait leaves nothing behind, and harms no other waiter."""
    pair = redis_pair(30)
    held = await pair.one.acquire("k")
    taken = await pair.two.acquire("k")
    leaves, stays = (asyncio.create_task(pair.two.wait(taken, 60)) for _ in range(2))
    await asyncio.sleep(0)
    leaves.cancel()
    await pair.one.release(held, Waited.FILLED)
    assert await stays is Waited.FILLED
    assert leaves.cancelled()
    assert pair.two._waiters._waiting == {}


async def test_waiting_holds_no_connection(redis_pair, roles):
    """A thousand waiters ask nothing of Redis and keep none of its connections."""
    pair = redis_pair(30)
    held = await pair.one.acquire("k")
    taken = await pair.two.acquire("k")
    clients = await roles.cache.call("CLIENT", "LIST")
    before = (await roles.cache.call("INFO", "stats")).split(b"total_commands_processed:")[1].split()[0]
    waits = [asyncio.create_task(pair.two.wait(taken, 60)) for _ in range(1000)]
    await asyncio.sleep(0)
    after = (await roles.cache.call("INFO", "stats")).split(b"total_commands_processed:")[1].split()[0]
    assert len((await roles.cache.call("CLIENT", "LIST")).splitlines()) == len(clients.splitlines())
    assert int(after) - int(before) == 1
    await pair.one.release(held, Waited.FILLED)
    assert set(await asyncio.gather(*waits)) == {Waited.FILLED}


async def test_a_wake_up_that_is_lost_costs_the_lease_age_and_no_more(redis_pair):
    """With the bus deaf, a waiter competes again when the lease would have run out."""
    pair = redis_pair(0.1)
    held = await pair.one.acquire("k")
    taken = await pair.two.acquire("k")
    deaf = RedisLeases(pair.roles.cache, "test", 0.1)
    wait = asyncio.create_task(deaf.wait(taken, 60))
    await asyncio.sleep(0)
    await pair.one.release(held, Waited.FILLED)
    assert await wait is Waited.LOST


async def test_redis_gone_is_a_state_error_on_acquire_alone(fresh_valkey):
    """Acquiring says that Redis did not answer; releasing is silent, for the lease runs out by itself."""
    roles = connect(fresh_valkey.url, Tuning(limit_s=2.0))
    leases = RedisLeases(roles.cache, "test", 30)
    held = await leases.acquire("k")
    fresh_valkey.kill()
    with pytest.raises(StateError):
        await leases.acquire("other")
    await leases.release(held, Waited.FILLED)
    assert await leases.wait(Taken("k", held.token, expires_in_s=0.01), 60) is Waited.LOST
    await roles.aclose()


async def test_a_lease_that_came_too_late_is_given_back(fresh_valkey):
    """Redis gives it after its holder has ceased to wait: nobody waits for one who does not know that it holds it."""
    roles = connect(fresh_valkey.url, Tuning(limit_s=30.0))
    late, other = (RedisLeases(roles.cache, "test", 30) for _ in range(2))
    await late.release(await late.acquire("warm"), Waited.FILLED)
    fresh_valkey.pause()
    with pytest.raises(StateError):
        await late.acquire("k", Budget(asyncio.get_running_loop().time() + 0.01))
    fresh_valkey.resume()
    await late.aclose()
    assert isinstance(await other.acquire("k", Budget(asyncio.get_running_loop().time() + 5)), Held)
    await roles.aclose()


async def test_acquiring_keeps_to_the_budget(fresh_valkey):
    """A Redis that hangs costs the request's budget and not the link's own limit."""
    roles = connect(fresh_valkey.url, Tuning(limit_s=30.0))
    leases = RedisLeases(roles.cache, "test", 30)
    await leases.acquire("warm")
    fresh_valkey.pause()
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(StateError):
        await leases.acquire("k", Budget(began + 0.05))
    assert loop.time() - began < 5
    fresh_valkey.resume()
    await roles.aclose()


async def test_what_another_program_put_in_a_leases_place_does_no_harm(roles):
    """Bytes that are no token are waited for until they run out, and give way where they never would."""
    leases, place = RedisLeases(roles.cache, "test", 30), Layout("test").lease("k")
    await roles.cache.call("SET", place, b"\xff", "PX", 50)
    taken = await leases.acquire("k")
    assert await leases.wait(taken, 60) is Waited.LOST
    await roles.cache.call("SET", place, b"\xff")
    assert isinstance(await leases.acquire("k"), Held)
    await leases.aclose()


async def test_malformed_wake_ups_are_nobodys(redis_pair):
    """What is not an outcome wakes nobody."""
    pair = redis_pair(30)
    await pair.one.acquire("k")
    taken = await pair.two.acquire("k")
    wait = asyncio.create_task(pair.two.wait(taken, 0.05))
    await asyncio.sleep(0)
    pair.two.hear({"token": taken.token, "outcome": "nonsense"})
    pair.two.hear({})
    assert await wait is Waited.WAITED_OUT


async def test_outcomes_are_remembered_in_bounds(redis_pair):
    """Everybody's wake-ups pass every replica; only the latest are kept."""
    pair = redis_pair(30)
    for n in range(5000):
        pair.one.hear({"token": str(n), "outcome": "filled"})
    assert len(pair.one._waiters._outcomes) == 4096


async def test_a_lease_among_replicas_has_to_be_waited_for(pair):
    """Whoever has one without waiting has it without the others knowing."""
    assert pair.one.acquire_now("k") is None


async def test_no_leases_gives_a_lease_at_once_if_there_is_a_stamp():
    """It need not be given back."""

    async def begin(budget=None):
        return Stamp("e", 7)

    assert NoLeases(begin).acquire_now("k") is None
    assert NoLeases(begin, lambda: Stamp("e", 8)).acquire_now("k") == Held("k", "", Stamp("e", 8), vacant=True)


async def test_no_leases_gives_every_lease():
    """A replica that is alone holds every lease and waits for nobody."""

    async def begin(budget=None):
        return Stamp("e", 7)

    leases = NoLeases(begin)
    one, two = await leases.acquire("k"), await leases.acquire("k")
    assert one.stamp == two.stamp == Stamp("e", 7)
    assert await leases.wait(Taken("k", ""), 60) is Waited.LOST
    await leases.release(one, Waited.FILLED)


async def test_a_lease_given_by_a_redis_that_hung_is_given_back(fresh_valkey):
    """It goes on with what it was asked before, for a replica that ceased to wait long ago: nobody waits for it."""
    roles = connect(fresh_valkey.url, Tuning(limit_s=0.05))
    leases = RedisLeases(roles.cache, "test", 300)
    assert isinstance(await leases.acquire("before"), Held)
    fresh_valkey.pause()
    for number in range(3):
        with pytest.raises(StateError):
            await leases.acquire(f"k{number}")
    assert not roles.cache.up
    await asyncio.sleep(1.2)  # longer than any call waits
    fresh_valkey.resume()
    with fresh_valkey.client() as server:
        keys = [Layout("test").lease(f"k{number}") for number in range(3)]
        while not roles.cache.up or server.exists(*keys):  # noqa: ASYNC110 - it is said in another process
            await asyncio.sleep(0.01)
    await leases.aclose()
    await roles.aclose()


async def test_a_lease_that_ended_while_redis_hung_is_given_back(fresh_valkey):
    """The word was lost with the connection: it is said again once there is another."""
    roles = connect(fresh_valkey.url, Tuning(limit_s=0.05))
    leases = RedisLeases(roles.cache, "test", 300)
    held = [await leases.acquire(f"k{number}") for number in range(4)]
    await leases.release(held.pop(), Waited.FILLED)
    fresh_valkey.pause()
    for each in held:
        await leases.release(each, Waited.FILLED)
        with pytest.raises(StateError):
            await roles.cache.call("PING")
    assert not roles.cache.up
    fresh_valkey.resume()
    with fresh_valkey.client() as server:
        keys = [Layout("test").lease(each.key) for each in held]
        while server.exists(*keys):  # noqa: ASYNC110 - it is said in another process
            await asyncio.sleep(0.01)
    await leases.aclose()
    await roles.aclose()

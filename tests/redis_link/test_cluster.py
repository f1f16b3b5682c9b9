"""A real cluster of three masters, and of what one node sends us to another for."""

import asyncio

import pytest
import redis

from cacheproxy.errors import StateError
from cacheproxy.redis_link.cluster import READ_AGAIN_S
from cacheproxy.redis_link.connect import Tuning
from cacheproxy.redis_link.scripts import script
from cacheproxy.redis_link.slots import Redirect, SlotMap, slot_of

from .cluster import MODE, Cluster, migrate, raw, replicate

PATIENT = Tuning(limit_s=5.0)


@pytest.mark.parametrize(
    ("command", "same_slot_as"),
    [
        (("GET", "k"), "k"),
        (("set", b"k", "v"), "k"),
        (("HMGET", "{p}:clock", "epoch"), "p"),
        (("EVALSHA", "sha", 2, "k", "other", "argument"), "k"),
        (("EVAL", "return 1", 1, "{p}:x"), "p"),
        (("XREAD", "COUNT", 5, "STREAMS", "{p}:stream", "0"), "p"),
        (("DEL", 5), "5"),
    ],
)
def test_a_command_goes_by_its_first_key(command: tuple, same_slot_as: str) -> None:
    """The slot is that of the key, or of what stands in braces in it."""
    assert slot_of(command) == slot_of(("GET", same_slot_as))


@pytest.mark.parametrize("command", [("PING",), ("PUBLISH", "c", "m"), ("EVALSHA", "sha", 0), ("CLIENT", "ID")])
def test_a_command_without_a_key_goes_anywhere(command: tuple) -> None:
    """No key, no slot."""
    assert slot_of(command) is None


def test_the_specifications_own_slot() -> None:
    """The key 123456789 is in slot 12739 (Redis Cluster specification, appendix A)."""
    assert slot_of(("GET", "123456789")) == 0x31C3


def test_redirections_are_read() -> None:
    """MOVED and ASK name a node; without a host it is another port of the one asked; anything else is none."""
    asked = ("10.0.0.1", 7000)
    assert Redirect.of("MOVED 3999 127.0.0.1:6381", asked) == Redirect(("127.0.0.1", 6381), True)
    assert Redirect.of("ASK 3999 ::1:6381", asked) == Redirect(("::1", 6381), False)
    assert Redirect.of("MOVED 3999 :6381", asked) == Redirect(("10.0.0.1", 6381), True)
    assert Redirect.of("ERR unknown command", asked) is None


def test_slots_are_read() -> None:
    """CLUSTER SLOTS gives ranges and masters; a node that does not know its host is the one that was asked."""
    reply = [[5461, 16383, [b"h2", 2, b"id2"], [b"replica", 9, b"id9"]], [0, 5460, [None, 1, b"id1"]]]
    slots = SlotMap.of(reply, ("h1", 1))
    assert slots.masters == [("h1", 1), ("h2", 2)]
    assert (slots.owner(0), slots.owner(5460), slots.owner(5461)) == (("h1", 1), ("h1", 1), ("h2", 2))
    assert SlotMap().owner(7) is None


@pytest.fixture(scope="module")
def cluster(module_valkeys) -> Cluster:
    """A running cluster of three masters, which the tests of this file share."""
    made = Cluster([module_valkeys(*MODE) for _ in range(3)])
    asyncio.run(made.form())
    return made


async def test_keys_of_all_nodes_are_reached(cluster: Cluster, connected) -> None:
    """A thousand keys over three nodes: singly, in batches in order, and by scripts, each where its key is."""
    link = connected(cluster.url, PATIENT).cache
    await link.ping(5.0)
    await link.batch([("SET", f"k{n}", n) for n in range(1000)])
    assert await link.batch([("GET", f"k{n}") for n in range(1000)]) == [str(n).encode() for n in range(1000)]
    assert await link.call("GET", "k7") == b"7"
    get = script("get", "return redis.call('GET', KEYS[1])")
    assert [await link.run(get, [f"k{n}"]) for n in range(9)] == [str(n).encode() for n in range(9)]
    for node in cluster.nodes:
        with node.client() as client:
            assert client.dbsize() > 200
    assert link.up


async def test_what_is_about_no_key_is_asked_of_every_master(cluster: Cluster, connected) -> None:
    """Between them the masters hold every key."""
    link = connected(cluster.url, PATIENT).cache
    names = {f"all:{n}".encode() for n in range(50)}
    await link.batch([("SET", name, "x") for name in names])
    masters = await link.masters()
    found = [key for master in masters for key in await master.call("KEYS", "all:*")]
    await link.batch([("DEL", name) for name in names])
    assert len(masters) == 3
    assert sorted(found) == sorted(names)


async def test_what_is_posted_runs_where_its_key_is(cluster: Cluster, connected) -> None:
    """On each node, with nobody waiting for it; what fails of it is nobody's concern, nor is a link that is closed."""
    link = connected(cluster.url, PATIENT).cache
    count = script("count", "return redis.call('INCR', KEYS[1])")
    names = [f"posted:{n}" for n in range(9)]
    for name in names:
        link.post(count, [name])
    while await link.batch([("GET", name) for name in names]) != [b"1"] * 9:
        pass
    await link.call("SET", "posted:0", "text")
    link.post(count, ["posted:0"])
    await link.batch([("DEL", name) for name in names])
    await link.aclose()
    link.post(count, names)


async def test_one_failing_command_of_a_batch_fails_it(cluster: Cluster, connected) -> None:
    """As with one server: StateError, and the link stays up."""
    link = connected(cluster.url, PATIENT).cache
    with pytest.raises(StateError, match="error"):
        await link.batch([("SET", "a", "x"), ("INCR", "a"), ("SET", "b", "y")])
    assert link.up


async def test_a_moved_slot_is_followed(cluster: Cluster, connected) -> None:
    """A slot that went to another node: commands and scripts follow, and later ones go there at once."""
    link = connected(cluster.url, PATIENT).cache
    await link.call("SET", "{moved}:1", "one")
    slot = slot_of(("GET", "{moved}:1"))
    owner, other = await _owner_and_other(cluster, slot)
    await migrate(cluster, slot, owner, other, [b"{moved}:1"])
    assert await link.call("GET", "{moved}:1") == b"one"
    get = script("get", "return redis.call('GET', KEYS[1])")
    assert await link.run(get, ["{moved}:1"]) == b"one"
    sent_on = b""
    while sent_on != (sent_on := _moved(owner)):  # the map is read anew within the second, and then no more
        await asyncio.sleep(0.3)
        assert await link.call("GET", "{moved}:1") == b"one"


async def test_a_slot_on_its_way_is_asked_for(cluster: Cluster, connected) -> None:
    """While a slot moves, a key that has left already is asked for at its new place, commands and scripts alike."""
    link = connected(cluster.url, PATIENT).cache
    await link.call("SET", "{p}:1", "one")
    slot = slot_of(("GET", "{p}:1"))
    owner, other = await _owner_and_other(cluster, slot)
    await migrate(cluster, slot, owner, other, [b"{p}:1"], finish=False)
    assert await link.call("GET", "{p}:1") == b"one"
    get = script("get", "return redis.call('GET', KEYS[1])")
    assert await link.run(get, ["{p}:1"]) == b"one"


async def test_messages_reach_a_subscriber_on_any_node(cluster: Cluster, connected) -> None:
    """What is published through one node is heard by a subscription on another."""
    roles = connected(cluster.url, PATIENT)
    subscription = await roles.subscriber().subscribe(["news"])
    with cluster.nodes[2].client() as client:
        client.publish("news", "x")
    message = await subscription.next(5)
    assert message is not None
    assert message.payload == b"x"
    await subscription.aclose()


async def test_a_closed_link_asks_no_node_any_more(cluster: Cluster, connected) -> None:
    """A call that fails because the link is closed is no reason to look for the masters again."""
    link = connected(cluster.url, PATIENT).cache
    await link.ping(5.0)
    await link.aclose()
    await asyncio.sleep(READ_AGAIN_S)
    with pytest.raises(StateError):
        await link.call("GET", "k")
    assert link._reading is None


async def test_no_cluster_is_told_within_the_budget(connected, fresh_valkey) -> None:
    """Nobody at any address, or a server that is no cluster: StateError, and no long wait."""
    plain = connected(fresh_valkey.url.replace("redis://", "redis+cluster://"), Tuning(limit_s=0.2)).cache
    fresh_valkey_gone = connected("redis+cluster://127.0.0.1:1,127.0.0.1:2", Tuning(limit_s=0.2)).cache
    for link in (plain, fresh_valkey_gone):
        started = asyncio.get_running_loop().time()
        with pytest.raises(StateError):
            await link.call("GET", "k")
        assert asyncio.get_running_loop().time() - started < 0.7


async def test_a_lost_master_costs_its_own_keys_only(cluster: Cluster, connected, valkeys) -> None:
    """One master of three dies: the others' keys are served all along, and its own again once its replica leads."""
    doomed, replica = cluster.nodes[2], valkeys(*MODE)
    await replicate(cluster, doomed, replica)
    link = connected(cluster.url, Tuning(limit_s=0.2)).cache
    await link.ping(5.0)
    keys = {f"k{n}": f"k{n}".encode() for n in range(60)}
    for key, value in keys.items():
        await link.call("SET", key, value)
    with doomed.client() as client:
        client.execute_command("WAIT", 1, 1000)
    theirs = [key for key in keys if slot_of(("GET", key)) >= 5461 * 2]
    doomed.kill()
    served: list[object] = []
    while served != [keys[key] for key in theirs]:
        served = await asyncio.gather(*(link.call("GET", key) for key in theirs), return_exceptions=True)
        assert all(isinstance(each, bytes | StateError) for each in served)
        others = await asyncio.gather(*(link.call("GET", key) for key in keys if key not in theirs))
        assert others == [value for key, value in keys.items() if key not in theirs]
        await asyncio.sleep(0.02)
    assert link.up


def _moved(node) -> bytes:
    """How often ``node`` has sent a client elsewhere."""
    with redis.Redis(port=node.port) as client:
        return raw(client, "INFO", "errorstats").partition(b"errorstat_MOVED:count=")[2].split()[0]


async def _owner_and_other(cluster: Cluster, slot: int):
    at = min(slot // 5461, 2)
    return cluster.nodes[at], cluster.nodes[at - 1]

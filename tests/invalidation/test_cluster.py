"""Replicas on a real cluster: they hear each other where the tag clock is, wherever that goes."""

import asyncio
import json
from collections import Counter

import pytest
import redis
from redis.asyncio.cluster import RedisCluster

from cacheproxy.client import Publisher
from cacheproxy.client.wire import Layout
from cacheproxy.redis_link import dial
from cacheproxy.redis_link.slots import slot_of

from ..redis_link.cluster import MODE, Cluster, migrate, replicate  # noqa: TID252 - of the tests next door
from .conftest import PREFIX

LAYOUT = Layout(PREFIX)
SLOT = slot_of(("GET", LAYOUT.clock))


@pytest.fixture
async def cluster(valkeys) -> Cluster:
    """Three masters."""
    made = Cluster([valkeys(*MODE) for _ in range(3)])
    await made.form()
    return made


@pytest.fixture
async def pair(cluster, replica):
    """Two replicas that answer from memory."""
    both = [replica(cluster.url, name) for name in ("one", "two")]
    for each in both:
        await each.ready()
    return both


@pytest.fixture(params=["sharded", "plain"])
def channels(request, cluster: Cluster, monkeypatch) -> str:
    """How the bus is heard: as on clusters from 7.0 on, or as on older ones."""
    if request.param == "plain":
        monkeypatch.setattr(dial, "SHARDED_SINCE", 99)
        for node in cluster.nodes:
            make_old(node)
    return str(request.param)


def make_old(node) -> None:
    """Let it publish on no sharded channel, like a server before 7.0."""
    with node.client() as client:
        client.execute_command("ACL", "SETUSER", "default", "-spublish")


def owner_of(cluster: Cluster):
    """The node that has the clock's slot at first."""
    return cluster.nodes[min(SLOT // 5461, 2)]


def listeners(node, command: str) -> int:
    """How many listen to the bus on ``node``, by NUMSUB or SHARDNUMSUB."""
    with redis.Redis(port=node.port) as client:
        return int(client.execute_command("PUBSUB", command, LAYOUT.bus)[1])


def publish(node, tag: str) -> None:
    """A plain message through ``node`` that purges ``tag``."""
    with node.client() as client:
        client.publish("cacheproxy:events", json.dumps({"purge": {"tags": [tag]}}))


async def holds_for_all(replicas, hard, tag: str) -> bool:
    """Whether a purge of ``tag`` is acknowledged by all of them, and has reached their memory."""
    receipt = await replicas[0].purger.purge(hard(tag), wait_s=30)
    names = tuple(sorted(each.name for each in replicas))
    return receipt.acknowledged == names and all(tag in each.ledger.tags for each in replicas)


async def test_the_bus_is_its_slots_alone(cluster, channels, pair, hard) -> None:
    """Replicas listen to the master of the clock's slot, which tells no other node where it need not."""
    owner = owner_of(cluster)
    assert await holds_for_all(pair, hard, "a")
    assert [listeners(node, "NUMSUB") for node in cluster.nodes if node is not owner] == [0, 0]
    assert listeners(owner, "SHARDNUMSUB") == (2 if channels == "sharded" else 0)
    with cluster.nodes[cluster.nodes.index(owner) - 1].client() as client, client.pubsub() as elsewhere:
        elsewhere.subscribe(LAYOUT.bus)
        assert elsewhere.get_message(timeout=5)["type"] == "subscribe"
        assert await holds_for_all(pair, hard, "b")
        assert (elsewhere.get_message(timeout=0.5) is None) == (channels == "sharded")


async def test_a_service_publishes_on_a_cluster_as_anywhere(cluster, channels, pair) -> None:
    """Its event takes the way that the cluster has, and it is told how many heard it."""
    async with RedisCluster(host="127.0.0.1", port=cluster.nodes[0].port) as client:
        publisher = Publisher(client, PREFIX)
        assert await publisher.publish({"type": "article.updated", "data": {"id": 1}}) == 2
        assert await publisher.purge("a") == 2
    for each in pair:
        await each.ledger.until_true(lambda each=each: {"article:1", "a"} <= set(each.ledger.tags))


async def test_plain_messages_through_any_node_are_one_purge_each(cluster, pair) -> None:
    """All replicas hear them in one order, for they listen at one node: none is lost, and none purged twice."""
    tags = [f"plain-{number}" for number in range(60)]
    for node in cluster.nodes:  # which begin to pass on messages when they have connected to each other
        while str(node.port) not in pair[0].ledger.tags:
            publish(node, str(node.port))
            await asyncio.sleep(0.02)
    for number, tag in enumerate(tags):
        publish(cluster.nodes[number % 3], tag)
    for each in pair:
        await each.ledger.until_true(lambda each=each: set(each.ledger.tags) >= set(tags))
    for each in pair:
        assert Counter(tag for tag in each.ledger.tags if tag in tags) == dict.fromkeys(tags, 1)


async def test_a_slot_that_moves_takes_its_listeners_along(cluster, channels, pair, hard) -> None:
    """Told by the server (sunsubscribe), or by the first command that is sent on, they go where the clock has gone."""
    assert await holds_for_all(pair, hard, "a")
    owner = owner_of(cluster)
    other = cluster.nodes[cluster.nodes.index(owner) - 1]
    keys = [name.encode() for name in (LAYOUT.clock, LAYOUT.stream, LAYOUT.replicas)]
    await migrate(cluster, SLOT, owner, other, keys)
    command = "SHARDNUMSUB" if channels == "sharded" else "NUMSUB"
    while listeners(other, command) < 2:  # noqa: ASYNC110 - the event is in other processes
        await asyncio.sleep(0.02)
    for each in pair:
        await each.ready()
    assert listeners(owner, "NUMSUB") == 0
    assert await holds_for_all(pair, hard, "b")
    assert [each.ledger.clears for each in pair] == [1, 1], "nothing was missed, and nothing forgotten"


async def test_a_master_that_dies_is_followed_by_its_replica(cluster, channels, pair, hard, valkeys) -> None:
    """Memory rests until the bus is heard at the new master; a purge is then acknowledged by all again."""
    owner, heir = owner_of(cluster), valkeys(*MODE)
    if channels == "plain":
        make_old(heir)
    await replicate(cluster, owner, heir)
    assert await holds_for_all(pair, hard, "a")
    with owner.client() as client:
        client.execute_command("WAIT", 1, 1000)
    owner.kill()
    for each in pair:
        await each.ledger.until_true(lambda each=each: not each.ledger.trusted)
    for each in pair:
        await each.ready()
    assert listeners(heir, "SHARDNUMSUB") == (2 if channels == "sharded" else 0)
    assert await holds_for_all(pair, hard, "b")

"""What services tell the sidecars, on a real server."""

import json

import pytest
from redis.asyncio import Redis as AsyncRedis

from cacheproxy.client import Publisher, SyncPublisher
from cacheproxy.client.wire import Layout

LAYOUT = Layout("test")


async def records(redis):
    """The records in the stream, the oldest first."""
    return [json.loads(fields[b"said"]) for _, fields in await redis.xrange(LAYOUT.stream)]


async def test_an_event_is_kept_when_nobody_listens(redis):
    """Publishing returns 0 where nobody heard, and the event waits in the stream."""
    event = {"type": "article.updated", "data": {"id": 42, "title": "Käse"}}
    assert await Publisher(redis, "test").publish(event) == 0
    [record] = await records(redis)
    assert json.loads(record["event"]) == event
    assert record["epoch"].encode() == await redis.hget(LAYOUT.clock, "epoch")


async def test_publishing_counts_those_who_heard(redis, valkey):
    """Publishing returns how many subscribers the bus has."""
    async with AsyncRedis.from_url(valkey) as other, other.pubsub() as listening:
        await listening.subscribe(LAYOUT.bus)
        assert await listening.get_message(timeout=5) is not None
        assert await Publisher(redis, "test").publish({"type": "x"}) == 1
        said = await listening.get_message(timeout=5, ignore_subscribe_messages=True)
        assert json.loads(said["data"])["kind"] == "event"


async def test_a_purge_moves_the_clock_of_each_tag(redis):
    """A purge is one time in one field for each tag, hard and soft apart."""
    publisher = Publisher(redis, "test")
    await publisher.purge("a", "b")
    await publisher.purge("b", soft=True)
    clock = await redis.hgetall(LAYOUT.clock)
    first, second = await records(redis)
    assert clock[b"t:a"].decode() == f"{first['at']} 0"
    assert clock[b"t:b"].decode() == f"{first['at']} {second['at']}"
    assert int(first["at"]) < int(second["at"]) == int(clock[b"now"])


def test_the_synchronous_publisher_does_the_same(sync_redis):
    """A service without an event loop publishes and purges by the same scripts."""
    publisher = SyncPublisher(sync_redis, "test")
    assert publisher.purge("a", soft=True) == 0
    assert publisher.publish({"type": "x"}) == 0
    kinds = [json.loads(fields[b"said"])["kind"] for _, fields in sync_redis.xrange(LAYOUT.stream)]
    assert kinds == ["purge", "event"]


async def test_scripts_are_sent_again_to_a_server_that_forgot_them(redis):
    """A restarted server does not know the scripts, and that is no error."""
    publisher = Publisher(redis, "test")
    await publisher.purge("a")
    await redis.script_flush()
    assert await publisher.purge("a") == 0


async def test_text_instead_of_bytes_is_read_as_well(valkey):
    """A service whose client decodes responses may publish too."""
    async with AsyncRedis.from_url(valkey, decode_responses=True) as redis:
        assert await Publisher(redis, "test").purge("a") == 0


@pytest.mark.parametrize(
    "tags",
    [
        pytest.param((), id="nothing"),
        pytest.param(("",), id="empty"),
        pytest.param(("a b",), id="space"),
        pytest.param(("a*",), id="glob"),
        pytest.param(("a\n",), id="control"),
        pytest.param(("\ud800",), id="lone-surrogate"),
        pytest.param(("@route/x",), id="our-own"),
        pytest.param(("ok", "x" * 257), id="too-long"),
    ],
)
async def test_what_cannot_be_a_tag_is_an_error_of_the_caller(redis, tags):
    """A purge that names nothing, or what the sidecar would drop, is refused before it is sent."""
    with pytest.raises(ValueError, match="tag"):
        await Publisher(redis, "test").purge(*tags)
    assert await redis.dbsize() == 0


@pytest.mark.parametrize(
    "event",
    [
        pytest.param({}, id="empty"),
        pytest.param({"type": 1}, id="type-is-no-text"),
        pytest.param({"type": "x", "data": float("nan")}, id="not-json"),
        pytest.param({"type": "x", "data": "y" * 70_000}, id="too-large"),
    ],
)
async def test_what_is_no_event_is_an_error_of_the_caller(redis, event):
    """An event without a type, or one that carries the thing itself, is refused before it is sent."""
    with pytest.raises(ValueError, match=r"event|JSON"):
        await Publisher(redis, "test").publish(event)

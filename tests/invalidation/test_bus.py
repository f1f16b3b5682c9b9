"""Replicas that follow one clock over a real server, and what befalls them."""

import asyncio
import json
import time

import pytest
import structlog
from redis.asyncio import Redis
from structlog.testing import capture_logs

from cacheproxy.client import Publisher
from cacheproxy.client.wire import Layout
from cacheproxy.errors import StateError
from cacheproxy.fills.contract import Waited
from cacheproxy.fills.lease import RedisLeases
from cacheproxy.invalidation.contract import PurgeMode
from cacheproxy.policy.route import EventRules, OnGap
from cacheproxy.policy.templates import Template
from cacheproxy.redis_link.subscriber import RedisSubscriber

from .conftest import HEARTBEAT_S

LAYOUT = Layout("test")
EVENT = json.dumps({"type": "article.updated", "data": {"id": 42}})


async def kill_subscribers(one) -> None:
    """Close every subscriber's connection from the server's side."""
    await one.roles.cache.call("CLIENT", "KILL", "TYPE", "pubsub")


# -- purges


async def test_a_purge_reaches_every_replica(valkey, replica, hard, soft):
    """What one replica purges, another is told at the same clock time, hard or soft."""
    one, two = replica(valkey, "one"), replica(valkey, "two")
    await one.ready()
    await two.ready()
    gone = await one.purger.purge(hard("article:1"))
    stale = await one.purger.purge(soft("article:2", "articles"))
    await two.ledger.until_true(lambda: "articles" in two.ledger.tags)
    assert [(p.tags, p.mode, p.at_us) for p in two.ledger.applied] == [
        (("article:1",), PurgeMode.HARD, gone.at_us),
        (("article:2", "articles"), PurgeMode.SOFT, stale.at_us),
    ]


async def test_the_purging_replica_does_not_wait_for_the_bus(valkey, replica, hard):
    """Its own memory has forgotten when the purge returns."""
    one = replica(valkey, start=False)
    await one.purger.purge(hard("article:1"))
    assert one.ledger.tags == ["article:1"]


async def test_lag_is_measured_from_the_purge_to_its_application(valkey, replica, hard):
    """Each purge that comes by the bus is timed, by the server's clock on both ends."""
    one, two = replica(valkey, "one"), replica(valkey, "two")
    await one.ready()
    await two.ready()
    await one.purger.purge(hard("a"))
    await two.ledger.until_true(lambda: "a" in two.ledger.tags)
    [lag_s] = two.observed.lags_s
    assert 0 <= lag_s < 5


async def test_heartbeats_are_sent_at_their_pace(valkey, replica):
    """One in each ``heartbeat_s`` and no more: every replica hears those of all."""
    one = replica(valkey)
    await one.ready()
    await _heartbeats(one, 2)  # of which the first two come at once
    first = one.ledger.until
    await _heartbeats(one, 4)
    assert one.ledger.until - first >= 4 * HEARTBEAT_S - 0.01


async def test_a_first_purge_does_not_drop_what_was_stamped_by_what_was_heard(valkey, replica, hard):
    """It drops what began longer ago than any entry lives, which must not be all that was filled since the last one."""
    one = replica(valkey)
    await one.ready()
    stamp = one.heard.stamp()
    await one.purger.purge(hard("another"))
    assert stamp is not None
    assert stamp.began_at_us > int(await one.roles.cache.call("HGET", LAYOUT.clock, "base"))


# -- receipts


async def test_a_purge_with_wait_names_who_acknowledged(valkey, replica, hard):
    """With ``wait``, all live replicas have applied the purge when it returns."""
    one, two = replica(valkey, "one", heartbeat_s=5), replica(valkey, "two", heartbeat_s=5)
    await one.ready()
    await two.ready()
    receipt = await one.purger.purge(hard("a"), wait_s=9.0)
    assert (receipt.acknowledged, receipt.silent) == (("one", "two"), ())
    assert "a" in two.ledger.tags


async def test_a_deaf_replica_is_named_as_long_as_it_might_answer(fresh_valkey, proxy, replica, hard):
    """Within the lease its silence is told; after the lease its memory has shut itself off, which is as good."""
    one = replica(fresh_valkey.url, "one", heartbeat_s=0.4)
    two = replica(fresh_valkey.url, "two", heartbeat_s=0.4, subscriber_url=proxy.url)
    await one.ready()
    await two.ready()
    await one.purger.purge(hard("a"), wait_s=5)
    proxy.deafen()
    silent = await one.purger.purge(hard("b"), wait_s=0.01)
    assert (silent.acknowledged, silent.silent) == (("one",), ("two",))
    receipt = await one.purger.purge(hard("c"), wait_s=5)
    assert (receipt.acknowledged, receipt.silent) == (("one", "two"), ())
    assert "c" not in two.ledger.tags
    assert not two.ledger.trusted


async def test_a_replica_that_is_gone_holds_up_no_purge_for_longer_than_a_lease(valkey, replica, hard):
    """A replica that died without a word is in the registry still; one purge waits out its lease, the next none."""
    one, two = replica(valkey, "one"), replica(valkey, "two")
    await one.ready()
    await two.ready()
    await two.bus._stop()  # without a word
    assert set(await one.roles.bus.call("HKEYS", LAYOUT.replicas)) == {b"one", b"two"}
    receipt = await one.purger.purge(hard("a"), wait_s=30)
    assert receipt.silent == ()
    assert (await one.purger.purge(hard("b"), wait_s=30)).acknowledged == ("one",)


async def test_nobody_waits_for_a_replica_that_has_left(valkey, replica, hard):
    """Not for one that left before the purge, nor for one that leaves while it is waited for."""
    one, two, three = (replica(valkey, name) for name in ("one", "two", "three"))
    for each in (one, two, three):
        await each.ready()
    await _heartbeats(one, 2)
    await two.bus.aclose()
    waiting = asyncio.create_task(one.purger.purge(hard("a"), wait_s=1.0))
    await three.bus.aclose()
    assert (await waiting).silent == ()
    receipt = await one.purger.purge(hard("b"), wait_s=60)
    assert receipt.acknowledged == ("one",)
    assert not three.ledger.trusted


# -- losing the connection


async def test_what_was_missed_is_read_from_the_stream(valkey, replica, hard):
    """A replica whose connection was cut applies every purge that it missed, and keeps the rest of its memory."""
    one, two = replica(valkey, "one", start=False), replica(valkey, "two", on_gap=OnGap.KEEP)
    await two.ready()
    before = two.ledger.clears
    await kill_subscribers(one)
    tags = [f"article:{n}" for n in range(600)]
    for tag in tags:
        await one.purger.purge(hard(tag))
    await two.ledger.until_true(lambda: tags[-1] in two.ledger.tags)
    await two.ready()
    assert two.ledger.tags == tags
    assert two.ledger.clears == before


async def test_memory_rests_while_the_connection_is_lost(fresh_valkey, replica, hard):
    """With the server gone nothing is answered from memory; with another in its place, nothing old ever again."""
    one = replica(fresh_valkey.url)
    await one.ready()
    epoch, clears = one.ledger.epoch, one.ledger.clears
    fresh_valkey.kill()
    await one.ledger.until_true(lambda: not one.ledger.trusted)
    fresh_valkey.start()
    await one.ready()
    assert one.ledger.epoch != epoch
    assert one.ledger.clears == clears + 1
    await one.purger.purge(hard("a"))
    await one.ledger.until_true(lambda: one.ledger.tags.count("a") == 2)


async def test_a_deaf_subscriber_is_found_out(fresh_valkey, proxy, replica, hard):
    """A connection that stays open and brings nothing: memory rests within a lease, and another one is made."""
    one = replica(fresh_valkey.url, "one", start=False)
    two = replica(fresh_valkey.url, "two", subscriber_url=proxy.url, on_gap=OnGap.KEEP)
    await two.ready()
    clears = two.ledger.clears
    proxy.deafen()
    await one.purger.purge(hard("missed"))
    await two.ledger.until_true(lambda: not two.ledger.trusted)
    await asyncio.wait_for(_until_down(two), 10)
    assert "missed" not in two.ledger.tags
    proxy.heal()
    await two.ready()
    assert two.ledger.tags == ["missed"]
    assert two.ledger.clears == clears


async def _until_down(one) -> None:
    await one.ledger.until_true(lambda: one.observed.up[-1:] == [False])


async def test_a_stream_that_no_longer_reaches_back_empties_memory(valkey, replica, hard):
    """Where records are gone that a replica has not seen, it forgets everything, and vouches for nothing from then."""
    one, two = replica(valkey, "one", start=False), replica(valkey, "two")
    await two.ready()
    clears = two.ledger.clears
    await two.bus.aclose()
    missed = await one.purger.purge(hard("missed"))
    await one.roles.bus.call("XTRIM", LAYOUT.stream, "MAXLEN", 0)
    two.bus.start()
    await two.ready()
    assert two.ledger.clears == clears + 1
    assert two.ledger.base_us >= missed.at_us


@pytest.mark.parametrize("loss", ["FLUSHALL", "DEL"])
async def test_a_lost_clock_empties_memory(valkey, replica, loss):
    """A clock that was flushed or evicted is another clock: what was judged by the old one is forgotten."""
    one = replica(valkey)
    await one.ready()
    epoch, clears = one.ledger.epoch, one.ledger.clears
    await one.roles.bus.call(*((loss,) if loss == "FLUSHALL" else (loss, LAYOUT.clock)))
    await one.ledger.until_true(lambda: one.ledger.trusted and one.ledger.epoch != epoch)
    assert one.ledger.clears == clears + 1
    assert one.observed.counts["cleared"] == 1, "a start is no gap"


@pytest.mark.parametrize("turns", range(6))
async def test_a_bus_that_is_stopped_while_it_loses_its_connection_leaves_none(valkey, replica, turns) -> None:
    """Whichever step of that it is interrupted in, nobody goes on listening for it."""
    one = replica(valkey)
    await one.ready()
    time.sleep(5 * HEARTBEAT_S)  # noqa: ASYNC251 - so that its heartbeats go unheard
    for _ in range(turns):
        await asyncio.sleep(0)
    await one.bus.aclose()
    assert await one.roles.bus.call("PUBSUB", "NUMSUB", LAYOUT.bus) == [LAYOUT.bus.encode(), 0]


async def test_losing_the_bus_is_said_once_and_so_is_its_return(fresh_valkey, replica, monkeypatch):
    """However often it is tried meanwhile."""
    one = replica(fresh_valkey.url)
    await one.ready()
    tries, enough = 0, asyncio.Event()
    subscribe = RedisSubscriber.subscribe

    async def counted(self, *asked, **how):
        nonlocal tries
        tries += 1
        if tries >= 3:
            enough.set()
        return await subscribe(self, *asked, **how)

    monkeypatch.setattr(RedisSubscriber, "subscribe", counted)
    with capture_logs() as logs:
        fresh_valkey.kill()
        await enough.wait()
        fresh_valkey.start()
        await one.ledger.until_true(lambda: one.ledger.trusted)
        await kill_subscribers(one)
        await one.ledger.until_true(lambda: not one.ledger.trusted)
        await one.ready()
    said = [line["event"] for line in logs if line["event"].startswith("bus")]
    assert said == ["bus_lost", "bus_back"] * 2


async def test_an_evicted_clock_is_never_taken_for_the_old_one(fresh_valkey, replica):
    """Under memory pressure with allkeys-lru the clock goes, and its epoch with it."""
    one = replica(fresh_valkey.url, start=False)
    stamp = await one.clock.begin()
    with fresh_valkey.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("maxmemory", "4mb")
        n = 0
        while client.exists(LAYOUT.clock):
            client.set(f"filler:{n}", b"x" * 10_000)
            n += 1
    again = await one.clock.begin()
    assert again.epoch != stamp.epoch


# -- plain messages


async def test_a_plain_event_purges_once_for_all(valkey, replica, hard):
    """Every replica hears a plain message; the clock moves once for it."""
    one, two = replica(valkey, "one"), replica(valkey, "two")
    await one.ready()
    await two.ready()
    assert await one.roles.bus.call("PUBLISH", "cacheproxy:events", EVENT) == 2
    for each in (one, two):
        await each.ledger.until_true(lambda each=each: "article:42" in each.ledger.tags)
    await one.purger.purge(hard("end"))
    await two.ledger.until_true(lambda: "end" in two.ledger.tags)
    assert two.ledger.tags == ["article:42", "articles", "end"]


async def test_the_same_message_twice_is_two_purges(valkey, replica):
    """Between two equal messages a fill may have come: the second counts as much as the first."""
    one, two = replica(valkey, "one"), replica(valkey, "two")
    await one.ready()
    await two.ready()
    await one.roles.bus.call("PUBLISH", "cacheproxy:events", EVENT)
    await two.ledger.until_true(lambda: "article:42" in two.ledger.tags)
    between = await one.clock.begin()
    await one.roles.bus.call("PUBLISH", "cacheproxy:events", EVENT)
    await two.ledger.until_true(lambda: two.ledger.applied[-1].at_us > between.began_at_us)
    assert two.ledger.applied[-1].tags == ("article:42", "articles")


async def test_channels_are_heard_by_pattern_too(valkey, replica):
    """A pattern such as ``users:*`` catches channels that nobody named, and never the bus itself."""
    rules = EventRules(channels=(), patterns=("users:*", "*bus"), on=(("gone", (Template.parse("user:{data.id}"),)),))
    one = replica(valkey, rules=rules)
    await one.ready()
    assert await one.roles.bus.call("PUBLISH", "users:7", '{"type": "gone", "data": {"id": "7"}}') == 1
    await one.ledger.until_true(lambda: "user:7" in one.ledger.tags)
    assert one.observed.counts["unknown-event"] + one.observed.counts["wrong-type"] == 0


async def test_bad_messages_are_counted_and_change_nothing(valkey, replica):
    """Whatever is published on the channel or the bus, the listener goes on listening."""
    one = replica(valkey)
    await one.ready()
    for payload in (b"", b"{", b"\xff", b"[]", b'{"type": "unknown"}', b'{"type": "article.updated"}', b"[" * 100_000):
        await one.roles.bus.call("PUBLISH", "cacheproxy:events", payload)
    for payload in (b"", b"\xff", b"[1]", b'{"kind": "purge"}', b'{"kind": "beat", "replica": 1}', b"[" * 100_000):
        await one.roles.bus.call("PUBLISH", LAYOUT.bus, payload)
    await one.roles.bus.call("PUBLISH", "cacheproxy:events", EVENT)
    await one.ledger.until_true(lambda: "article:42" in one.ledger.tags)
    counts = one.observed.counts
    assert (counts["malformed"], counts["not-utf8"], counts["deep"], counts["wrong-type"]) == (2, 1, 1, 1)
    assert (counts["unknown-event"], counts["missing-data"], counts["bad-bus-message"]) == (1, 1, 6)
    assert one.ledger.tags == ["article:42", "articles"]


async def test_a_burst_of_20_000_events_is_taken_whole_and_stalls_nobody(valkey, replica):
    """Twenty thousand plain events at once all purge, and the event loop turns meanwhile."""
    one = replica(valkey, heartbeat_s=1.0)
    await one.ready()
    loop = asyncio.get_running_loop()
    longest_s, done = 0.0, False

    async def watch() -> None:
        nonlocal longest_s
        while not done:
            before = loop.time()
            await asyncio.sleep(0)
            longest_s = max(longest_s, loop.time() - before)

    watching = asyncio.create_task(watch())
    events = [("PUBLISH", "cacheproxy:events", json.dumps({"purge": {"tags": [f"t:{n}"]}})) for n in range(20_000)]
    for at in range(0, len(events), 1_000):
        await one.roles.cache.batch(events[at : at + 1_000])
    seen: set[str] = set()
    at = 0

    def all_seen() -> bool:
        nonlocal at
        for purge in one.ledger.applied[at:]:
            seen.update(purge.tags)
        at = len(one.ledger.applied)
        return len(seen) == 20_000

    await one.ledger.until_true(all_seen)
    done = True
    await watching
    assert longest_s < 0.5
    assert one.observed.counts["gap"] == 0


async def test_two_replicas_of_one_name_do_not_answer_from_memory(valkey, replica, hard):
    """Each takes the other's word for its own: neither is trusted, until one of them is gone."""
    one = replica(valkey, "same")
    await one.ready()
    two = replica(valkey, "same")
    await one.ledger.until_true(lambda: not one.ledger.trusted)
    await two.bus.aclose()
    await one.ready()
    assert (await one.purger.purge(hard("a"), wait_s=5)).acknowledged == ("same",)


# -- gaps in listening to plain messages


@pytest.mark.parametrize(
    ("on_gap", "mode"), [(OnGap.CLEAR, PurgeMode.HARD), (OnGap.SOFT, PurgeMode.SOFT), (OnGap.KEEP, None)]
)
async def test_where_nobody_listened_everything_is_purged(valkey, replica, on_gap, mode):
    """After a time without any listener a plain message may be lost: the policy says what that means."""
    one = replica(valkey, "one", on_gap=on_gap)
    await one.ready()
    await one.bus.aclose()
    later = replica(valkey, "later", on_gap=on_gap)
    await later.ledger.until_true(lambda: later.observed.counts["gap"] == 1)
    await later.ready()
    if mode is None:
        assert await later.roles.bus.call("XLEN", LAYOUT.stream) == 0
        return
    await later.ledger.until_true(lambda: "*" in later.ledger.tags)
    assert later.ledger.applied[0].mode is mode


async def test_a_gap_that_another_replica_bridged_is_none(valkey, replica):
    """As long as somebody listened, a replica that was away costs nobody anything."""
    one = replica(valkey, "one", heartbeat_s=0.25)
    await one.ready()
    two = replica(valkey, "two", heartbeat_s=0.25)
    await two.ready()
    await _heartbeats(one, 3)
    await two.bus.aclose()
    await _heartbeats(one, 3)
    again = replica(valkey, "two", heartbeat_s=0.25)
    await again.ready()
    await _heartbeats(again, 8)  # longer than a break is let pass
    assert (one.observed.counts["gap"], again.observed.counts["gap"]) == (0, 0)
    assert await one.roles.bus.call("XLEN", LAYOUT.stream) == 0


async def _heartbeats(one, n: int) -> None:
    for _ in range(n):
        until = one.ledger.until
        await one.ledger.until_true(lambda until=until: one.ledger.until > until)


# -- recorded events


async def test_a_recorded_event_purges_from_the_time_it_was_published(valkey, replica, hard):
    """Every replica maps it by itself, to one and the same clock time, in memory and in the clock."""
    one, two = replica(valkey, "one"), replica(valkey, "two")
    await one.ready()
    await two.ready()
    async with Redis.from_url(valkey) as redis:
        assert await Publisher(redis, "test").publish(json.loads(EVENT)) == 2
    for each in (one, two):
        await each.ledger.until_true(lambda each=each: "article:42" in each.ledger.tags)
    published = int(await one.roles.bus.call("HGET", LAYOUT.clock, "last"))
    assert one.ledger.applied == two.ledger.applied
    assert one.ledger.applied[0].at_us == published
    await one.purger.purge(hard("end"), wait_s=5)
    assert await one.roles.bus.call("HGET", LAYOUT.clock, "t:article:42") == f"{published} 0".encode()


async def test_an_event_that_nobody_heard_is_mapped_by_the_next_replica(valkey, replica):
    """Published while no sidecar ran, it purges when one starts: from its own time on, not from then."""
    async with Redis.from_url(valkey) as redis:
        assert await Publisher(redis, "test").publish(json.loads(EVENT)) == 0
    one = replica(valkey, "one")
    between = await one.clock.begin()
    await one.ready()
    hard_us, soft_us = (await one.roles.bus.call("HGET", LAYOUT.clock, "t:article:42")).split()
    assert int(hard_us) < between.began_at_us
    assert soft_us == b"0"


async def test_events_lost_from_the_stream_purge_everything(valkey, replica):
    """Where the stream no longer has what was not mapped yet, nobody knows what it named."""
    one = replica(valkey, "one", on_gap=OnGap.KEEP)
    await one.ready()
    await _heartbeats(one, 2)
    await one.bus.aclose()
    async with Redis.from_url(valkey) as redis:
        await Publisher(redis, "test").publish(json.loads(EVENT))
        await redis.xtrim(LAYOUT.stream, maxlen=0)
        later = replica(valkey, "later", on_gap=OnGap.KEEP)
        await later.ready()
        assert int((await redis.hget(LAYOUT.clock, "t:*")).split()[0]) > 0


async def test_new_rules_are_followed_at_once(valkey, replica):
    """A reloaded policy maps events anew, over another connection, and memory is kept."""
    one = replica(valkey, "one", rules=EventRules())
    await one.ready()
    clears = one.ledger.clears
    await one.bus.follow(EventRules(on=(("article.updated", (Template.parse("new:{data.id}"),)),)))
    await one.ready()
    await one.roles.bus.call("PUBLISH", "cacheproxy:events", EVENT)
    await one.ledger.until_true(lambda: "new:42" in one.ledger.tags)
    assert one.ledger.clears == clears


# -- other rooms' messages


async def test_wake_ups_of_leases_travel_on_the_bus(valkey, replica):
    """A lease that one replica releases wakes who waits at another."""
    one, two = replica(valkey, "one"), replica(valkey, "two")
    await one.ready()
    await two.ready()
    theirs, ours = RedisLeases(one.roles.cache, "test", 30), RedisLeases(two.roles.cache, "test", 30)
    two.wakes.append(ours.hear)
    held, taken = await theirs.acquire("k"), await ours.acquire("k")
    waiting = asyncio.create_task(ours.wait(taken, 30))
    await theirs.release(held, Waited.GAVE_UP)
    assert await waiting is Waited.GAVE_UP


# -- a server that does not take what is to be recorded


async def test_an_event_that_cannot_be_recorded_is_kept_and_memory_rests(fresh_valkey, replica):
    """A server that passes messages on but takes no writes: the purge waits for it, and nothing old is served."""
    one = replica(fresh_valkey.url, heartbeat_s=0.5)
    await one.ready()
    with fresh_valkey.client() as client:
        client.config_set("min-replicas-to-write", 1)
        client.publish("cacheproxy:events", EVENT)
        await one.ledger.until_true(lambda: not one.ledger.trusted)
        assert not one.purger.settled
        client.config_set("min-replicas-to-write", 0)
    await one.ledger.until_true(lambda: one.purger.settled)
    assert "article:42" in one.ledger.tags
    await one.ready()


async def test_a_recorded_event_that_cannot_be_marked_is_read_again(valkey, replica, hard):
    """The connection is made anew, and the event is mapped from the stream."""
    one = replica(valkey)
    await one.ready()
    refused = iter([StateError("timeout")])
    mark = one.clock.mark

    async def mark_later(epoch, marked):
        error = next(refused, None)
        if error is not None:
            raise error
        await mark(epoch, marked)

    one.clock.mark = mark_later
    async with Redis.from_url(valkey) as redis:
        await Publisher(redis, "test").publish(json.loads(EVENT))
        published = await redis.hget(LAYOUT.clock, "last")
        await one.ledger.until_true(lambda: one.observed.up == [True, False, True])
        assert await redis.hget(LAYOUT.clock, "t:article:42") == published + b" 0"


async def test_hard_and_soft_plain_purges_of_one_moment_are_merged(valkey, replica):
    """Each mode is one purge, and what is purged hard is not purged softly too."""
    one = replica(valkey)
    await one.ready()
    purges = [{"tags": ["a"], "mode": "soft"}, {"tags": ["a", "b"]}, {"tags": ["c"], "mode": "soft"}]
    await one.roles.cache.batch([("PUBLISH", "cacheproxy:events", json.dumps({"purge": each})) for each in purges])
    await one.ledger.until_true(lambda: set(one.ledger.tags) == {"a", "b", "c"})
    assert len(one.ledger.applied) <= 3


async def test_a_bus_that_is_closed_answers_nothing_from_memory(valkey, replica):
    """After closing nobody says any more what was purged."""
    one = replica(valkey)
    await one.ready()
    assert one.bus.connected
    await one.bus.aclose()
    assert not one.bus.connected
    assert not one.ledger.trusted
    await one.bus.aclose()


async def test_a_bug_is_seen_and_does_not_keep_memory_off(valkey, replica, hard, monkeypatch):
    """Whatever goes wrong while listening is logged; another connection is made, and memory begins anew."""
    one = replica(valkey)
    await one.ready()
    clears = one.ledger.clears
    apply = one.ledger.apply
    failures = iter([ZeroDivisionError()])

    def fail_once(purge):
        error = next(failures, None)
        if error is not None:
            raise error
        apply(purge)

    monkeypatch.setattr(one.ledger, "apply", fail_once)
    monkeypatch.setattr("cacheproxy.invalidation.bus.LONGEST_WAIT_S", 0.1)
    with structlog.testing.capture_logs() as lines:
        await one.clock.purge(hard("a"))
        await one.ledger.until_true(lambda: one.observed.up == [True, False, True])
    assert [line["event"] for line in lines] == ["bus_failed"]
    assert one.ledger.clears == clears + 1

"""What the scripts do to Redis: one purge, one script, and a clock that stays small."""

import pytest

from cacheproxy.client.wire import Layout
from cacheproxy.invalidation.contract import Purge, PurgeMode
from cacheproxy.invalidation.tag_clock import Mapped, Marked, Sign, TagClock
from cacheproxy.semantics.tag_clock import Verdict
from cacheproxy.storage.clock_view import clock_command, read_clock

LAYOUT = Layout("test")


@pytest.fixture
async def one(valkey, replica):
    """A replica without a bus, on an empty server."""
    return replica(valkey, start=False, lifetime_s=100.0)


async def ask(one, *command):
    """The reply to one command."""
    return await one.roles.cache.call(*command)


async def view(one, *tags):
    """The clock as L2 reads it."""
    return read_clock(tags, await ask(one, *clock_command(LAYOUT.clock, tags)))


async def test_the_clock_is_what_the_stores_read(one, hard, soft):
    """Stamps and purges written by the scripts are judged by L2's own reading of the clock."""
    before = await one.clock.begin()
    await one.clock.purge(hard("gone"))
    await one.clock.purge(soft("stale"))
    seen = await view(one, "gone", "stale", "other")
    verdicts = [seen.judge(before, [tag]) for tag in ("gone", "stale", "other")]
    assert verdicts == [Verdict.DEAD, Verdict.STALE, Verdict.VALID]


async def test_time_is_the_servers_and_never_goes_back(one):
    """Microseconds of Redis TIME, or one more than the last where the server's clock was set back."""
    seconds, micros = await ask(one, "TIME")
    first = await one.clock.begin()
    assert first.began_at_us >= int(seconds) * 1_000_000 + int(micros)
    one.clock.time_us = 5
    second = await one.clock.begin()
    assert second.began_at_us == first.began_at_us + 1


async def test_a_damaged_clock_begins_anew(one, hard):
    """A clock that lacks its time is as good as none: another epoch, and nothing of the old one left."""
    first = await one.clock.begin()
    await one.clock.purge(hard("a"))
    await ask(one, "HDEL", LAYOUT.clock, "now")
    again = await one.clock.begin()
    assert again.epoch != first.epoch
    assert (await view(one, "a")).purges == {}
    assert await ask(one, "EXISTS", LAYOUT.stream) == 0


@pytest.mark.parametrize("entries", [10, 10_000])
async def test_a_purge_costs_the_same_however_many_entries_carry_the_tag(one, hard, entries):
    """No set of members is kept or walked: the commands that a purge runs do not depend on the entries."""
    await one.clock.purge(hard("warm"))
    await one.roles.cache.batch([("SET", f"test:articles:{n}", "x") for n in range(entries)])
    await ask(one, "CONFIG", "RESETSTAT")
    await one.clock.purge(hard("articles"))
    stats = (await ask(one, "INFO", "commandstats")).decode()
    ran = sorted(line.split(":")[0].removeprefix("cmdstat_") for line in stats.splitlines() if "cmdstat" in line)
    calls = sum(int(line.split("calls=")[1].split(",")[0]) for line in stats.splitlines() if "calls=" in line)
    in_script = ["hget", "hmget", "hscan", "hset", "info", "publish", "time", "xadd"]
    assert ran == ["config|resetstat", "evalsha", *in_script]
    assert calls == 16


async def test_the_clock_stays_small(one, hard):
    """Purges older than the longest-lived entry are dropped, in steps, and what they killed stays dead."""
    one.clock.time_us = 1_000_000_000
    old = await one.clock.begin()
    for n in range(2_000):
        one.clock.time_us += 1_000
        await one.clock.purge(hard(f"article:{n}"))
    assert await ask(one, "HLEN", LAYOUT.clock) > 2_000
    one.clock.time_us += 101_000_000
    for n in range(200):
        await one.clock.purge(hard(f"late:{n}"))
    assert await ask(one, "HLEN", LAYOUT.clock) < 300
    seen = await view(one, "article:7")
    assert seen.purges == {}
    assert seen.judge(old, ["article:7"]) is Verdict.DEAD


async def test_a_purge_of_many_tags_is_one_record(one, hard):
    """A thousand tags are purged at one and the same time."""
    tags = [f"t:{n}" for n in range(1_000)]
    recorded = await one.clock.purge(hard(*tags))
    assert await ask(one, "XLEN", LAYOUT.stream) == 1
    times = await ask(one, "HMGET", LAYOUT.clock, *(f"t:{tag}" for tag in tags))
    assert set(times) == {f"{recorded.at_us} 0".encode()}


async def test_the_stream_is_bounded(one, hard):
    """About ten thousand records are kept."""
    await one.clock.begin()
    for _ in range(12):
        await one.roles.cache.batch([("XADD", LAYOUT.stream, "*", "said", "x")] * 1_000)
    one.clock.time_us = 10**16 // 2
    await one.clock.purge(hard("a"))
    assert 10_000 <= await ask(one, "XLEN", LAYOUT.stream) < 10_300


async def test_a_heard_message_is_purged_once(one, hard, soft):
    """Of all replicas that come to the same place after the same marker, the first purges for all."""
    assert await one.clock.hear("m", 2, [hard("a"), soft("b", "a")])
    assert not await one.clock.hear("m", 2, [hard("a"), soft("b")])
    assert not await one.clock.hear("m", 1, [hard("a")])
    assert await one.clock.hear("m", 3, [hard("c")])
    assert await one.clock.hear("n", 1, [hard("a")])
    assert await ask(one, "XLEN", LAYOUT.stream) == 4
    purges = (await view(one, "a", "b")).purges
    assert purges["a"].soft_us == 0
    assert purges["b"].hard_us == 0


async def test_events_are_marked_at_their_own_time_by_whoever_maps_them(one, hard, soft):
    """Marking is the same done once or often, in any order, and never takes a later purge back."""
    stamp = await one.clock.begin()
    later = await one.clock.purge(hard("a"))
    marked = [Marked(at_us=stamp.began_at_us, purge=hard("a", "b")), Marked(at_us=later.at_us, purge=soft("b"))]
    for _ in range(2):
        await one.clock.mark(stamp.epoch, marked)
    purges = (await view(one, "a", "b")).purges
    assert purges["a"].hard_us == later.at_us
    assert (purges["b"].hard_us, purges["b"].soft_us) == (stamp.began_at_us, later.at_us)


async def test_events_of_a_lost_clock_mark_nothing(one, hard):
    """What was filled under it is dead already, and its times mean nothing to the new one."""
    await one.clock.begin()
    await one.clock.mark("another", [Marked(at_us=10**16, purge=hard("a"))])
    assert (await view(one, "a")).purges == {}


async def test_how_far_events_are_mapped_only_grows_and_only_within_an_epoch(one):
    """A replica that lags, or that speaks of a lost clock, does not take it back."""
    epoch = (await one.clock.begin()).epoch

    async def beat(mapped):
        return (await one.clock.beat(Sign(replica="one", number=1, digest="d", mapped=mapped))).mapped_us

    assert await beat(None) is None
    assert await beat(Mapped(epoch=epoch, at_us=50)) == 50
    assert await beat(Mapped(epoch=epoch, at_us=40)) == 50
    assert await beat(Mapped(epoch="another", at_us=90)) == 50


async def test_a_replica_that_is_long_gone_leaves_the_registry(one):
    """The registry holds who was heard of in the last minute."""
    one.clock.time_us = 1_000_000_000
    await one.clock.beat(Sign(replica="gone", number=1, digest="d"))
    one.clock.time_us += 61_000_000
    await one.clock.beat(Sign(replica="here", number=1, digest="d"))
    assert await ask(one, "HKEYS", LAYOUT.replicas) == [b"here"]


async def test_everything_a_script_touches_shares_one_slot(one, hard):
    """Clock, stream, registry, guards and leases carry the same hash tag, so a cluster takes the scripts."""
    await one.clock.purge(hard("a"))
    await one.clock.hear("m", 1, [hard("a")])
    await one.clock.beat(Sign(replica="one", number=1, digest="d"))
    keys = await ask(one, "KEYS", "*")
    assert len(keys) == 4
    assert all(key.startswith(b"{test}:") for key in [*keys, LAYOUT.lease("k").encode(), LAYOUT.bus.encode()])


async def test_prefixes_do_not_touch_each_other(one, hard):
    """Two installations may share a server."""
    other = TagClock(one.roles.cache, "other", 100)
    await one.clock.purge(hard("a"))
    stamp = await other.begin()
    assert stamp.epoch != (await one.clock.begin()).epoch
    assert await ask(one, "HEXISTS", "{other}:clock", "t:a") == 0


async def test_a_soft_purge_does_not_undo_a_hard_one(one):
    """Both times are kept for each tag."""
    stamp = await one.clock.begin()
    for mode in (PurgeMode.HARD, PurgeMode.SOFT):
        await one.clock.purge(Purge(tags=("a",), mode=mode))
    assert (await view(one, "a")).judge(stamp, ["a"]) is Verdict.DEAD


async def test_event_rules_that_nobody_follows_any_more_are_forgotten(one, hard):
    """Each set of rules leaves two times in the clock, which go when they are older than any entry."""
    one.clock.time_us = 1_000_000_000
    epoch = (await one.clock.begin()).epoch
    mapped = Mapped(epoch=epoch, at_us=1_000_000_000)
    await one.clock.beat(Sign(replica="one", number=1, digest="old", mapped=mapped))
    one.clock.time_us += 101_000_000
    await one.clock.beat(Sign(replica="one", number=1, digest="new", mapped=mapped))
    await one.clock.purge(hard("a"))
    fields = await ask(one, "HKEYS", LAYOUT.clock)
    assert {field for field in fields if field[1:2] == b":"} == {b"t:a", b"c:new"}

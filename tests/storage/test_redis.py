"""L2 in a real server: trips counted, bytes that others can read, and whatever is under our keys survived."""

import asyncio
import json
import random
import threading
from collections.abc import Callable

import pytest
import redis

from cacheproxy.errors import StateError
from cacheproxy.redis_link.connect import Roles, Tuning, connect
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.rules import CacheRules, Coding, CompressRules
from cacheproxy.semantics.tag_clock import Stamp
from cacheproxy.storage.codec import unpack
from cacheproxy.storage.contract import Entry
from cacheproxy.storage.envelope import Envelope
from cacheproxy.storage.redis import RedisStore

ANY = Fields()
MakeEntry = Callable[..., Entry]
TAGS = ("articles", "article:1")
VARYING = Fields.of(("vary", "accept-language"))


def asking(language: str) -> Fields:
    """A request in one language."""
    return Fields.of(("accept-language", language))


class CountingLink:
    """Passes everything on to a link, and counts the trips: each turn of the event loop that asks is one."""

    def __init__(self, link) -> None:
        self._link = link
        self.trips = 0

    async def call(self, *command, budget=None):
        """One trip."""
        self.trips += 1
        return await self._link.call(*command, budget=budget)

    async def batch(self, commands, budget=None):
        """One trip."""
        self.trips += 1
        return await self._link.batch(commands, budget)

    async def run(self, script, keys, args=(), budget=None):
        """One trip."""
        self.trips += 1
        return await self._link.run(script, keys, args, budget)

    up = True


@pytest.fixture
def link(redis_place, roles: Roles) -> CountingLink:
    """A counting link to a server with a tag clock."""
    return CountingLink(roles.cache)


@pytest.fixture
def store(link: CountingLink, clock) -> RedisStore:
    """An L2 on it."""
    return RedisStore(link, prefix="test", clock=clock)


@pytest.fixture
def outside(valkey: str):
    """Another program, with a plain client."""
    with redis.Redis.from_url(valkey) as client:
        yield client


@pytest.mark.parametrize(
    ("tags", "trips"),
    [
        pytest.param(TAGS, 1, id="all-tags-known"),
        pytest.param((), 2, id="tags-only-the-entry-names"),
    ],
)
async def test_a_hit_takes_one_trip_if_its_tags_are_known(store, link, entry, tags, trips: int) -> None:
    """The entry and its part of the clock come together; tags that only the response named cost a second trip."""
    await store.write(entry())
    link.trips = 0
    assert await store.read("k", ANY, None, tags) is not None
    assert link.trips == trips


async def test_a_miss_takes_one_trip(store, link) -> None:
    """Nothing there: one trip."""
    assert await store.read("k", ANY) is None
    assert link.trips == 1


async def test_a_herd_takes_one_trip(store, link, entry: MakeEntry) -> None:
    """However many ask for a key at once, and in whatever language where it varies: one trip for each question."""
    assert {None} == {*await asyncio.gather(*(store.read("k", ANY, None, TAGS) for _ in range(50)))}
    assert link.trips == 1
    for language in ("de", "en"):
        await store.write(entry(body=language.encode(), request=asking(language), fields=VARYING))
    await store.read("k", asking("de"), None, TAGS)
    link.trips = 0
    herd = [store.read("k", asking(language), None, TAGS) for language in ("de", "en") * 25]
    assert [found.entry.body for found in await asyncio.gather(*herd)] == [b"de", b"en"] * 25
    assert link.trips == 2


@pytest.mark.parametrize(
    ("body", "at_once"),
    [(b"text " * 10, True), (random.Random(1).randbytes(60_000).hex().encode(), False)],
    ids=["small", "large"],
)
@pytest.mark.parametrize("varies", [False, True])
async def test_a_herd_unpacks_once(link, clock, entry: MakeEntry, monkeypatch, body, at_once, varies) -> None:
    """What one trip brought is unpacked once for all who asked, beside the event loop where that takes long."""
    rules = {"articles": CacheRules(compress=CompressRules(above_bytes=10, coding=Coding.ZSTD))}
    store = RedisStore(link, prefix="test", clock=clock, envelope=Envelope(rules=rules))
    await store.write(entry(body=body, request=asking("de"), **({"fields": VARYING} if varies else {})))
    await store.read("k", asking("de"), None, TAGS)
    unwrap, on_loop, loop_thread = store._envelope.unwrap, [], threading.get_ident()

    def counting(key: str, value: bytes) -> object:
        on_loop.append(threading.get_ident() == loop_thread)
        return unwrap(key, value)

    monkeypatch.setattr(store._envelope, "unwrap", counting)
    found = await asyncio.gather(*(store.read("k", asking("de"), None, TAGS) for _ in range(50)))
    assert (1, body) == (len({id(each.entry.body) for each in found}), found[0].entry.body)
    assert on_loop == [at_once]


async def test_a_variant_takes_one_trip_once_its_key_is_known(store, link, entry: MakeEntry) -> None:
    """The list of variants is remembered, so the right one is asked for at once; the first time costs a second trip."""
    await store.write(entry(request=asking("de"), fields=VARYING))
    link.trips = 0
    for expected in (2, 3, 4):
        assert await store.read("k", asking("de"), None, TAGS) is not None
        assert link.trips == expected


async def test_a_remembered_list_of_variants_is_never_believed(store, clock, roles, entry: MakeEntry) -> None:
    """Another replica stores a variant that fits: this one finds it though its memory says otherwise."""
    await store.write(entry(body=b"de", request=asking("de"), fields=VARYING))
    assert await store.read("k", asking("de")) is not None
    other = RedisStore(roles.cache, prefix="test", clock=clock)
    await other.write(entry(body=b"en", request=asking("en"), fields=VARYING))
    found = await store.read("k", asking("en"))
    assert found is not None
    assert found.entry.body == b"en"
    await other.write(entry(body=b"no vary"))
    found = await store.read("k", asking("en"))
    assert found is not None
    assert found.entry.body == b"no vary"


async def test_what_is_not_unpacked_again_is_looked_at_again(redis_place, link, clock, entry: MakeEntry) -> None:
    """Where memory keeps nothing, a value is unpacked once; another, or a purge, is seen at once all the same."""
    store = RedisStore(link, prefix="test", clock=clock, max_unpacked=10)
    await store.write(entry(body=b"old"))
    first, second = [await store.read("k", ANY, None, TAGS) for _ in range(2)]
    assert first is not None
    assert second is not None
    assert first.entry is second.entry
    await store.write(entry(body=b"new"))
    found = await store.read("k", ANY, None, TAGS)
    assert found is not None
    assert found.entry.body == b"new"
    await redis_place.purge(100, "article:1")
    assert await store.read("k", ANY, None, TAGS) is None


async def test_an_entry_is_a_plain_string_with_an_expiry(store, outside, entry: MakeEntry, clock) -> None:
    """``GET key`` from any client gives the documented form, and Redis drops it at ``keep_until``."""
    await store.write(entry(body=b'{"id": 7}', keep_until=clock.at + 90))
    head, meta, body = outside.get("k").split(b"\n", 2)
    assert head.startswith(b"cacheproxy 1 ")
    assert json.loads(meta)["status"] == 200
    assert body == b'{"id": 7}'
    assert 80_000 < outside.pttl("k") <= 90_000


async def test_the_list_of_variants_lives_as_long_as_the_longest(store, outside, entry: MakeEntry, clock) -> None:
    """A short-lived variant stored last does not take the others' list away."""
    await store.write(entry(request=asking("de"), fields=VARYING, keep_until=clock.at + 90))
    await store.write(entry(request=asking("en"), fields=VARYING, keep_until=clock.at + 10))
    assert outside.pttl("k") > 80_000
    (en,) = (key for key in outside.keys("k:~*") if b'"en"' not in key and outside.pttl(key) <= 10_000)
    assert unpack(outside.get(en)).variance.endswith(b"en;q=1000")


async def test_an_expired_variant_leaves_the_list(store, outside, entry: MakeEntry, clock) -> None:
    """Each write to a list drops the variants whose time is over."""
    await store.write(entry(request=asking("de"), fields=VARYING, keep_until=clock.at + 10))
    clock.at += 20
    await store.write(entry(request=asking("en"), fields=VARYING, keep_until=clock.at + 90))
    assert [each["variance"] for each in json.loads(outside.get("k"))["variants"]] == ["accept-language:en;q=1000"]


async def test_what_another_program_stored_is_served(store, outside, entry: MakeEntry) -> None:
    """An entry set by hand, by the documented form, is found, judged and purged like our own."""
    await store.write(entry("theirs"))
    value = outside.get("theirs")
    outside.flushall()
    outside.hset("{test}:clock", mapping={"epoch": "e1", "now": 100, "base": 0})
    outside.set("theirs", value, px=60_000)
    assert await store.read("theirs", ANY) is not None
    outside.hset("{test}:clock", "t:article:1", "100 0")
    assert await store.read("theirs", ANY) is None


async def test_every_flipped_byte_is_a_miss(store, outside, entry: MakeEntry) -> None:
    """Each byte of a stored value changed in turn: a miss each time, counted, and never a wrong body."""
    await store.write(entry())
    sound = outside.get("k")
    for at in range(len(sound)):
        changed = bytearray(sound)
        changed[at] ^= random.randint(1, 255)
        outside.set("k", bytes(changed))
        assert await store.read("k", ANY) is None, at
    assert store.corrupt == len(sound)
    outside.set("k", sound)
    assert await store.read("k", ANY) is not None


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"hello",
        b"\x80\x04\x95pickle",
        b"cacheproxy 2 00000000\n{}\n",
        b'{"variants":',
        b'{"variants":[]}',
        b'{"variants":{}}',
        b'{"variants":[1]}',
        b'{"variants":[{"digest":"x","names":"abc","variance":1,"received_at":2}]}',
        b'{"variants":[{"digest":"x","names":["a"],"variance":"a","received_at":"soon"}]}',
        b'{"variants":' + b"[" * 50_000,
    ],
)
async def test_a_foreign_value_is_a_miss_and_gives_way(store, outside, entry: MakeEntry, value: bytes) -> None:
    """Whatever else is under our key is a miss for reads and lists, and the next write replaces it."""
    for fields in (ANY, VARYING):
        outside.set("k", value)
        assert await store.read("k", asking("de")) is None
        assert await store.variants("k") == []
        await store.write(entry(request=asking("de"), fields=fields))
        assert await store.read("k", asking("de")) is not None
        await store.delete("k")


@pytest.mark.parametrize("fields", [ANY, VARYING], ids=["entry", "variant"])
async def test_a_key_of_another_type_gives_way(store, outside, entry: MakeEntry, fields: Fields) -> None:
    """A hash under our key is an error to read, of this key alone, and the next write replaces it."""
    outside.hset("k", "a", "b")
    with pytest.raises(StateError) as failure:
        await store.read("k", ANY)
    assert failure.value.reason == "error"
    await store.write(entry(request=asking("de"), fields=fields))
    assert await store.read("k", asking("de")) is not None


async def test_a_value_copied_to_another_key_is_not_served_there(store, outside, entry: MakeEntry) -> None:
    """An entry names its key, so nobody can get another's response by a copy."""
    await store.write(entry("mine"))
    outside.set("yours", outside.get("mine"))
    assert await store.read("yours", ANY) is None


async def test_a_list_of_variants_that_lies_is_found_out(store, outside, entry: MakeEntry) -> None:
    """A list that names one variant for another's request gives a miss: the entry's own variance decides."""
    await store.write(entry(request=asking("de"), fields=VARYING))
    lying = json.loads(outside.get("k"))
    variant = outside.get(f"k:~{lying['variants'][0]['digest']}")
    await store.write(entry(request=asking("en"), fields=VARYING))
    digest = json.loads(outside.get("k"))["variants"][1]["digest"]
    outside.set(f"k:~{digest}", variant)
    assert await store.read("k", asking("en")) is None


async def test_too_large_a_value_is_not_kept(roles: Roles, redis_place, clock, outside, entry: MakeEntry) -> None:
    """Above its bound a value is refused without an error: a hit lost, nothing else."""
    store = RedisStore(roles.cache, prefix="test", max_value_bytes=1000, clock=clock)
    await store.write(entry(body=bytes(2000)))
    assert outside.get("k") is None


async def test_no_clock_is_a_miss(store, outside, entry: MakeEntry) -> None:
    """FLUSHALL, eviction of the clock, an empty server after a failover: hits are lost, truth is not."""
    await store.write(entry())
    outside.delete("{test}:clock")
    assert await store.read("k", ANY, None, TAGS) is None
    assert await store.read("k", ANY) is None


@pytest.mark.parametrize("times", ["", "1", "1 2 3", "soon never", "1.5 2"])
async def test_an_unreadable_clock_is_no_answer(store, outside, entry: MakeEntry, times: str) -> None:
    """Where the clock cannot be understood the store does not know, and says so."""
    await store.write(entry())
    outside.hset("{test}:clock", "t:articles", times)
    with pytest.raises(StateError, match="tag clock"):
        await store.read("k", ANY)


async def test_the_clock_is_read_after_the_entry(redis_place, roles: Roles, clock, entry: MakeEntry) -> None:
    """A purge that falls between the two is seen, for the clock is read last, in the batch and in a second trip."""
    store = redis_place.store
    await store.write(entry())

    class PurgingLink(CountingLink):
        async def call(self, *command, budget=None):
            await redis_place.purge(100, "article:1")
            return await super().call(*command, budget=budget)

    assert await RedisStore(PurgingLink(roles.cache), prefix="test", clock=clock).read("k", ANY) is None
    commands: list[str] = []

    class RecordingLink(CountingLink):
        async def batch(self, batch, budget=None):
            commands.extend(command[0] for command in batch)
            return await super().batch(batch, budget)

    await RedisStore(RecordingLink(roles.cache), prefix="test", clock=clock).read("k", ANY)
    assert commands == ["GET", "HMGET"]


async def test_the_clock_may_be_on_another_server(store, fresh_valkey, roles: Roles, clock, entry: MakeEntry) -> None:
    """Cache and bus with URLs of their own: entries are judged by the bus's clock, and purges there count."""
    elsewhere = connect(fresh_valkey.url, Tuning(limit_s=2))
    split = RedisStore(roles.cache, prefix="other", clock_link=elsewhere.bus, clock=clock)
    await split.write(entry())
    assert await split.read("k", ANY) is None
    await elsewhere.bus.call("HSET", "{other}:clock", "epoch", "e1", "now", 50, "base", 0)
    for tags in ((), TAGS):
        assert await split.read("k", ANY, None, tags) is not None
    await elsewhere.bus.call("HSET", "{other}:clock", "t:article:1", "100 0")
    for tags in ((), TAGS):
        assert await split.read("k", ANY, None, tags) is None
    await elsewhere.aclose()


async def test_a_clock_made_anew_between_two_trips_is_no_clock(store, link, roles, entry: MakeEntry) -> None:
    """What the first trip said of some tags counts for nothing if the second finds another epoch."""
    await store.write(entry(stamp=Stamp("e2", 100)))

    class Renewing(CountingLink):
        async def call(self, *command, budget=None):
            await roles.cache.call("HSET", "{test}:clock", "epoch", "e2")
            return await super().call(*command, budget=budget)

    assert await RedisStore(Renewing(roles.cache), prefix="test").read("k", ANY, None, ("articles",)) is None


async def test_memory_of_variants_is_bounded(roles: Roles, redis_place, clock, entry: MakeEntry) -> None:
    """However many keys vary, only so many lists are remembered."""
    store = RedisStore(roles.cache, prefix="test", max_remembered=3, clock=clock)
    for n in range(10):
        await store.write(entry(str(n), request=asking("de"), fields=VARYING))
        assert await store.read(str(n), asking("de")) is not None
    assert len(store._refs) == 3


async def test_without_redis_every_method_says_so(fresh_valkey, clock, entry: MakeEntry) -> None:
    """Refused at once: read, variants, write and delete raise StateError, and nothing else."""
    fresh_valkey.kill()
    roles = connect(fresh_valkey.url, Tuning())
    store = RedisStore(roles.cache, prefix="test", clock=clock)
    for ask in (
        lambda: store.read("k", ANY),
        lambda: store.variants("k"),
        lambda: store.write(entry()),
        lambda: store.write(entry(request=asking("de"), fields=VARYING)),
        lambda: store.delete("k"),
    ):
        with pytest.raises(StateError):
            await ask()
    await roles.aclose()


async def test_a_fill_from_an_old_epoch_is_never_found(store, entry: MakeEntry) -> None:
    """An entry stamped by a clock that is gone is dead whatever its time."""
    await store.write(entry(stamp=Stamp("e0", 2**60)))
    assert await store.read("k", ANY) is None

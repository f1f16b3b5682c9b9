"""L1 before L2: what is promoted, which of two is served, and what remains when L2 is gone."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from cacheproxy.errors import StateError
from cacheproxy.invalidation.contract import Applied, PurgeMode
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.tag_clock import Stamp, Verdict
from cacheproxy.storage.contract import Entry, Tier
from cacheproxy.storage.memory import MemoryStore
from cacheproxy.storage.tiered import NoStore, TieredStore

ANY = Fields()
MakeEntry = Callable[..., Entry]


class BrokenStore(NoStore):
    """A store that never answers."""

    async def read(self, key, request, budget=None, tags=()):
        """Fail."""
        raise StateError("refused")

    async def variants(self, key, budget=None):
        """Fail."""
        raise StateError("refused")

    async def write(self, entry, budget=None):
        """Fail."""
        raise StateError("refused")

    async def delete(self, key, budget=None):
        """Fail."""
        raise StateError("refused")


@pytest.fixture
def tiered(memory: MemoryStore, redis_place, clock) -> TieredStore:
    """Both tiers."""
    return TieredStore(memory, redis_place.store, clock)


async def test_what_l2_gave_is_kept_in_l1(tiered: TieredStore, entry: MakeEntry) -> None:
    """The first read of another replica's entry is L2's, the second L1's."""
    await tiered.l2.write(entry())
    tiers = [found.tier for _ in range(2) if (found := await tiered.read("k", ANY))]
    assert tiers == [Tier.L2, Tier.L1]
    assert tiered.peek("k", ANY) is not None


async def test_of_two_fills_by_the_same_stamp_each_is_kept(tiered: TieredStore, memory, entry: MakeEntry) -> None:
    """What was heard of the clock may be the stamp of many: it does not tell their responses apart."""
    german = entry(body=b"de", vary=(b"accept-language",), variance=b"accept-language:de;q=1000", received_at=1.0)
    english = replace(german, body=b"en", variance=b"accept-language:en;q=1000", received_at=2.0)
    memory.keep(german)
    await tiered.l2.write(english)
    assert {b"de", b"en"} == {found.body for found in await tiered.variants("k")}
    assert {b"de", b"en"} == {found.body for found in memory.peek_all("k")}


async def test_a_purged_entry_is_not_promoted(tiered: TieredStore, redis_place, memory, entry: MakeEntry) -> None:
    """An entry that this process heard a purge of stays out of L1, though L2's clock may be asked later."""
    kept = entry()
    await tiered.l2.write(kept)
    await redis_place.purge(200, "articles")
    assert await tiered.read("k", ANY) is None
    assert len(memory) == 0


async def test_what_was_softly_purged_before_we_listened_stays_stale(redis_place, entry: MakeEntry, clock) -> None:
    """L1 was never told of that purge, and cannot vouch for what L2's clock calls stale."""
    await redis_place.store.write(entry())
    await redis_place.purge(200, "articles", mode=PurgeMode.SOFT)
    await redis_place.purge(300, "something-else")
    tiered = TieredStore(MemoryStore(1 << 20, clock=clock), redis_place.store, clock)
    tiered.l1.trust(trusted=True, epoch="e1", base_us=200)
    verdicts = [found.verdict for _ in range(2) if (found := await tiered.read("k", ANY))]
    assert verdicts == [Verdict.STALE, Verdict.STALE]


async def test_a_purge_heard_on_the_way_counts(tiered: TieredStore, memory, entry: MakeEntry) -> None:
    """A purge that this replica has acknowledged is not undone by an answer of L2 from before it."""
    await tiered.l2.write(entry())
    memory.apply(Applied(epoch="e1", at_us=200, tags=("article:1",), mode=PurgeMode.SOFT))
    found = await tiered.read("k", ANY)
    assert found is not None
    assert found.verdict is Verdict.STALE
    memory.apply(Applied(epoch="e1", at_us=300, tags=("article:1",), mode=PurgeMode.HARD))
    assert await tiered.read("k", ANY) is None


async def test_l2_is_not_believed_while_a_purge_waits(redis_place, memory, entry: MakeEntry, clock) -> None:
    """What the tag clock in Redis cannot know yet was purged here all the same."""
    settled = True
    tiered = TieredStore(memory, redis_place.store, clock, lambda: settled)
    await tiered.l2.write(entry())
    settled = False
    assert (await tiered.read("k", ANY), await tiered.variants("k"), len(memory)) == (None, [], 0)
    settled = True
    assert await tiered.read("k", ANY) is not None


async def test_after_a_restart_l1_fills_from_l2(tiered: TieredStore, redis_place, memory, entry: MakeEntry) -> None:
    """An entry from before this process listened is kept in L1 once the tag clock, asked since, has let it live."""
    await tiered.l2.write(entry(stamp=Stamp("e1", 100)))
    memory.trust(True, epoch="e1", base_us=500)
    for now_us, tiers in ((400, [Tier.L2, Tier.L2]), (501, [Tier.L2, Tier.L1])):
        await redis_place.roles.cache.call("HSET", "{test}:clock", "now", now_us)
        assert [found.tier for _ in range(2) if (found := await tiered.read("k", ANY))] == tiers
    memory.apply(Applied(epoch="e1", at_us=502, tags=("article:1",), mode=PurgeMode.HARD))
    assert tiered.peek("k", ANY) is None


async def test_what_was_vouched_for_before_a_gap_is_dead_after_it(memory, entry: MakeEntry) -> None:
    """The clock's word holds up to when it was given: a later gap may have swallowed a purge."""
    memory.keep(entry(stamp=Stamp("e1", 100)), vouched_us=600)
    memory.trust(True, epoch="e1", base_us=700)
    assert memory.find("k", ANY) is None


async def test_a_fresher_copy_in_l2_is_found(tiered: TieredStore, entry: MakeEntry, clock) -> None:
    """Once L1's copy is no longer fresh, the one that another replica has fetched meanwhile is served."""
    await tiered.write(entry(body=b"old", lifetime_s=10.0))
    await tiered.l2.write(entry(body=b"new", received_at=clock.at + 11))
    clock.at += 9
    found = await tiered.read("k", ANY)
    assert found is not None
    assert (found.entry.body, found.tier) == (b"old", Tier.L1)
    clock.at += 3
    found = await tiered.read("k", ANY)
    assert found is not None
    assert (found.entry.body, found.tier) == (b"new", Tier.L2)
    found = tiered.peek("k", ANY)
    assert found is not None
    assert found.entry.body == b"new"


async def test_what_another_replica_has_renewed_is_taken_over(tiered: TieredStore, memory, entry: MakeEntry) -> None:
    """Who looks at all variants learns of the newer one, and has it at hand from then on."""
    await tiered.write(entry(body=b"old", stamp=Stamp("e1", 100), received_at=1.0))
    await tiered.l2.write(entry(body=b"new", stamp=Stamp("e1", 101), received_at=2.0))
    assert [found.body for found in await tiered.variants("k")] == [b"new"]
    found = memory.peek("k", ANY)
    assert found is not None
    assert found.entry.body == b"new"


async def test_a_herd_keeps_what_l2_gave_once(tiered: TieredStore, memory, entry: MakeEntry) -> None:
    """The first to have it puts it into L1; the others leave it in its place, on which the express lane relies."""
    await tiered.l2.write(entry())
    places = set()

    async def reader() -> None:
        assert await tiered.read("k", ANY) is not None
        places.add(memory.place("k"))

    await asyncio.gather(*(reader() for _ in range(10)))
    assert len(places) == 1


async def test_a_stale_copy_is_still_found(tiered: TieredStore, entry: MakeEntry, clock) -> None:
    """Where L2 has nothing newer, the stale one is given out: whether it may be served is for others to say."""
    await tiered.write(entry(lifetime_s=10.0))
    clock.at += 20
    found = await tiered.read("k", ANY)
    assert found is not None
    assert found.tier is Tier.L1


async def test_without_l2_what_is_at_hand_is_served(memory: MemoryStore, entry: MakeEntry, clock) -> None:
    """L1 answers, fresh or stale, while L2 does not; only what it does not have is an error."""
    tiered = TieredStore(memory, BrokenStore(), clock)
    memory.keep(entry(lifetime_s=10.0))
    for _ in range(2):
        assert await tiered.read("k", ANY) is not None
        assert len(await tiered.variants("k")) == 1
        clock.at += 20
    with pytest.raises(StateError):
        await tiered.read("other", ANY)
    with pytest.raises(StateError):
        await tiered.variants("other")


async def test_a_write_that_l2_refuses_is_kept_at_hand(memory: MemoryStore, entry: MakeEntry, clock) -> None:
    """L1 keeps what L2 could not, for its stamp is the tag clock's own; that L2 did not is told."""
    tiered = TieredStore(memory, BrokenStore(), clock)
    with pytest.raises(StateError):
        await tiered.write(entry())
    assert tiered.peek("k", ANY) is not None


async def test_a_delete_that_l2_refuses_is_told(memory: MemoryStore, entry: MakeEntry, clock) -> None:
    """L1 has dropped it all the same."""
    tiered = TieredStore(memory, BrokenStore(), clock)
    memory.keep(entry())
    with pytest.raises(StateError):
        await tiered.delete("k")
    assert tiered.peek("k", ANY) is None


async def test_no_store_keeps_nothing(entry: MakeEntry) -> None:
    """The null object: every write is forgotten, every read a miss."""
    store = NoStore()
    await store.write(entry())
    assert await store.read("k", ANY) is store.peek("k", ANY) is None
    assert await store.variants("k") == []
    assert await store.delete("k") == 0

"""L1: bounded, exact in its accounts, and never true when nobody vouches for it."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from cacheproxy.invalidation.contract import Applied, PurgeMode
from cacheproxy.semantics import tag_clock
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.rules import Coding
from cacheproxy.semantics.tag_clock import PurgeTimes, Stamp, Verdict
from cacheproxy.semantics.vary import variance
from cacheproxy.storage.contract import Entry
from cacheproxy.storage.memory import MemoryStore
from cacheproxy.storage.mirror import ClockMirror

from ..clocks import FakeClock  # noqa: TID252 - of all tests, whatever their root is called

ANY = Fields()
NOW = 1_763_640_000.0
MakeEntry = Callable[..., Entry]


def purged(at_us: int, *tags: str, mode: PurgeMode = PurgeMode.HARD, epoch: str = "e1") -> Applied:
    """A purge as the bus brings it."""
    return Applied(epoch=epoch, at_us=at_us, tags=tags, mode=mode)


def made(key: str, stamp: Stamp, tags: tuple[str, ...], **changes: object) -> Entry:
    """An entry begun at ``stamp``."""
    times = {"requested_at": NOW, "received_at": NOW, "lifetime_s": 60.0, "keep_until": 1e12}
    parts = times | {"status": 200, "fields": Fields(), "body": b""} | changes
    return Entry(key=key, stamp=stamp, tags=tags, **parts)


def test_until_trusted_nothing_is_answered_or_kept(entry: MakeEntry) -> None:
    """A store nobody vouches for is empty to those who ask."""
    store = MemoryStore(1 << 20)
    assert store.keep(entry()) is None
    store.trust(True, epoch="e1")
    assert store.find("k", ANY) is None


def test_distrust_hides_and_trust_shows_again(memory: MemoryStore, entry: MakeEntry) -> None:
    """While the bus is away nothing is answered; purges replayed after it count, the rest is still there."""
    for key, tag in (("a", "x"), ("b", "y")):
        memory.keep(entry(key, tags=(tag,), keep_until=float("1e12")))
    memory.trust(False)
    assert memory.find("a", ANY) is memory.peek("a", ANY) is None
    assert memory.peek_all("a") == []
    memory.trust(True, epoch="e1")
    assert memory.find("a", ANY) is not None


def test_purges_heard_while_distrusted_count(memory: MemoryStore, entry: MakeEntry) -> None:
    """The replay that precedes new trust kills what it names."""
    memory.keep(entry())
    memory.trust(False)
    memory.apply(purged(200, "articles"))
    memory.trust(True, epoch="e1")
    assert memory.find("k", ANY) is None


def test_trust_ends_by_itself(memory: MemoryStore, entry: MakeEntry, clock) -> None:
    """Past ``until`` nothing is answered, though nobody came to say so: the process may have been asleep."""
    memory.keep(entry(keep_until=clock.at + 1000))
    memory.trust(True, epoch="e1", until=clock.at + 10)
    assert memory.find("k", ANY) is not None
    clock.at += 10
    assert memory.find("k", ANY) is None
    assert memory.keep(entry("other")) is None


def test_a_purge_of_an_unknown_epoch_ends_trust(memory: MemoryStore, entry: MakeEntry) -> None:
    """A purge by another clock's time cannot be compared, so nothing is answered until the bus has sorted it out."""
    memory.keep(entry())
    memory.apply(purged(1, "unrelated", epoch="e2"))
    assert memory.find("k", ANY) is None
    memory.trust(True, epoch="e2")
    assert memory.find("k", ANY) is None


def test_a_fill_from_before_a_gap_is_not_kept(memory: MemoryStore, entry: MakeEntry) -> None:
    """After ``clear``, trust begins at the end of the gap: a fill that was under way in it may have missed a purge."""
    memory.keep(entry())
    memory.clear()
    memory.trust(True, epoch="e1", base_us=500)
    assert memory.keep(entry(stamp=Stamp("e1", 500))) is None
    assert memory.keep(entry(stamp=Stamp("e1", 501))) is not None


def test_base_never_goes_back(memory: MemoryStore, entry: MakeEntry) -> None:
    """A heartbeat that still names the clock's older base does not bring back what a gap killed."""
    memory.trust(True, epoch="e1", base_us=500)
    memory.trust(True, epoch="e1", base_us=10)
    assert memory.keep(entry(stamp=Stamp("e1", 400))) is None


def test_an_entry_past_its_keeping_is_dropped(memory: MemoryStore, entry: MakeEntry, clock) -> None:
    """At ``keep_until`` an entry is gone, and its memory with it."""
    memory.keep(entry(keep_until=clock.at + 10))
    clock.at += 10
    assert memory.find("k", ANY) is None
    assert len(memory) == 0


def test_a_hit_is_judged_once_between_purges(memory: MemoryStore, entry: MakeEntry, monkeypatch) -> None:
    """A thousand hits judge nothing anew; one purge, and the next hit does, once."""
    memory.keep(entry())
    calls = []
    judge = tag_clock.judge
    monkeypatch.setattr("cacheproxy.storage.mirror.judge", lambda *a, **k: calls.append(a) or judge(*a, **k))
    for _ in range(1000):
        memory.find("k", ANY)
    assert len(calls) == 0
    memory.apply(purged(200, "unrelated"))
    for _ in range(1000):
        assert memory.find("k", ANY) is not None
    assert len(calls) == 1


def test_a_purge_touches_no_entry(memory: MemoryStore, entry: MakeEntry, monkeypatch) -> None:
    """However many entries carry a tag, purging it judges none of them: they are dead when next asked for."""
    for n in range(200):
        memory.keep(entry(str(n)))
    calls = []
    monkeypatch.setattr("cacheproxy.storage.mirror.judge", lambda *a, **k: calls.append(a))
    memory.apply(purged(200, "articles"))
    assert calls == []
    monkeypatch.undo()
    assert [memory.find(str(n), ANY) for n in range(200)] == [None] * 200
    assert len(memory) == 0


def test_a_place_is_unchanged_until_something_happens_to_it(memory: MemoryStore, entry: MakeEntry, clock) -> None:
    """Purges of others change nothing; a write, a purge of its own (soft too), a drop or lost trust does."""

    def begin() -> object:
        memory.keep(entry(stamp=Stamp("e1", 1000)))
        return memory.place("k")

    place = begin()
    memory.apply(purged(2000, "unrelated"))
    assert memory.unchanged(place, clock.at)
    memory.apply(purged(2000, "articles", mode=PurgeMode.SOFT))
    assert not memory.unchanged(place, clock.at)
    memory.clear()
    memory.trust(True, epoch="e2")
    memory.trust(True, epoch="e1")
    place = begin()
    begin()
    assert not memory.unchanged(place, clock.at)
    place = begin()
    memory.apply(purged(2000, "articles"))
    assert not memory.unchanged(place, clock.at)
    memory.trust(True, epoch="e2")
    memory.trust(True, epoch="e1")
    place = begin()
    memory.clear()
    assert not memory.unchanged(place, clock.at)
    place = begin()
    memory.trust(True, epoch="e1", until=clock.at)
    assert not memory.unchanged(place, clock.at)


def test_a_place_among_variants_is_unchanged_until_another_variant_comes(memory: MemoryStore, entry: MakeEntry, clock):
    """A newcomer may fit better; a purge of something else leaves it, and one of its own does not."""

    def variant(language: str) -> None:
        fields = Fields.of(("vary", "accept-language"))
        memory.keep(entry(fields=fields, request=Fields.of(("accept-language", language))))

    variant("de")
    place = memory.place("k")
    memory.apply(purged(2000, "unrelated"))
    assert memory.unchanged(place, clock.at)
    variant("en")
    assert not memory.unchanged(place, clock.at)
    place = memory.place("k")
    memory.apply(purged(2000, "articles"))
    assert not memory.unchanged(place, clock.at)


def test_a_refreshed_hot_entry_stays_hot(memory: MemoryStore, entry: MakeEntry) -> None:
    """An entry that was asked for keeps its mark when it is replaced by a newer one."""
    memory.keep(entry())
    memory.find("k", ANY)
    slot = memory.keep(entry(body=b"newer"))
    assert slot is not None
    assert slot.visited


@pytest.mark.parametrize("drop", [MemoryStore.clear, lambda memory: memory.keep(made("k", Stamp("e1", 9), ()))])
def test_what_was_dropped_keeps_no_body_alive(memory: MemoryStore, entry: MakeEntry, drop) -> None:
    """Whoever still knows of the slot holds a few bytes, not a response."""
    slot = memory.keep(entry(body=b"body"))
    assert slot is not None
    drop(memory)
    assert slot.body == b""


def test_what_is_larger_than_the_store_is_not_kept(entry: MakeEntry, clock) -> None:
    """It replaces what it supersedes with nothing, and evicts nobody else."""
    store = MemoryStore(50_000, clock=clock)
    store.trust(True, epoch="e1")
    store.keep(entry("other"))
    store.keep(entry("k", b"old"))
    assert store.keep(entry("k", bytes(60_000))) is None
    assert store.find("k", ANY) is None
    assert store.find("other", ANY) is not None


def test_a_newcomer_is_not_its_own_victim(entry: MakeEntry, clock) -> None:
    """Room is made before an entry comes in: where all others are hot, it is one of them that goes."""
    store = MemoryStore(20_000, clock=clock)
    store.trust(True, epoch="e1")
    for n in range(100):
        store.keep(entry(f"hot:{n}"))
        for hot in range(n + 1):
            store.find(f"hot:{hot}", ANY)
        assert store.find(f"hot:{n}", ANY) is not None
    assert store.evictions > 0


@pytest.mark.parametrize("kind", ["hot", "cold"])
def test_a_scan_does_not_wash_out_what_is_hot(entry: MakeEntry, clock, kind: str) -> None:
    """Keys asked for again survive a long scan of keys asked for once; those never asked for again do not."""
    store = MemoryStore(64_000, clock=clock)
    store.trust(True, epoch="e1")
    for n in range(20):
        store.keep(entry(f"{kind}:{n}"))
    for n in range(2000):
        store.keep(entry(f"scan:{n}"))
        if kind == "hot":
            for hot in range(20):
                store.find(f"hot:{hot}", ANY)
    survivors = sum(store.find(f"{kind}:{n}", ANY) is not None for n in range(20))
    assert survivors == (20 if kind == "hot" else 0)


def test_the_mirror_is_bounded_and_errs_on_the_strict_side(entry: MakeEntry, clock) -> None:
    """Beyond its bound the clock's copy forgets the older purges; what began before those is dead, never revived."""
    store = MemoryStore(1 << 20, clock=clock)
    store.trust(True, epoch="e1")
    purges = [purged(1000 + n, f"t{n}") for n in range(25_000)]
    for purge in purges:
        store.apply(purge)
    assert len(store._mirror._purges) <= 10_000
    assert store.keep(entry(stamp=Stamp("e1", 999), tags=("t0",))) is None
    assert store.keep(entry(stamp=Stamp("e1", 1000), tags=("t0",))) is None
    assert store.keep(entry(stamp=Stamp("e1", 26_000), tags=("t24999",))) is not None
    assert store.keep(entry(stamp=Stamp("e1", 25_999), tags=("t24999",))) is None


TAGS = ["a", "b", "c"]


@settings(max_examples=300)
@given(st.data())
def test_no_interleaving_shows_what_was_purged(data: st.DataObject) -> None:
    """Purges that come late, twice and in any order, forgetting, and fills of any age: nothing dead is ever found.

    The truth is the rule itself over every purge heard so far; the store may find less, never more.
    """
    store = MemoryStore(1 << 20)
    store._mirror = ClockMirror(max_tags=2)
    store.trust(True, epoch="e1")
    heard: dict[str, PurgeTimes] = {}
    for _ in range(data.draw(st.integers(1, 30))):
        if data.draw(st.booleans()):
            tag, at_us = data.draw(st.sampled_from(TAGS)), data.draw(st.integers(1, 20))
            mode = data.draw(st.sampled_from(list(PurgeMode)))
            store.apply(purged(at_us, tag, mode=mode))
            known = heard.get(tag, PurgeTimes())
            heard[tag] = (
                PurgeTimes(max(known.hard_us, at_us), known.soft_us)
                if mode is PurgeMode.HARD
                else PurgeTimes(known.hard_us, max(known.soft_us, at_us))
            )
        else:
            tags = tuple(data.draw(st.lists(st.sampled_from(TAGS), max_size=2)))
            began = Stamp("e1", data.draw(st.integers(1, 20)))
            store.keep(made(data.draw(st.sampled_from("xyz")), began, tags))
        for key in "xyz":
            found = store.peek(key, ANY)
            if found is not None:
                stamp, tags = found.entry.stamp, found.entry.tags
                verdict = tag_clock.judge(stamp, tags, epoch="e1", base_us=0, purges=heard)
                assert found.verdict is verdict
                assert verdict is not Verdict.DEAD


def _variance(language: str) -> bytes:
    return variance((b"accept-language",), Fields.of(("accept-language", language)))


class Bounded(RuleBasedStateMachine):
    """Whatever is kept, found, purged and dropped: the bound holds and the account is exact."""

    @initialize()
    def begin(self) -> None:
        """A small store."""
        self.clock = FakeClock(NOW)
        self.store = MemoryStore(8_000, max_variants=2, clock=self.clock)
        self.store.trust(True, epoch="e1")
        self.now_us = 1000

    @rule(
        key=st.sampled_from("abcdef"),
        size=st.integers(0, 3000),
        language=st.sampled_from([None, "en", "de", "fr"]),
        keep_s=st.integers(1, 100),
        tag=st.sampled_from(TAGS),
    )
    def keep(self, key: str, size: int, language: str | None, keep_s: int, tag: str) -> None:
        """Keep an entry, of a variant or of none."""
        varied = {"vary": (b"accept-language",), "variance": _variance(language)} if language else {}
        stamp, keep_until = Stamp("e1", self.now_us), self.clock.at + keep_s
        self.store.keep(made(key, stamp, (tag,), body=bytes(size), keep_until=keep_until, **varied))

    @rule(key=st.sampled_from("abcdef"), size=st.integers(0, 3000), coding=st.sampled_from(Coding))
    def encode(self, key: str, size: int, coding: Coding) -> None:
        """A coded form of one of the entries under the key."""
        for slot in self.store._slots(key)[:1]:
            self.store.keep_form(key, slot.body, coding, bytes(size))

    @rule(key=st.sampled_from("abcdef"), language=st.sampled_from(["en", "de"]))
    def find(self, key: str, language: str) -> None:
        """A hit or a miss."""
        self.store.find(key, Fields.of(("accept-language", language)))

    @rule(tag=st.sampled_from(TAGS))
    def purge(self, tag: str) -> None:
        """A purge by tag."""
        self.now_us += 1
        self.store.apply(purged(self.now_us, tag))
        self.now_us += 1

    @rule(seconds=st.integers(1, 50))
    def pass_time(self, seconds: int) -> None:
        """Entries expire."""
        self.clock.at += seconds

    @rule()
    def clear(self) -> None:
        """A gap."""
        self.store.clear()

    @invariant()
    def bound_holds(self) -> None:
        """Never more than allowed, by its own account."""
        assert self.store.used_bytes <= self.store.max_bytes

    @invariant()
    def account_is_exact(self) -> None:
        """The running sums are what counting everything anew gives, and the queue holds exactly what the index does."""
        kept = [slot for key in self.store._kept for slot in self.store._slots(key)]
        assert self.store._slot_bytes == sum(slot.cost_bytes for slot in kept)
        assert len(self.store) == len(kept)
        queued, node = [], self.store._sieve._oldest
        while node is not None:
            queued.append(node)
            node = node.newer
        assert sorted(map(id, queued)) == sorted(map(id, kept))
        assert all(len(self.store._slots(key)) <= 2 for key in self.store._kept)


TestBounded = Bounded.TestCase


@pytest.mark.parametrize("fields", [Fields(), Fields.of(("vary", "accept-language"))], ids=["alone", "variant"])
def test_what_an_earlier_policy_tagged_is_purged_by_the_tags_of_todays(memory: MemoryStore, entry, fields) -> None:
    """A fill under way during a reload is kept with old tags: the first who names today's gives it those too."""
    memory.keep(entry(tags=("old",), fields=fields))
    found = memory.peek("k", Fields(), ("new", "newer"))
    assert found is not None
    assert found.entry.tags == ("new", "newer", "old")
    assert len(memory) == 1
    memory.apply(Applied(epoch="e1", at_us=200, tags=("newer",), mode=PurgeMode.HARD))
    assert memory.peek("k", Fields()) is None


def test_what_todays_tag_has_purged_already_is_no_hit(memory: MemoryStore, entry) -> None:
    """The purge came before anybody asked: nothing is answered, nor repeated from the place where it was."""
    memory.keep(entry(tags=("old",)))
    place = memory.place("k")
    memory.apply(Applied(epoch="e1", at_us=200, tags=("new",), mode=PurgeMode.HARD))
    assert memory.peek("k", Fields(), ("new",)) is None
    assert len(memory) == 0
    assert not memory.unchanged(place, 0.0)
    memory.keep(entry(tags=("old",)))
    memory.apply(Applied(epoch="e1", at_us=300, tags=("other",), mode=PurgeMode.SOFT))
    softly = memory.peek("k", Fields(), ("other",))
    assert softly is not None
    assert softly.verdict is Verdict.STALE


def test_tags_that_hang_on_who_asks_do_not_gather_without_end(memory: MemoryStore, entry) -> None:
    """A tag may be made of a request field that the key does not have."""
    memory.keep(entry(tags=()))
    for number in range(1_100):
        found = memory.peek("k", Fields(), (f"tag:{number}",))
    assert found is not None
    assert len(found.entry.tags) == 1_000
    assert memory.used_bytes < 100_000

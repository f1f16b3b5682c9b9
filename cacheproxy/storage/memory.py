"""L1: stored responses in this process, bounded in bytes, evicted by SIEVE, kept true by the bus."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from itertools import chain
from math import inf
from sys import getsizeof
from typing import NamedTuple

from cacheproxy.clock import Clock, SystemClock
from cacheproxy.redis_link.contract import Budget
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.rules import Coding
from cacheproxy.semantics.tag_clock import Verdict
from cacheproxy.semantics.vary import choose
from cacheproxy.storage.compact import Commons
from cacheproxy.storage.contract import Entry, Found, Tier
from cacheproxy.storage.mirror import ClockMirror, Purged
from cacheproxy.storage.sieve import Sieve
from cacheproxy.storage.slot import Slot

_MOST_TAGS = 1_000
"""Tags that an entry is given at most: those of a route may hang on what the key does not say."""


class _Variants(NamedTuple):
    """What was kept under a key whose response varies, or which had none, at a turn of the tag clock."""

    key: str
    kept: list[Slot] | None
    turn: int


class MemoryStore:
    """A Store in this process, and a Mirror that the bus keeps true. Until trusted it answers and keeps nothing.

    A purge costs one step for each of its tags, never one for each entry: entries are judged again when next asked for.
    """

    local = True

    def __init__(self, max_bytes: int, *, max_variants: int = 32, clock: Clock | None = None) -> None:
        """Hold at most ``max_bytes`` in all, and ``max_variants`` entries under one key."""
        self.max_bytes = max_bytes
        self.evictions = 0
        self._max_variants = max_variants
        clock = clock or SystemClock()
        self._now, self._monotonic = clock.now, clock.monotonic
        self._mirror = ClockMirror()
        self._commons = Commons()
        self._sieve: Sieve[Slot] = Sieve()
        self._kept: dict[str, Slot | list[Slot]] = {}
        """A slot where the response has no Vary, else all variants."""
        self._entries = 0
        self._slot_bytes = 0

    def __len__(self) -> int:
        """How many entries there are, variants counted singly."""
        return self._entries

    @property
    def trusted(self) -> bool:
        """Whether the bus vouches for what is here, at this moment."""
        return self._monotonic() < self._mirror.trusted_until

    @property
    def used_bytes(self) -> int:
        """Memory used by entries and their index."""
        return self._slot_bytes + getsizeof(self._kept)

    def find(self, key: str, request: Fields) -> Slot | None:
        """The slot of the most fitting entry, or None. For the express lane: nothing is unfolded."""
        kept = self._kept.get(key)
        if kept is None or not self.trusted:
            return None
        slot = self._alive(kept) if isinstance(kept, Slot) else self._fitting(kept, request)
        if slot is not None:
            slot.visited = True
        return slot

    def place(self, key: str) -> object:
        """What is kept under ``key`` at this moment, to ask of later whether it is ``unchanged``."""
        kept = self._kept.get(key)
        return kept if isinstance(kept, Slot) else _Variants(key, kept, self._mirror.turn)

    def holds(self, key: str) -> bool:
        """Whether anything is kept under ``key``, whomever it may answer, and whether it still may."""
        return key in self._kept

    def varied(self, key: str) -> frozenset[bytes]:
        """The request fields by which one of the entries under ``key`` is chosen."""
        return frozenset(name for slot in self._slots(key) if slot.ref for name in slot.ref.names)

    def unchanged(self, place: object, monotonic: float) -> bool:
        """Whether what was at ``place`` is still there, unpurged, and may be answered from.

        A slot says so itself: the express lane asks this for each hit, and a look into the index is one more miss of
        the processor's caches.
        """
        mirror = self._mirror
        if monotonic >= mirror.trusted_until:
            return False
        if isinstance(place, Slot):
            return place.judged(mirror) is Verdict.VALID
        assert isinstance(place, _Variants)
        key, kept, turn = place
        if self._kept.get(key) is not kept:
            return False
        return turn == mirror.turn or all(slot.judged(mirror) is Verdict.VALID for slot in self._slots(key))

    def peek(self, key: str, request: Fields, tags: Collection[str] = ()) -> Found | None:
        """The most fitting entry for ``request``, or None.

        It carries ``tags`` from then on: what was under way while another policy was put in force has that one's not.
        """
        slot = self.find(key, request)
        if slot is None:
            return None
        entry = slot.entry
        if entry.tags[: len(tags)] != tags and not set(entry.tags).issuperset(tags):
            return self._retagged(slot, entry, tags)
        return Found(entry, slot.verdict, Tier.L1)

    def _retagged(self, slot: Slot, entry: Entry, tags: Collection[str]) -> Found | None:
        """``entry``, which is in ``slot``, with ``tags`` beside its own: judged by all, as of when its fill began."""
        every = tuple(dict.fromkeys((*tags, *entry.tags)))
        if len(every) > _MOST_TAGS:
            return Found(entry, slot.verdict, Tier.L1)
        entry = replace(entry, tags=every)
        kept = self.keep(entry)
        if any(each is slot for each in self._slots(entry.key)):
            self._drop(slot)
        return None if kept is None or kept.verdict is Verdict.DEAD else Found(entry, kept.verdict, Tier.L1)

    async def read(
        self,
        key: str,
        request: Fields,
        budget: Budget | None = None,  # noqa: ARG002 - the Store contract's
        tags: Collection[str] = (),
    ) -> Found | None:
        """What ``peek`` gives."""
        return self.peek(key, request, tags)

    async def variants(self, key: str, budget: Budget | None = None) -> list[Entry]:  # noqa: ARG002 - the Store contract's
        """All entries under ``key``, the newest first."""
        return self.peek_all(key)

    def peek_all(self, key: str) -> list[Entry]:
        """All entries under ``key``, the newest first."""
        if not self.trusted:
            return []
        entries = [slot.entry for slot in self._slots(key) if self._alive(slot)]
        return sorted(entries, key=lambda entry: -entry.received_at)

    async def write(self, entry: Entry, budget: Budget | None = None) -> None:  # noqa: ARG002 - the Store contract's
        """Keep ``entry`` if it may be kept."""
        self.keep(entry)

    def write_now(self, entry: Entry) -> bool:
        """Keep ``entry`` if it may be kept. Always at once."""
        self.keep(entry)
        return True

    def keep(self, entry: Entry, vouched_us: int = 0) -> Slot | None:
        """Keep ``entry`` in place of the one it replaces; None where it is dead, too large, or nothing is trusted.

        ``vouched_us`` is the tag-clock time up to which the clock itself has let it live.
        """
        if not self.max_bytes or not self.trusted:
            return None
        slot = Slot(entry, self._commons, self._mirror, vouched_us)
        if slot.verdict is Verdict.DEAD:
            return None
        if slot.key in self._kept:
            self._drop_replaced(slot)
        cost_bytes = slot.cost_bytes
        if cost_bytes > self.max_bytes:
            return None
        if slot.key in self._kept:
            self._make_room_among_variants(slot)
        self._evict(room_bytes=cost_bytes)
        self._add(slot, cost_bytes)
        self._evict()
        return slot

    def forms(self, key: str, body: bytes) -> Mapping[Coding, bytes] | None:
        """The codings that ``body`` was put into so far; None where it is not what is kept under ``key``."""
        slot = self._of(key, body)
        return None if slot is None else slot.forms

    def keep_form(self, key: str, body: bytes, coding: Coding, form: bytes) -> None:
        """Keep ``form`` beside ``body``, if that is still kept under ``key``."""
        slot = self._of(key, body)
        if slot is None:
            return
        self._slot_bytes -= slot.cost_bytes
        slot.forms = {**slot.forms, coding: form}
        self._slot_bytes += slot.cost_bytes
        self._evict()

    def heard(self, entry: Entry) -> Verdict:
        """The verdict on ``entry`` of the purges that were heard of here, and of nothing else."""
        return self._mirror.heard(entry.stamp, entry.tags)

    async def delete(self, key: str, budget: Budget | None = None) -> int:  # noqa: ARG002 - the Store contract's
        """Drop every variant under ``key``; how many there were."""
        slots = self._slots(key)
        for slot in slots:
            self._drop(slot)
        return len(slots)

    def apply(self, purge: Purged) -> None:
        """Forget, or mark stale, what ``purge`` names. Idempotent; order does not matter."""
        self._mirror.apply(purge)

    def trust(self, trusted: bool, *, epoch: str = "", base_us: int = 0, until: float = inf) -> None:  # noqa: FBT001 - the Mirror contract's
        """Answer from memory until ``until`` (monotonic; the tag clock is in ``epoch``), or not until trusted again.

        What began at or before ``base_us`` is dead: after ``clear`` that is the end of the gap, for a fill that was
        under way in it may have missed its purge.
        """
        if trusted:
            self._mirror.trust(epoch=epoch, base_us=base_us, until=until)
        else:
            self._mirror.distrust()

    def clear(self) -> None:
        """Forget every entry: a gap may have swallowed purges."""
        for slot in chain.from_iterable(map(self._slots, self._kept)):
            slot.let_go()
        self._kept = {}
        self._sieve.clear()
        self._entries = self._slot_bytes = 0

    def _slots(self, key: str) -> list[Slot]:
        kept = self._kept.get(key, [])
        return [kept] if isinstance(kept, Slot) else list(kept)

    def _of(self, key: str, body: bytes) -> Slot | None:
        """The slot that holds this very body: equal bytes of another response are not told apart by it, nor need be."""
        return next((slot for slot in self._slots(key) if slot.body is body), None)

    def _fitting(self, slots: list[Slot], request: Fields) -> Slot | None:
        alive = [slot for slot in list(slots) if self._alive(slot)]
        best = choose([slot.ref for slot in alive if slot.ref], request)
        return alive[best[0]] if best else None

    def _alive(self, slot: Slot) -> Slot | None:
        if slot.keep_until > self._now() and slot.judged(self._mirror) is not Verdict.DEAD:
            return slot
        self._drop(slot)
        return None

    def _drop_replaced(self, slot: Slot) -> None:
        for old in self._slots(slot.key):
            if _replaces(slot, old):
                slot.inherit(old)
                self._drop(old)

    def _make_room_among_variants(self, slot: Slot) -> None:
        slots = self._slots(slot.key)
        if len(slots) >= self._max_variants:
            self._drop(min(slots, key=_received_at))

    def _add(self, slot: Slot, cost_bytes: int) -> None:
        self._kept[slot.key] = [*self._slots(slot.key), slot] if slot.ref else slot
        self._sieve.add(slot)
        self._entries += 1
        self._slot_bytes += cost_bytes

    def _drop(self, slot: Slot) -> None:
        others = [each for each in self._slots(slot.key) if each is not slot]
        if others:
            self._kept[slot.key] = others
        else:
            del self._kept[slot.key]
        self._sieve.remove(slot)
        self._entries -= 1
        self._slot_bytes -= slot.cost_bytes
        slot.let_go()

    def _evict(self, room_bytes: int = 0) -> None:
        while self._slot_bytes + getsizeof(self._kept) + room_bytes > self.max_bytes and self._entries:
            self._drop(self._sieve.victim())
            self.evictions += 1


def _replaces(new: Slot, old: Slot) -> bool:
    """Whether both answer the same requests. An origin that began or ceased to send Vary has changed its mind."""
    if new.ref is None or old.ref is None:
        return True
    return (new.ref.names, new.ref.variance) == (old.ref.names, old.ref.variance)


def _received_at(slot: Slot) -> float:
    return slot.ref.received_at if slot.ref else 0.0

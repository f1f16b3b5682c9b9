"""Many replicas, an origin, one Redis, and a step for everything that can befall them.

The replicas run the real ``Follower`` and the real ``ClockMirror``; entries are judged by the real ``judge``. What is
checked at each read is the promise itself: never a version older than the last purge that the reader must know of.
"""

from dataclasses import dataclass, field

from cacheproxy.errors import StateError
from cacheproxy.invalidation.contract import Applied, Purge, PurgeMode
from cacheproxy.invalidation.follower import Follower
from cacheproxy.invalidation.heard import HeardClock
from cacheproxy.invalidation.messages import BeatSaid, PurgeRecord
from cacheproxy.invalidation.mirrors import Mirrors
from cacheproxy.invalidation.observer import Unobserved
from cacheproxy.invalidation.replay import History
from cacheproxy.invalidation.tag_clock import Beat
from cacheproxy.semantics.tag_clock import Stamp, Verdict
from cacheproxy.storage.mirror import ClockMirror

KEYS = ("k0", "k1", "k2")
TAGS = {"k0": ("*", "g", "t0"), "k1": ("*", "g", "t1"), "k2": ("*", "t2")}
REPLICAS = 3
LEASE_S = 40.0


@dataclass
class Entry:
    """A stored response: which version of ``key`` it is, and the stamp of its fill."""

    key: str
    version: int
    stamp: Stamp


@dataclass
class Fill:
    """A fill on its way."""

    replica: int
    key: str
    stamp: Stamp
    version: int | None = None


@dataclass
class Purged:
    """A purge that was carried out: what it makes too old, when, and which replicas have come past it."""

    versions: dict[str, int]
    mode: PurgeMode
    at: float
    passed: set[int] = field(default_factory=set)


class L1:
    """A replica's memory: entries judged by a ClockMirror, as ``storage.memory`` does it."""

    def __init__(self, time: "World") -> None:
        """Empty and not trusted."""
        self.mirror = ClockMirror(max_tags=4)
        self.entries: dict[str, Entry] = {}
        self._time = time

    def apply(self, purge: Applied) -> None:
        """As Mirror."""
        self.mirror.apply(purge)

    def trust(self, trusted, *, epoch="", base_us=0, until=float("inf")) -> None:
        """As Mirror."""
        if trusted:
            self.mirror.trust(epoch=epoch, base_us=base_us, until=until)
        else:
            self.mirror.distrust()

    def clear(self) -> None:
        """As Mirror."""
        self.entries.clear()

    @property
    def trusted(self) -> bool:
        """Whether it answers now."""
        return self._time.monotonic() < self.mirror.trusted_until

    def keep(self, entry: Entry) -> None:
        """Keep ``entry`` unless it is known to be dead."""
        if self.trusted and self.mirror.judge(entry.stamp, TAGS[entry.key]) is not Verdict.DEAD:
            self.entries[entry.key] = entry


@dataclass
class Replica:
    """One replica: its memory, and what is on its way to it."""

    l1: L1
    heard: HeardClock
    follower: Follower
    queue: list[tuple[object, int]] | None = None
    """Messages not yet taken, each with the number of purges made before and with it; None: not subscribed."""
    beat: tuple[Beat, int] | None = None
    live: bool = False
    number: int = 0
    sent: dict[int, float] = field(default_factory=dict)


class StaleError(AssertionError):
    """The promise was broken."""


class World:
    """Replicas, their shared L2, an origin, and one step for everything that can happen."""

    def __init__(self, clock) -> None:
        """All is empty and nobody is connected."""
        self.clock = clock
        self.at = 0.0
        self.origin = dict.fromkeys(KEYS, 0)
        self.l2: dict[str, Entry] = {}
        self.fills: list[Fill] = []
        self.promotions: list[tuple[int, Entry]] = []
        self.purges: list[Purged] = []
        self.settled = {mode: dict.fromkeys(KEYS, 0) for mode in PurgeMode}
        """The versions that purges older than a lease ask for."""
        self.folded = 0
        self.served = 0
        self.heard = 0
        self.replicas = [self._new_replica() for _ in range(REPLICAS)]

    def now(self) -> float:
        """As Clock."""
        return self.at

    def monotonic(self) -> float:
        """As Clock."""
        return self.at

    def _new_replica(self) -> Replica:
        l1, heard = L1(self), HeardClock(self)
        return Replica(l1, heard, Follower(Mirrors([l1, heard]), LEASE_S, self, Unobserved()))

    # -- filling

    def begin_fill(self, replica: int, key: str) -> None:
        """A miss: take a stamp, before the origin is asked."""
        if len(self.fills) < 8:
            self.fills.append(Fill(replica, key, self.clock.begin()))

    def begin_heard(self, replica: int, key: str) -> None:
        """A miss of what nobody else waits for: take the stamp of what was heard, if anything was."""
        stamp = self.replicas[replica].heard.stamp()
        if stamp is not None and len(self.fills) < 8:
            self.fills.append(Fill(replica, key, stamp))
            self.heard += 1

    def fetch(self, pick: int) -> None:
        """The origin answers a fill with what it has at that moment."""
        if self.fills:
            fill = self.fills[pick % len(self.fills)]
            fill.version = self.origin[fill.key]

    def store(self, pick: int) -> None:
        """A fill that was answered is stored in L2 and in its replica's L1."""
        answered = [fill for fill in self.fills if fill.version is not None]
        if not answered:
            return
        fill = answered[pick % len(answered)]
        self.fills.remove(fill)
        entry = Entry(fill.key, fill.version, fill.stamp)
        self.l2[fill.key] = entry
        self.replicas[fill.replica].l1.keep(entry)

    # -- purging

    def change(self, key: str, mode: PurgeMode, *, whole: bool, by: int | None = None) -> None:
        """The origin changes ``key`` and purges it by its own tag or one that it shares, ``by`` a replica or not."""
        self.origin[key] += 1
        record = self._purge(TAGS[key][1] if whole else TAGS[key][-1], mode)
        if by is not None:
            self.replicas[by].follower.apply(record.applied, "own")

    def purge_all(self, mode: PurgeMode) -> None:
        """Everything is purged, though nothing has changed."""
        self._purge("*", mode)

    def _purge(self, tag: str, mode: PurgeMode) -> PurgeRecord:
        record = self.clock.purge(Purge(tags=(tag,), mode=mode))
        versions = {key: self.origin[key] for key in KEYS if tag in TAGS[key]}
        # what was changed but not purged yet under another tag is not this purge's to promise
        self.purges.append(Purged(versions, mode, self.at))
        self._tell(record)
        return record

    def _tell(self, message: object) -> None:
        for replica in self.replicas:
            if replica.queue is not None:
                replica.queue.append((message, len(self.purges)))

    # -- the bus

    def subscribe(self, pick: int) -> None:
        """A replica's subscription is confirmed."""
        replica = self.replicas[pick]
        if replica.queue is None:
            replica.queue = []

    def first_beat(self, pick: int) -> None:
        """A subscribed replica learns where the clock is."""
        replica = self.replicas[pick]
        if replica.queue is not None and replica.beat is None:
            replica.beat = (self._beat(pick), len(self.purges))

    def catch_up(self, pick: int) -> None:
        """It reads the stream up to there, and goes live."""
        replica = self.replicas[pick]
        if replica.beat is None or replica.live:
            return
        beat, passed = replica.beat
        at = replica.follower.position
        known_us = at.at_us if at is not None and at.epoch == beat.epoch else beat.last_us
        history = History.of(self.clock.records(known_us, beat.last_us), beat.last_us)
        replica.follower.begin(beat, history)
        replica.live = True
        try:
            for record in history.records:
                self._follow(replica, record)
        except StateError:
            self.disconnect(pick)
            return
        self._pass(pick, passed)

    def deliver(self, pick: int) -> None:
        """A live replica takes its next message."""
        replica = self.replicas[pick]
        if not replica.live or not replica.queue:
            return
        message, passed = replica.queue.pop(0)
        try:
            if isinstance(message, BeatSaid):
                self._hear_beat(pick, message)
            else:
                self._follow(replica, message)
        except StateError:
            self.disconnect(pick)
            return
        self._pass(pick, passed)

    def beat(self, pick: int) -> None:
        """A live replica sends a heartbeat."""
        if self.replicas[pick].live:
            self._beat(pick)

    def _beat(self, pick: int) -> Beat:
        replica = self.replicas[pick]
        replica.number += 1
        replica.sent[replica.number] = self.at
        beat, said = self.clock.beat(str(pick), replica.number)
        self._tell(said)
        return beat

    def _hear_beat(self, pick: int, said: BeatSaid) -> None:
        replica = self.replicas[pick]
        replica.follower.check(said)
        replica.heard.beat(said.epoch, said.at_us)
        if said.replica == str(pick) and said.number in replica.sent:
            replica.follower.trust(replica.sent.pop(said.number), said.base_us)

    def _follow(self, replica: Replica, record: PurgeRecord) -> None:
        if replica.follower.follow(record):
            replica.follower.apply(record.applied, "purge")

    def _pass(self, pick: int, passed: int) -> None:
        for purged in self.purges[self.folded : passed]:
            purged.passed.add(pick)

    def disconnect(self, pick: int) -> None:
        """The connection is seen to be lost; what was on its way is lost with it."""
        replica = self.replicas[pick]
        replica.follower.distrust()
        replica.queue, replica.beat, replica.live, replica.sent = None, None, False, {}

    def lose(self, pick: int) -> None:
        """A message is lost and nothing says so: a subscriber that is deaf."""
        queue = self.replicas[pick].queue
        if queue:
            queue.pop(0)

    def restart(self, pick: int) -> None:
        """The process ends and another begins."""
        self.replicas[pick] = self._new_replica()
        self.fills = [fill for fill in self.fills if fill.replica != pick]
        self.promotions = [each for each in self.promotions if each[0] != pick]

    # -- what else befalls Redis, and time

    def evict_clock(self) -> None:
        """Memory pressure takes the clock."""
        self.clock.evict()

    def trim_stream(self, keep: int) -> None:
        """Only the newest records are still there."""
        self.clock.trim(keep)

    def flush(self) -> None:
        """FLUSHALL."""
        self.clock.flush()
        self.l2.clear()

    def evict_entry(self, key: str) -> None:
        """Memory pressure takes an entry."""
        self.l2.pop(key, None)

    def jump(self, by_us: int) -> None:
        """Redis's wall clock is set."""
        self.clock.time_us = max(1, self.clock.time_us + by_us)

    def wait(self, seconds: float) -> None:
        """Time goes by; what is older than a lease must have reached everybody who still answers."""
        self.at += seconds
        self.clock.time_us += int(seconds * 10)
        while self.folded < len(self.purges) and self.at - self.purges[self.folded].at >= LEASE_S:
            self._ask_for(self.settled, self.purges[self.folded])
            self.folded += 1

    # -- reading

    def read_l2(self, pick: int, key: str) -> None:
        """A replica answers from L2, and means to keep what it found."""
        entry = self.l2.get(key)
        verdict = None if entry is None else self.clock.view().judge(entry.stamp, TAGS[key])
        if entry is None or verdict is Verdict.DEAD:
            return
        self._check("L2", entry, verdict, self.purges[self.folded :])
        if len(self.promotions) < 8:
            self.promotions.append((pick, entry))

    def promote(self, pick: int) -> None:
        """What was found in L2 a while ago is kept in L1."""
        if self.promotions:
            replica, entry = self.promotions.pop(pick % len(self.promotions))
            self.replicas[replica].l1.keep(entry)

    def read_l1(self, pick: int, key: str) -> None:
        """A replica answers from memory."""
        l1 = self.replicas[pick].l1
        entry = l1.entries.get(key)
        if entry is None or not l1.trusted:
            return
        verdict = l1.mirror.judge(entry.stamp, TAGS[key])
        if verdict is not Verdict.DEAD:
            due = [purged for purged in self.purges[self.folded :] if pick in purged.passed]
            self._check(f"L1 of {pick}", entry, verdict, due)

    def _check(self, where: str, entry: Entry, verdict: Verdict, due: list[Purged]) -> None:
        asked = {mode: {entry.key: self.settled[mode][entry.key]} for mode in PurgeMode}
        for purged in due:
            self._ask_for(asked, purged)
        oldest = asked[PurgeMode.HARD][entry.key]
        if verdict is Verdict.VALID:
            oldest = max(oldest, asked[PurgeMode.SOFT][entry.key])
        self.served += 1
        if entry.version < oldest:
            raise StaleError(f"{where} served {entry} as {verdict}, though {oldest} was purged")

    @staticmethod
    def _ask_for(asked: dict[PurgeMode, dict[str, int]], purged: Purged) -> None:
        for key in purged.versions.keys() & asked[purged.mode].keys():
            asked[purged.mode][key] = max(asked[purged.mode][key], purged.versions[key])

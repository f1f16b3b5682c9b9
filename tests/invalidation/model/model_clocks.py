"""The tag clock as a model, and as it is: the same steps, asked one by one."""

import asyncio
import itertools

from cacheproxy.invalidation.contract import Applied, Purge, PurgeMode
from cacheproxy.invalidation.messages import BeatSaid, PurgeRecord, Record, read_record
from cacheproxy.invalidation.tag_clock import Beat, Sign, TagClock
from cacheproxy.redis_link.connect import Tuning, connect
from cacheproxy.semantics.tag_clock import PurgeTimes, Stamp
from cacheproxy.storage.clock_view import ClockView, clock_command, read_clock

ALL_TAGS = ("*", "g", "t0", "t1", "t2")
LIFETIME_S = 0.002
"""So short that the clock is compacted all the time."""


class ModelClock:
    """What the scripts do, in memory. ``time_us`` is Redis TIME."""

    def __init__(self) -> None:
        """No clock yet."""
        self.time_us = 1_000_000
        self.epochs = (f"e{n}" for n in itertools.count())
        self.hash: dict[str, object] = {}
        self.stream: list[PurgeRecord] = []

    def _tick(self) -> tuple[str, int]:
        if not self.hash:
            self.stream.clear()
            self.hash = {"epoch": next(self.epochs), "now": 0, "base": 0, "last": 0, "purges": {}}
        self.hash["now"] = max(self.time_us, self.hash["now"] + 1)
        return self.hash["epoch"], self.hash["now"]

    def begin(self) -> Stamp:
        """As TagClock."""
        return Stamp(*self._tick())

    def purge(self, purge: Purge) -> PurgeRecord:
        """As TagClock; the record it makes."""
        epoch, now = self._tick()
        purges: dict[str, PurgeTimes] = self.hash["purges"]
        for tag in purge.tags:
            known = purges.get(tag, PurgeTimes())
            soft = purge.mode is PurgeMode.SOFT
            purges[tag] = PurgeTimes(known.hard_us, now) if soft else PurgeTimes(now, known.soft_us)
        base = self.hash["base"] = max(self.hash["base"], now - int(LIFETIME_S * 1e6))
        self.hash["purges"] = {tag: at for tag, at in purges.items() if max(at.hard_us, at.soft_us) > base}
        applied = Applied(epoch=epoch, at_us=now, tags=purge.tags, mode=purge.mode)
        record = PurgeRecord(applied=applied, after_us=self.hash["last"])
        self.stream.append(record)
        self.hash["last"] = now
        return record

    def beat(self, replica: str, number: int) -> tuple[Beat, BeatSaid]:
        """As TagClock; what is said to the replica, and to all."""
        epoch, now = self._tick()
        return _beats(replica, number, epoch, now, self.hash["base"], self.hash["last"])

    def records(self, after_us: int, upto_us: int) -> list[Record]:
        """As TagClock."""
        return [record for record in self.stream if after_us < record.at_us <= upto_us]

    def view(self) -> ClockView:
        """What L2 reads."""
        purges = dict(self.hash["purges"]) if self.hash else {}
        epoch = self.hash.get("epoch")
        return ClockView(epoch, self.hash.get("base", 0), purges, frozenset(ALL_TAGS))

    def evict(self) -> None:
        """The clock is gone, the stream stays."""
        self.hash = {}

    def trim(self, keep: int) -> None:
        """Only the last ``keep`` records stay."""
        self.stream = self.stream[len(self.stream) - keep :] if keep < len(self.stream) else self.stream

    def flush(self) -> None:
        """Everything is gone."""
        self.hash, self.stream = {}, []


class RealClock:
    """The real scripts on a real server, asked one by one."""

    def __init__(self, url: str, runner: asyncio.Runner) -> None:
        """Begin with an empty server."""
        self._runner = runner
        self._link = runner.run(self._connect(url))
        self._clock = TagClock(self._link, "test", LIFETIME_S)
        self.time_us = 1_000_000
        self.flush()

    async def _connect(self, url: str):
        self._roles = connect(url, Tuning(limit_s=5.0))
        return self._roles.bus

    def _call(self, *command):
        return self._runner.run(self._link.call(*command))

    def _ask(self, method, *args):
        self._clock.time_us = self.time_us
        return self._runner.run(method(*args))

    def begin(self) -> Stamp:
        """As TagClock."""
        return self._ask(self._clock.begin)

    def purge(self, purge: Purge) -> PurgeRecord:
        """As TagClock; the record it made, as the stream has it."""
        recorded = self._ask(self._clock.purge, purge)
        [record] = self.records(recorded.at_us - 1, recorded.at_us)
        assert record.epoch == recorded.epoch
        return record

    def beat(self, replica: str, number: int) -> tuple[Beat, BeatSaid]:
        """As TagClock; what is said to the replica, and to all."""
        beat = self._ask(self._clock.beat, Sign(replica=replica, number=number, digest="d"))
        return _beats(replica, number, beat.epoch, beat.now_us, beat.base_us, beat.last_us)

    def records(self, after_us: int, upto_us: int) -> list[Record]:
        """As TagClock."""
        return [read_record(each) for each in self._ask(self._clock.records, after_us, upto_us)]

    def view(self) -> ClockView:
        """What L2 reads."""
        return read_clock(ALL_TAGS, self._call(*clock_command("{test}:clock", ALL_TAGS)))

    def evict(self) -> None:
        """The clock is gone, the stream stays."""
        self._call("DEL", "{test}:clock")

    def trim(self, keep: int) -> None:
        """Only the last ``keep`` records stay."""
        self._call("XTRIM", "{test}:stream", "MAXLEN", keep)

    def flush(self) -> None:
        """Everything is gone."""
        self._call("FLUSHALL")

    def close(self) -> None:
        """Let go of the server."""
        self._runner.run(self._roles.aclose())


def _beats(replica, number, epoch, now, base, last) -> tuple[Beat, BeatSaid]:
    beat = Beat(epoch=epoch, now_us=now, base_us=base, last_us=last, mapped_us=None, broken=False)
    said = BeatSaid(replica=replica, number=number, epoch=epoch, at_us=now, base_us=base, last_us=last)
    return beat, said

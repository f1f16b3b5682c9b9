"""One connection to the bus: catch up, then follow, and never answer from memory while in doubt."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import assert_never

from cacheproxy.clock import Clock, SystemClock
from cacheproxy.errors import StateError
from cacheproxy.invalidation.contract import Purge, PurgeMode, Purger
from cacheproxy.invalidation.events import Interpreter
from cacheproxy.invalidation.follower import Follower
from cacheproxy.invalidation.inbox import Inbox
from cacheproxy.invalidation.listener import Listener
from cacheproxy.invalidation.messages import (
    AckSaid,
    BeatSaid,
    EventRecord,
    LeaveSaid,
    OtherSaid,
    PurgeRecord,
    Record,
    Said,
    read,
    read_record,
)
from cacheproxy.invalidation.mirrors import Mirrors
from cacheproxy.invalidation.observer import BusObserver, Drops, Unobserved
from cacheproxy.invalidation.receipts import HEARTBEAT_S, Receipts
from cacheproxy.invalidation.replay import History
from cacheproxy.invalidation.tag_clock import Beat, Mapped, Sign, Span, TagClock, background
from cacheproxy.policy.route import EventRules, OnGap
from cacheproxy.redis_link.contract import Message, Subscriber

_BEATS_KEPT = 16
_PATIENCE_BEATS = 3

OnMessage = Callable[[str, Mapping[str, object]], None]
"""Called with the kind and members of each message that is for another room."""


OnBreak = Callable[[], None]
"""Called when messages for other rooms may have been missed: the connection broke, or there is one again."""


OnBeat = Callable[[str, int], None]
"""Called with the epoch and the time (us) that the tag clock gave out for a heartbeat."""


def _ignore(*_members: object) -> None:
    """Nobody listens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BusParts:
    """What a bus is made of."""

    clock: TagClock
    subscriber: Subscriber
    mirrors: Mirrors
    purger: Purger
    receipts: Receipts
    on_message: OnMessage = _ignore
    on_break: OnBreak = _ignore
    on_beat: OnBeat = _ignore
    observer: BusObserver = field(default_factory=Unobserved)
    heartbeat_s: float = HEARTBEAT_S
    time: Clock = field(default_factory=SystemClock)


class Session:
    """One connection, from its first word until it is lost."""

    def __init__(self, parts: BusParts, rules: EventRules, follower: Follower, drops: Drops) -> None:
        """Nothing is asked of Redis before ``run``."""
        self._parts = parts
        self._rules = rules
        self._follower = follower
        self._interpreter = Interpreter(rules)
        self._listener = Listener(parts.clock, parts.purger, self._interpreter, drops)
        self._began_at = parts.time.monotonic()
        self._sent_at: dict[int, float] = {}
        self._span: Span | None = None
        self._mapped: Mapped | None = None
        self._ahead_s = 0.0
        """The tag clock less our monotonic clock."""
        self._waiters: list[str] = []

    async def run(self) -> None:
        """Follow until the connection is lost. StateError says how."""
        bus = self._parts.clock.layout.bus
        subscription = await self._parts.subscriber.subscribe(
            self._rules.channels, self._rules.patterns, sharded=(bus,)
        )
        self._parts.receipts.listen()
        self._parts.on_break()
        inbox = Inbox(subscription)
        beating = None
        try:
            await self._catch_up()
            beating = asyncio.get_running_loop().create_task(self._keep_beating(), name="bus heartbeat")
            while not beating.done():
                await self._listen(inbox)
            await beating
        finally:
            if beating is not None:
                beating.cancel()
            await inbox.aclose()
            if beating is not None:
                await asyncio.wait([beating])

    # -- catching up

    async def _catch_up(self) -> None:
        """We are subscribed, so whatever is recorded after this beat reaches us; what was before is in the stream."""
        beat = await self._beat()
        self._span = Span(from_us=beat.now_us, to_us=beat.now_us)
        at = self._follower.position
        known_us = at.at_us if at is not None and at.epoch == beat.epoch else beat.last_us
        mapped_us = beat.mapped_us or 0
        history = await self._history(min(known_us, mapped_us), beat.last_us)
        for lost in self._follower.begin(beat, history):
            await self._parts.purger.purge_soon(lost)
        for record in history.records:
            self._take_record(record, mapped_us)
        if beat.mapped_us is not None and not history.reaches(beat.mapped_us):
            await self._purge_everything(PurgeMode.HARD)
        await self._settle()

    async def _history(self, after_us: int, upto_us: int) -> History:
        records: list[Record] = []
        while after_us < upto_us:
            page = await self._parts.clock.records(after_us, upto_us)
            read_page = [record for record in map(read_record, page) if record is not None]
            if not read_page:
                break
            records += read_page
            after_us = read_page[-1].at_us
        return History.of(records, upto_us)

    # -- following

    async def _listen(self, inbox: Inbox) -> None:
        messages = await inbox.take(self._wait_s())
        for message in messages:
            self._take(message)
        await self._settle()
        self._check_life(heard=bool(messages))
        await asyncio.sleep(0)

    def _take(self, message: Message) -> None:
        if message.channel != self._parts.clock.layout.bus:
            self._listener.plain(message.payload)
        elif message.pattern is None:
            self._take_said(read(message.payload))

    def _take_said(self, said: Said | None) -> None:
        match said:
            case PurgeRecord() | EventRecord():
                self._take_record(said)
                self._parts.observer.lag(max(0.0, self._parts.time.monotonic() + self._ahead_s - said.at_us / 1e6))
            case BeatSaid():
                self._take_beat(said)
            case AckSaid(waiter, replica):
                self._parts.receipts.acknowledge(waiter, replica)
            case LeaveSaid(replica):
                self._parts.receipts.forget(replica)
            case OtherSaid(kind, members):
                self._parts.on_message(kind, members)
            case None:
                self._parts.observer.dropped("bad-bus-message")
            case _:
                assert_never(said)

    def _take_record(self, record: Record, mapped_us: float = inf) -> None:
        """Apply ``record`` unless that was done; from the stream, events up to ``mapped_us`` need no marking either."""
        is_new = self._follower.follow(record)
        match record:
            case PurgeRecord(applied=applied, waiter=waiter):
                if is_new:
                    self._follower.apply(applied, "purge")
                if waiter and (is_new or mapped_us == inf):
                    self._waiters.append(waiter)
            case EventRecord():
                applied_here = self._listener.recorded(record) if is_new or record.at_us > mapped_us else None
                if is_new and applied_here is not None:
                    self._follower.apply(applied_here, "event")
            case _:
                assert_never(record)

    def _take_beat(self, said: BeatSaid) -> None:
        self._follower.check(said)
        self._parts.on_beat(said.epoch, said.at_us)
        self._parts.receipts.hear_from(said.replica)
        self._listener.beat(said)
        if self._span is not None:
            # whoever's it is: what was said before it has been heard
            self._span = Span(from_us=min(self._span.from_us, said.at_us), to_us=said.at_us)
        if said.replica == self._parts.receipts.replica:
            self._take_own_beat(said)

    def _take_own_beat(self, said: BeatSaid) -> None:
        if not self._parts.receipts.sent(said.number):
            # its word would pass for ours, and so would ours for its: neither may answer from memory
            raise StateError("lost", f"another replica has our name, {said.replica}")
        sent_at = self._sent_at.pop(said.number, None)
        if sent_at is not None:
            self._follower.trust(sent_at, said.base_us)

    async def _settle(self) -> None:
        """Record what was heard, then vouch for it. StateError where that must wait for another connection."""
        await self._listener.settle()
        at = self._follower.position
        if at is not None:
            self._mapped = Mapped(epoch=at.epoch, at_us=at.at_us)
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            self._parts.receipts.came_round(waiter)
        theirs = [waiter for waiter in waiters if not self._parts.receipts.awaits(waiter)]
        with contextlib.suppress(StateError):
            await self._parts.clock.acknowledge(theirs, self._parts.receipts.replica)

    # -- staying alive

    def _wait_s(self) -> float:
        until = self._follower.until + (0.0 if self._follower.trusted else self._parts.heartbeat_s)
        return max(0.0, until - self._parts.time.monotonic())

    def _check_life(self, *, heard: bool) -> None:
        late_s = self._parts.time.monotonic() - self._follower.until
        if late_s >= 0 and self._follower.trusted:
            self._follower.distrust()
        if late_s >= self._parts.heartbeat_s and not heard:
            raise StateError("lost", "heartbeats are sent and not heard")

    async def _keep_beating(self) -> None:
        """The first beat follows at once: it tells how far we have mapped."""
        while True:
            with contextlib.suppress(StateError):
                await self._beat()
            await asyncio.sleep(self._parts.heartbeat_s)

    async def _beat(self) -> Beat:
        beat = await self._send_beat(mend=False)
        if beat.broken:
            self._parts.observer.gap()
            if self._rules.on_gap is not OnGap.KEEP:
                await self._purge_everything(PurgeMode.SOFT if self._rules.on_gap is OnGap.SOFT else PurgeMode.HARD)
            await self._send_beat(mend=True)
        return beat

    async def _send_beat(self, *, mend: bool) -> Beat:
        number = self._parts.receipts.number_beat()
        sent_at = self._sent_at[number] = self._parts.time.monotonic()
        self._sent_at.pop(number - _BEATS_KEPT, None)
        waited_s = sent_at - self._began_at
        patience_s = _PATIENCE_BEATS * self._parts.heartbeat_s
        beat = await self._parts.clock.beat(
            Sign(
                replica=self._parts.receipts.replica,
                number=number,
                digest=self._interpreter.digest,
                span=self._span,
                mapped=self._mapped,
                patience_us=int(patience_s * 1e6) if waited_s < patience_s else 0,
                mend=mend,
            )
        )
        self._ahead_s = beat.now_us / 1e6 - (sent_at + self._parts.time.monotonic()) / 2
        return beat

    async def _purge_everything(self, mode: PurgeMode) -> None:
        await self._parts.clock.purge(Purge(tags=("*",), mode=mode), budget=background())

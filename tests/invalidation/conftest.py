"""Replicas over a real server, with mirrors that keep a record of what they were told."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from math import inf

import pytest

from cacheproxy.clock import SystemClock
from cacheproxy.invalidation.bus import Bus
from cacheproxy.invalidation.contract import Applied, Purge, PurgeMode
from cacheproxy.invalidation.heard import HeardClock
from cacheproxy.invalidation.mirrors import Mirrors
from cacheproxy.invalidation.purger import RedisPurger
from cacheproxy.invalidation.receipts import Receipts
from cacheproxy.invalidation.session import BusParts
from cacheproxy.invalidation.tag_clock import TagClock
from cacheproxy.policy.route import EventRules, OnGap
from cacheproxy.policy.templates import Template
from cacheproxy.redis_link.connect import Roles, Tuning, connect

PREFIX = "test"
HEARTBEAT_S = 0.1


class Ledger:
    """A Mirror that keeps what it was told, and lets a test wait for it."""

    def __init__(self) -> None:
        """Told nothing yet."""
        self.applied: list[Applied] = []
        self.epoch = ""
        self.base_us = 0
        self.until = -inf
        self.clears = 0
        self._news = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    def apply(self, purge: Applied) -> None:
        """As Mirror."""
        self.applied.append(purge)
        self._tell()

    def trust(self, trusted: bool, *, epoch: str = "", base_us: int = 0, until: float = inf) -> None:
        """As Mirror."""
        self.until = until if trusted else -inf
        if trusted:
            self.epoch, self.base_us = epoch, base_us
        self._tell()

    def clear(self) -> None:
        """As Mirror."""
        self.clears += 1
        self._tell()

    @property
    def trusted(self) -> bool:
        """Whether it would answer now."""
        return SystemClock.monotonic() < self.until

    @property
    def tags(self) -> list[str]:
        """Every tag of every purge, in order."""
        return [tag for purge in self.applied for tag in purge.tags]

    async def until_true(self, fact: Callable[[], bool]) -> None:
        """Wait until ``fact`` holds; the test's own time limit ends a wait in vain."""
        async with self._news:
            await self._news.wait_for(fact)

    def _tell(self) -> None:
        task = asyncio.get_running_loop().create_task(self._notify())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _notify(self) -> None:
        async with self._news:
            self._news.notify_all()


class Observed:
    """A BusObserver that counts."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.counts: Counter[str] = Counter()
        self.lags_s: list[float] = []
        self.up: list[bool] = []

    def connected(self, *, now: bool) -> None:
        """As BusObserver."""
        self.up.append(now)

    def gap(self) -> None:
        """As BusObserver."""
        self.counts["gap"] += 1

    def cleared(self) -> None:
        """As BusObserver."""
        self.counts["cleared"] += 1

    def applied(self, source: str) -> None:
        """As BusObserver."""
        self.counts[source] += 1

    def dropped(self, reason: str) -> None:
        """As BusObserver."""
        self.counts[reason] += 1

    def lag(self, seconds: float) -> None:
        """As BusObserver."""
        self.lags_s.append(seconds)


@dataclass
class Replica:
    """One sidecar's invalidation, and what it told its mirror."""

    name: str
    roles: Roles
    clock: TagClock
    ledger: Ledger
    mirrors: Mirrors
    receipts: Receipts
    purger: RedisPurger
    bus: Bus
    observed: Observed
    heard: HeardClock
    wakes: list[Callable[[Mapping[str, object]], None]]
    """Who is told of messages of the kind ``wake``."""

    async def ready(self) -> None:
        """Wait until it answers from memory."""
        await self.ledger.until_true(lambda: self.ledger.trusted)

    async def aclose(self) -> None:
        """Leave without a word."""
        await self.bus.aclose()
        await self.purger.aclose()
        await self.roles.aclose()


RULES = EventRules(
    on=(("article.updated", (Template.parse("article:{data.id}"), Template.parse("articles"))),),
)

MakeReplica = Callable[..., Replica]


@pytest.fixture
async def replica() -> AsyncIterator[MakeReplica]:
    """``replica(url, name, rules=..., on_gap=..., limit_s=..., start=True)`` makes one; it is closed after the test."""
    made: list[Replica] = []

    def make(
        url: str,
        name: str = "a",
        *,
        rules: EventRules = RULES,
        on_gap: OnGap = OnGap.CLEAR,
        subscriber_url: str | None = None,
        heartbeat_s: float = HEARTBEAT_S,
        lifetime_s: float = 3600.0,
        start: bool = True,
    ) -> Replica:
        roles = connect(url, Tuning(limit_s=1.0))
        clock = TagClock(roles.bus, PREFIX, lifetime_s)
        ledger = Ledger()
        heard = HeardClock()
        mirrors = Mirrors([ledger, heard])
        receipts = Receipts(name, lease_s=2 * heartbeat_s)
        purger = RedisPurger(clock, mirrors, receipts)
        observed = Observed()
        wakes: list[Callable[[Mapping[str, object]], None]] = []

        def on_message(kind: str, members: Mapping[str, object]) -> None:
            for hear in wakes:
                hear(members)

        ears = roles if subscriber_url is None else connect(subscriber_url, Tuning(limit_s=1.0))
        parts = BusParts(
            clock=clock,
            subscriber=ears.subscriber(),
            mirrors=mirrors,
            purger=purger,
            receipts=receipts,
            on_message=on_message,
            on_beat=heard.beat,
            observer=observed,
            heartbeat_s=heartbeat_s,
        )
        bus = Bus(parts, replace(rules, on_gap=on_gap))
        made.append(Replica(name, roles, clock, ledger, mirrors, receipts, purger, bus, observed, heard, wakes))
        if start:
            bus.start()
        return made[-1]

    yield make
    for each in made:
        await each.aclose()


@pytest.fixture
def hard() -> Callable[..., Purge]:
    """``hard(*tags)`` is a hard purge."""
    return lambda *tags: Purge(tags=tags)


@pytest.fixture
def soft() -> Callable[..., Purge]:
    """``soft(*tags)`` is a soft purge."""
    return lambda *tags: Purge(tags=tags, mode=PurgeMode.SOFT)


class DeafProxy:
    """Stands between a subscriber and its server, and stops passing on what the server says when told to."""

    def __init__(self, port: int) -> None:
        """Passes to the server on loopback ``port``."""
        self._port = port
        self._hears = asyncio.Event()
        self._hears.set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where it listens."""
        assert self._server is not None
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)

    def deafen(self) -> None:
        """Connections stay open, and nothing comes through them any more."""
        self._hears.clear()

    def heal(self) -> None:
        """What was held back comes through, late."""
        self._hears.set()

    async def stop(self) -> None:
        """Close everything."""
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        for coroutine in (self._pass(reader, back, deaf=False), self._pass(there, writer, deaf=True)):
            task = asyncio.create_task(coroutine)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, deaf: bool) -> None:
        try:
            while data := await source.read(1 << 16):
                if deaf:
                    await self._hears.wait()
                sink.write(data)
        except ConnectionError:
            pass
        finally:
            sink.close()


@pytest.fixture
async def proxy(fresh_valkey) -> AsyncIterator[DeafProxy]:
    """A proxy to ``fresh_valkey`` that can go deaf."""
    made = DeafProxy(fresh_valkey.port)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def ledger() -> Ledger:
    """A mirror that keeps what it was told."""
    return Ledger()

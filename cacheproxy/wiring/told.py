"""What the rest of the program does, told to whoever listens on the admin port."""

import asyncio
from collections import deque
from math import inf

from cacheproxy.admin.feed import Feed
from cacheproxy.engine.recorder import Event, Level, Recorder
from cacheproxy.invalidation.contract import Applied
from cacheproxy.policy.tags import EVERYTHING
from cacheproxy.redis_link.contract import Role

_REMEMBERED = 256


class Purged:
    """Whether anything was purged since somebody last looked."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._news = asyncio.Event()
        self._everything = False

    def tell(self, *, everything: bool) -> None:
        """Something was, or ``everything``."""
        self._everything = self._everything or everything
        self._news.set()

    async def wait(self) -> None:
        """Come back when there is something to look at."""
        await self._news.wait()

    def look(self) -> bool:
        """Whether it was everything. From now on, nothing was."""
        everything, self._everything = self._everything, False
        self._news.clear()
        return everything


class PurgesTold:
    """A Mirror that keeps nothing and tells the feed of each purge, once: our own come back over the bus."""

    def __init__(self, feed: Feed, purged: "Purged") -> None:
        """Tell ``feed`` and ``purged``."""
        self._feed = feed
        self._purged = purged
        self._lately: deque[tuple[str, int]] = deque(maxlen=_REMEMBERED)

    def apply(self, purge: Applied) -> None:
        """Tell what ``purge`` names."""
        self._purged.tell(everything=EVERYTHING in purge.tags)
        if not self._feed or (purge.epoch, purge.at_us) in self._lately:
            return
        self._lately.append((purge.epoch, purge.at_us))
        self._feed.tell("purge", at_us=purge.at_us, mode=purge.mode, tags=purge.tags)

    def trust(self, trusted: bool, *, epoch: str = "", base_us: int = 0, until: float = inf) -> None:  # noqa: FBT001 - Mirror's
        """Nothing: the bus tells it itself."""

    def clear(self) -> None:
        """Tell that memory was emptied."""
        self._purged.tell(everything=True)
        self._feed.tell("cleared")


class BusNotes:
    """What the bus observes: counted, and its changes of state told."""

    def __init__(self, recorder: Recorder, feed: Feed) -> None:
        """Count with ``recorder``, tell ``feed``."""
        self._recorder = recorder
        self._feed = feed

    def connected(self, *, now: bool) -> None:
        """Whether the bus is heard."""
        self._recorder.level(Level.BUS_CONNECTED, float(now))
        self._feed.tell("bus", connected=now)

    def gap(self) -> None:
        """Plain messages may be lost."""
        self._recorder.event(Event.BUS_GAP)

    def cleared(self) -> None:
        """Memory was cleared: a gap too."""
        self._recorder.event(Event.BUS_GAP)

    def applied(self, source: str) -> None:
        """A purge was applied."""
        self._recorder.event(Event.INVALIDATION, source)

    def dropped(self, reason: str) -> None:
        """An event was not understood."""
        self._recorder.event(Event.EVENT_DROPPED, reason)

    def lag(self, seconds: float) -> None:
        """How late a purge was applied."""
        self._recorder.lag(seconds)


class RedisNotes:
    """Whether Redis answers in each role: measured, and its changes told."""

    def __init__(self, recorder: Recorder, feed: Feed) -> None:
        """Up in every role until told otherwise."""
        self._recorder = recorder
        self._feed = feed
        for role in Role:
            recorder.level(Level.REDIS_UP, 1.0, role)

    def __call__(self, role: Role, up: bool, reason: str) -> None:  # noqa: FBT001 - redis_link.connect.OnRoleChange
        """``role`` is up, or down for ``reason``."""
        self._recorder.level(Level.REDIS_UP, float(up), role)
        self._feed.tell("redis", role=role, up=up, reason=reason)

"""Who has applied a purge, and from when on it does not matter whether they have."""

import asyncio
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf

from cacheproxy.clock import Clock, SystemClock

HEARTBEAT_S = 1.0
LEASE_S = 2 * HEARTBEAT_S
"""How long a replica trusts its memory after it sent the last heartbeat that it heard: two missed, and it is off."""
FORGET_LEASES = 30
"""A replica that was not heard of for so many leases, a minute, is forgotten."""
MARGIN_S = 0.1
"""Two machines' monotonic clocks may differ by this much over a lease."""


@dataclass(slots=True, kw_only=True)
class Waiter:
    """One purge whose acknowledgements are awaited."""

    token: str = field(default_factory=lambda: secrets.token_hex(8))
    acknowledged: set[str] = field(default_factory=set)
    live: frozenset[str] | None = None
    """Who alone can still answer from memory, once that is certain."""
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def expected(self, known: frozenset[str]) -> frozenset[str]:
        """Whose word is needed: of all who are ``known``, or of fewer."""
        return known if self.live is None else self.live


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Who can no longer serve what was purged, and who still might."""

    acknowledged: tuple[str, ...]
    silent: tuple[str, ...]


class Receipts:
    """Collects what replicas say on the bus about themselves and about purges."""

    def __init__(self, replica: str, lease_s: float = LEASE_S, clock: Clock | None = None) -> None:
        """``replica`` is our own id, and nobody else's: what we ask for we have applied already."""
        self.replica = replica
        self._first_beat = self._last_beat = secrets.randbelow(1 << 48)
        self.lease_s = lease_s
        self._clock = clock or SystemClock()
        self._waiting: dict[str, Waiter] = {}
        self._heard_at: dict[str, float] = {}
        self._others_at = -inf
        """When any other replica was heard of last."""
        self._listening_since = inf

    def listen(self) -> None:
        """From now on every heartbeat is heard here, until this is called again: there was a break."""
        self._listening_since = self._clock.monotonic()

    def hear_from(self, replica: str) -> None:
        """A heartbeat of ``replica`` came in."""
        self._heard_at[replica] = now = self._clock.monotonic()
        if replica != self.replica:
            self._others_at = now

    def alone(self) -> bool:
        """Whether no other replica was heard of for so long that each has been forgotten, and we listened all along.

        One that is slow to beat is not taken for gone so soon; one that begins beats before it does anything else.
        """
        since = max(self._others_at, self._listening_since)
        return self._clock.monotonic() - since >= FORGET_LEASES * self.lease_s

    def forget(self, replica: str) -> None:
        """``replica`` has left: whoever waits for its word has all that can be had."""
        self._heard_at.pop(replica, None)
        for waiter in self._waiting.values():
            waiter.acknowledged.add(replica)
            waiter.news.set()

    def number_beat(self) -> int:
        """A number for our next heartbeat, that no other process gives to its own."""
        self._last_beat += 1
        return self._last_beat

    def sent(self, number: int) -> bool:
        """Whether the heartbeat ``number`` in our name is ours, and not that of another who goes by it too."""
        return self._first_beat < number <= self._last_beat

    def acknowledge(self, token: str, replica: str) -> None:
        """``replica`` has applied the purge of the waiter ``token``, who may have left: a sign of life, too."""
        self.hear_from(replica)
        waiter = self._waiting.get(token)
        if waiter is not None:
            waiter.acknowledged.add(replica)
            waiter.news.set()

    def awaits(self, token: str) -> bool:
        """Whether the waiter ``token`` is one of ours, who knows already that we have applied its purge."""
        return token in self._waiting

    def came_round(self, token: str) -> None:
        """The purge of the waiter ``token`` was heard here, and so was every heartbeat before it.

        After a lease of listening, a replica not heard of has none that it could trust its memory by: the registry,
        which keeps the dead for a while, need not be believed any more.
        """
        waiter = self._waiting.get(token)
        if waiter is not None and self._clock.monotonic() - self._listening_since >= self.lease_s + MARGIN_S:
            waiter.live = frozenset({*self.live(), self.replica})
            waiter.news.set()

    def live(self) -> set[str]:
        """Replicas heard of lately enough that they may answer from memory; those gone for long are forgotten."""
        return self._heard_before(self._clock.monotonic())

    def last_known(self) -> set[str]:
        """The replicas that were live when any was heard of last: while the bus is lost, those before it was."""
        return self._heard_before(max(self._heard_at.values(), default=0.0))

    def heard_of(self) -> set[str]:
        """Replicas heard of within a minute: as long as the registry would name them, were it not lost."""
        newest = max(self._heard_at.values(), default=0.0)
        self._heard_at = {name: at for name, at in self._heard_at.items() if newest - at < FORGET_LEASES * self.lease_s}
        return set(self._heard_at)

    def _heard_before(self, moment: float) -> set[str]:
        return {name for name in self.heard_of() if moment - self._heard_at[name] < self.lease_s + MARGIN_S}

    @contextmanager
    def waiter(self) -> Iterator[Waiter]:
        """Listen for acknowledgements; to be entered before the purge is sent, which they may outrun."""
        waiter = Waiter(acknowledged={self.replica})
        self._waiting[waiter.token] = waiter
        try:
            yield waiter
        finally:
            del self._waiting[waiter.token]

    async def collect(self, waiter: Waiter, registered: Iterable[str], wait_s: float) -> Outcome:
        """Wait until all replicas have acknowledged, or ``wait_s`` is over.

        A heartbeat that a replica sends after the purge reaches it after the purge. So one that has not applied the
        purge trusts its memory, at the latest, for one lease from now: after that its silence is as good as a word.
        """
        known = frozenset({*registered, *self.heard_of(), self.replica})
        lease_ends_s = self.lease_s + MARGIN_S
        await _until(waiter, known, min(wait_s, lease_ends_s))
        expected = waiter.expected(known)
        silent = set() if wait_s >= lease_ends_s else expected - waiter.acknowledged
        return Outcome(acknowledged=tuple(sorted(expected - silent)), silent=tuple(sorted(silent)))


async def _until(waiter: Waiter, known: frozenset[str], wait_s: float) -> None:
    try:
        async with asyncio.timeout(wait_s):
            while not waiter.expected(known) <= waiter.acknowledged:
                waiter.news.clear()
                await waiter.news.wait()
    except TimeoutError:
        return

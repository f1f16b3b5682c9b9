"""What the program tells about itself as it works. ``admin.metrics`` counts it; ``NullRecorder`` forgets it."""

from enum import StrEnum
from typing import Protocol


class Event(StrEnum):
    """What is counted beside requests. The labels of each, in order, are given with it."""

    UPSTREAM = "upstream"
    """outcome: ``ok``, or the reason code of the UpstreamError."""
    COLLAPSED = "collapsed"
    """where: ``flight`` (this process) or ``lease`` (another replica's fill)."""
    NOT_STORED = "not-stored"
    """reason: why ``semantics.storing`` passed."""
    HIT_FOR_MISS = "hit-for-miss"
    """No label: a key remembered as not storable."""
    INVALIDATION = "invalidation"
    """source: ``write, purge, event, plain``."""
    EVENT_DROPPED = "event-dropped"
    """reason: why an invalidation event was not understood."""
    BUS_GAP = "bus-gap"
    """No label: the bus was lost for a time."""
    RATE_LIMIT = "rate-limit"
    """rule, decision: ``allow, deny, delay, shadow_deny`` or, without Redis, ``unknown``."""
    STATE_ERROR = "state-error"
    """role, reason: a StateError that ``engine.degrade`` carried on from."""
    GAVE_WAY = "gave-way"
    """No label: a client took a body so slowly that its connection to the origin was given to others."""
    EVICTED = "evicted"
    """No label: a response that memory had no room for any more."""
    CORRUPT = "corrupt"
    """No label: what Redis held was no entry, or not one of ours."""
    REFUSED = "refused"
    """reason: the reason code of a ClientError."""
    CONFIG_LOAD = "config-load"
    """outcome: ``ok, error``."""
    LOG_DROPPED = "log-dropped"
    """No label: a line of the log that nobody took in time."""


class Level(StrEnum):
    """What is measured as it stands now."""

    BUS_CONNECTED = "bus-connected"
    """1 while the bus is trusted, else 0."""
    REDIS_UP = "redis-up"
    """role: 1 while its breaker is closed, else 0."""
    L1_BYTES = "l1-bytes"
    L1_ENTRIES = "l1-entries"
    CLIENT_CONNECTIONS = "client-connections"
    UPSTREAM_CONNECTIONS = "upstream-connections"
    """state: ``busy``, ``idle``, or ``held`` back by clients that do not keep up."""
    LIMITS_DEGRADED = "limits-degraded"
    """1 while limits are not counted for all replicas together, for want of Redis."""
    FLIGHTS = "flights"
    """Fills under way in this process."""


class Tally(Protocol):
    """Counts requests that have everything in common but how long they took."""

    def add(self, seconds: float) -> None:
        """One more."""
        ...


class Recorder(Protocol):
    """Takes note of requests, store operations, events and levels. Cheap, never waits, never raises."""

    def request(
        self, *, method: str, route: str, cache_status: str, seconds: float, resource_type: str, hit: bool
    ) -> None:
        """One answered request. ``cache_status`` is X-Cache's word in lower case, or ``none`` where no cache was asked.

        ``resource_type`` is the key's resource (``articles``), empty for a route that caches nothing: then neither
        a hit nor a miss is counted.
        """
        ...

    def tally(self, *, method: str, route: str, cache_status: str, resource_type: str, hit: bool) -> Tally:
        """Where requests are counted (``request``) that are like this one, for who has many of them."""
        ...

    def operation(self, name: str, seconds: float) -> None:
        """One call to a store: ``get, set, delete, ...``."""
        ...

    def event(self, event: Event, *labels: str, n: int = 1) -> None:
        """``n`` more of ``event``, under the labels that it lists."""
        ...

    def level(self, level: Level, value: float, label: str = "") -> None:
        """``level`` is ``value`` from now on."""
        ...

    def lag(self, seconds: float) -> None:
        """One purge applied here ``seconds`` after it was made."""
        ...


class NullTally:
    """Forgets everything."""

    def add(self, seconds: float) -> None:
        """Nothing."""


class NullRecorder:
    """Forgets everything: for tests and for tools that serve nobody."""

    def request(
        self, *, method: str, route: str, cache_status: str, seconds: float, resource_type: str, hit: bool
    ) -> None:
        """Nothing."""

    def tally(self, **_alike: object) -> Tally:
        """Nowhere."""
        return NullTally()

    def operation(self, name: str, seconds: float) -> None:
        """Nothing."""

    def event(self, event: Event, *labels: str, n: int = 1) -> None:
        """Nothing."""

    def level(self, level: Level, value: float, label: str = "") -> None:
        """Nothing."""

    def lag(self, seconds: float) -> None:
        """Nothing."""

"""Shared state: in Redis, or in this process alone."""

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from cacheproxy.admin.feed import Feed
from cacheproxy.clock import Clock
from cacheproxy.engine.recorder import Recorder
from cacheproxy.errors import Fault, PolicyError
from cacheproxy.fills.contract import Leases
from cacheproxy.fills.lease import NoLeases, RedisLeases
from cacheproxy.invalidation.bus import Bus
from cacheproxy.invalidation.contract import Purger
from cacheproxy.invalidation.heard import HeardClock
from cacheproxy.invalidation.local import LocalPurger
from cacheproxy.invalidation.mirrors import Mirrors
from cacheproxy.invalidation.purger import RedisPurger
from cacheproxy.invalidation.receipts import Receipts
from cacheproxy.invalidation.session import BusParts
from cacheproxy.invalidation.siblings import Doors, SharingPurger, door
from cacheproxy.invalidation.tag_clock import TagClock
from cacheproxy.limits.replicas import Replicas
from cacheproxy.policy.identity import SessionRules
from cacheproxy.policy.route import Policy
from cacheproxy.redis_link.cluster import ClusterLink
from cacheproxy.redis_link.connect import Roles, Tuning, connect
from cacheproxy.redis_link.contract import Role
from cacheproxy.redis_link.embedded import start_embedded
from cacheproxy.semantics.tag_clock import Stamp
from cacheproxy.sessions.contract import NoSessions, Sessions
from cacheproxy.sessions.memory import SessionMemory
from cacheproxy.sessions.redis import RedisSessions
from cacheproxy.settings import Settings, keys_of
from cacheproxy.storage.contract import Store
from cacheproxy.storage.envelope import Envelope
from cacheproxy.storage.memory import MemoryStore
from cacheproxy.storage.redis import RedisStore
from cacheproxy.storage.tiered import TieredStore
from cacheproxy.storage.timed import TimedStore
from cacheproxy.wiring.limiting import Limiting, limiting_alone, limiting_shared
from cacheproxy.wiring.told import BusNotes, Purged, PurgesTold, RedisNotes

LEASE_AGE_S = 3.0
"""How long a killed replica holds off the others from what it was filling."""
LONGEST_FILL_S = 60.0
"""How long a fill that goes on does."""
MAX_LIFETIME_S = 86_400.0
"""Past this a stored response may be taken for purged, so that the tag clock stays small."""
UNPACKED = 1_024
"""Small entries of L2 that are not unpacked again as long as they stay the same, where there is no L1 to keep them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What the engine keeps its state in."""

    store: Store
    l1: MemoryStore
    leases: Leases
    purger: Purger
    heard: Callable[[], Stamp | None]
    """Gives a stamp without a trip, or None."""
    limits: Limiting
    sessions: Sessions
    envelope: Envelope
    purged: Purged
    bus: Bus | None = None
    roles: Roles | None = None
    l2: RedisStore | None = None

    @property
    def settled(self) -> bool:
        """Whether the bus has caught up, so that it purges nothing for what happened before now; or cannot."""
        return self.roles is None or self.bus is None or self.bus.connected or not self.roles.bus.up

    def parts(self) -> Mapping[str, str]:
        """The state of each part, for readiness: none of them is a reason not to be ready."""
        if self.roles is None or self.bus is None:
            return {"redis": "none"}
        links = {role: getattr(self.roles, role) for role in Role}
        up = {f"redis-{role}": "up" if link.up else "down" for role, link in links.items()}
        return {**up, "bus": "connected" if self.bus.connected else "lost"}


async def open_state(
    settings: Settings,
    policy: Policy,
    recorder: Recorder,
    feed: Feed,
    clock: Clock,
    stack: AsyncExitStack,
    doors: Doors | None = None,
) -> State:
    """Shared state as ``settings`` say, closed with ``stack``. PolicyError for a URL that is wrong, or a missing extra.

    Without Redis, workers purge through each other's ``doors``.
    """
    urls = settings.redis_urls()
    given = _Given(
        settings=settings,
        policy=policy,
        recorder=recorder,
        feed=feed,
        clock=clock,
        stack=stack,
        l1=MemoryStore(settings.l1_bytes, clock=clock),
        envelope=_envelope(settings, policy),
    )
    if urls == "none":
        return await _alone(given, doors)
    if urls == "embedded":
        server = start_embedded()
        stack.callback(server.close)
        urls = dict.fromkeys(Role, server.url)
    tuning = Tuning(limit_s=settings.redis_budget, connections=settings.redis_max_connections)
    roles = connect({Role(role): url for role, url in urls.items()}, tuning, RedisNotes(recorder, feed))
    stack.push_async_callback(roles.aclose)
    await roles.greet()
    return _shared(given, roles)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    """What shared state is made from, with Redis or without."""

    settings: Settings
    policy: Policy
    recorder: Recorder
    feed: Feed
    clock: Clock
    stack: AsyncExitStack
    l1: MemoryStore
    envelope: Envelope
    purged: Purged = field(default_factory=Purged)


async def _alone(given: _Given, doors: Doors | None) -> State:
    name, clock = given.settings.instance_id, given.clock
    own = LocalPurger(Mirrors([given.l1, PurgesTold(given.feed, given.purged)]), name, MAX_LIFETIME_S, clock)
    purger: Purger = own
    if doors is not None:
        await given.stack.enter_async_context(door(doors.own, own, name))
        purger = SharingPurger(own, doors.others)
    return State(
        store=TimedStore(given.l1, given.recorder.operation, clock.monotonic),
        l1=given.l1,
        leases=NoLeases(purger.begin, own.stamp),
        purger=purger,
        heard=own.stamp,
        limits=limiting_alone(clock),
        sessions=NoSessions(),
        envelope=given.envelope,
        purged=given.purged,
    )


def _shared(given: _Given, roles: Roles) -> State:
    settings, clock, l1 = given.settings, given.clock, given.l1
    sessions = _sessions(roles, given.policy.session, clock)
    heard = HeardClock(clock)
    remembered = [sessions] if isinstance(sessions, SessionMemory) else []
    mirrors = Mirrors([l1, heard, PurgesTold(given.feed, given.purged), *remembered])
    tag_clock = TagClock(roles.bus, settings.prefix, MAX_LIFETIME_S)
    receipts = Receipts(settings.instance_id, clock=clock)
    purger = RedisPurger(tag_clock, mirrors, receipts)
    given.stack.push_async_callback(purger.aclose)
    leases = _leases(given, roles, heard, receipts)
    parts = BusParts(
        clock=tag_clock,
        subscriber=roles.subscriber(),
        mirrors=mirrors,
        purger=purger,
        receipts=receipts,
        on_message=_waking(leases),
        on_break=leases.deaf,
        on_beat=heard.beat,
        observer=BusNotes(given.recorder, given.feed),
        time=clock,
    )
    bus = _listening(parts, given)
    l2 = _l2(given, roles)
    tiered = TieredStore(l1, l2, clock, lambda: purger.settled)
    replicas = Replicas(lambda: len(receipts.last_known()), clock)
    return State(
        store=TimedStore(tiered, given.recorder.operation, clock.monotonic),
        l1=l1,
        leases=leases,
        purger=purger,
        heard=heard.stamp,
        limits=limiting_shared(roles.limits, settings.prefix, clock, replicas),
        sessions=sessions,
        envelope=given.envelope,
        purged=given.purged,
        bus=bus,
        roles=roles,
        l2=l2,
    )


def _leases(given: _Given, roles: Roles, heard: HeardClock, receipts: Receipts) -> RedisLeases:
    # the nodes of a cluster have their keys apart, as two servers have
    together = roles.cache is roles.bus and not isinstance(roles.bus, ClusterLink)
    leases = RedisLeases(
        roles.bus,
        given.settings.prefix,
        LEASE_AGE_S,
        LONGEST_FILL_S,
        beside_entries=together,
        alone=lambda: heard.stamp() if receipts.alone() else None,
    )
    given.stack.push_async_callback(leases.aclose)
    return leases


def _l2(given: _Given, roles: Roles) -> RedisStore:
    return RedisStore(
        roles.cache,
        prefix=given.settings.prefix,
        clock_link=roles.bus,
        max_unpacked=0 if given.settings.l1_bytes else UNPACKED,
        clock=given.clock,
        envelope=given.envelope,
    )


def _listening(parts: BusParts, given: _Given) -> Bus:
    bus = Bus(parts, given.policy.events)
    bus.start()
    given.stack.push_async_callback(bus.aclose)
    return bus


def _envelope(settings: Settings, policy: Policy) -> Envelope:
    if settings.encryption_keys is None:
        return Envelope(rules=policy.cache_rules)
    try:
        from cacheproxy.storage.sealing import Keyring  # noqa: PLC0415 - the library is an extra
    except ModuleNotFoundError as error:
        fault = Fault("needs a library: pip install 'cacheproxy[crypto]'", "CACHEPROXY_ENCRYPTION_KEYS")
        raise PolicyError("settings", [fault]) from error
    return Envelope(Keyring(keys_of(settings.encryption_keys.get_secret_value())), policy.cache_rules)


def _sessions(roles: Roles, rules: SessionRules | None, clock: Clock) -> Sessions:
    if rules is None:
        return NoSessions()
    inner = RedisSessions(roles.sessions, rules, clock)
    return SessionMemory(inner, rules, clock) if rules.memory_s > 0 else inner


def _waking(leases: RedisLeases) -> Callable[[str, Mapping[str, object]], None]:
    def on_message(kind: str, members: Mapping[str, object]) -> None:
        if kind == "wake":
            leases.hear(members)

    return on_message

"""The metric families, by name: what each event and each level is called for Prometheus."""

from dataclasses import dataclass

from cacheproxy.engine.recorder import Event, Level


@dataclass(frozen=True, slots=True)
class Family:
    """A metric's name (less ``_total``), its help line, and the names of its labels in order."""

    name: str
    help: str
    labels: tuple[str, ...] = ()


COUNTERS: dict[Event, Family] = {
    Event.UPSTREAM: Family("cacheproxy_upstream_requests", "Requests sent to the origin.", ("outcome",)),
    Event.COLLAPSED: Family("cacheproxy_collapsed_requests", "Requests that waited for another's fill.", ("where",)),
    Event.NOT_STORED: Family("cacheproxy_not_stored", "Responses that could not be kept.", ("reason",)),
    Event.HIT_FOR_MISS: Family("cacheproxy_hit_for_miss", "Requests for keys known not to be storable."),
    Event.INVALIDATION: Family("cacheproxy_invalidations", "Purges, by where they came from.", ("source",)),
    Event.EVENT_DROPPED: Family("cacheproxy_events_dropped", "Events that were not understood.", ("reason",)),
    Event.BUS_GAP: Family("cacheproxy_bus_gaps", "Times that the bus was lost."),
    Event.RATE_LIMIT: Family("cacheproxy_ratelimit_decisions", "Decisions of the rate limits.", ("rule", "decision")),
    Event.STATE_ERROR: Family("cacheproxy_state_errors", "Times we did without Redis.", ("role", "reason")),
    Event.GAVE_WAY: Family("cacheproxy_slow_readers_cut_off", "Downloads cut off, as others waited for a connection."),
    Event.EVICTED: Family("cacheproxy_l1_evictions", "Responses dropped from memory to make room."),
    Event.CORRUPT: Family("cacheproxy_corrupt_entries", "Values in Redis that were no entries, each a miss."),
    Event.REFUSED: Family("cacheproxy_refused_requests", "Requests refused for what they were.", ("reason",)),
    Event.CONFIG_LOAD: Family("cacheproxy_config_loads", "Policies loaded, or refused.", ("outcome",)),
    Event.LOG_DROPPED: Family("cacheproxy_log_lines_dropped", "Log lines that nobody took in time."),
}

LEVELS: dict[Level, Family] = {
    Level.BUS_CONNECTED: Family("cacheproxy_bus_connected", "1 while purges from other replicas reach this one."),
    Level.REDIS_UP: Family("cacheproxy_redis_up", "1 while Redis answers in this role.", ("role",)),
    Level.L1_BYTES: Family("cacheproxy_l1_bytes", "Memory used by the in-process cache."),
    Level.L1_ENTRIES: Family("cacheproxy_l1_entries", "Responses in the in-process cache."),
    Level.CLIENT_CONNECTIONS: Family("cacheproxy_client_connections", "Open client connections."),
    Level.UPSTREAM_CONNECTIONS: Family(
        "cacheproxy_upstream_connections", "Connections to the origin: busy, idle, or held by slow readers.", ("state",)
    ),
    Level.LIMITS_DEGRADED: Family("cacheproxy_ratelimit_degraded", "1 while limits do without Redis."),
    Level.FLIGHTS: Family("cacheproxy_flights", "Fills under way in this process."),
}

"""What is counted, and how Prometheus is told. Recording costs about a microsecond and takes no lock.

The numbers are plain integers, changed by the event loop's thread alone; ``collect`` turns them into Prometheus
families when somebody asks. So a cache hit pays for two dictionary look-ups and not for a client library.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from cacheproxy import __version__
from cacheproxy.admin.families import COUNTERS, LEVELS, Family
from cacheproxy.engine.recorder import Event, Level

Labels = tuple[str, ...]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MAX_SERIES = 2_000
"""Per family. What comes beyond it is counted under ``other``: labels are bounded, whatever their source does."""
OTHER = "other"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
BOUNDS_S = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
"""Upper bounds of the histogram buckets, in seconds: a hit takes 0.0001, an origin that times out 10."""


@dataclass(slots=True)
class Spread:
    """How durations are spread over ``BOUNDS_S``, and their sum. The last bucket is +Inf."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    sum_s: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.sum_s += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Prometheus's cumulative buckets: upper bound as text, and how many durations were at most that."""
        seen = 0
        rows: list[tuple[str, float]] = []
        for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), self.counts, strict=True):
            seen += count
            rows.append((bound, float(seen)))
        return rows


class Tally:
    """Counts requests that have all their labels in common."""

    __slots__ = ("_hits", "_resource", "_spread")

    def __init__(self, spread: Spread, hits: dict[Labels, int], resource: Labels | None) -> None:
        """In ``spread``, and in ``hits`` (or misses) under ``resource``; None where it is neither."""
        self._spread = spread
        self._hits = hits
        self._resource = resource
        if resource is not None:
            hits.setdefault(resource, 0)

    def add(self, seconds: float) -> None:
        """Count one that took ``seconds``."""
        spread = self._spread
        spread.counts[bisect_left(BOUNDS_S, seconds)] += 1
        spread.sum_s += seconds
        if self._resource is not None:
            self._hits[self._resource] += 1


class Metrics:
    """The ``engine.recorder.Recorder`` of a running sidecar, and a collector of prometheus-client."""

    def __init__(self, *, config_hash: str = "") -> None:
        """Start at nought. ``config_hash`` is the policy's digest."""
        self._config_hash = config_hash
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        self._registry.register(self)
        self.requests: dict[Labels, Spread] = {}
        self._tallies: dict[tuple[str, str, str, str, bool], Tally] = {}
        self._operations: dict[Labels, Spread] = {}
        self._lag = Spread()
        self.hits: dict[Labels, int] = {}
        self.misses: dict[Labels, int] = {}
        self.events: dict[Event, dict[Labels, int]] = {event: {} for event in Event}
        self._levels: dict[Level, dict[str, float]] = {level: {} for level in Level}
        self._watched: dict[tuple[Level, str], Callable[[], float]] = {}
        self._totals: dict[Event, Callable[[], int]] = {}

    # --- recording

    def request(
        self, *, method: str, route: str, cache_status: str, seconds: float, resource_type: str, hit: bool
    ) -> None:
        """Count one answered request (``Recorder.request``)."""
        known = self._tallies.get((method, route, cache_status, resource_type, hit))
        if known is None:
            known = self.tally(
                method=method, route=route, cache_status=cache_status, resource_type=resource_type, hit=hit
            )
        known.add(seconds)

    def tally(self, *, method: str, route: str, cache_status: str, resource_type: str, hit: bool) -> Tally:
        """Where such requests are counted."""
        labels = (method if method in METHODS else OTHER, route, cache_status)
        known = self._tallies.get((*labels, resource_type, hit))
        if known is None:
            hits = self.hits if hit else self.misses
            resource = _bounded(hits, (resource_type,)) if resource_type else None
            known = Tally(_spread(self.requests, labels), hits, resource)
            if len(self._tallies) < MAX_SERIES:
                self._tallies[(*labels, resource_type, hit)] = known
        return known

    def operation(self, name: str, seconds: float) -> None:
        """Count one store operation."""
        _spread(self._operations, (name,)).add(seconds)

    def event(self, event: Event, *labels: str, n: int = 1) -> None:
        """Count ``n`` more of ``event``."""
        tally = self.events[event]
        if labels in tally:
            tally[labels] += n
        else:
            _count(tally, labels, n)

    def level(self, level: Level, value: float, label: str = "") -> None:
        """Set ``level``."""
        self._levels[level][label] = value

    def lag(self, seconds: float) -> None:
        """Count how long a purge took to be applied here."""
        self._lag.add(seconds)

    def watch(self, level: Level, read: Callable[[], float], label: str = "") -> None:
        """Ask ``read`` for ``level`` whenever somebody asks us, so that nobody need report it."""
        self._watched[level, label] = read

    def watch_total(self, event: Event, read: Callable[[], int]) -> None:
        """Ask ``read`` how often ``event``, which has no label, came about: it is counted elsewhere."""
        self._totals[event] = read

    def loaded(self, config_hash: str) -> None:
        """Name the policy that is in force from now on."""
        self._config_hash = config_hash

    # --- telling

    def render(self) -> bytes:
        """Everything in Prometheus's text format 0.0.4."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Every family, for prometheus-client's registry."""
        yield from self._cache_families()
        yield from self._duration_families()
        for event, family in COUNTERS.items():
            yield _counter(family, self.events_of(event))
        for level, family in LEVELS.items():
            yield _gauge(family, self.levels_of(level))
        yield _info("cacheproxy_config_info", "The policy in force, by its digest.", "hash", self._config_hash)
        yield _info("cacheproxy_build_info", "The version of this program.", "version", __version__)

    def _cache_families(self) -> Iterator[Metric]:
        label = ("resource_type",)
        hits = Family("cache_hits", "Requests answered from the cache.", label)
        misses = Family("cache_misses", "Requests of cached routes that went to the origin.", label)
        # Both for every type: a ratio over a series that is not there is nothing, rather than nought.
        none = dict.fromkeys(self.hits | self.misses, 0)
        yield _counter(hits, none | self.hits)
        yield _counter(misses, none | self.misses)

    def _duration_families(self) -> Iterator[Metric]:
        operation = Family("cache_operation_duration_seconds", "Time spent in the cache store.", ("operation",))
        request = Family(
            "request_duration_seconds", "Time from head to last byte.", ("method", "route", "cache_status")
        )
        lag = Family("cacheproxy_invalidation_lag_seconds", "Time from a purge to its effect in this process.", ())
        yield _histogram(operation, self._operations)
        yield _histogram(request, self.requests)
        yield _histogram(lag, {(): self._lag})

    def events_of(self, event: Event) -> dict[Labels, int]:
        """How often ``event`` came about, by labels; those that never did are not there."""
        read = self._totals.get(event)
        if read is None:
            return self.events[event]
        return {(): total} if (total := read()) else {}

    def levels_of(self, level: Level) -> dict[str, float]:
        """``level`` as it stands now, by label ("" where it has none)."""
        watched = {label: read() for (name, label), read in self._watched.items() if name is level}
        return self._levels[level] | watched


def _bounded(series: dict[Labels, int] | dict[Labels, Spread], labels: Labels) -> Labels:
    if labels in series or len(series) < MAX_SERIES:
        return labels
    return (OTHER,) * len(labels)


def _count(tally: dict[Labels, int], labels: Labels, n: int) -> None:
    before = tally.get(labels)
    if before is None:
        labels = _bounded(tally, labels)
        before = tally.get(labels, 0)
    tally[labels] = before + n


def _spread(series: dict[Labels, Spread], labels: Labels) -> Spread:
    labels = _bounded(series, labels)
    spread = series.get(labels)
    if spread is None:
        spread = series[labels] = Spread()
    return spread


def _counter(family: Family, tally: dict[Labels, int]) -> Metric:
    metric = CounterMetricFamily(family.name, family.help, labels=family.labels)
    if not family.labels and not tally:
        metric.add_metric((), 0)
    for labels, count in tally.items():
        metric.add_metric(labels, count)
    return metric


def _gauge(family: Family, levels: dict[str, float]) -> Metric:
    metric = GaugeMetricFamily(family.name, family.help, labels=family.labels)
    for label, value in levels.items():
        metric.add_metric((label,) if family.labels else (), value)
    return metric


def _histogram(family: Family, spreads: dict[Labels, Spread]) -> Metric:
    metric = HistogramMetricFamily(family.name, family.help, labels=family.labels)
    for labels, spread in spreads.items():
        metric.add_metric(labels, buckets=spread.buckets(), sum_value=spread.sum_s)
    return metric


def _info(name: str, text: str, label: str, value: str) -> Metric:
    metric = GaugeMetricFamily(name, text, labels=[label])
    metric.add_metric([value], 1)
    return metric

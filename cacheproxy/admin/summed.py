"""The metrics of several processes as those of one.

Counters and histograms add up, and never go back: what a process had counted by the time it was last asked stays in
the sum after it is gone. Gauges add up, too, but for those that answer yes or no.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from cacheproxy.admin.families import COUNTERS, LEVELS, Family
from cacheproxy.admin.metrics import BOUNDS_S, Labels, Metrics, Spread
from cacheproxy.engine.recorder import Level

LOWEST = frozenset({LEVELS[Level.BUS_CONNECTED].name, LEVELS[Level.REDIS_UP].name, "process_max_fds"})
"""True of all if it is true of each."""
HIGHEST = frozenset(
    {
        LEVELS[Level.LIMITS_DEGRADED].name,
        "cacheproxy_config_info",
        "cacheproxy_build_info",
        "process_start_time_seconds",
    }
)
"""True of all if it is true of one."""

Series = tuple[str, tuple[tuple[str, str], ...]]
"""A sample's name and labels."""


Sums = dict[Series, float]


@dataclass(frozen=True, slots=True)
class _Told:
    """What one process said when it was last asked."""

    starts: int
    families: Mapping[str, Metric]
    now: bool = True
    """Whether that was just now."""


class Ledger:
    """Adds up what the processes say, over their deaths."""

    def __init__(self) -> None:
        """Nothing was said yet."""
        self._told: dict[str, _Told] = {}
        self._left: dict[str, Sums] = {}
        """What processes had counted that are gone, by family."""

    def take(self, process: str, starts: int, text: str) -> None:
        """Note what ``process``, started for the ``starts``-th time, says of itself (text format 0.0.4)."""
        before = self._told.get(process)
        if before is not None and before.starts != starts:
            self._keep(before)
        families = text_string_to_metric_families(text)
        self._told[process] = _Told(starts, {family.name: family for family in families})

    def miss(self, process: str) -> None:
        """Note that ``process`` does not answer: what it counted stands, what it measures is not known."""
        told = self._told.get(process)
        if told is not None:
            self._told[process] = replace(told, now=False)

    def families(self) -> list[Metric]:
        """The sums."""
        named: dict[str, Metric] = {}
        sums: dict[str, Sums] = {}
        for told in self._told.values():
            for name, family in told.families.items():
                if told.now or not _measures(family):
                    named.setdefault(name, Metric(name, family.documentation, family.type))
                    _add(sums.setdefault(name, {}), family)
        for name, metric in named.items():
            for series, value in _with(sums[name], self._left.get(name, {})):
                metric.add_sample(series[0], dict(series[1]), value)
        return list(named.values())

    def _keep(self, gone: _Told) -> None:
        for name, family in gone.families.items():
            if not _measures(family):
                _add(self._left.setdefault(name, {}), family)


def _measures(family: Metric) -> bool:
    """Whether it says how things stand, rather than how often something happened."""
    return family.type == "gauge"


def _add(sums: Sums, family: Metric) -> None:
    for sample in family.samples:
        series = (sample.name, tuple(sample.labels.items()))
        sums[series] = _combined(family.name, sums.get(series), sample.value)


def _with(sums: Sums, left: Sums) -> Iterator[tuple[Series, float]]:
    for series in {**sums, **left}:
        yield series, sums.get(series, 0.0) + left.get(series, 0.0)


def _combined(family: str, before: float | None, value: float) -> float:
    if before is None:
        return value
    if family in LOWEST:
        return min(before, value)
    return max(before, value) if family in HIGHEST else before + value


class _Given:
    """A collector of families that are there already."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def rendered(families: Iterable[Metric]) -> bytes:
    """``families`` in Prometheus's text format 0.0.4."""
    registry = CollectorRegistry()
    registry.register(_Given(families))
    return generate_latest(registry)


def restored(families: Iterable[Metric]) -> Metrics:
    """The counters that would be told as ``families``, for ``admin.stats``."""
    named = {family.name: family for family in families}
    metrics = Metrics()
    metrics.hits = _tally(named.get("cache_hits"), ("resource_type",))
    metrics.misses = _tally(named.get("cache_misses"), ("resource_type",))
    metrics.requests = _spreads(named.get("request_duration_seconds"), ("method", "route", "cache_status"))
    for event, family in COUNTERS.items():
        metrics.events[event] = _tally(named.get(family.name), family.labels)
    for level, family in LEVELS.items():
        for label, value in _levels(named.get(family.name), family):
            metrics.level(level, value, label)
    return metrics


def _tally(family: Metric | None, labels: Labels) -> dict[Labels, int]:
    samples = family.samples if family is not None else ()
    return {tuple(sample.labels[name] for name in labels): int(sample.value) for sample in samples if sample.value}


def _levels(family: Metric | None, described: Family) -> Iterator[tuple[str, float]]:
    for sample in family.samples if family is not None else ():
        yield "".join(sample.labels[name] for name in described.labels), sample.value


def _spreads(family: Metric | None, labels: Labels) -> dict[Labels, Spread]:
    """Histograms, from Prometheus's cumulative buckets back to counts."""
    spreads: dict[Labels, Spread] = {}
    bounds = {bound: at for at, bound in enumerate((*map(float, BOUNDS_S), float("inf")))}
    for sample in family.samples if family is not None else ():
        spread = spreads.setdefault(tuple(sample.labels[name] for name in labels), Spread())
        if sample.name.endswith("_bucket"):
            spread.counts[bounds[float(sample.labels["le"])]] = int(sample.value)
        elif sample.name.endswith("_sum"):
            spread.sum_s = sample.value
    for spread in spreads.values():
        spread.counts[1:] = [count - before for before, count in zip(spread.counts, spread.counts[1:], strict=False)]
    return spreads

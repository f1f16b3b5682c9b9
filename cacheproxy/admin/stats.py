"""The counters as one JSON document, for the dashboard and ``cacheproxy stats``."""

from cacheproxy.admin.families import COUNTERS, LEVELS
from cacheproxy.admin.metrics import BOUNDS_S, Metrics, Spread

Row = dict[str, object]


def summary(metrics: Metrics) -> Row:
    """What was served and how fast, by route and by cache status; then every other counter, by metric name."""
    hits, misses = sum(metrics.hits.values()), sum(metrics.misses.values())
    return {
        "hits": hits,
        "misses": misses,
        "hit_ratio": round(hits / (hits + misses), 4) if hits + misses else None,
        "requests": [
            {"method": method, "route": route, "cache_status": status, **_times(spread)}
            for (method, route, status), spread in sorted(metrics.requests.items())
        ],
        "counters": {
            family.name: {",".join(labels): n for labels, n in told.items()}
            for event, family in COUNTERS.items()
            if (told := metrics.events_of(event))
        },
        "levels": {family.name: levels for level, family in LEVELS.items() if (levels := metrics.levels_of(level))},
    }


def quantile_s(spread: Spread, share: float) -> float | None:
    """The bucket bound, in seconds, under which at least ``share`` of the durations lie; None if there is no such."""
    wanted = share * sum(spread.counts)
    seen = 0
    for bound, count in zip(BOUNDS_S, spread.counts, strict=False):
        seen += count
        if seen and seen >= wanted:
            return bound
    return None


def _times(spread: Spread) -> Row:
    count = sum(spread.counts)
    return {
        "count": count,
        "mean_ms": round(1000 * spread.sum_s / count, 3),
        "p50_ms_under": _ms(quantile_s(spread, 0.50)),
        "p99_ms_under": _ms(quantile_s(spread, 0.99)),
    }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000

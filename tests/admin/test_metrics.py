"""What is counted comes out under the promised names, and never grows without end."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cacheproxy.admin.families import COUNTERS, LEVELS
from cacheproxy.admin.metrics import MAX_SERIES, Metrics
from cacheproxy.admin.stats import quantile_s, summary
from cacheproxy.engine.recorder import Event, Level, Recorder


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample as Prometheus's own parser reads it."""
    families = text_string_to_metric_families(metrics.render().decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def serve(metrics: Recorder, *, method="GET", route="article", status="hit", seconds=0.001, resource="articles"):
    """One request, as the engine reports it."""
    metrics.request(
        method=method,
        route=route,
        cache_status=status,
        seconds=seconds,
        resource_type=resource,
        hit=status == "hit",
    )


def test_hits_and_misses_are_counted_by_resource():
    """The names and labels are those of the reference's PromQL."""
    metrics = Metrics()
    serve(metrics)
    serve(metrics)
    serve(metrics, status="miss", resource="users")
    seen = samples(metrics)
    assert seen["cache_hits_total", (("resource_type", "articles"),)] == 2
    assert seen["cache_misses_total", (("resource_type", "users"),)] == 1


def test_requests_that_are_alike_may_be_counted_in_one_place():
    """What is added there is what would have been told one by one."""
    one_by_one, alike = Metrics(), Metrics()
    for method, status, resource in (("GET", "hit", "articles"), ("BREW", "miss", "users"), ("GET", "bypass", "")):
        tally = alike.tally(
            method=method, route="article", cache_status=status, resource_type=resource, hit=status == "hit"
        )
        for _ in range(3):
            serve(one_by_one, method=method, status=status, resource=resource)
            tally.add(0.001)
    told = {name: value for name, value in samples(one_by_one).items() if name[0].startswith(("cache_", "request_"))}
    assert told == {name: samples(alike)[name] for name in told}


def test_a_route_that_caches_nothing_is_neither_hit_nor_miss():
    """Its requests have a duration, and no part in the hit ratio."""
    metrics = Metrics()
    serve(metrics, status="none", resource="")
    seen = samples(metrics)
    assert not [name for name, _ in seen if name in ("cache_hits_total", "cache_misses_total")]
    assert seen["request_duration_seconds_count", _sorted(method="GET", route="article", cache_status="none")] == 1


def test_durations_fall_into_cumulative_buckets():
    """A bucket counts what is at most its bound; the last one counts all."""
    metrics = Metrics()
    for seconds in (0.0001, 0.0002, 0.055, 99.0):
        metrics.operation("get", seconds)
    seen = samples(metrics)
    name = "cache_operation_duration_seconds"
    assert seen[f"{name}_bucket", _sorted(operation="get", le="0.0001")] == 1
    assert seen[f"{name}_bucket", _sorted(operation="get", le="0.00025")] == 2
    assert seen[f"{name}_bucket", _sorted(operation="get", le="10.0")] == 3
    assert seen[f"{name}_bucket", _sorted(operation="get", le="+Inf")] == 4
    assert seen[f"{name}_sum", _sorted(operation="get")] == pytest.approx(99.0553)


@pytest.mark.parametrize("event", Event)
def test_every_event_has_a_counter(event):
    """What the engine can report has a name and labels for Prometheus."""
    metrics = Metrics()
    family = COUNTERS[event]
    metrics.event(event, *(f"a-{label}" for label in family.labels), n=3)
    labels = {label: f"a-{label}" for label in family.labels}
    assert samples(metrics)[f"{family.name}_total", _sorted(**labels)] == 3


@pytest.mark.parametrize("level", Level)
def test_every_level_has_a_gauge_that_can_be_set_or_asked(level):
    """A level is what was last reported, or what its source says when we are asked."""
    metrics = Metrics()
    family = LEVELS[level]
    label = "a" if family.labels else ""
    key = family.name, _sorted(**dict.fromkeys(family.labels, "a"))
    metrics.level(level, 1, label)
    assert samples(metrics)[key] == 1
    metrics.watch(level, lambda: 5.0, label)
    assert samples(metrics)[key] == 5


def test_the_policy_in_force_is_named():
    """A reload leaves exactly one digest."""
    metrics = Metrics(config_hash="old")
    metrics.loaded("new")
    assert [labels for name, labels in samples(metrics) if name == "cacheproxy_config_info"] == [(("hash", "new"),)]


def test_unknown_methods_are_other():
    """A client that invents methods makes no series."""
    metrics = Metrics()
    for n in range(1000):
        serve(metrics, method=f"BREW{n}")
    counts = [labels for name, labels in samples(metrics) if name == "request_duration_seconds_count"]
    assert counts == [_sorted(method="other", route="article", cache_status="hit")]


def test_series_are_bounded_whatever_is_reported():
    """10,000 names make a bounded number of series, and none of the counts is lost."""
    metrics = Metrics()
    for n in range(10_000):
        metrics.event(Event.REFUSED, f"reason-{n}")
    counts = {labels: value for (name, labels), value in samples(metrics).items() if name.startswith("cacheproxy_ref")}
    assert len(counts) == MAX_SERIES + 1
    assert sum(counts.values()) == 10_000


def test_lag_is_a_histogram():
    """How long purges took to get here."""
    metrics = Metrics()
    metrics.lag(0.002)
    assert samples(metrics)["cacheproxy_invalidation_lag_seconds_bucket", (("le", "0.0025"),)] == 1


def test_the_summary_says_how_fast_by_bucket_bounds():
    """Quantiles are bounds that hold, not guesses within a bucket; beyond the last bound there is none."""
    metrics = Metrics()
    for seconds in (*[0.0002] * 98, 0.004, 60.0):
        serve(metrics, seconds=seconds)
    row = summary(metrics)["requests"][0]
    assert (row["count"], row["p50_ms_under"], row["p99_ms_under"]) == (100, 0.25, 5.0)
    spread = metrics.requests["GET", "article", "hit"]
    assert quantile_s(spread, 1.0) is None


def test_the_summary_of_nothing_has_no_ratio():
    """Nothing served is not a hit ratio of nought."""
    assert summary(Metrics())["hit_ratio"] is None


def _sorted(**labels: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items()))


def test_what_is_counted_elsewhere_is_asked_for():
    """In the metrics and in the summary alike; the latter leaves out what never was."""
    metrics, count = Metrics(), iter((0, 3, 3))
    metrics.watch_total(Event.LOG_DROPPED, lambda: next(count))
    assert "cacheproxy_log_lines_dropped" not in summary(metrics)["counters"]
    assert samples(metrics)["cacheproxy_log_lines_dropped_total", ()] == 3
    assert summary(metrics)["counters"]["cacheproxy_log_lines_dropped"] == {"": 3}

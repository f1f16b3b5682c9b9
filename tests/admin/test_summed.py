"""The metrics of several processes as those of one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from cacheproxy.admin.metrics import Metrics
from cacheproxy.admin.stats import summary
from cacheproxy.admin.summed import Ledger, rendered, restored
from cacheproxy.engine.recorder import Event, Level


def told(requests: int = 0, seconds: float = 0.001, **levels: float) -> str:
    """What a process with so many requests says of itself."""
    metrics = Metrics(config_hash="abc")
    for _ in range(requests):
        metrics.request(
            method="GET", route="item", cache_status="hit", seconds=seconds, resource_type="items", hit=True
        )
        metrics.event(Event.UPSTREAM, "ok")
    for name, value in levels.items():
        metrics.level(Level[name.upper()], value, "cache" if name == "redis_up" else "")
    return metrics.render().decode()


def sample(text: bytes, name: str, **labels: str) -> float | None:
    """A sample's value in the text, None where it is not there."""
    for family in text_string_to_metric_families(text.decode()):
        for each in family.samples:
            if each.name == name and each.labels == labels:
                return each.value
    return None


def summed(*texts: str) -> bytes:
    """The sum of processes that say ``texts``."""
    ledger = Ledger()
    for number, text in enumerate(texts):
        ledger.take(f"w{number}", 1, text)
    return rendered(ledger.families())


def test_counters_and_histograms_add_up():
    """Counts, sums and each bucket are those of all processes."""
    text = summed(told(2, 0.0002), told(3, 0.02))
    labels = {"method": "GET", "route": "item", "cache_status": "hit"}
    assert 5 == sample(text, "cache_hits_total", resource_type="items")
    assert 5 == sample(text, "request_duration_seconds_count", **labels)
    assert 2 == sample(text, "request_duration_seconds_bucket", **labels, le="0.00025")
    assert 5 == sample(text, "request_duration_seconds_bucket", **labels, le="0.025")
    assert 0.0604 == pytest.approx(sample(text, "request_duration_seconds_sum", **labels))


@pytest.mark.parametrize(
    ("level", "values", "sum_of_all"),
    [
        pytest.param("l1_bytes", (10, 20), 30, id="sizes-add-up"),
        pytest.param("flights", (1, 2), 3, id="numbers-add-up"),
        pytest.param("bus_connected", (1, 0), 0, id="connected-if-all-are"),
        pytest.param("redis_up", (0, 1), 0, id="up-if-up-for-all"),
        pytest.param("limits_degraded", (0, 1), 1, id="degraded-if-one-is"),
    ],
)
def test_gauges_add_up_by_kind(level: str, values: tuple[int, int], sum_of_all: int):
    """Sizes add up; what answers yes or no is answered for all."""
    text = summed(*(told(**{level: value}) for value in values))
    name = {"limits_degraded": "cacheproxy_ratelimit_degraded"}.get(level, f"cacheproxy_{level}")
    assert sum_of_all == sample(text, name, **({"role": "cache"} if level == "redis_up" else {}))


def test_what_is_the_same_everywhere_stays_one():
    """Two processes do not make two versions."""
    assert 1 == sample(summed(told(), told()), "cacheproxy_config_info", hash="abc")


def test_sums_never_go_back_when_a_process_dies():
    """What it had counted stays, while it is gone and after its successor begins at nought, series by series."""
    ledger = Ledger()
    labels = {"resource_type": "items"}
    ledger.take("w0", 1, told(7))
    ledger.take("w1", 1, told(2))
    counts = []
    ledger.miss("w0")
    counts.append(sample(rendered(ledger.families()), "cache_hits_total", **labels))
    ledger.take("w0", 2, told(0))
    counts.append(sample(rendered(ledger.families()), "cache_hits_total", **labels))
    ledger.take("w0", 2, told(3))
    counts.append(sample(rendered(ledger.families()), "cache_hits_total", **labels))
    assert [9, 9, 12] == counts


def test_what_only_the_dead_had_counted_stays():
    """A series that nobody alive has is told on, histograms whole."""
    ledger = Ledger()
    ledger.take("w0", 1, told(4))
    ledger.take("w0", 2, told(0))
    text = rendered(ledger.families())
    labels = {"method": "GET", "route": "item", "cache_status": "hit"}
    assert 4 == sample(text, "cache_hits_total", resource_type="items")
    assert 4 == sample(text, "request_duration_seconds_bucket", **labels, le="+Inf")


def test_gauges_of_the_dead_are_gone():
    """Memory that a dead process used is not used."""
    ledger = Ledger()
    ledger.take("w0", 1, told(l1_bytes=100))
    ledger.take("w1", 1, told(l1_bytes=1))
    ledger.miss("w0")
    assert 1 == sample(rendered(ledger.families()), "cacheproxy_l1_bytes")


def test_a_process_that_never_answered_counts_for_nothing():
    """Nothing is known of it, so nothing is told."""
    ledger = Ledger()
    ledger.miss("w0")
    assert [] == ledger.families()


DURATIONS_S = (1 / 4096, 3 / 1024, 0.25, 32.0)


@given(st.lists(st.tuples(st.integers(0, 20), st.sampled_from(DURATIONS_S)), min_size=1, max_size=4))
def test_statistics_of_the_sum_are_those_of_one_process_that_did_it_all(workers: list[tuple[int, float]]):
    """Counts, means and quantiles come out as if one process had served every request.

    The durations are sums of powers of two, which add up the same in any order.
    """
    ledger, alone = Ledger(), Metrics()
    for number, (requests, seconds) in enumerate(workers):
        ledger.take(f"w{number}", 1, told(requests, seconds))
        for _ in range(requests):
            alone.request(
                method="GET", route="item", cache_status="hit", seconds=seconds, resource_type="items", hit=True
            )
    ours, theirs = summary(restored(ledger.families())), summary(alone)
    assert (theirs["hits"], theirs["hit_ratio"]) == (ours["hits"], ours["hit_ratio"])
    assert theirs["requests"] == ours["requests"]


def test_statistics_of_the_sum_say_how_things_stand():
    """Each level under its label, and counters under theirs."""
    ledger = Ledger()
    ledger.take("w0", 1, told(2, l1_bytes=10, redis_up=1))
    ledger.take("w1", 1, told(1, l1_bytes=20, redis_up=0))
    ours = summary(restored(ledger.families()))
    assert {"": 30.0} == ours["levels"]["cacheproxy_l1_bytes"]
    assert {"cache": 0.0} == ours["levels"]["cacheproxy_redis_up"]
    assert {"ok": 3} == ours["counters"]["cacheproxy_upstream_requests"]

"""What a running sidecar tells about itself: metrics, the reference's PromQL on them, and log lines. Real processes."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import yaml

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
SCRAPE_S = 0.2
READY_S = 20.0

OVERALL = """
sum(rate(cache_hits_total[5m])) / (sum(rate(cache_hits_total[5m])) + sum(rate(cache_misses_total[5m])))
"""
BY_RESOURCE = """
sum by (resource_type) (rate(cache_hits_total[5m]))
  / (sum by (resource_type) (rate(cache_hits_total[5m])) + sum by (resource_type) (rate(cache_misses_total[5m])))
"""
P95 = """
histogram_quantile(0.95, rate(cache_operation_duration_seconds_bucket{operation="get"}[5m]))
"""
P95_BY_STATUS = """
histogram_quantile(0.95, sum by (le, cache_status) (rate(request_duration_seconds_bucket{method="GET"}[5m])))
"""


class Prometheus:
    """A running Prometheus with our own configuration, scraping one sidecar."""

    def __init__(self, url: str) -> None:
        """It answers at ``url``."""
        self.url = url

    def ask(self, expression: str) -> dict[str, float]:
        """What ``expression`` is now, by its labels."""
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": expression}, trust_env=False).json()
        assert answer["status"] == "success", answer
        return {json.dumps(row["metric"]): float(row["value"][1]) for row in answer["data"]["result"]}

    def until(self, expression: str, fact: Callable[[dict[str, float]], bool]) -> dict[str, float]:
        """What ``expression`` is as soon as ``fact`` holds of it."""
        give_up_at = time.monotonic() + READY_S
        while not fact(found := self.ask(expression)):
            assert time.monotonic() < give_up_at, f"{expression} is {found}"
            time.sleep(SCRAPE_S)
        return found


@contextlib.contextmanager
def prometheus(target: str, port: int, directory: Path) -> Iterator[Prometheus]:
    """Prometheus as config/prometheus has it, but for the address and the haste of a test."""
    shutil.copytree(ROOT / "config/prometheus", directory, dirs_exist_ok=True)
    file = directory / "prometheus.yml"
    config = yaml.safe_load(file.read_text())
    config["global"] = {"scrape_interval": f"{int(SCRAPE_S * 1000)}ms", "evaluation_interval": "1s"}
    config["scrape_configs"][0] |= {"scrape_timeout": f"{int(SCRAPE_S * 1000)}ms"}
    config["scrape_configs"][0]["static_configs"] = [{"targets": [target]}]
    file.write_text(yaml.safe_dump(config))
    command = ["prometheus", f"--config.file={file}", f"--storage.tsdb.path={directory / 'data'}"]
    with (directory / "log").open("wb") as log:
        running = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    try:
        yield Prometheus(f"http://127.0.0.1:{port}")
    finally:
        running.terminate()
        running.wait(10)


def free_port() -> int:
    """A loopback port that nobody listens on."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def exposed(sidecar) -> str:
    """What Prometheus reads."""
    return httpx.get(sidecar.admin + "/metrics", trust_env=False).text


def samples(text: str, name: str) -> dict[str, float]:
    """The samples of one metric, by their labels."""
    found = re.findall(rf"^{name}(\{{.*\}})? (\S+)$", text, re.MULTILINE)
    return {labels: float(value) for labels, value in found}


def test_the_references_promql_runs_as_written(sidecars, valkey, tmp_path) -> None:
    """Hit rate overall and by resource, p95 of look-ups: a real Prometheus says what the requests were."""
    if shutil.which("prometheus") is None:
        assert not os.environ.get("CI"), "CI must have prometheus: .ci/run installs it"
        pytest.skip("prometheus is not installed (Debian: apt install prometheus)")
    (one,) = sidecars(1, valkey)
    port = free_port()
    with (
        prometheus(one.admin.removeprefix("http://"), port, tmp_path) as asked,
        httpx.Client(trust_env=False) as client,
    ):
        first = one.url + "/items/0"
        for url in (first, first, one.url + "/stale/0"):  # one of each, so that every series begins before we count
            client.get(url)
        _until_answers(asked)
        asked.until("cache_misses_total", lambda found: len(found) == 2)
        for _ in range(30):
            assert client.get(first).headers["x-cache"] == "HIT"
        for number in range(1, 11):
            assert client.get(f"{one.url}/items/{number}").headers["x-cache"] == "MISS"
            assert client.get(f"{one.url}/stale/{number}").headers["x-cache"] == "MISS"
        asked.until("sum(cache_misses_total)", lambda found: found == {"{}": 22.0})
        time.sleep(2 * SCRAPE_S)
        (overall,) = asked.ask(OVERALL).values()
        assert overall == pytest.approx(30 / 50, abs=0.02)
        by_resource = {json.loads(labels)["resource_type"]: rate for labels, rate in asked.ask(BY_RESOURCE).items()}
        assert by_resource == {"items": pytest.approx(30 / 40, abs=0.02), "stale": pytest.approx(0, abs=0.001)}
        (p95_s,) = asked.ask(P95).values()
        assert 0 < p95_s < 1
        assert any('"hit"' in labels and 0 < value < 1 for labels, value in asked.ask(P95_BY_STATUS).items())
        rules = httpx.get(f"{asked.url}/api/v1/rules", trust_env=False).json()["data"]["groups"][0]["rules"]
        assert {rule["health"] for rule in rules} <= {"ok", "unknown"}


def _until_answers(asked: Prometheus) -> None:
    give_up_at = time.monotonic() + READY_S
    while True:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{asked.url}/-/ready", trust_env=False).status_code == 200:
                return
        assert time.monotonic() < give_up_at
        time.sleep(0.05)


def test_every_metric_is_fed(sidecars, fresh_valkey, tmp_path) -> None:
    """After a life with a bit of everything no family of ours is without a sample."""
    (one,) = sidecars(1, fresh_valkey.url)
    with httpx.Client(trust_env=False) as client:
        for path in ("/items/1", "/items/1", "/cookie/1", "/cookie/1", "/plain", *["/limited/1"] * 4):
            client.get(one.url + path)
        client.get(one.url + "/mine/1")
        client.put(one.url + "/items/1", content=b"new")
        client.post(one.admin + "/api/v1/purge", json={"tags": ["items"], "wait": "2s"})
        client.delete(one.admin + "/api/v1/keys/cacheproxy:tenant-global:items:1:v1")
        with fresh_valkey.client() as redis:
            redis.publish("cacheproxy:events", "nonsense")
        _life_without_redis(one, fresh_valkey, client)
        _collapsed(one)
        text = exposed(one)
        families = re.findall(r"^# TYPE (cache\w*|request\w*) (\w+)$", text, re.MULTILINE)
        empty = {name for name, kind in families if not samples(text, f"{name}{'_count' * (kind == 'histogram')}")}
        assert empty == set()
        assert samples(text, "cacheproxy_client_connections")[""] >= 1
        assert samples(text, "cacheproxy_refused_requests_total")['{reason="session-required"}'] == 1
        assert samples(text, "cacheproxy_invalidation_lag_seconds_count")[""] >= 1
        operations = samples(text, "cache_operation_duration_seconds_count")
        assert operations.keys() == {f'{{operation="{name}"}}' for name in ("get", "set", "delete")}


def _life_without_redis(one, fresh_valkey, client: httpx.Client) -> None:
    fresh_valkey.kill()
    one.await_part("bus", "lost")
    for number in range(3):
        client.get(f"{one.url}/items/lost{number}")
    fresh_valkey.start()
    one.await_part("bus", "connected")


def _collapsed(one) -> None:
    """Two clients on one cold key."""
    from concurrent.futures import ThreadPoolExecutor

    def ask(_number: int) -> None:
        httpx.get(one.url + "/items/cold?wait_ms=300", trust_env=False)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(ask, range(2)))


def test_paths_make_no_series(sidecars) -> None:
    """10,000 distinct paths, methods and hosts later there are as many series as before: labels are route names."""
    (one,) = sidecars(1, "none")
    with httpx.Client(trust_env=False) as client:
        for path in ("/items/a", "/other/a"):
            client.head(one.url + path)
            client.head(one.url + path)
        before = exposed(one)
        assert 'route="item"' in before
    _pipelined(one, [f"/{'items' if n % 2 else 'other'}/{n}?q={n}" for n in range(10_000)])
    after = exposed(one)
    assert _requests(after) - _requests(before) == 10_000
    assert len(_series(after)) == len(_series(before))


def _series(text: str) -> set[str]:
    return {line.rpartition(" ")[0] for line in text.splitlines() if line and not line.startswith("#")}


def _requests(text: str) -> float:
    return sum(samples(text, "request_duration_seconds_count").values())


def _pipelined(one, paths: list[str]) -> None:
    """Ask for all of ``paths`` on one connection."""
    import socket

    port = int(one.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        reader = connection.makefile("rb")
        for start in range(0, len(paths), 50):
            heads = [f"HEAD {path} HTTP/1.1\r\nHost: a{start}.example\r\n\r\n" for path in paths[start : start + 50]]
            connection.sendall("".join(heads).encode())
            for _ in heads:
                assert reader.readline().startswith(b"HTTP/1.1 200")
                while reader.readline() != b"\r\n":
                    pass


def test_the_log_has_a_line_for_each_operation(sidecars, valkey) -> None:
    """JSON with operation, resource_type, cache_hit, duration_ms, request_id and org_id; queries are left out."""
    policy = """
version: 1
trusted_proxies: [127.0.0.1/32]
tenant: {from: "header:X-Org-Id"}
routes:
  - {name: item, match: "GET /items/{id}", cache: {ttl: 60s, key: "items:{id}"}}
"""
    (one,) = sidecars(1, valkey, policy=policy, CACHEPROXY_ACCESS_LOG="all")
    ids = []
    for _ in range(2):
        answer = httpx.get(one.url + "/items/1?token=secret", headers={"x-org-id": "acme"}, trust_env=False)
        ids.append(answer.headers["x-request-id"])
    one.end()
    lines = [json.loads(line) for line in one.log.read_text().splitlines() if '"request"' in line]
    assert [line["cache_hit"] for line in lines] == [False, True]
    for line, request_id in zip(lines, ids, strict=True):
        assert (line["operation"], line["resource_type"], line["org_id"]) == ("get", "items", "acme")
        assert line["request_id"] == request_id
        assert 0 < line["duration_ms"] < 10_000
        assert "secret" not in json.dumps(line)

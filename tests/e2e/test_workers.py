"""Several workers as one sidecar: real processes on one port."""

import contextlib
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from .conftest import POLICY, READY_S, free_port

pytestmark = pytest.mark.e2e

RUNNING = re.compile(r'"worker": (\d+), "pid": (\d+), .*"event": "worker_started"')


def get(url: str) -> httpx.Response:
    """One request on a connection of its own, so that any worker may take it."""
    return httpx.get(url, trust_env=False, timeout=15)


def eventually(check: Callable[[], bool], within_s: float = READY_S) -> bool:
    """Whether ``check`` came true in time."""
    give_up_at = time.monotonic() + within_s
    while time.monotonic() < give_up_at:
        with contextlib.suppress(httpx.TransportError):
            if check():
                return True
        time.sleep(0.02)
    return False


def pids(sidecar) -> dict[int, int]:
    """The process id of each worker, as the log tells it last."""
    return {int(number): int(pid) for number, pid in RUNNING.findall(sidecar.log.read_text())}


def is_running(pid: int) -> bool:
    """Whether the process is there and not a zombie."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return state.strip() != "" and not state.startswith("Z")


def descendants(pid: int) -> set[int]:
    """Every process below ``pid``."""
    table = subprocess.run(["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = {int(child): int(parent) for child, parent in (line.split() for line in table.splitlines())}
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def metric(sidecar, name: str) -> float:
    """The sum of a metric's series at the admin port; ``name`` may go on as a pattern for labels."""
    return total(get(f"{sidecar.admin}/metrics").text, name)


def total(text: str, name: str) -> float:
    """The sum of a metric's series in the text format."""
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if re.match(rf"{name}(?![a-z_])", line))


def each(sidecar, name: str) -> list[float]:
    """The same at each worker's own socket."""
    found = []
    for path in sorted(Path(sidecar.environment["TMPDIR"]).glob("cacheproxy-workers-*/w*.sock")):
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://localhost") as worker:
            found.append(total(worker.get("/metrics").text, name))
    return found


def warm(sidecar, path: str) -> None:
    """Ask until both workers have answered ``path`` from memory."""
    before = each(sidecar, "cache_hits_total")

    def asked() -> bool:
        for _ in range(5):
            get(sidecar.url + path)
        return all(now > then for now, then in zip(each(sidecar, "cache_hits_total"), before, strict=True))

    assert eventually(asked)


@pytest.fixture
def pair(sidecars, valkey, tmp_path):
    """A sidecar of two workers on Redis."""
    name = f"pair-{secrets.token_hex(4)}"
    [sidecar] = sidecars(1, valkey, CACHEPROXY_WORKERS="2", CACHEPROXY_INSTANCE_ID=name, TMPDIR=str(tmp_path))
    return sidecar


@pytest.fixture
def lonely_pair(sidecars, tmp_path):
    """A sidecar of two workers that share nothing."""
    [sidecar] = sidecars(1, "none", CACHEPROXY_WORKERS="2", TMPDIR=str(tmp_path))
    return sidecar


def test_both_workers_serve_the_one_port_and_their_metrics_add_up(pair) -> None:
    """Requests spread over two processes, and the admin port counts them all, however often it is asked."""
    answers = [get(f"{pair.url}/items/w-both") for _ in range(40)]
    assert {200} == {answer.status_code for answer in answers}
    assert all(served > 0 for served in each(pair, "request_duration_seconds_count"))
    assert (40, 40) == tuple(metric(pair, "request_duration_seconds_count") for _ in range(2))
    assert 40 == metric(pair, "cache_hits_total") + metric(pair, "cache_misses_total")
    assert 2 == metric(pair, "cacheproxy_workers")
    stats = get(f"{pair.admin}/api/v1/stats").json()
    assert 40 == stats["hits"] + stats["misses"] == sum(row["count"] for row in stats["requests"])
    assert {"worker-0": 1, "worker-1": 1} == stats["workers"]


def test_workers_fill_each_others_cache(origin, pair) -> None:
    """One request to the origin is enough for both: Redis is shared."""
    warm(pair, "/items/w-shared")
    assert 1 == origin.count("/items/w-shared")


def test_an_acknowledged_purge_holds_for_both(origin, pair) -> None:
    """The receipt names both workers, and neither serves what was purged."""
    warm(pair, "/items/w-purge")
    httpx.put(f"{origin.url}/items/w-purge", content="new", trust_env=False)
    receipt = pair.purge(tags=["item:w-purge"], wait="5s")
    name = pair.environment["CACHEPROXY_INSTANCE_ID"]
    assert {f"{name}-w0", f"{name}-w1"} <= set(receipt["acknowledged"])
    answers = [get(f"{pair.url}/items/w-purge") for _ in range(20)]
    assert {"new"} == {answer.json()["value"] for answer in answers}


def test_without_redis_a_purge_holds_for_both(origin, lonely_pair) -> None:
    """Workers that share nothing tell each other, before the operator has the receipt."""
    warm(lonely_pair, "/items/w-lonely")
    httpx.put(f"{origin.url}/items/w-lonely", content="new", trust_env=False)
    receipt = lonely_pair.purge(tags=["item:w-lonely"])
    assert 2 == len(receipt["acknowledged"])
    answers = [get(f"{lonely_pair.url}/items/w-lonely") for _ in range(20)]
    assert {"new"} == {answer.json()["value"] for answer in answers}


def test_without_redis_a_write_purges_both(lonely_pair) -> None:
    """Whichever worker carries a write to the origin: when its client has the answer, both have forgotten."""
    for turn in range(4):
        warm(lonely_pair, "/items/w-write")
        value = f"value {turn}"
        assert httpx.put(f"{lonely_pair.url}/items/w-write", content=value, trust_env=False).is_success
        answers = [get(f"{lonely_pair.url}/items/w-write") for _ in range(10)]
        assert {value} == {answer.json()["value"] for answer in answers}


def test_a_killed_worker_is_replaced_and_nothing_it_counted_is_lost(pair) -> None:
    """The other one goes on, readiness says what is missing, and soon there are two again."""
    [get(f"{pair.url}/items/w-killed") for _ in range(20)]
    before = metric(pair, "request_duration_seconds_count")
    victim = pids(pair)[0]
    os.kill(victim, signal.SIGKILL)
    assert eventually(lambda: pids(pair)[0] != victim)
    pair.ready()
    [get(f"{pair.url}/items/w-killed") for _ in range(20)]
    assert before + 20 == metric(pair, "request_duration_seconds_count")
    assert 1 == metric(pair, "cacheproxy_worker_restarts_total")
    warm(pair, "/items/w-killed")


def test_readiness_is_that_of_all_workers(pair) -> None:
    """One that does not answer is reason enough to send requests elsewhere."""
    stopped = pids(pair)[1]
    os.kill(stopped, signal.SIGSTOP)
    try:
        answer = get(f"{pair.admin}/readyz")
    finally:
        os.kill(stopped, signal.SIGCONT)
    assert 503 == answer.status_code
    parts = answer.json()["parts"]
    assert ("ready", "not ready") == (parts["worker-0"], parts["worker-1"])
    assert eventually(lambda: get(f"{pair.admin}/readyz").is_success)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_stop_drains_the_workers_and_leaves_nothing(sidecars, number: signal.Signals) -> None:
    """A request under way is answered; then supervisor, workers and the embedded server are gone."""
    [sidecar] = sidecars(1, "embedded", CACHEPROXY_WORKERS="2")
    family = descendants(sidecar.popen.pid)
    assert len(family) >= 4  # two workers, the server, and the shell that watches it
    answers: list[httpx.Response] = []
    asking = threading.Thread(target=lambda: answers.append(get(f"{sidecar.url}/other/{number.name}?wait_ms=700")))
    asking.start()
    assert eventually(lambda: metric(sidecar, "cacheproxy_client_connections") == 1)
    assert 0 == sidecar.end(number, timeout_s=20)
    asking.join()
    assert [200] == [answer.status_code for answer in answers]
    assert eventually(lambda: not any(map(is_running, family)))


def test_not_even_a_killed_supervisor_leaves_anything(sidecars, tmp_path) -> None:
    """The workers notice that nobody holds their leash; processes and sockets go."""
    [sidecar] = sidecars(1, "embedded", CACHEPROXY_WORKERS="2", TMPDIR=str(tmp_path))
    family = descendants(sidecar.popen.pid)
    assert list(tmp_path.glob("cacheproxy-workers-*/w*.sock"))
    sidecar.end(signal.SIGKILL)
    assert eventually(lambda: not any(map(is_running, family)))
    assert eventually(lambda: not list(tmp_path.glob("cacheproxy-*/*.sock")))


def test_a_policy_that_is_wrong_starts_no_worker(tmp_path) -> None:
    """The operator is told once, by the supervisor, and with the status for misuse."""
    file = tmp_path / "policy.yaml"
    file.write_text("version: 1\nroutes: [{name: a}]\n")
    command = [sys.executable, "-m", "cacheproxy", "serve", "--config", str(file), "--workers", "2"]
    made = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert 2 == made.returncode
    assert 1 == made.stderr.count("policy.yaml:")
    assert "worker" not in made.stdout


def test_a_port_in_use_is_refused(pair, tmp_path) -> None:
    """A second supervisor does not share the first one's requests unasked."""
    file = tmp_path / "second.yaml"
    file.write_text(POLICY)
    at = pair.url.removeprefix("http://")
    command = [sys.executable, "-m", "cacheproxy", "serve", "--config", str(file), "--workers", "2", "--redis", "none"]
    made = subprocess.run(
        [*command, "--listen", at, "--admin", f"127.0.0.1:{free_port()}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert 2 == made.returncode
    assert f"cannot listen on {at}" in made.stderr


def routes(sidecar) -> set[str]:
    """The names of the routes, by whichever worker answers."""
    return {route["name"] for route in get(f"{sidecar.admin}/api/v1/routes").json()["routes"]}


def test_a_reload_reaches_both_workers(pair, tmp_path) -> None:
    """Asked at the admin port, every worker takes the new policy; a wrong one is refused, and the old one stays."""
    file = next(tmp_path.glob("policy-*.yaml"))
    file.write_text(POLICY.replace("name: item,", "name: renamed,"))
    assert httpx.post(f"{pair.admin}/api/v1/reload", trust_env=False, timeout=15).is_success
    warm(pair, "/items/w-reload")
    assert all(served > 0 for served in each(pair, 'request_duration_seconds_count{.*route="renamed"'))
    assert 0 == metric(pair, 'request_duration_seconds_count{.*route="item"')
    file.write_text("version: 1\nroutes: [{name: a}]\n")
    assert 422 == httpx.post(f"{pair.admin}/api/v1/reload", trust_env=False, timeout=15).status_code
    assert "renamed" in routes(pair)


def test_a_signal_to_reload_is_passed_on(pair) -> None:
    """SIGHUP at the supervisor is SIGHUP at every worker, and ends none of them."""
    before = pids(pair)
    pair.send(signal.SIGHUP)
    assert eventually(lambda: pair.log.read_text().count('"by": "SIGHUP"') == 2)
    assert before == pids(pair)


def test_a_worker_is_replaced_though_the_policy_file_is_wrong_by_now(pair, tmp_path) -> None:
    """It starts with the policy that the others have: the last good one stays, for it as for them."""
    next(tmp_path.glob("policy-*.yaml")).write_text("routes: nonsense\n")
    victim = pids(pair)[0]
    os.kill(victim, signal.SIGKILL)
    assert eventually(lambda: pids(pair)[0] != victim)
    pair.ready()
    assert "item" in routes(pair)


def test_the_operators_rules_hold_for_all_of_them(sidecars) -> None:
    """Without the token there is nothing but health; a page from elsewhere gets not even that."""
    [sidecar] = sidecars(1, "none", CACHEPROXY_WORKERS="2", CACHEPROXY_ADMIN_TOKEN="secret")
    for path in ("/metrics", "/api/v1/stats", "/api/v1/routes"):
        assert 401 == get(sidecar.admin + path).status_code
        with_token = httpx.get(sidecar.admin + path, headers={"authorization": "Bearer secret"}, trust_env=False)
        assert 200 == with_token.status_code
    foreign = httpx.get(f"{sidecar.admin}/readyz", headers={"host": "evil.example"}, trust_env=False)
    assert 421 == foreign.status_code
    refused = httpx.post(f"{sidecar.admin}/api/v1/purge", json={"all": True}, trust_env=False)
    assert 401 == refused.status_code


def test_secrets_are_on_no_command_line(sidecars) -> None:
    """What the workers are told goes through a pipe."""
    [sidecar] = sidecars(1, "none", CACHEPROXY_WORKERS="2", CACHEPROXY_ADMIN_TOKEN="top-secret")
    table = subprocess.run(["ps", "-e", "-o", "args="], capture_output=True, text=True, check=True).stdout
    assert "cacheproxy.cli.worker" in table
    assert "top-secret" not in table
    assert "top-secret" not in sidecar.log.read_text()


def test_the_stream_of_events_passes_through(pair) -> None:
    """What happens can be followed at the one admin port."""
    with httpx.stream("GET", f"{pair.admin}/api/v1/events", trust_env=False, timeout=15) as stream:
        lines: Iterator[str] = stream.iter_lines()
        assert next(lines).startswith("retry:")
        pair.purge(tags=["item:w-events"])
        told = next(line for line in lines if line.startswith("data:"))
    assert "item:w-events" in json.dumps(json.loads(told.removeprefix("data:")))


def test_workers_are_one_process_each_and_no_more(pair) -> None:
    """The supervisor starts what it is told to, and nothing else."""
    assert set(pids(pair).values()) == descendants(pair.popen.pid)

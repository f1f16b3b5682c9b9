"""Another policy without a restart. Real processes."""

import os
import signal
import threading
import time
from pathlib import Path

import httpx
import pytest

pytestmark = pytest.mark.e2e

BEFORE = """
version: 1
routes:
  - {name: item, match: "GET /items/{id}", cache: {ttl: 60s, key: "items:{id}"}}
events: {channel: one, on: {changed: ["items:*"]}}
"""
AFTER = BEFORE.replace("name: item,", "name: renamed,").replace("ttl: 60s", "ttl: 600s")
WRONG = BEFORE.replace("routes:", "rotues:")


def get(sidecar, path: str = "/items/1", **headers: str) -> "httpx.Response":
    """A client's request."""
    return httpx.get(sidecar.url + path, headers=headers, trust_env=False)


def routes(sidecar) -> list[str]:
    """The names of the routes in force."""
    return [route["name"] for route in httpx.get(sidecar.admin + "/api/v1/routes", trust_env=False).json()["routes"]]


def loads(sidecar, outcome: str) -> float:
    """How many policies were loaded, or refused."""
    line = f'cacheproxy_config_loads_total{{outcome="{outcome}"}} '
    text = httpx.get(sidecar.admin + "/metrics", trust_env=False).text
    return next((float(each.removeprefix(line)) for each in text.splitlines() if each.startswith(line)), 0.0)


def replace(file: Path, text: str) -> None:
    """As editors and deployments do: written beside, then moved over."""
    beside = file.with_suffix(".new")
    beside.write_text(text)
    beside.rename(file)


def until(fact) -> None:
    """Wait for it."""
    give_up_at = time.monotonic() + 15
    while not fact():
        assert time.monotonic() < give_up_at
        time.sleep(0.02)


@pytest.fixture
def one(sidecars):
    """A sidecar without Redis."""
    return sidecars(1, "none", policy=BEFORE)[0]


def digest(one) -> str:
    """The policy in force, by its content."""
    return httpx.get(one.admin + "/api/v1/stats", trust_env=False).json()["policy"]["digest"]


def put_in_force(one, file: Path, text: str) -> None:
    """Reload another policy. Whoever watches the file may have been quicker than we were to ask for that."""
    before = digest(one)
    file.write_text(text)
    assert httpx.post(one.admin + "/api/v1/reload", trust_env=False).json()["digest"] != before


@pytest.fixture
def file(one) -> Path:
    """Its policy file."""
    return Path(one.args[one.args.index("--config") + 1])


def test_a_reload_asked_for_is_in_force_when_it_is_answered(one, file) -> None:
    """By ``POST /api/v1/reload``: the answer names the policy, and the metrics say so."""
    before = digest(one)
    file.write_text(AFTER)
    answer = httpx.post(one.admin + "/api/v1/reload", trust_env=False).json()
    assert (answer["digest"] != before, routes(one)) == (True, ["renamed"])
    assert loads(one, "ok") == 2
    assert (
        f'cacheproxy_config_info{{hash="{answer["digest"]}"}} 1'
        in httpx.get(one.admin + "/metrics", trust_env=False).text
    )


def test_a_signal_reloads(one, file) -> None:
    """SIGHUP, as everywhere."""
    file.write_text(AFTER)
    one.send(signal.SIGHUP)
    until(lambda: routes(one) == ["renamed"])


def test_a_changed_file_is_seen(one, file) -> None:
    """Without being told."""
    replace(file, AFTER)
    until(lambda: routes(one) == ["renamed"])
    replace(file, BEFORE)
    until(lambda: routes(one) == ["item"])


def test_a_wrong_policy_changes_nothing(one, file) -> None:
    """It is refused with its faults, counted and logged; the last good one goes on, and a good one is taken again."""
    get(one)
    file.write_text(WRONG)
    refused = httpx.post(one.admin + "/api/v1/reload", trust_env=False)
    assert refused.status_code == 422
    assert "rotues" in refused.json()["detail"]
    assert (routes(one), get(one).headers["x-cache"]) == (["item"], "HIT")
    assert loads(one, "error") >= 1
    until(lambda: "policy_refused" in one.log.read_text())
    file.unlink()
    assert httpx.post(one.admin + "/api/v1/reload", trust_env=False).status_code == 422
    put_in_force(one, file, AFTER)


def test_what_is_read_at_start_alone_is_said(one, file) -> None:
    """Sessions are looked up by rules that cannot change under way: refused, with what to do."""
    file.write_text(BEFORE + "session: {cookie: sid}\n")
    refused = httpx.post(one.admin + "/api/v1/reload", trust_env=False)
    assert refused.status_code == 422
    assert "restart the sidecar to change it" in refused.json()["detail"]
    assert routes(one) == ["item"]


def test_a_config_map_is_followed(sidecars, tmp_path) -> None:
    """Kubernetes swaps a symbolic link two levels above the file, and the file itself never changes."""
    for name, text in (("..2024_01", BEFORE), ("..2024_02", AFTER)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "policy.yaml").write_text(text)
    (tmp_path / "..data").symlink_to("..2024_01")
    (tmp_path / "policy.yaml").symlink_to("..data/policy.yaml")
    (one,) = sidecars(1, "none", policy=BEFORE, CACHEPROXY_CONFIG=str(tmp_path / "policy.yaml"))
    one.end()
    one.args[one.args.index("--config") + 1] = str(tmp_path / "policy.yaml")
    one.start()
    one.ready()
    assert routes(one) == ["item"]
    (tmp_path / "..data_tmp").symlink_to("..2024_02")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    until(lambda: routes(one) == ["renamed"])


def test_the_express_lane_forgets_the_policy_before(one, file) -> None:
    """What was repeated as bytes under the old policy is decided anew: a request now limited is limited."""
    for _ in range(3):
        get(one)
    limited = "limits: {few: {rate: 1/hour, by: [client_ip]}}\n" + BEFORE.replace(
        'key: "items:{id}"}', 'key: "items:{id}"}, limits: [few]'
    )
    put_in_force(one, file, limited)
    assert [get(one).status_code for _ in range(2)] == [200, 429]


def test_what_is_stored_is_purged_by_the_tags_of_the_policy_in_force(sidecars, valkey) -> None:
    """In memory too: it was stored under the tags of the policy before."""
    (one,) = sidecars(1, valkey, policy=BEFORE)
    for _ in range(2):
        get(one, "/items/tagged")
    file = Path(one.args[one.args.index("--config") + 1])
    put_in_force(one, file, BEFORE.replace('key: "items:{id}"', 'key: "items:{id}", tags: [new]'))
    assert get(one, "/items/tagged").headers["x-cache"] == "HIT"
    one.purge(tags=["new"])
    assert get(one, "/items/tagged").headers["x-cache"] == "MISS"


def test_another_origin_is_reached_without_losing_a_request(one, file, origin) -> None:
    """Requests under way end where they began; those after the reload go to the new one."""
    upstream = f"upstream: {{url: '{origin.url}', pool: {{max_connections: 7}}}}\n"
    failures: list[object] = []
    stop = threading.Event()

    def ask() -> None:
        with httpx.Client(trust_env=False) as client:
            number = 0
            while not stop.is_set():
                number += 1
                answer = client.get(f"{one.url}/slow/{os.urandom(4).hex()}?wait_ms=20")
                if answer.status_code != 200:
                    failures.append(answer.text)

    clients = [threading.Thread(target=ask) for _ in range(4)]
    for client in clients:
        client.start()
    for text in (upstream + BEFORE, BEFORE, upstream + AFTER):
        put_in_force(one, file, text)
    stop.set()
    for client in clients:
        client.join()
    assert failures == []


def test_the_bus_follows_the_new_channels(sidecars, valkey) -> None:
    """An event on a channel that only the new policy names is understood."""
    import redis

    (one,) = sidecars(1, valkey, policy=BEFORE)
    get(one)
    file = Path(one.args[one.args.index("--config") + 1])
    put_in_force(one, file, BEFORE.replace("channel: one", "channel: two"))
    one.await_part("bus", "connected")
    assert get(one).headers["x-cache"] == "HIT"
    with redis.Redis.from_url(valkey) as client:
        assert client.publish("two", '{"type": "changed", "data": {}}') == 1
        assert client.publish("one", '{"type": "changed", "data": {}}') == 0
    until(lambda: get(one).headers["x-cache"] == "MISS")

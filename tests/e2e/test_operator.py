"""What an operator does with a running sidecar: stored entries, sessions, explanations, events. Real processes."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
import redis

pytestmark = pytest.mark.e2e

FORMAT = (Path(__file__).parents[2] / "docs" / "format.md").read_text()
KEY = "cacheproxy:tenant-global:items:{}:v1:~h=127.0.0.1"


def cli(sidecar, *arguments: str, stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    """What ``cacheproxy`` makes of ``arguments``, asked of one sidecar."""
    env = {**os.environ, "CACHEPROXY_ADMIN": sidecar.admin.removeprefix("http://")}
    command = [sys.executable, "-m", "cacheproxy", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, env=env, timeout=30, check=False)


def stored(sidecar, key: str) -> "httpx.Response":
    """What the admin API says of a key."""
    return httpx.get(f"{sidecar.admin}/api/v1/keys/{quote(key, safe='')}", trust_env=False)


def get(sidecar, path: str) -> "httpx.Response":
    """A client's request, under a Host that all sidecars share."""
    return httpx.get(sidecar.url + path, headers={"host": "127.0.0.1"}, trust_env=False)


class AnotherProgram:
    """Reads and writes entries with nothing but redis-py and the program in docs/format.md."""

    def __init__(self, url: str) -> None:
        """Connect."""
        self.redis = redis.Redis.from_url(url)
        self._program: dict[str, Callable[..., object]] = {}
        exec(re.search(r"```python\n(.*?)```", FORMAT, re.DOTALL)[1], self._program)

    def read(self, key: str) -> tuple[dict[str, object], bytes] | None:
        """What is known of a response, and its body."""
        return self._program["read_entry"](self.redis, key)

    def write(self, key: str, body: bytes, ttl_s: int = 60) -> None:
        """Store a response that any sidecar will serve."""
        self._program["write_entry"](self.redis, key, lambda: body, ttl_s)


@pytest.fixture
def other(valkey: str) -> AnotherProgram:
    """Another program on the sidecars' Redis."""
    return AnotherProgram(valkey)


def test_another_program_reads_what_a_sidecar_stored(sidecars, valkey, other) -> None:
    """By the key that ``explain`` shows for the URL that the client used, and the format in docs/format.md."""
    (one,) = sidecars(1, valkey)
    served = httpx.get(one.url + "/items/opa1", trust_env=False)
    explained = cli(one, "explain", "GET", one.url + "/items/opa1", "--live", "--json")
    key = json.loads(explained.stdout)["key"]
    known, body = other.read(key)
    assert body == served.content
    assert ["content-type", "application/json"] in known["fields"]
    assert 0 < other.redis.pttl(key) <= known["lifetime_s"] * 1000 + 3_600_000


def test_a_sidecar_serves_what_another_program_stored(sidecars, valkey, other, origin) -> None:
    """Without asking the origin; and an event purges it by a tag that the other program never named."""
    (one,) = sidecars(1, valkey)
    get(one, "/items/warm")  # makes the tag clock
    other.write(KEY.format("opb1"), b'{"from": "elsewhere"}')
    hit = get(one, "/items/opb1")
    assert (hit.json(), hit.headers["x-cache"], origin.count("/items/opb1")) == ({"from": "elsewhere"}, "HIT", 0)
    assert one.purge(tags=["item:opb1"], wait="2s")["silent"] == []
    assert get(one, "/items/opb1").headers["x-cache"] == "MISS"
    assert origin.count("/items/opb1") == 1


def test_keys_from_the_command_line(sidecars, valkey) -> None:
    """Get, set with a ttl, exists, list, delete; each says by its exit status how it went."""
    (one,) = sidecars(1, valkey)
    key = KEY.format("opc1")
    assert cli(one, "keys", "exists", key).returncode == 1
    assert cli(one, "keys", "get", key).returncode == 1
    made = cli(one, "keys", "set", key, '{"v": 1}', "--ttl", "60s")
    assert made.returncode == 0, made.stderr
    kept = cli(one, "keys", "set", key, '{"v": 2}', "--if-absent", "--json")
    assert json.loads(kept.stdout)["entries"][0]["body"] == '{"v": 1}'
    assert cli(one, "keys", "get", key, "--body").stdout == b'{"v": 1}'
    assert cli(one, "keys", "exists", "items:opc1").returncode == 0
    assert key.encode() in cli(one, "keys", "list", "items:opc*").stdout
    assert (get(one, "/items/opc1").json(), get(one, "/items/opc1").headers["x-cache"]) == ({"v": 1}, "HIT")
    assert cli(one, "keys", "delete", key, "--wait", "2s").returncode == 0
    assert cli(one, "keys", "exists", key).returncode == 1
    assert cli(one, "keys", "get", "nonsense:tenant-x:y:v1").returncode == 1


def test_a_deleted_key_is_gone_from_every_replicas_memory(sidecars, valkey, origin) -> None:
    """Not only from Redis: the next request at either sidecar is a miss."""
    both = sidecars(2, valkey)
    for sidecar in both:
        get(sidecar, "/items/opd1")
        assert get(sidecar, "/items/opd1").headers["x-cache"] == "HIT"
    assert origin.count("/items/opd1") == 1
    assert cli(both[0], "keys", "delete", KEY.format("opd1"), "--wait", "5s").returncode == 0
    assert [get(sidecar, "/items/opd1").headers["x-cache"] for sidecar in both] == ["MISS", "HIT"]
    assert origin.count("/items/opd1") == 2


def test_what_is_set_is_answered_by_every_replica(sidecars, valkey) -> None:
    """Also by one that has the old response in its memory."""
    both = sidecars(2, valkey)
    for sidecar in both:
        get(sidecar, "/items/ope1")
    assert cli(both[0], "keys", "set", KEY.format("ope1"), "-", stdin=b"").returncode == 0
    give_up_at = time.monotonic() + 5
    while {get(sidecar, "/items/ope1").text for sidecar in both} != {"-"}:
        assert time.monotonic() < give_up_at


def test_a_pattern_is_deleted_everywhere(sidecars, valkey, other) -> None:
    """From Redis and from memory, and only what it matches."""
    both = sidecars(2, valkey)
    for sidecar in both:
        for path in ("/items/opf1", "/items/opf2", "/items/opg1", "/cookie/x"):
            get(sidecar, path)
    done = cli(both[0], "keys", "delete", "items:opf*", "--json")
    assert json.loads(done.stdout)["purged"] == 2, done.stderr
    assert {key.decode() for key in other.redis.scan_iter("cacheproxy:tenant-*")} == {KEY.format("opg1")}
    assert [get(both[0], path).headers["x-cache"] for path in ("/items/opf1", "/items/opg1")] == ["MISS", "HIT"]
    done = cli(both[0], "keys", "delete", "items:*")
    assert done.returncode == 0, done.stderr
    assert list(other.redis.scan_iter("cacheproxy:tenant-*")) == []
    assert get(both[0], "/items/opg1").headers["x-cache"] == "MISS"


def test_sessions_from_the_command_line(sidecars, valkey, other) -> None:
    """Made, shown, changed and ended; the sidecar knows each state at once."""
    (one,) = sidecars(1, valkey)
    session_id = cli(one, "session", "create", '{"user_id": 7}').stdout.decode().strip()
    assert json.loads(other.redis.get(f"session:{session_id}")) == {"user_id": 7}

    def seen() -> "httpx.Response":
        return httpx.get(one.url + "/mine/1", headers={"cookie": f"session_id={session_id}"}, trust_env=False)

    assert seen().json()["seen"]["x-user-id"] == "7"
    assert cli(one, "session", "update", session_id, '{"user_id": 8}').returncode == 0
    assert seen().json()["seen"]["x-user-id"] == "8"
    assert json.loads(cli(one, "session", "show", session_id, "--json").stdout)["fields"] == {"user_id": 8}
    assert cli(one, "session", "delete", session_id).returncode == 0
    assert seen().status_code == 401
    assert cli(one, "session", "delete", session_id).returncode == 1
    assert cli(one, "session", "show", session_id).returncode == 1


def test_a_live_explanation_says_what_is_stored(sidecars, valkey) -> None:
    """What the next request would meet."""
    (one,) = sidecars(1, valkey)
    ask = ("explain", "GET", "/items/oph1", "-H", "Host: 127.0.0.1", "--live")
    assert b"nothing usable: the next request is a miss" in cli(one, *ask).stdout
    get(one, "/items/oph1")
    assert re.search(rb"stored +a 200, \d+s old, fresh for [1-6]\ds", cli(one, *ask).stdout)


def test_purges_and_losses_are_told_as_they_happen(sidecars, fresh_valkey) -> None:
    """To whoever listens at /api/v1/events: each purge once, and Redis lost and back."""
    (one,) = sidecars(1, fresh_valkey.url)
    with httpx.stream("GET", one.admin + "/api/v1/events", trust_env=False, timeout=15) as stream:
        lines = stream.iter_lines()
        assert next(lines) == "retry: 1000"
        one.purge(tags=["items"])
        one.purge(tags=["more"])
        purges = [_next_event(lines, "purge") for _ in range(2)]
        assert [purge["tags"] for purge in purges] == [["items"], ["more"]]
        fresh_valkey.kill()
        assert _next_event(lines, "bus") == {"connected": False}
        fresh_valkey.start()
        assert _next_event(lines, "bus") == {"connected": True}


def _next_event(lines, kind: str) -> dict[str, object]:
    """The data of the next event of a kind."""
    while next(lines) != f"event: {kind}":
        pass
    return json.loads(next(lines).removeprefix("data: "))


def test_everybody_at_once_on_the_same_entries(sidecars, valkey, other) -> None:  # noqa: C901 - four parties
    """Command line, admin API, another program and clients: no failure, and nobody ever sees half an entry."""
    both = sidecars(2, valkey)
    get(both[0], "/items/warm")
    keys = [KEY.format(f"z{n}") for n in range(4)]
    failures: list[str] = []
    stop = threading.Event()

    def repeat(work: Callable[[int], object]) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            try:
                work(number)
            except Exception as error:
                failures.append(repr(error))
                return

    def by_program(number: int) -> None:
        key = keys[number % 4]
        other.write(key, json.dumps({"by": "program", "n": number}).encode())
        found = other.read(key)
        assert found is None or "by" in json.loads(found[1]) or "path" in json.loads(found[1])

    def by_api(number: int) -> None:
        key = keys[number % 4]
        path = f"{both[number % 2].admin}/api/v1/keys/{quote(key, safe='')}"
        put = httpx.put(path, content=json.dumps({"by": "api", "n": number}), trust_env=False)
        assert put.status_code == 201, put.text
        assert stored(both[0], key).status_code in {200, 404}
        if number % 5 == 0:
            assert httpx.delete(path, trust_env=False).status_code == 200

    def by_client(number: int) -> None:
        answer = get(both[number % 2], f"/items/z{number % 4}")
        assert answer.status_code == 200
        assert answer.json().keys() & {"by", "path"}

    def by_cli(number: int) -> None:
        done = cli(both[number % 2], "keys", "set", keys[number % 4], json.dumps({"by": "cli", "n": number}))
        assert done.returncode == 0, done.stderr
        assert cli(both[0], "keys", "delete", keys[number % 4]).returncode == 0

    with ThreadPoolExecutor(5) as pool:
        runs = [pool.submit(repeat, work) for work in (by_program, by_api, by_client, by_client)]
        for number in range(1, 6):
            by_cli(number)
        stop.set()
        for run in runs:
            run.result(timeout=20)
    assert failures == []

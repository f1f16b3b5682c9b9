"""Bodies made smaller, for clients and in Redis, by real sidecars for real clients."""

import json
import shutil
import subprocess
import threading
import time
from typing import Any
from zlib import crc32

import httpx
import pytest
import zstandard

pytestmark = pytest.mark.e2e

POLICY = """
version: 1
defaults: {cache: {ttl: 1h, compress: {above: 1KiB, coding: zstd}}}
routes:
  - {name: item, match: "GET /items/{id}", cache: {key: "coded:{id}", tags: ["item:{id}"], encode: true}}
"""
LARGE = " ".join(f"{number} bottles of beer on the wall;" for number in range(5000))
CODINGS = ["gzip", "br", "zstd"]


def fill(origin, path: str, value: str = LARGE) -> None:
    """Let the origin answer ``path`` with ``value`` from now on."""
    assert httpx.put(origin.url + path, content=value, trust_env=False).status_code == 200


def get(sidecar, path: str, accepted: str, **headers: str) -> tuple[httpx.Response, int]:
    """The answer as httpx understands it, and how many bytes of body came over the wire."""
    headers = {"accept-encoding": accepted, **headers}
    answer = httpx.get(sidecar.url + path, headers=headers, trust_env=False)
    return answer, answer.num_bytes_downloaded


def await_value(server: Any, resource: str) -> bytes:
    """What is stored of ``resource``, once it is."""
    give_up_at = time.monotonic() + 10
    while not (keys := list(server.scan_iter(f"cacheproxy:tenant-*:{resource}:*"))):
        assert time.monotonic() < give_up_at
        time.sleep(0.02)
    return server.get(keys[0])


@pytest.fixture(scope="module")
def store(module_valkeys):
    """A Redis for this file."""
    return module_valkeys()


@pytest.fixture(scope="module")
def replicas(raw_sidecars, origin, store) -> list:
    """Two sidecars on it."""
    return raw_sidecars(2, store.url, policy=POLICY, upstream=origin.url)


def test_one_fetch_serves_every_coding_of_every_replica(replicas, origin, store) -> None:
    """What one replica fetched is in Redis, as zstd, once; both give it out in whatever their clients like."""
    path = "/items/each"
    fill(origin, path)
    before = origin.count(path)
    first, _ = get(replicas[0], path, "gzip")
    assert (first.json()["value"], first.headers["vary"]) == (LARGE, "Accept-Encoding")
    for accepted in ("identity", *CODINGS):
        for sidecar in replicas:
            for _ in range(3):
                answer, wire_bytes = get(sidecar, path, accepted)
                assert answer.json()["value"] == LARGE
                assert answer.headers.get("content-encoding", "identity") == accepted
                assert answer.headers["vary"] == "Accept-Encoding"
                assert (wire_bytes < len(LARGE) / 3) == (accepted != "identity")
                assert int(answer.headers["content-length"]) == wire_bytes
    assert origin.count(path) == before + 1
    with store.client() as server:
        head, meta, body = await_value(server, "coded:each").split(b"\n", 2)
    assert head.startswith(b"cacheproxy 2 ")
    assert json.loads(meta)["coding"] == "zstd"
    assert json.loads(zstandard.decompress(body))["value"] == LARGE


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
@pytest.mark.parametrize("times", [1, 3], ids=["a-miss", "hits"])
def test_curl_reads_it(replicas, origin, times: int) -> None:
    """``curl --compressed`` asks for what it can read, and prints the origin's bytes."""
    path = f"/items/curl-{times}"
    fill(origin, path)
    for _ in range(times):
        command = ["curl", "-sS", "--noproxy", "*", "--compressed", replicas[0].url + path]
        got = subprocess.run(command, check=True, capture_output=True, timeout=20)
    assert json.loads(got.stdout)["value"] == LARGE


def test_what_is_purged_is_gone_in_every_coding(replicas, origin) -> None:
    """A purge with ``wait`` is seen by all clients of all replicas, whatever they accept."""
    path = "/items/purged"
    fill(origin, path)
    for accepted in CODINGS:
        for sidecar in replicas:
            get(sidecar, path, accepted)
    fill(origin, path, LARGE[::-1])
    replicas[0].purge(tags=["item:purged"], wait="5s")
    for accepted in ("identity", *CODINGS):
        for sidecar in replicas:
            assert get(sidecar, path, accepted)[0].json()["value"] == LARGE[::-1]


def test_a_herd_of_all_kinds_is_answered(replicas, origin) -> None:
    """Clients that come at once, each with a preference of its own, get what they can read."""
    path = "/items/herd"
    fill(origin, path)
    before, wrong = origin.count(path), []
    preferences = [*zip(CODINGS, CODINGS, strict=True), ("identity", None), ("gzip;q=0, br;q=0.5, *;q=0", "br")]

    def ask(number: int) -> None:
        accepted, readable = preferences[number % len(preferences)]
        answer, _ = get(replicas[number % 2], path, accepted)
        if answer.json()["value"] != LARGE or answer.headers.get("content-encoding", readable) != readable:
            wrong.append((accepted, answer.headers))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ([], 1) == (wrong, origin.count(path) - before)


def test_another_policy_ends_it(sidecars, origin, valkey, tmp_path) -> None:
    """Encoding is switched off by a reload, for what is stored already as well."""
    (sidecar,) = sidecars(1, valkey, policy=POLICY)
    path = "/items/reloaded"
    fill(origin, path)
    codings = [get(sidecar, path, "gzip")[0].headers.get("content-encoding") for _ in range(3)]
    assert codings[1:] == ["gzip", "gzip"]
    (tmp_path / "policy-0.yaml").write_text(POLICY.replace(", encode: true", ""))
    assert httpx.post(sidecar.admin + "/api/v1/reload", trust_env=False).status_code == 200
    answer, _ = get(sidecar, path, "gzip")
    assert ("content-encoding" in answer.headers, "vary" in answer.headers) == (False, False)
    assert answer.json()["value"] == LARGE


def test_a_bomb_in_redis_is_a_miss(replicas, origin, store) -> None:
    """A small value that unpacks to very much costs a fetch, not memory."""
    path = "/items/bomb"
    fill(origin, path)
    get(replicas[0], path, "gzip")
    with store.client() as server:
        head, meta, _ = await_value(server, "coded:bomb").split(b"\n", 2)
        rest = meta + b"\n" + zstandard.compress(bytes(1 << 26))
        (key,) = server.scan_iter("cacheproxy:tenant-*:coded:bomb:*")
        server.set(key, b"%b %08x\n%b" % (head.rpartition(b" ")[0], crc32(rest), rest))
    before = origin.count(path)
    assert get(replicas[1], path, "gzip")[0].json()["value"] == LARGE
    assert origin.count(path) == before + 1

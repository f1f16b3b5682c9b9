"""A policy's `warm:` requests, in a real sidecar."""

import os
import pty
import socket
import subprocess
import sys
import time

import httpx
import pytest
import redis

from .conftest import POLICY

pytestmark = pytest.mark.e2e

WARMING = (
    POLICY
    + """
warm:
  - GET 127.0.0.1/items/warm-1
  - GET 127.0.0.1/items/warm-2
"""
)


def get(sidecar, path: str) -> "httpx.Response":
    """A client's request."""
    return httpx.get(sidecar.url + path, headers={"host": "127.0.0.1"}, trust_env=False)


def warm(sidecar, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """``cacheproxy warm``."""
    env = {**os.environ, "CACHEPROXY_ADMIN": sidecar.admin.removeprefix("http://")}
    command = [sys.executable, "-m", "cacheproxy", "warm", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=30, check=False)


def test_the_first_client_meets_a_warm_cache(sidecars, valkey, origin):
    """What the policy names is there once the sidecar is ready, and once more when the operator asks for it."""
    (sidecar,) = sidecars(1, valkey, policy=WARMING)
    assert "2 of 2" == sidecar.parts()["warm"]
    assert ["HIT", "HIT"] == [get(sidecar, f"/items/warm-{number}").headers["x-cache"] for number in (1, 2)]
    sidecar.purge(tags=["item:warm-1"])
    ran = warm(sidecar)
    assert (0, "") == (ran.returncode, ran.stderr)
    assert ["GET 127.0.0.1/items/warm-1  200 MISS", "GET 127.0.0.1/items/warm-2  200 HIT"] == ran.stdout.splitlines()
    assert "HIT" == get(sidecar, "/items/warm-1").headers["x-cache"]
    assert (2, 1) == (origin.count("/items/warm-1"), origin.count("/items/warm-2"))


def test_a_dead_origin_keeps_no_sidecar_from_being_ready(sidecars):
    """It is said how many were warmed, and the command fails."""
    (sidecar,) = sidecars(1, "none", policy=WARMING, upstream="http://127.0.0.1:9")
    assert "0 of 2" == sidecar.parts()["warm"]
    ran = warm(sidecar)
    assert 1 == ran.returncode
    assert "502" in ran.stdout


def ask_often(sidecar, path: str, times: int) -> None:
    """As so many requests of clients, on one connection."""
    with httpx.Client(trust_env=False, headers={"host": "127.0.0.1", "x-forwarded-proto": "https"}) as client:
        for _ in range(times):
            assert 200 == client.get(sidecar.url + path).status_code


def until(fact) -> None:
    """Wait for it."""
    give_up_at = time.monotonic() + 20
    while not fact():
        assert time.monotonic() < give_up_at
        time.sleep(0.02)


@pytest.mark.parametrize("log", ["sampled", "off"])
def test_the_next_sidecar_begins_with_what_was_used_most(sidecars, valkey, origin, log):
    """Counted on the express lane too, told to Redis at the end, and asked for before the first client."""
    policy = POLICY + "\nwarm: {most_used: 2}\n"
    names = [f"/items/most-{log}-{number}" for number in range(3)]
    (first,) = sidecars(1, valkey, policy=policy, CACHEPROXY_ACCESS_LOG=log)
    ask_often(first, names[0], 400)
    ask_often(first, names[1], 1)
    ask_often(first, names[2], 40)
    assert 0 == first.end()
    with redis.Redis.from_url(valkey) as client:
        stored = list(client.scan_iter("cacheproxy:tenant-*"))
        assert 3 == len(stored)
        client.delete(*stored)
    (second,) = sidecars(1, valkey, policy=policy, CACHEPROXY_ACCESS_LOG=log)
    assert "2 of 2" == second.parts()["warm"]
    assert [2, 1, 2] == [origin.count(name) for name in names]
    hit = httpx.get(second.url + names[0], headers={"host": "127.0.0.1", "x-forwarded-proto": "https"}, trust_env=False)
    assert "HIT" == hit.headers["x-cache"]


@pytest.mark.parametrize("state", ["shared", "alone"])
def test_what_a_purge_took_is_fetched_before_a_client_asks(sidecars, valkey, origin, state):
    """Named or used most; and what was not purged is not fetched."""
    named, used, other = (f"/items/purged-{state}-{name}" for name in ("named", "used", "other"))
    policy = POLICY + f"\nwarm: {{requests: [GET 127.0.0.1{named}], most_used: 5, after_purge: true}}\n"
    (sidecar,) = sidecars(1, valkey if state == "shared" else "none", policy=policy)
    for path in (used, other):
        assert 200 == get(sidecar, path).status_code
    sidecar.purge(tags=[f"item:{path.rpartition('/')[2]}" for path in (named, used)])
    until(lambda: (2, 2) == (origin.count(named), origin.count(used)))
    until(lambda: "3 of 3" == sidecar.parts()["warm"])
    assert ["HIT"] * 3 == [get(sidecar, path).headers["x-cache"] for path in (named, used, other)]
    assert (2, 2, 1) == (origin.count(named), origin.count(used), origin.count(other))


def test_a_terminal_shows_how_far_it_is(sidecars):
    """While the operator waits: here for an origin that takes its time."""
    slow = socket.create_server(("127.0.0.1", 0))
    policy = POLICY + "\nwarm: [GET /items/slow]\n" + "upstream: {timeouts: {first_byte: 1s}}\n"
    (sidecar,) = sidecars(1, "none", policy=policy, upstream=f"http://127.0.0.1:{slow.getsockname()[1]}")
    ours, theirs = pty.openpty()
    env = {**os.environ, "CACHEPROXY_ADMIN": sidecar.admin.removeprefix("http://")}
    command = [sys.executable, "-m", "cacheproxy", "warm"]
    ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, env=env, timeout=30, check=False)
    os.close(theirs)
    assert (1, b"504") == (ran.returncode, ran.stdout.split()[-2])
    assert b"warming: 0 of 1" in os.read(ours, 4096)
    os.close(ours)
    slow.close()

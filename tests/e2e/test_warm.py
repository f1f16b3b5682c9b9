"""A policy's `warm:` requests, in a real sidecar."""

import os
import subprocess
import sys

import httpx
import pytest

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

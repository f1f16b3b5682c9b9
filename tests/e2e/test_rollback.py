"""Redis that comes back from an older copy of itself: a snapshot, or a replica that lagged and was promoted."""

import signal
import time
from collections.abc import Iterator

import httpx
import pytest

from .conftest import Sidecar, StartSidecars
from .versions import VersionedOrigin

pytestmark = pytest.mark.e2e

POLICY = """
version: 1
routes:
  - {name: thing, match: "GET /v/{id}", cache: {ttl: 1h, key: "v:{id}", tags: ["v:{id}"]}}
events: {on_gap: keep}          # nothing but what is tested here may purge
"""


@pytest.fixture
def things() -> Iterator[VersionedOrigin]:
    """An origin of the test's own."""
    origin = VersionedOrigin().start()
    yield origin
    origin.stop()


def version(sidecar: Sidecar, path: str = "/v/1") -> int:
    """The version that ``sidecar`` answers with."""
    return int(httpx.get(sidecar.url + path, trust_env=False, timeout=20).json()["version"])


def is_hit(sidecar: Sidecar, path: str) -> bool:
    """Whether ``path`` is answered from the cache."""
    return httpx.get(sidecar.url + path, trust_env=False, timeout=20).headers["x-cache"] == "HIT"


def bus_is_lost(sidecar: Sidecar) -> None:
    """Wait until ``sidecar`` has seen that Redis is away, or has been."""
    give_up_at = time.monotonic() + 10
    while '"bus_lost"' not in sidecar.log.read_text():
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


def test_a_purge_that_redis_forgot_is_told_to_it_again(sidecars: StartSidecars, things, fresh_valkey) -> None:
    """By whoever heard it, so that it holds for a replica that started only then; what was not purged is there."""
    (one,) = sidecars(1, fresh_valkey.url, policy=POLICY, upstream=things.url)
    for path in ("/v/1", "/v/2"):
        assert version(one, path) == 1
    fresh_valkey.client().save()
    things.bump("/v/1")
    one.purge(tags=["v:1"], wait="5s")
    fresh_valkey.kill()
    fresh_valkey.start()
    bus_is_lost(one)
    one.await_part("bus", "connected")
    (late,) = sidecars(1, fresh_valkey.url, policy=POLICY, upstream=things.url)
    assert version(late) == 2
    assert is_hit(late, "/v/2")


def test_the_bus_is_found_again_on_a_redis_that_went_back_and_on(sidecars: StartSidecars, things, fresh_valkey) -> None:
    """Who comes back last finds purges of others where his place should be, and follows from where they are."""
    one, two = sidecars(2, fresh_valkey.url, policy=POLICY, upstream=things.url)
    assert version(two) == 1
    fresh_valkey.client().save()
    things.bump("/v/1")
    assert len(one.purge(tags=["v:1"], wait="5s")["acknowledged"]) == 2
    two.send(signal.SIGSTOP)
    fresh_valkey.kill()
    fresh_valkey.start()
    bus_is_lost(one)
    one.await_part("bus", "connected")
    one.purge(tags=["v:2"])
    two.send(signal.SIGCONT)
    bus_is_lost(two)
    two.await_part("bus", "connected")
    assert [version(one), version(two)] == [2, 2]

"""A sidecar that is its own origin, by itself or through others, says so at once instead of waiting for itself."""

import time

import httpx
import pytest

from .conftest import Sidecar

pytestmark = pytest.mark.e2e

POLICY = """
version: 1
upstream: {timeouts: {first_byte: 20s}}
routes:
  - {name: cached, match: "GET /c/{id}", cache: {ttl: 60s, key: "c:{id}"}}
  - {name: batch, match: "GET /many", batch: {param: ids, item: "c:{id}", merge: json_array}}
"""
AT_ONCE_S = 2.0
HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg==",
}


def sent_to(sidecar: Sidecar, upstream: str) -> Sidecar:
    """The same sidecar, started anew, with another origin."""
    sidecar.end()
    sidecar.args[sidecar.args.index("--upstream") + 1] = upstream
    sidecar.start()
    return sidecar.ready()


def assert_ended_at_once(url: str, method: str = "GET", **fields: str) -> None:
    """A request is answered with 508, by itself or by the one in front of it, and soon."""
    began = time.monotonic()
    answer = httpx.request(method, url, headers=fields, trust_env=False, timeout=30)
    assert (508, "loop-detected") == (answer.status_code, answer.json()["reason"])
    assert time.monotonic() - began < AT_ONCE_S


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_sidecar_that_is_its_own_origin_says_so(sidecars, valkey, workers) -> None:
    """8586-2: a request that comes back is ended; on a cached route it would wait for its own fill."""
    [sidecar] = sidecars(1, valkey, policy=POLICY, CACHEPROXY_WORKERS=workers, wait=False)
    sidecar = sent_to(sidecar, sidecar.url)
    for path in ("/c/1", "/c/1", "/any", "/many?ids=1,2"):
        assert_ended_at_once(sidecar.url + path)
    assert_ended_at_once(sidecar.url + "/any", "POST")
    assert_ended_at_once(sidecar.url + "/any", **HANDSHAKE)


def test_replicas_that_share_an_identifier_end_a_loop_at_once(sidecars, valkey) -> None:
    """Behind one balancer a request may come back to another replica, which waits for the first one's lease."""
    one, other = sidecars(2, valkey, policy=POLICY, CACHEPROXY_LOOP_ID="fleet")
    sent_to(one, other.url)
    sent_to(other, one.url)
    assert_ended_at_once(one.url + "/c/2")


def test_sidecars_of_several_services_may_stand_in_a_row(sidecars, origin) -> None:
    """Each has an identifier of its own: what another has sent on is no loop."""
    [last] = sidecars(1, "none", policy=POLICY)
    [first] = sidecars(1, "none", policy=POLICY, upstream=last.url)
    for path in ("/c/3", "/any"):
        assert 508 != httpx.get(first.url + path, trust_env=False).status_code

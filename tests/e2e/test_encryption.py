"""Replicas that share what others with access to Redis cannot read. Real processes."""

import time
from base64 import b64encode

import httpx
import pytest
import redis

pytestmark = pytest.mark.e2e

POLICY = """
version: 1
defaults: {cache: {encrypt: true, compress: {above: 10B}}}
routes:
  - {name: item, match: "GET /items/{id}", cache: {ttl: 1h, key: "sealed:{id}"}}
"""
OLD, NEW, OTHER = (f"{name}:{b64encode(name.encode() * 8).decode()}" for name in ("2025", "2026", "0000"))


def get(sidecar, path: str) -> tuple[str, str]:
    """The path that the body of a 200 names, and whether it was a hit."""
    answer = httpx.get(sidecar.url + path, trust_env=False)
    assert answer.status_code == 200
    return answer.json()["path"], "hit" if "; hit" in answer.headers["cache-status"] else "miss"


def await_value(server: "redis.Redis", resource: str) -> tuple[bytes, bytes]:
    """The key of ``resource`` and what is under it, once it is there."""
    give_up_at = time.monotonic() + 10
    while not (keys := list(server.scan_iter(f"cacheproxy:tenant-*:{resource}:*"))):
        assert time.monotonic() < give_up_at
        time.sleep(0.02)
    return keys[0], server.get(keys[0])


def test_replicas_share_encrypted_entries_while_keys_are_replaced(sidecars, origin, valkey) -> None:
    """One encrypts with the old key, the other with the new one: both answer both; a third without them asks anew."""
    (one,) = sidecars(1, valkey, policy=POLICY, CACHEPROXY_ENCRYPTION_KEYS=f"{OLD},{NEW}")
    (other,) = sidecars(1, valkey, policy=POLICY, CACHEPROXY_ENCRYPTION_KEYS=f"{NEW},{OLD}")
    (stranger,) = sidecars(1, valkey, policy=POLICY, CACHEPROXY_ENCRYPTION_KEYS=OTHER)
    with redis.Redis.from_url(valkey) as server:
        for number, (first, second, name) in enumerate([(one, other, b"2025"), (other, one, b"2026")]):
            path = f"/items/sealed-{number}"
            assert get(first, path) == (path, "miss")
            _, value = await_value(server, f"sealed:sealed-{number}")
            assert value.startswith(b"cacheproxy 3 " + name + b"\n")
            assert b"value" not in value
            assert get(second, path) == (path, "hit")
            assert origin.count(path) == 1
            assert get(stranger, path) == (path, "miss")
            assert origin.count(path) == 2


def test_a_changed_entry_is_asked_for_anew(sidecars, origin, valkey) -> None:
    """One flipped bit in Redis costs a request to the origin, and the client sees nothing of it."""
    one, other = sidecars(2, valkey, policy=POLICY, CACHEPROXY_ENCRYPTION_KEYS=NEW)
    get(one, "/items/changed")
    with redis.Redis.from_url(valkey) as server:
        key, value = await_value(server, "sealed:changed")
        server.set(key, value[:-1] + bytes([value[-1] ^ 1]), keepttl=True)
    assert get(other, "/items/changed") == ("/items/changed", "miss")
    assert origin.count("/items/changed") == 2


def test_encryption_is_switched_on_by_reload(sidecars, origin, valkey, tmp_path) -> None:
    """What is stored from then on is encrypted; what was stored before is still a hit."""
    before = POLICY.replace("encrypt: true", "encrypt: false")
    one, other = sidecars(2, valkey, policy=before, CACHEPROXY_ENCRYPTION_KEYS=NEW)
    get(one, "/items/early")
    with redis.Redis.from_url(valkey) as server:
        assert await_value(server, "sealed:early")[1].startswith(b"cacheproxy 2 ")
        (tmp_path / "policy-0.yaml").write_text(POLICY)
        for sidecar in (one, other):
            assert httpx.post(sidecar.admin + "/api/v1/reload", trust_env=False).status_code == 200
        get(one, "/items/late")
        assert await_value(server, "sealed:late")[1].startswith(b"cacheproxy 3 ")
    assert get(other, "/items/early") == ("/items/early", "hit")
    assert get(other, "/items/late") == ("/items/late", "hit")


def test_a_sensitive_response_is_not_stored(sidecars, origin) -> None:
    """Neither in Redis nor in memory, and Cache-Status says why."""
    policy = POLICY.replace("ttl: 1h,", "ttl: 1h, encrypt: false, sensitive: {content_types: application/json},")
    (one,) = sidecars(1, "none", policy=policy.replace("encrypt: true, ", ""))
    for number in (1, 2):
        answer = httpx.get(one.url + "/items/sensitive", trust_env=False)
        assert "detail=sensitive" in answer.headers["cache-status"]
        assert origin.count("/items/sensitive") == number

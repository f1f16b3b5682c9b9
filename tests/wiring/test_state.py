"""Shared state from settings: what cannot be had is said at start."""

import sys
from base64 import b64encode
from contextlib import AsyncExitStack

import pytest

from cacheproxy.errors import PolicyError
from cacheproxy.policy.load import load_policy
from cacheproxy.settings import Settings
from cacheproxy.wiring.application import assemble

POLICY = """
version: 1
upstream: {url: "http://127.0.0.1:9"}
routes: [{name: one, match: GET /one, cache: {encrypt: true}}]
"""


async def test_encryption_without_its_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """At start, with what to install: never stored in the clear instead."""
    monkeypatch.delitem(sys.modules, "cacheproxy.storage.sealing", raising=False)
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    settings = Settings(redis="none", encryption_keys="a:" + b64encode(bytes(32)).decode())
    policy, router = load_policy(POLICY, "p.yaml", {"CACHEPROXY_ENCRYPTION_KEYS": "given"})
    async with AsyncExitStack() as stack:
        with pytest.raises(PolicyError) as caught:
            await assemble(settings, policy, router, stack)
    assert [fault.path for fault in caught.value.faults] == ["CACHEPROXY_ENCRYPTION_KEYS"]
    assert "cacheproxy[crypto]" in str(caught.value)

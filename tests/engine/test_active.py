"""The policy in force remembers what it routed, and not too much of it."""

import pytest

from cacheproxy.engine.active import Active
from cacheproxy.policy.load import load_policy
from cacheproxy.semantics.memo import LONGEST_BYTES

POLICY = """
version: 1
upstream: {url: "http://127.0.0.1:1"}
routes:
  - name: page
    match: GET /{name}
"""


@pytest.fixture
def active() -> Active:
    """A policy with one route."""
    return Active(*load_policy(POLICY, "test.yaml", {}))


def test_what_came_again_is_the_same_match(active: Active) -> None:
    """It is not looked for a third time."""
    first, *others = (active.match("GET", b"/page", b"example.com") for _ in range(4))
    assert first == others[0]
    assert others[1] is others[2]


@pytest.mark.parametrize(
    ("path", "host"),
    [(b"/" + b"a" * LONGEST_BYTES, b"example.com"), (b"/page", b"a" * LONGEST_BYTES)],
    ids=["path", "host"],
)
def test_long_ones_are_not_remembered(active: Active, path: bytes, host: bytes) -> None:
    """However often they come: whoever can send them could fill the memory with them."""
    found = [active.match("GET", path, host) for _ in range(4)]
    assert found[2] == found[3]
    assert found[2] is not found[3]

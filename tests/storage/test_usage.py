"""Uses are summed over replicas, in a server's own memory, and forgotten after a while."""

from collections.abc import AsyncIterator

import pytest
import redis

from cacheproxy.redis_link.connect import Role, connect
from cacheproxy.storage import usage as usage_module
from cacheproxy.storage.usage import PERIOD_S, Usage


class Day:
    """A clock that a test moves."""

    at = 1_700_000_000.0

    def now(self) -> float:
        """Epoch seconds."""
        return self.at

    def monotonic(self) -> float:
        """The same."""
        return self.at


@pytest.fixture
def day() -> Day:
    """Some day."""
    return Day()


@pytest.fixture
async def usage(valkey, day) -> AsyncIterator[Usage]:
    """In an empty server."""
    roles = connect(dict.fromkeys(Role, valkey))
    yield Usage(roles.cache, "test", day)
    await roles.aclose()


async def test_uses_of_all_replicas_are_summed(usage):
    """The most used first, and no more than asked for."""
    await usage.add([("a", 3), ("b", 2), ("c", 1)])
    await usage.add([("b", 2)])
    assert [b"b", b"a"] == await usage.most(2)


async def test_the_last_period_counts_and_the_one_before_it_does_not(usage, day):
    """What was used long ago is used no more."""
    await usage.add([("a", 9)])
    day.at += PERIOD_S
    await usage.add([("b", 5), ("a", 1)])
    assert [b"a", b"b"] == await usage.most(5)
    day.at += PERIOD_S
    assert [b"b", b"a"] == await usage.most(5)
    day.at += PERIOD_S
    assert [] == await usage.most(5)


async def test_a_period_is_bounded_in_size_and_time(usage, valkey, monkeypatch):
    """The least used go first; Redis forgets it by itself."""
    monkeypatch.setattr(usage_module, "MAX_MEMBERS", 3)
    await usage.add([(f"m{uses}", uses) for uses in range(1, 10)])
    assert [b"m9", b"m8", b"m7"] == await usage.most(99)
    with redis.Redis.from_url(valkey) as client:
        [key] = client.keys("*used*")
        assert 0 < client.ttl(key) <= 2 * PERIOD_S


async def test_nothing_used_costs_nothing(usage, valkey):
    """No key is made."""
    await usage.add([])
    with redis.Redis.from_url(valkey) as client:
        assert [] == client.keys("*")
    assert [] == await usage.most(5)

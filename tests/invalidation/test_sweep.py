"""Purges by pattern, on a real server."""

import asyncio

import pytest

from cacheproxy.errors import StateError
from cacheproxy.invalidation.sweep import Sweep
from cacheproxy.policy.tags import key_tag
from cacheproxy.redis_link.connect import Tuning, connect

KEYS = [
    "test:tenant-global:articles:list:0:20:v1",
    "test:tenant-acme:articles:list:20:20:v1:~qa=1",
    "test:tenant-global:articles:list:0:20:v2:~0123456789abcdef",
    "test:tenant-global:articles:4:v1",
    "test:tenant-global:articles:42:v1",
    "test:tenant-global:articles:42:comments:v1",
    "test:tenant-global:@route:articles%3Alist:v1",
]
STRANGERS = ["{test}:clock", "test:lock:articles:list:x", "session:articles:list:1", "testxtenant-a:articles:list:1:v1"]


@pytest.fixture
async def one(valkey, replica):
    """A replica on a server that holds entries, and what is none."""
    made = replica(valkey, start=False)
    await made.roles.cache.batch([("SET", key, "x") for key in [*KEYS, *STRANGERS[1:]]])
    return made


def sweep_of(one, **limits):
    """A sweep of the test's entries, fast."""
    return Sweep(one.roles.cache, one.purger, "test", **{"keys_per_s": 10**9, **limits})


async def left(one):
    """The keys that are still there, the clock's own aside."""
    keys = await one.roles.cache.call("KEYS", "*")
    return {key.decode() for key in keys if not key.startswith(b"{test}")}


@pytest.mark.parametrize(
    ("pattern", "gone"),
    [
        pytest.param("articles:list:*", KEYS[:3], id="a-beginning"),
        pytest.param("articles:4?", [KEYS[4]], id="one-character-and-the-whole-key"),
        pytest.param("articles:4", [KEYS[3]], id="no-wildcard"),
        pytest.param("articles:[^5]", [KEYS[3]], id="a-class"),
        pytest.param("*:comments", [KEYS[5]], id="an-end"),
        pytest.param("users:*", [], id="nothing"),
    ],
)
async def test_a_sweep_purges_what_its_pattern_matches(one, pattern, gone):
    """In every tenant, version and variant, and nothing else."""
    last = None
    async for swept in sweep_of(one).run(pattern):
        last = swept
    assert last.purged == len(gone)
    assert last.looked_at == last.of
    assert await left(one) == {*KEYS, *STRANGERS[1:]} - set(gone)


async def test_memory_follows_a_sweep(one):
    """Each key is purged by its tag, so replicas forget it and a fill in flight is dead on arrival."""
    async for _ in sweep_of(one).run("articles:list:*"):
        pass
    assert set(one.ledger.tags) == {key_tag("articles:list:0:20"), key_tag("articles:list:20:20")}


async def test_a_sweep_goes_in_steps_and_may_be_left(one):
    """Each step looks at so many keys and says how far it has come; after the last one asked for nothing happens."""
    await one.roles.cache.batch([("SET", f"test:tenant-a:users:{n}:v1", "x") for n in range(2_000)])
    steps = sweep_of(one, step=100).run("users:*")
    first = await anext(steps)
    await steps.aclose()
    assert first.looked_at == 100
    assert first.of > 2_000
    assert 0 < first.purged < 500
    assert len(await left(one)) > 1_500


async def test_a_sweep_keeps_to_its_rate(one, monkeypatch):
    """Between steps it waits as long as the keys it looked at allow."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    await one.roles.cache.batch([("SET", f"test:tenant-a:users:{n}:v1", "x") for n in range(1_000)])
    monkeypatch.setattr("cacheproxy.invalidation.sweep.asyncio.sleep", sleep)
    async for _ in sweep_of(one, step=100, keys_per_s=1_000).run("users:*"):
        pass
    assert len(waits) >= 5
    assert set(waits) == {0.1}


async def test_a_prefix_is_no_pattern(valkey, replica):
    """What has a meaning in patterns has none in a prefix."""
    one = replica(valkey, start=False)
    await one.roles.cache.batch([("SET", key, "x") for key in ("a*[b]:tenant-t:k:v1", "aXb:tenant-t:k:v1")])
    async for _ in Sweep(one.roles.cache, one.purger, "a*[b]", keys_per_s=10**9).run("*"):
        pass
    assert await left(one) == {"aXb:tenant-t:k:v1"}


async def test_a_sweep_goes_through_every_master(one, valkeys):
    """Where the keys are shared out among servers, as in a cluster, each is swept."""
    other = connect(valkeys().url, Tuning(limit_s=5.0))
    await other.cache.batch([("SET", "test:tenant-a:articles:list:there:v1", "x"), ("SET", "kept", "x")])

    class Both:
        async def masters(self, budget=None):
            return [one.roles.cache, other.cache]

        async def batch(self, commands, budget=None):
            return [*await one.roles.cache.batch(commands, budget), *await other.cache.batch(commands, budget)]

    last = None
    async for swept in Sweep(Both(), one.purger, "test", keys_per_s=10**9).run("articles:list:*"):
        last = swept
    assert last.purged == 4
    assert await other.cache.call("KEYS", "*") == [b"kept"]
    assert last.of >= len(KEYS) + len(STRANGERS)
    await other.aclose()


async def test_a_sweep_without_redis_is_a_state_error(fresh_valkey, replica):
    """Nobody is told that something was purged which was not."""
    one = replica(fresh_valkey.url, start=False)
    fresh_valkey.kill()
    with pytest.raises(StateError):
        await anext(sweep_of(one).run("*"))
    await asyncio.sleep(0)

"""Purges among workers that share no Redis."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from cacheproxy.invalidation.contract import Purge, PurgeMode
from cacheproxy.invalidation.local import LocalPurger
from cacheproxy.invalidation.siblings import SharingPurger, door


class Applied:
    """A mirror that notes what was purged."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.purges = []

    def apply(self, purge) -> None:
        """Note it."""
        self.purges.append((purge.tags, purge.mode))

    def trust(self, trusted, **_how) -> None:
        """Nothing to do."""

    def clear(self) -> None:
        """Nothing to do."""


@pytest.fixture
async def workers(tmp_path):
    """Two workers with open doors: each one's mirror and purger."""
    paths = [tmp_path / f"w{number}.purge" for number in range(2)]
    mirrors = [Applied(), Applied()]
    own = [LocalPurger(mirror, f"w{number}", 60.0) for number, mirror in enumerate(mirrors)]
    async with AsyncExitStack() as stack:
        for number, (path, purger) in enumerate(zip(paths, own, strict=True)):
            await stack.enter_async_context(door(path, purger, f"w{number}"))
        yield mirrors, [SharingPurger(own[0], [paths[1]]), SharingPurger(own[1], [paths[0]])]


@pytest.mark.parametrize("mode", PurgeMode)
async def test_a_purge_is_in_force_everywhere_when_it_returns(workers, mode):
    """Every worker has applied it, in its own mode, tags of our own included; and all are named in the receipt."""
    mirrors, (one, _) = workers
    purge = Purge(tags=("article:1", "@path/ärticles/1", "*"), mode=mode)
    receipt = await one.purge(purge)
    assert [[(purge.tags, mode)]] * 2 == [mirror.purges for mirror in mirrors]
    assert ("w0", "w1") == receipt.acknowledged


async def test_a_write_purges_everywhere_too(workers):
    """What a client's write makes untrue is purged by all workers before the client has its answer."""
    mirrors, (_, other) = workers
    await other.purge_soon(Purge(tags=("article:1",)))
    assert [1, 1] == [len(mirror.purges) for mirror in mirrors]


async def test_as_many_tags_as_a_purge_may_name_go_through(workers):
    """The largest purge is still one line."""
    mirrors, (one, _) = workers
    tags = tuple(f"tag:{number}:{'x' * 200}" for number in range(10_000))
    await one.purge(Purge(tags=tags))
    assert tags == mirrors[1].purges[0][0]


async def test_a_dead_sibling_is_not_waited_for(tmp_path):
    """It remembers nothing that could be stale; its successor begins empty."""
    mirror = Applied()
    alone = SharingPurger(LocalPurger(mirror, "w0", 60.0), [tmp_path / "w1.purge"])
    receipt = await alone.purge(Purge(tags=("a",)))
    assert ("w0",) == receipt.acknowledged
    assert 1 == len(mirror.purges)


async def test_a_successor_opens_the_door_that_a_killed_worker_left(tmp_path):
    """The socket of a process that had no time to remove it is no obstacle."""
    path = tmp_path / "w1.purge"
    abandoned = await asyncio.start_unix_server(lambda *_: None, path)
    abandoned.close()
    mirror = Applied()
    async with door(path, LocalPurger(mirror, "w1", 60.0), "w1"):
        await SharingPurger(LocalPurger(Applied(), "w0", 60.0), [path]).purge(Purge(tags=("a",)))
    assert [(("a",), PurgeMode.HARD)] == mirror.purges


async def test_a_stamp_is_of_the_workers_own_clock(workers):
    """A fill is judged by the clock of the worker that keeps it."""
    _, (one, other) = workers
    assert (await one.begin()).epoch != (await other.begin()).epoch

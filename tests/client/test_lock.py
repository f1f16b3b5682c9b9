"""Locks that services share, on a real server."""

import asyncio

import pytest

from cacheproxy.client import Lock, LockLostError, LockNotAcquiredError, SyncLock
from cacheproxy.client.wire import Layout

KEY = Layout("test").lock("job")


async def test_one_holder_at_a_time(redis):
    """Of many who want the lock at once, each has it alone."""
    inside: list[int] = []

    async def work():
        async with Lock(redis, "job", prefix="test"):
            inside.append(1)
            assert len(inside) == 1
            await asyncio.sleep(0)
            inside.clear()

    await asyncio.gather(*(work() for _ in range(5)))


async def test_whoever_does_not_get_it_is_told(redis):
    """With the lock held elsewhere, the body is not entered."""
    async with Lock(redis, "job", prefix="test"):
        with pytest.raises(LockNotAcquiredError, match="job"):
            async with Lock(redis, "job", blocking_timeout_s=0, prefix="test"):
                pytest.fail("two holders")
        assert not await Lock(redis, "job", blocking_timeout_s=0.05, prefix="test").acquire()


async def test_a_holder_that_died_blocks_nobody_for_long(redis):
    """A lock that nobody releases runs out by itself, and the next waits no longer than that."""
    assert await Lock(redis, "job", timeout_s=0.1, prefix="test").acquire()
    async with Lock(redis, "job", blocking_timeout_s=5, prefix="test"):
        assert await redis.exists(KEY)


async def test_only_the_holder_releases(redis):
    """A holder whose lock ran out is told, and does not release the next one's."""
    late = Lock(redis, "job", prefix="test")
    await late.acquire()
    await redis.delete(KEY)
    async with Lock(redis, "job", prefix="test"):
        with pytest.raises(LockLostError, match="job"):
            await late.release()
        assert await redis.exists(KEY)
    assert not await redis.exists(KEY)


async def test_losing_the_lock_is_an_error_at_the_end(redis):
    """The body's work may have been done twice: that is not passed over."""
    with pytest.raises(LockLostError):
        async with Lock(redis, "job", prefix="test"):
            await redis.delete(KEY)


async def test_an_error_in_the_body_says_more_than_a_lost_lock(redis):
    """The body's own error is the one that is seen."""

    async def fail():
        async with Lock(redis, "job", prefix="test"):
            await redis.delete(KEY)
            raise KeyError

    with pytest.raises(KeyError):
        await fail()


def test_the_synchronous_lock_does_the_same(sync_redis):
    """A service without an event loop has the same outcomes."""
    impatient = SyncLock(sync_redis, "job", blocking_timeout_s=0, prefix="test")
    with SyncLock(sync_redis, "job", prefix="test"), pytest.raises(LockNotAcquiredError), impatient:
        pytest.fail("two holders")
    with pytest.raises(LockLostError), SyncLock(sync_redis, "job", prefix="test"):
        sync_redis.delete(KEY)

"""A lock that services share through Redis.

    async with Lock(redis, "process-order-123", timeout_s=10, blocking_timeout_s=2):
        ...

It is released by its holder alone, and by itself after ``timeout_s``: a holder that died blocks nobody for long.
"""

from types import TracebackType
from typing import Self

from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.lock import Lock as AsyncRedisLock
from redis.exceptions import LockError as RedisLockError
from redis.lock import Lock as RedisLock

from cacheproxy.client.wire import DEFAULT_PREFIX, Layout

_ASK_AGAIN_S = 0.05


class LockError(Exception):
    """A lock was not had, or not kept."""


class LockNotAcquiredError(LockError):
    """Somebody else held the lock for as long as we cared to wait: nothing was done."""


class LockLostError(LockError):
    """The lock ran out before it was released: somebody else may have done the same meanwhile."""


class Lock:
    """One holder at a time of ``name``, among all who share ``redis``."""

    def __init__(
        self,
        redis: AsyncRedis,
        name: str,
        *,
        timeout_s: float = 10.0,
        blocking_timeout_s: float = 5.0,
        prefix: str = DEFAULT_PREFIX,
    ) -> None:
        """Held for ``timeout_s`` at most; waited for ``blocking_timeout_s`` at most, 0 for not at all."""
        self._name = name
        self._blocking_timeout_s = blocking_timeout_s
        self._lock = AsyncRedisLock(redis, Layout(prefix).lock(name), timeout=timeout_s, sleep=_ASK_AGAIN_S)

    async def acquire(self) -> bool:
        """Whether the lock is ours now."""
        wait_s = self._blocking_timeout_s
        return bool(await self._lock.acquire(blocking=wait_s > 0, blocking_timeout=wait_s))

    async def release(self) -> None:
        """Give it back. LockLostError if it was ours no longer; then nobody else's is touched."""
        try:
            await self._lock.release()
        except RedisLockError as error:
            raise LockLostError(self._name) from error

    async def __aenter__(self) -> Self:
        """Hold it. LockNotAcquiredError if that was not to be."""
        if not await self.acquire():
            raise LockNotAcquiredError(self._name)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give it back. LockLostError if it was lost, unless there is an error under way that says more."""
        try:
            await self.release()
        except LockLostError:
            if error is None:
                raise


class SyncLock:
    """``Lock`` for services without an event loop."""

    def __init__(
        self,
        redis: Redis,
        name: str,
        *,
        timeout_s: float = 10.0,
        blocking_timeout_s: float = 5.0,
        prefix: str = DEFAULT_PREFIX,
    ) -> None:
        """As ``Lock``."""
        self._name = name
        self._blocking_timeout_s = blocking_timeout_s
        self._lock = RedisLock(redis, Layout(prefix).lock(name), timeout=timeout_s, sleep=_ASK_AGAIN_S)

    def acquire(self) -> bool:
        """Whether the lock is ours now."""
        wait_s = self._blocking_timeout_s
        return bool(self._lock.acquire(blocking=wait_s > 0, blocking_timeout=wait_s))

    def release(self) -> None:
        """Give it back. LockLostError if it was ours no longer; then nobody else's is touched."""
        try:
            self._lock.release()
        except RedisLockError as error:
            raise LockLostError(self._name) from error

    def __enter__(self) -> Self:
        """Hold it. LockNotAcquiredError if that was not to be."""
        if not self.acquire():
            raise LockNotAcquiredError(self._name)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give it back. LockLostError if it was lost, unless there is an error under way that says more."""
        try:
            self.release()
        except LockLostError:
            if error is None:
                raise

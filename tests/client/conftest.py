"""Clients of a real server."""

from collections.abc import AsyncIterator, Iterator

import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis


@pytest.fixture
async def redis(valkey: str) -> AsyncIterator[AsyncRedis]:
    """An asynchronous client of an empty server."""
    async with AsyncRedis.from_url(valkey) as client:
        yield client


@pytest.fixture
def sync_redis(valkey: str) -> Iterator[Redis]:
    """A synchronous client of an empty server."""
    with Redis.from_url(valkey) as client:
        yield client

"""The sample service in process, with a real Valkey."""

import socket
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from redis.asyncio import Redis

from cacheproxy.demo.service import create_app
from cacheproxy.redis_link.embedded import start_embedded


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    """A private Valkey."""
    server = start_embedded()
    yield server.url
    server.close()


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator["Redis"]:
    """A client of that Valkey, emptied."""
    client = Redis.from_url(redis_url)
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
async def service(redis: "Redis", redis_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the service, whose queries take no time."""
    app = create_app(redis_url, slowness=0)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client,
    ):
        yield client


@pytest.fixture
def free_port() -> int:
    """A port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]

"""A real Valkey, and a clock that only tests move."""

from collections.abc import AsyncIterator, Iterator

import pytest

from cacheproxy.redis_link.connect import Tuning, connect
from cacheproxy.redis_link.contract import Link
from cacheproxy.redis_link.embedded import start_embedded


class FakeClock:
    """Time stands still until a test moves it."""

    def __init__(self) -> None:
        self.at = 1_700_000_000.0

    def now(self) -> float:
        """Epoch seconds."""
        return self.at

    def monotonic(self) -> float:
        """The same."""
        return self.at

    def pass_s(self, seconds: float) -> None:
        """Let seconds pass."""
        self.at += seconds


@pytest.fixture
def clock() -> FakeClock:
    """A clock of the test's own."""
    return FakeClock()


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """A private Valkey for all tests of this room."""
    server = start_embedded()
    yield server.url
    server.close()


@pytest.fixture
async def link(server_url: str) -> AsyncIterator[Link]:
    """A link to an empty Valkey, patient enough for a busy machine."""
    roles = connect(server_url, Tuning(limit_s=10.0))
    await roles.sessions.call("FLUSHALL")
    yield roles.sessions
    await roles.aclose()

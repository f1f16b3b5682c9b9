"""A real Valkey, and a clock that only tests move."""

from collections.abc import AsyncIterator

import pytest

from cacheproxy.redis_link.connect import Tuning, connect
from cacheproxy.redis_link.contract import Link


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


@pytest.fixture
async def link(valkey: str) -> AsyncIterator[Link]:
    """A link to an empty Valkey, patient enough for a busy machine."""
    roles = connect(valkey, Tuning(limit_s=10.0))
    yield roles.sessions
    await roles.aclose()

"""A real Valkey, a clock that only tests move, and each kind of limiter on them."""

from collections.abc import AsyncIterator

import pytest

from cacheproxy.limits.memory import MemoryLimiter
from cacheproxy.limits.redis import RedisLimiter
from cacheproxy.redis_link.connect import Tuning, connect
from cacheproxy.redis_link.contract import Link


class FakeClock:
    """Time stands still until a test moves it."""

    def __init__(self) -> None:
        self.us = 1_700_000_000_000_000

    def now(self) -> float:
        """Epoch seconds."""
        return self.us / 1e6

    def monotonic(self) -> float:
        """The same."""
        return self.us / 1e6

    def pass_us(self, us: int) -> None:
        """Let microseconds pass."""
        self.us += us

    def pass_s(self, seconds: float) -> None:
        """Let seconds pass."""
        self.us += round(seconds * 1e6)


@pytest.fixture(scope="session")
def new_clock() -> type[FakeClock]:
    """Makes clocks, where a test needs a new one for each of its examples."""
    return FakeClock


@pytest.fixture
def clock() -> FakeClock:
    """A clock that starts in the middle of a window."""
    return FakeClock()


@pytest.fixture
async def link(valkey: str) -> AsyncIterator[Link]:
    """A link to an empty Valkey, patient enough for a busy machine."""
    roles = connect(valkey, Tuning(limit_s=10.0))
    yield roles.limits
    await roles.aclose()


@pytest.fixture(params=["memory", "redis", "redis-cluster"])
async def limiter(request: pytest.FixtureRequest, clock: FakeClock, link: Link) -> MemoryLimiter | RedisLimiter:
    """Each kind of limiter, by the test's clock."""
    if request.param == "memory":
        return MemoryLimiter(clock)
    return RedisLimiter(link, "test", cluster=request.param == "redis-cluster", time_us=lambda: clock.us)

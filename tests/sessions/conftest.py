"""A real Valkey, and a clock that only tests move."""

from collections.abc import AsyncIterator

import pytest

from cacheproxy.redis_link.connect import Tuning, connect
from cacheproxy.redis_link.contract import Link

from ..clocks import FakeClock  # noqa: TID252 - of all tests, whatever their root is called


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

"""Links to real servers, closed after each test."""

from collections.abc import AsyncIterator, Callable

import pytest

from cacheproxy.redis_link.connect import Roles, Tuning, connect

Connect = Callable[..., Roles]


@pytest.fixture
async def connected() -> AsyncIterator[Connect]:
    """``connected(urls, tuning, on_change)`` is ``connect`` with its links closed at the end."""
    made: list[Roles] = []

    def make(*args: object, **named: object) -> Roles:
        made.append(connect(*args, **named))
        return made[-1]

    yield make
    for roles in made:
        await roles.aclose()


@pytest.fixture
async def roles(valkey: str, connected: Connect) -> Roles:
    """Links of all roles to an empty server, patient enough for a busy machine."""
    return connected(valkey, Tuning(limit_s=2.0))

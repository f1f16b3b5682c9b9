"""Leases of every kind, for two replicas that compete."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest

from cacheproxy.client.wire import Layout
from cacheproxy.fills.contract import Leases
from cacheproxy.fills.lease import MemoryLeases, RedisLeases
from cacheproxy.invalidation.messages import OtherSaid, read
from cacheproxy.redis_link.connect import Roles, Tuning, connect
from cacheproxy.redis_link.contract import Budget
from cacheproxy.semantics.tag_clock import Stamp

PREFIX = "test"
AGE_S = 30.0

MakePair = Callable[[float], "Pair"]


@dataclass
class Pair:
    """Two replicas' leases on the same keys."""

    one: Leases
    two: Leases
    roles: Roles | None = None


class Stamps:
    """Where memory leases have their stamps from."""

    def __init__(self) -> None:
        """None given out yet."""
        self.us = 0

    async def begin(self, budget: Budget | None = None) -> Stamp:
        """A later stamp each time."""
        self.us += 1
        return Stamp("e", self.us)


@pytest.fixture
async def roles(valkey: str) -> AsyncIterator[Roles]:
    """Links to an empty server, patient enough for a busy machine."""
    made = connect(valkey, Tuning(limit_s=2.0))
    yield made
    await made.aclose()


@pytest.fixture
async def redis_pair(roles: Roles) -> AsyncIterator[MakePair]:
    """``redis_pair(age_s)``: two RedisLeases that hear each other over the server's pub/sub."""
    tasks = []
    subscription = await roles.subscriber().subscribe([Layout(PREFIX).bus])

    def make(age_s: float) -> Pair:
        pair = Pair(RedisLeases(roles.cache, PREFIX, age_s), RedisLeases(roles.cache, PREFIX, age_s), roles)

        async def route() -> None:
            while True:
                message = await subscription.next(60)
                said = read(message.payload) if message else None
                if isinstance(said, OtherSaid) and said.kind == "wake":
                    pair.one.hear(said.members)
                    pair.two.hear(said.members)

        tasks.append(asyncio.create_task(route()))
        return pair

    yield make
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await subscription.aclose()


@pytest.fixture(params=["memory", "redis"])
def make_pair(request: pytest.FixtureRequest, redis_pair: MakePair) -> MakePair:
    """``make_pair(age_s)``: two replicas' leases, of each kind in turn."""
    if request.param == "redis":
        return redis_pair

    def memory_pair(age_s: float) -> Pair:
        leases = MemoryLeases(Stamps().begin, age_s)
        return Pair(leases, leases)

    return memory_pair


@pytest.fixture
async def pair(make_pair: MakePair) -> Pair:
    """Two replicas' leases whose age does not matter."""
    return make_pair(AGE_S)

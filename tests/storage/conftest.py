"""Stores of every kind over real parts, with a tag clock that a test can turn by hand."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace

import pytest

from cacheproxy.invalidation.contract import Applied, PurgeMode
from cacheproxy.redis_link.connect import Roles, Tuning, connect
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.tag_clock import Stamp
from cacheproxy.semantics.vary import variance, vary_names
from cacheproxy.storage.contract import Entry, Store
from cacheproxy.storage.memory import MemoryStore
from cacheproxy.storage.redis import RedisStore
from cacheproxy.storage.tiered import TieredStore

from ..clocks import FakeClock  # noqa: TID252 - of all tests, whatever their root is called

NOW = 1_763_640_000.0
EPOCH = "e1"


def make_entry(key: str = "k", body: bytes = b"body", request: Fields | None = None, **changes: object) -> Entry:
    """An entry as a fill would make it, for ``request`` where its fields have Vary."""
    fields = changes.pop("fields", Fields.of(("content-type", "application/json"), ("etag", '"1"')))
    names = vary_names(fields) or ()
    entry = Entry(
        key=key,
        vary=names,
        variance=variance(names, request or Fields()),
        status=200,
        fields=fields,
        body=body,
        requested_at=NOW - 0.2,
        received_at=NOW,
        lifetime_s=60.0,
        keep_until=NOW + 120,
        stamp=Stamp(EPOCH, 100),
        tags=("articles", "article:1"),
        route="articles",
    )
    return replace(entry, **changes)


@dataclass
class Place:
    """A store, and the ways in which time and purges reach it."""

    store: Store
    clock: FakeClock
    mirrors: list[MemoryStore] = field(default_factory=list)
    roles: Roles | None = None

    async def purge(self, at_us: int, *tags: str, mode: PurgeMode = PurgeMode.HARD, epoch: str = EPOCH) -> None:
        """Purge ``tags`` at ``at_us``, as invalidation's script and the bus would."""
        for mirror in self.mirrors:
            mirror.apply(Applied(epoch=epoch, at_us=at_us, tags=tags, mode=mode))
        if self.roles is not None:
            times = f"{at_us} 0" if mode is PurgeMode.HARD else f"0 {at_us}"
            fields = [part for tag in tags for part in (f"t:{tag}", times)]
            await self.roles.cache.call("HSET", "{test}:clock", "epoch", epoch, "now", at_us, *fields)

    async def set_clock(self, epoch: str, base_us: int = 0) -> None:
        """Make the tag clock: everything trusted, nothing purged."""
        for mirror in self.mirrors:
            mirror.trust(True, epoch=epoch, base_us=base_us)
        if self.roles is not None:
            await self.roles.cache.batch(
                [("DEL", "{test}:clock"), ("HSET", "{test}:clock", "epoch", epoch, "now", 1, "base", base_us)]
            )


@pytest.fixture
def clock() -> FakeClock:
    """Time that stands still."""
    return FakeClock(NOW)


@pytest.fixture(scope="session")
def entry() -> Callable[..., Entry]:
    """``entry(key, body, request, **changes)`` makes one."""
    return make_entry


@pytest.fixture
def memory(clock: FakeClock) -> MemoryStore:
    """A trusted L1."""
    store = MemoryStore(1 << 20, max_variants=4, clock=clock)
    store.trust(True, epoch=EPOCH, base_us=0)
    return store


@pytest.fixture
async def roles(valkey: str) -> AsyncIterator[Roles]:
    """Links to an empty server, patient enough for a busy machine."""
    made = connect(valkey, Tuning(limit_s=2.0))
    yield made
    await made.aclose()


@pytest.fixture
async def redis_place(roles: Roles, clock: FakeClock) -> Place:
    """An L2 with a tag clock."""
    place = Place(RedisStore(roles.cache, prefix="test", max_variants=4, clock=clock), clock, [], roles)
    await place.set_clock(EPOCH)
    return place


@pytest.fixture(params=["memory", "redis", "tiered"])
async def place(request: pytest.FixtureRequest, memory: MemoryStore, redis_place: Place, clock: FakeClock) -> Place:
    """Each kind of store in turn."""
    places = {
        "memory": Place(memory, clock, [memory]),
        "redis": redis_place,
        "tiered": Place(TieredStore(memory, redis_place.store, clock), clock, [memory], redis_place.roles),
    }
    return places[request.param]

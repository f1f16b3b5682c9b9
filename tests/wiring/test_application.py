"""The whole sidecar in this process: what it is made of works together, and ends when it is told to."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from redis import Redis

from cacheproxy.client.wire import Layout
from cacheproxy.engine.engine import Client
from cacheproxy.engine.recorder import Event
from cacheproxy.engine.reply import Reply
from cacheproxy.errors import PolicyError
from cacheproxy.invalidation.contract import Purge
from cacheproxy.policy.load import load_policy
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.head import RequestHead
from cacheproxy.settings import Settings
from cacheproxy.wiring.application import Application, assemble

POLICY = """
version: 1
upstream: {url: "http://127.0.0.1:%d"}
session: {cookie: sid}
limits: {each: {rate: 100/minute, by: [client_ip]}}
routes:
  - {name: item, match: "GET /items/{id}", limits: [each], cache: {ttl: 60s, key: "items:{id}", tags: [items]}}
"""
CLIENT = Client(address="192.0.2.1")
Start = Callable[..., Awaitable[Application]]


class Server:
    """An origin that counts."""

    def __init__(self) -> None:
        """Nothing asked."""
        self.asked = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer each request with its number."""
        while await reader.readline():
            while await reader.readline() not in {b"\r\n", b""}:
                pass
            self.asked += 1
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % self.asked)
        writer.close()


@pytest.fixture
async def origin() -> AsyncIterator[tuple[Server, int]]:
    """An origin, and its port."""
    server = Server()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    yield server, listening.sockets[0].getsockname()[1]
    listening.close()
    await listening.wait_closed()


@pytest.fixture
async def start(origin: tuple[Server, int], tmp_path: Path) -> AsyncIterator[Start]:
    """``start(redis=...)``: a sidecar, stopped with the test; then nothing of any is left running."""
    before = asyncio.all_tasks()
    policy, router = load_policy(POLICY % origin[1], "test.yaml", {})
    async with AsyncExitStack() as stack:

        async def one(**given: object) -> Application:
            settings = Settings.load(**{"redis_budget": 2.0, "config": tmp_path / "policy.yaml", **given})
            return await assemble(settings, policy, router, stack)

        yield one
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert [] == [task for task in left if "Server.serve" not in repr(task)]


async def get(sidecar: Application, target: str = "/items/1") -> Reply:
    """The answer to a GET."""
    head = RequestHead(method="GET", target=target.encode(), fields=Fields.of(("host", "a")), authority=b"a")
    return await sidecar.engine.handle(head, None, CLIENT)


def word(reply: Reply) -> str:
    """Its X-Cache."""
    return (reply.fields.get(b"x-cache") or b"").decode()


async def test_without_redis_a_sidecar_caches_and_purges(start, origin) -> None:
    """Alone, it does its job in memory, and says so."""
    sidecar = await start(redis="none")
    assert ["MISS", "HIT"] == [word(await get(sidecar)) for _ in range(2)]
    await sidecar.state.purger.purge(Purge(tags=("items",)))
    reply = await get(sidecar)
    assert ("MISS", b"2", 2) == (word(reply), reply.body, origin[0].asked)
    assert {"origin": "unknown", "redis": "none", "edge": "open"} == dict(sidecar.administration.ready().parts)
    assert (None, None) == (sidecar.administration.keys(), sidecar.administration.sessions())


async def test_what_memory_has_no_room_for_is_counted(start) -> None:
    """An operator sees by it that CACHEPROXY_L1_BYTES is small for what is asked for."""
    sidecar = await start(redis="none", l1_bytes=2_000)
    for number in range(9):
        await get(sidecar, f"/items/{number}")
    evicted = sidecar.metrics.events_of(Event.EVICTED)[()]
    assert evicted + len(sidecar.state.l1) == 9
    assert evicted > 0


async def test_what_is_no_entry_is_counted(start, valkey) -> None:
    """Another program wrote it, or the key that opens it is missing: either way a miss, and somebody should know."""
    one, two, three = [await start(redis=valkey, instance_id=name) for name in ("one", "two", "three")]
    assert ["MISS", "HIT"] == [word(await get(sidecar)) for sidecar in (one, two)]
    with Redis.from_url(valkey) as redis:
        (key,) = redis.keys("cacheproxy:tenant-*")
        redis.set(key, b"no entry")
    assert word(await get(three)) == "MISS"
    assert three.metrics.events_of(Event.CORRUPT)[()] > 0


async def test_two_sidecars_share_what_is_stored(start, valkey, origin) -> None:
    """What one fetched the other has, until it is purged: then neither."""
    one, two = [await start(redis=valkey, instance_id=name) for name in ("one", "two")]
    assert b"1" == (await get(one)).body
    assert (b"1", "HIT") == ((reply := await get(two)).body, word(reply))
    receipt = await one.state.purger.purge(Purge(tags=("items",)), wait_s=10)
    assert () == receipt.silent
    assert (b"2", b"2", 2) == ((await get(two)).body, (await get(one)).body, origin[0].asked)


async def test_two_sidecars_ask_once(start, valkey, origin) -> None:
    """Their clients on a cold key cost one request."""
    sidecars = [await start(redis=valkey, instance_id=name) for name in ("one", "two")]
    replies = await asyncio.gather(*(get(sidecar) for sidecar in sidecars for _ in range(50)))
    assert ({b"1"}, 1) == ({reply.body for reply in replies}, origin[0].asked)


async def test_a_sidecar_that_is_alone_needs_no_leave(start, valkey, monkeypatch) -> None:
    """Once no other was heard of for long, a fill takes no lease; nor does one wait that is held by nobody alive."""
    monkeypatch.setattr("cacheproxy.invalidation.receipts.FORGET_LEASES", 0.01)
    sidecar = await start(redis=valkey)
    while (await sidecar.state.leases.acquire("elsewhere")).token:
        pass
    lease = Layout().lease("cacheproxy:tenant-global:items:1:v1")
    with Redis.from_url(valkey) as redis:
        redis.set(lease, "left behind", px=60_000)
        assert b"1" == (await asyncio.wait_for(get(sidecar), 4)).body
        assert b"left behind" == redis.get(lease)


async def test_readiness_names_every_part(start, valkey) -> None:
    """Each role of Redis, the bus, the origin; none of them is a reason not to be ready, draining is."""
    sidecar = await start(redis=valkey)
    while not sidecar.state.bus.connected:
        await asyncio.wait_for(sidecar.state.purger.begin(), 10)  # a round trip later it may be
    ready = sidecar.administration.ready()
    roles = {f"redis-{role}": "up" for role in ("cache", "sessions", "limits", "bus")}
    assert (True, {"origin": "unknown", **roles, "bus": "connected", "edge": "open"}) == (
        ready.ready,
        dict(ready.parts),
    )
    sidecar.edge.draining = True
    assert (False, "draining") == (sidecar.administration.ready().ready, sidecar.administration.ready().parts["edge"])


async def test_a_sidecar_describes_itself(start) -> None:
    """Its version and name, the policy in force, and each route of it."""
    sidecar = await start(redis="none", instance_id="me")
    stats = sidecar.administration.stats()
    assert ("me", 1) == (stats["replica"], stats["policy"]["routes"])
    [route] = sidecar.administration.deps().routes()
    assert ("item", {"ttl_s": 60.0, "mode": "honor"}, ["each"]) == (route["name"], route["cache"], route["limits"])


async def test_what_happens_is_measured(start) -> None:
    """Requests, hits, store operations and levels, under their documented names."""
    sidecar = await start(redis="none")
    for _ in range(3):
        await get(sidecar)
    text = sidecar.metrics.render().decode()
    for line in (
        'cache_hits_total{resource_type="items"} 2.0',
        'cache_misses_total{resource_type="items"} 1.0',
        'cacheproxy_upstream_requests_total{outcome="ok"} 1.0',
        "cacheproxy_l1_entries 1.0",
        "cacheproxy_flights 0.0",
        'cacheproxy_upstream_connections{state="idle"} 1.0',
        'cacheproxy_upstream_connections{state="held"} 0.0',
    ):
        assert line in text, text


async def test_a_wrong_url_is_the_operators_mistake(start) -> None:
    """It is said before anything is served."""
    with pytest.raises(PolicyError):
        await start(redis="redis://127.0.0.1:99999/0")

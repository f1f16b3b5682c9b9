"""The admin port of several workers, in front of real servers on unix sockets."""

import asyncio
import socket
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cacheproxy.admin.fleet import Fleet, fleet_app
from cacheproxy.admin.members import Member, Members


@dataclass
class Worker:
    """A worker's admin port, which answers as the test has it."""

    name: str
    parts: dict[str, str] = field(default_factory=lambda: {"bus": "connected"})
    status: int = 200
    refusal: int = 0
    hits: int = 0
    alive: bool = True
    starts: int = 1
    asked: list[str] = field(default_factory=list)
    stopped: bool = False
    goes_on: asyncio.Event = field(default_factory=asyncio.Event)

    def app(self) -> Starlette:
        """Its answers."""
        return Starlette(
            routes=[Route("/{rest:path}", self.answer, methods=["GET", "POST"])],
        )

    async def answer(self, request) -> Response:
        """Readiness, metrics, or what was asked for."""
        path = request.url.path
        if self.stopped:
            await self.goes_on.wait()
        self.asked.append(f"{request.method} {path} {(await request.body()).decode()}".strip())
        if self.refusal:
            return JSONResponse({"reason": "no"}, self.refusal)
        if path == "/metrics":
            return Response(f'# TYPE cache_hits_total counter\ncache_hits_total{{resource_type="a"}} {self.hits}\n')
        if path == "/readyz":
            return JSONResponse({"status": "-", "parts": self.parts}, self.status)
        return JSONResponse({"by": self.name, "host": request.headers["host"]}, self.status)


@asynccontextmanager
async def serving(worker: Worker, path):
    """The worker on a unix socket."""
    server = uvicorn.Server(uvicorn.Config(worker.app(), log_config=None, lifespan="off"))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()  # from now on requests wait for the server
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield
    finally:
        server.should_exit = True
        await task


@pytest.fixture
async def fleet(tmp_path):
    """Two workers, the client of their one admin port, and whether they drain."""
    workers, draining = [Worker("one"), Worker("two")], []
    async with AsyncExitStack() as stack:
        for worker in workers:
            await stack.enter_async_context(serving(worker, tmp_path / worker.name))
        members = Members(
            [
                Member(
                    name=worker.name,
                    socket=tmp_path / worker.name,
                    alive=lambda worker=worker: worker.alive,
                    starts=lambda worker=worker: worker.starts,
                )
                for worker in workers
            ]
        )
        stack.push_async_callback(members.aclose)
        app = fleet_app(Fleet(name="all", members=members, draining=lambda: bool(draining)))
        transport = httpx.ASGITransport(app)
        client = await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://localhost"))
        yield workers, client, draining


async def test_ready_if_all_are(fleet):
    """All workers' parts are shown, in one word where they agree."""
    (_, two), client, _ = fleet
    two.parts = {"bus": "lost"}
    answer = await client.get("/readyz")
    assert (200, "ready") == (answer.status_code, answer.json()["status"])
    assert {"bus": "connected, lost", "one": "ready", "two": "ready"} == answer.json()["parts"]


@pytest.mark.parametrize("change", [{"status": 503}, {"alive": False}])
async def test_not_ready_if_one_is_not(fleet, change):
    """A worker that says so, or that is not there, is reason enough."""
    (_, two), client, _ = fleet
    for name, value in change.items():
        setattr(two, name, value)
    answer = await client.get("/readyz")
    assert (503, "not ready") == (answer.status_code, answer.json()["parts"]["two"])


async def test_not_ready_while_draining(fleet):
    """The supervisor knows first that all will stop."""
    _, client, draining = fleet
    draining.append(True)
    assert 503 == (await client.get("/readyz")).status_code


@pytest.mark.parametrize("status", [401, 403, 421])
@pytest.mark.parametrize("path", ["/readyz", "/metrics", "/api/v1/stats"])
async def test_a_workers_refusal_is_the_answer(fleet, status, path):
    """Who may ask is for the workers to say: the supervisor tells no more than they do."""
    workers, client, _ = fleet

    for worker in workers:
        worker.refusal = status
    answer = await client.get(path)
    assert (status, {"reason": "no"}) == (answer.status_code, answer.json())


async def test_metrics_are_summed_over_deaths(fleet):
    """A worker that is started anew takes nothing away from the sum."""
    (one, two), client, _ = fleet
    one.hits, two.hits = 5, 2
    assert 'cache_hits_total{resource_type="a"} 7.0' in (await client.get("/metrics")).text
    two.alive = False
    assert 'cache_hits_total{resource_type="a"} 7.0' in (await client.get("/metrics")).text
    two.alive, two.starts, two.hits = True, 2, 1
    text = (await client.get("/metrics")).text
    assert 'cache_hits_total{resource_type="a"} 8.0' in text
    assert "cacheproxy_worker_restarts_total 1.0" in text


async def test_statistics_are_one_workers_words_and_everybodys_numbers(fleet):
    """Version and policy are the same everywhere; whoever answers says them, also where another is gone."""
    (one, two), client, _ = fleet
    one.hits, two.hits = 5, 2
    stats = (await client.get("/api/v1/stats")).json()
    assert ("one", 7, {"one": 1, "two": 1}, "all") == (stats["by"], stats["hits"], stats["workers"], stats["replica"])
    one.alive = False
    stats = (await client.get("/api/v1/stats")).json()
    assert ("two", 7) == (stats["by"], stats["hits"])


async def test_one_worker_does_what_one_can_do(fleet):
    """A purge is asked of one, with the asker's own Host, and its answer passed on."""
    (one, two), client, _ = fleet
    answer = await client.post("/api/v1/purge", content=b'{"all":true}')
    assert {"by": "one", "host": "localhost"} == answer.json()
    assert (['POST /api/v1/purge {"all":true}'], []) == (one.asked[1:], two.asked)


async def test_a_worker_that_stands_still_holds_up_nothing(fleet):
    """A purge is asked of the first that shows life, and of none but that one."""
    (one, two), client, _ = fleet
    one.stopped = True
    answer = await client.post("/api/v1/purge", content=b'{"all":true}')
    one.goes_on.set()
    assert "two" == answer.json()["by"]
    assert ["GET /livez", 'POST /api/v1/purge {"all":true}'] == two.asked
    assert {"GET /livez"} >= set(one.asked)


async def test_the_next_one_does_it_where_the_first_is_gone(fleet):
    """One living worker is enough to be asked."""
    (one, _), client, _ = fleet
    one.alive = False
    assert "two" == (await client.get("/api/v1/routes")).json()["by"]


async def test_a_reload_is_for_all(fleet):
    """Every worker reads the policy; one that refuses it is heard."""
    (one, two), client, _ = fleet
    assert 200 == (await client.post("/api/v1/reload")).status_code
    two.status = 422
    assert 422 == (await client.post("/api/v1/reload")).status_code
    assert [2, 2] == [len(one.asked), len(two.asked)]


WITHOUT_WORKERS = [
    ("GET", "/"), ("POST", "/api/v1/reload"), ("POST", "/api/v1/purge"), ("GET", "/metrics"), ("GET", "/api/v1/stats"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), WITHOUT_WORKERS)
async def test_without_workers_there_is_an_answer(fleet, method, path):
    """While all of them are being started the operator is told so, and nobody is told what needs a token."""
    workers, client, _ = fleet
    for worker in workers:
        worker.alive = False
    answer = await client.request(method, path)
    assert (503, "no-worker") == (answer.status_code, answer.json()["reason"])


async def test_the_supervisor_is_alive_whatever_its_workers_do(fleet):
    """Liveness is its own: a restart would not help workers that are being restarted already."""
    workers, client, _ = fleet
    for worker in workers:
        worker.alive = False
    assert 200 == (await client.get("/livez")).status_code


async def test_a_body_is_bounded(fleet):
    """What is too large is refused before any worker is asked."""
    (one, _), client, _ = fleet
    assert 413 == (await client.post("/api/v1/purge", content=bytes((1 << 20) + 1))).status_code
    assert [] == one.asked

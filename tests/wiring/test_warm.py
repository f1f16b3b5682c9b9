"""Warming: the policy's own requests, before anybody else's."""

import asyncio
from collections.abc import Callable

import pytest

from cacheproxy.engine.engine import Client
from cacheproxy.engine.reply import Reply
from cacheproxy.policy.load import load_policy
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.head import RequestHead
from cacheproxy.wiring.warm import CONCURRENCY, Warmed, Warmer, request_of


class ScriptedEngine:
    """An ``Engine`` that answers by path, once its gate is open."""

    def __init__(self, *lines: str) -> None:
        """With a policy that warms ``lines``; the gate is open."""
        policy, _ = load_policy(f"version: 1\nwarm: {list(lines)}", "test.yaml", {})
        self.active = type("Active", (), {"policy": policy})()
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked: list[tuple[bytes, Client]] = []
        self.at_once = self.most_at_once = 0

    async def handle(self, request: RequestHead, body: None, client: Client) -> Reply:
        """404 for what is absent, a bug for what is broken, 200 for the rest."""
        self.asked.append((request.target, client))
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            await self.gate.wait()
        finally:
            self.at_once -= 1
        if b"broken" in request.target:
            raise RuntimeError("a bug")
        status = 404 if b"absent" in request.target else 200
        return Reply(status, Fields.of(("x-cache", "MISS")), b"{}")


async def settled(has: Callable[[], bool]) -> None:
    """Let tasks run until that is so."""
    for _ in range(1000):
        if has():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came to be")


@pytest.mark.parametrize(
    ("line", "target", "authority"),
    [
        ("GET /articles", b"/articles", b"localhost"),
        ("GET /articles?skip=20&limit=5", b"/articles?skip=20&limit=5", b"localhost"),
        ("GET api.example.com/a/b", b"/a/b", b"api.example.com"),
        ("GET api.example.com:8443/", b"/", b"api.example.com:8443"),
    ],
)
def test_a_line_is_a_request(line, target, authority):
    """Its host is a part of the key, and is told to the origin."""
    request = request_of(line)
    assert (target, authority, authority) == (request.target, request.authority, request.fields.get(b"host"))


async def test_a_run_says_what_came_of_each():
    """In the policy's order; a failure ends nothing."""
    engine = ScriptedEngine("GET /a", "GET /absent", "GET /broken", "GET /b")
    warmer = Warmer(engine)
    good = [Warmed("GET /a", 200, "MISS"), Warmed("GET /b", 200, "MISS")]
    failed = [Warmed("GET /absent", 404, "MISS"), Warmed("GET /broken")]
    assert [good[0], *failed, good[1]] == await warmer.run()
    assert {"warm": "2 of 4"} == warmer.parts
    report = await warmer.report()
    assert (2, 2) == (report["warmed"], report["failed"])
    assert {client for _, client in engine.asked} == {Client(address="127.0.0.1")}


async def test_readiness_waits_for_the_first_run():
    """And shows how far it has come."""
    engine = ScriptedEngine("GET /a", "GET /b")
    engine.gate.clear()
    warmer = Warmer(engine)
    async with warmer.beginning():
        await settled(lambda: len(engine.asked) == 2)
        assert (True, {"warm": "0 of 2"}) == (warmer.pending, warmer.parts)
        engine.gate.set()
        await settled(lambda: not warmer.pending)
        assert {"warm": "2 of 2"} == warmer.parts


async def test_few_at_a_time():
    """However many are named."""
    engine = ScriptedEngine(*(f"GET /{number}" for number in range(20)))
    engine.gate.clear()
    async with Warmer(engine).beginning():
        await settled(lambda: len(engine.asked) == CONCURRENCY)
        engine.gate.set()
        await settled(lambda: len(engine.asked) == 20)
    assert CONCURRENCY == engine.most_at_once


async def test_what_hangs_is_given_up():
    """So an origin that never answers keeps nobody from being ready."""
    engine = ScriptedEngine(*(f"GET /{number}" for number in range(6)))
    engine.gate.clear()
    warmer = Warmer(engine, budget_s=0.01)
    assert [Warmed(f"GET /{number}") for number in range(6)] == await warmer.run()
    assert (False, {"warm": "0 of 6"}, 0) == (warmer.pending, warmer.parts, engine.at_once)


async def test_leaving_ends_what_is_under_way():
    """A sidecar that is stopped while it warms leaves no request behind."""
    engine = ScriptedEngine("GET /a")
    engine.gate.clear()
    async with Warmer(engine).beginning():
        await settled(lambda: engine.at_once == 1)
    assert 0 == engine.at_once


async def test_nothing_named_is_nothing_to_wait_for():
    """And readiness has no such part."""
    warmer = Warmer(ScriptedEngine())
    assert (False, {}, []) == (warmer.pending, warmer.parts, await warmer.run())

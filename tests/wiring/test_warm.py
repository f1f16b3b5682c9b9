"""Warming: the policy's own requests, before anybody else's."""

import asyncio
import json
from collections.abc import Callable

import pytest

from cacheproxy.engine.engine import Client
from cacheproxy.engine.popular import Popular
from cacheproxy.engine.reply import Reply
from cacheproxy.policy.load import load_policy
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.head import RequestHead
from cacheproxy.wiring import warm
from cacheproxy.wiring.told import Purged
from cacheproxy.wiring.warm import CONCURRENCY, OURSELVES, Warmed, Warmer, request_of


class ScriptedEngine:
    """An ``Engine`` that answers by path, once its gate is open."""

    def __init__(self, *lines: str, most_used: int = 0, after_purge: bool = False) -> None:
        """With a policy that warms ``lines`` and more; the gate is open."""
        warm = {"requests": list(lines), "most_used": most_used, "after_purge": after_purge}
        policy, _ = load_policy(json.dumps({"version": 1, "warm": warm}), "test.yaml", {})
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


class MostUsed:
    """What clients ask for most, as far as the test says."""

    def __init__(self, *lines: str) -> None:
        """Those."""
        self.lines = lines

    async def requests(self) -> list[Popular]:
        """All of them."""
        return [Popular(line=line) for line in self.lines]


class State:
    """What is known of purges, as the test says."""

    def __init__(self, purged: Purged | None = None) -> None:
        """Settled."""
        self.purged = purged or Purged()
        self.settled = True


def warming(engine: ScriptedEngine, *used: str, purged: Purged | None = None, **how: float) -> Warmer:
    """A warmer of what the policy names, and of what is ``used``."""
    return Warmer(engine, MostUsed(*used), State(purged), **how)  # type: ignore[arg-type]


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
    request = request_of(Popular(line=line))
    assert (target, authority, authority) == (request.target, request.authority, request.fields.get(b"host"))


async def test_a_run_says_what_came_of_each():
    """In the policy's order; a failure ends nothing."""
    engine = ScriptedEngine("GET /a", "GET /absent", "GET /broken", "GET /b")
    warmer = warming(engine)
    good = [Warmed("GET /a", 200, "MISS"), Warmed("GET /b", 200, "MISS")]
    failed = [Warmed("GET /absent", 404, "MISS"), Warmed("GET /broken")]
    assert [good[0], *failed, good[1]] == await warmer.run()
    assert {"warm": "2 of 4"} == warmer.parts
    report = await warmer.report()
    assert (2, 2) == (report["warmed"], report["failed"])
    assert [OURSELVES] * len(engine.asked) == [client for _, client in engine.asked]


async def test_readiness_waits_for_the_first_run():
    """And shows how far it has come."""
    engine = ScriptedEngine("GET /a", "GET /b")
    engine.gate.clear()
    warmer = warming(engine)
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
    async with warming(engine).beginning():
        await settled(lambda: len(engine.asked) == CONCURRENCY)
        engine.gate.set()
        await settled(lambda: len(engine.asked) == 20)
    assert CONCURRENCY == engine.most_at_once


async def test_what_hangs_is_given_up():
    """So an origin that never answers keeps nobody from being ready."""
    engine = ScriptedEngine(*(f"GET /{number}" for number in range(6)))
    engine.gate.clear()
    warmer = warming(engine, budget_s=0.01)
    assert [Warmed(f"GET /{number}") for number in range(6)] == await warmer.run()
    assert (False, {"warm": "0 of 6"}, 0) == (warmer.pending, warmer.parts, engine.at_once)


async def test_leaving_ends_what_is_under_way():
    """A sidecar that is stopped while it warms leaves no request behind."""
    engine = ScriptedEngine("GET /a")
    engine.gate.clear()
    async with warming(engine).beginning():
        await settled(lambda: engine.at_once == 1)
    assert 0 == engine.at_once


async def test_nothing_named_is_nothing_to_wait_for():
    """And readiness has no such part."""
    warmer = warming(ScriptedEngine())
    assert (False, {}, []) == (warmer.pending, warmer.parts, await warmer.run())


def test_a_popular_request_is_made_as_clients_make_it():
    """With the scheme and the fields that its answer hangs on."""
    popular = Popular(line="GET a.example/x", scheme="https", fields=(("accept-encoding", "gzip"),))
    request = request_of(popular)
    assert ("https", b"gzip", b"a.example") == (
        request.scheme,
        request.fields.get(b"accept-encoding"),
        request.fields.get(b"host"),
    )


async def test_the_most_used_come_after_what_the_policy_names_and_each_once():
    """Readiness waits for all of them."""
    engine = ScriptedEngine("GET /a", most_used=5)
    warmer = warming(engine, "GET /b", "GET /a", "GET /c")
    assert warmer.pending
    assert ["GET /a", "GET /b", "GET /c"] == [each.request for each in await warmer.run()]
    assert {"warm": "3 of 3"} == warmer.parts


async def test_what_was_purged_is_asked_for_again(monkeypatch):
    """Once for purges that come together, and only where the policy says so."""
    monkeypatch.setattr(warm, "GATHER_S", 0.0)
    monkeypatch.setattr(warm, "REST_S", 0.0)
    monkeypatch.setattr(warm, "GAP_S", 0.0)
    for after_purge in (False, True):
        engine, purged = ScriptedEngine("GET /a", after_purge=after_purge), Purged()
        async with warming(engine, purged=purged).beginning():
            await settled(lambda engine=engine: len(engine.asked) == 1)
            for everything in (False, True, False):
                purged.tell(everything=everything)
            for _ in range(20):
                await asyncio.sleep(0)
        assert (2 if after_purge else 1) == len(engine.asked)


async def test_the_first_run_waits_until_old_gaps_are_dealt_with(monkeypatch):
    """Or what it stored would be purged with all that was there before; but it does not wait for ever."""
    monkeypatch.setattr(warm, "LOOK_AGAIN_S", 0.0)
    engine, state = ScriptedEngine("GET /a"), State()
    state.settled = False
    async with Warmer(engine, MostUsed(), state).beginning():  # type: ignore[arg-type]
        for _ in range(50):
            await asyncio.sleep(0)
        assert [] == engine.asked
        state.settled = True
        await settled(lambda: len(engine.asked) == 1)
    monkeypatch.setattr(warm, "SETTLE_S", 0.0)
    state.settled = False
    async with Warmer(engine, MostUsed(), state).beginning():  # type: ignore[arg-type]
        await settled(lambda: len(engine.asked) == 2)


async def test_what_a_gap_of_before_the_start_purges_is_warmed_again(monkeypatch):
    """Whatever the policy says of purges."""
    monkeypatch.setattr(warm, "GATHER_S", 0.0)
    monkeypatch.setattr(warm, "REST_S", 0.0)
    engine, purged = ScriptedEngine("GET /a"), Purged()
    async with warming(engine, purged=purged).beginning():
        await settled(lambda: len(engine.asked) == 1)
        purged.tell(everything=False)
        for _ in range(20):
            await asyncio.sleep(0)
        assert 1 == len(engine.asked)
        purged.tell(everything=True)
        await settled(lambda: len(engine.asked) == 2)

"""Whoever is cancelled, wherever: nothing leaks, and nobody else is harmed.

Each scenario runs again and again, one turn of the event loop longer each time, until it is over before it is cut. All
that the engine works with suspends at each call, so that every ``await`` of ``cacheproxy.engine`` is met; the last test
holds the scenarios to that.
"""

import ast
import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from enum import Enum
from inspect import CORO_CREATED, getcoroutinestate
from pathlib import Path
from typing import Any

import pytest

import cacheproxy.engine
from cacheproxy.engine.engine import Client
from cacheproxy.engine.gate import Gate
from cacheproxy.engine.tasks import Tasks
from cacheproxy.errors import UpstreamError
from cacheproxy.fills.contract import Waited
from cacheproxy.fills.governor import Governor
from cacheproxy.fills.lease import MemoryLeases
from cacheproxy.limits.contract import Check
from cacheproxy.policy.route import LimitRule
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.head import RequestHead
from cacheproxy.upstream.fake import Answer

ENGINE = Path(cacheproxy.engine.__file__).parent
POLICY = """
version: 1
session: {cookie: sid, identity: {X-User-Id: user_id}}
limits:
  all: {rate: 1000/minute, by: [client_ip]}
  misses: {rate: 1000/minute, by: [client_ip], count: miss}
  alone: {concurrency: 1, by: [client_ip]}
  once: {rate: 1/hour, by: [client_ip], on_limit: stale_else_reject}
routes:
  - name: thing
    match: "GET /thing"
    session: required
    limits: [all, misses]
    cache: {ttl: 60s, key: "thing", tags: [thing], scope: user, max_body: 8B, stale_if_error: 1h}
  - {name: swr, match: "GET /swr", cache: {ttl: 60s, key: "swr", stale_while_revalidate: 1h}}
  - name: coded
    match: "GET /coded"
    cache: {ttl: 60s, key: "coded", encode: {above: 1B}, stale_while_revalidate: 30s, stale_if_error: 1h}
  - name: scarce
    match: "GET /scarce"
    limits: [once]
    cache: {ttl: 60s, key: "scarce", encode: {above: 1B}, stale_while_revalidate: 1h}
  - {name: hot, match: "GET /hot", cache: {ttl: 60s, key: "hot", early_refresh: true}}
  - {name: asked, match: "GET /asked", cache: {ttl: 60s, key: "asked", client_cache_control: honor}}
  - {name: held, match: "GET /held", limits: [alone]}
  - {name: posted, match: "/posted", cache: {ttl: 60s, key: "posted"}}
  - {name: write, match: ["PUT /thing"], limits: [misses], purge: [thing]}
  - {name: one, match: "GET /one/{id}", cache: {ttl: 60s, key: "one:{id}", stale_if_error: 1h}}
  - {name: many, match: "GET /many", limits: [misses], batch: {param: ids, item: "one:{id}"}}
  - {name: page, match: "GET /page/{id}", cache: {ttl: 60s, key: "page:{id}", stale_while_revalidate: 1h}}
  - {name: pages, match: "GET /pages", batch: {param: ids, item: "page:{id}"}}
"""
SID, ETAG, VARY = ("cookie", "sid=s-ann"), ("etag", '"1"'), ("vary", "accept-language")
GERMAN, ENGLISH = ("accept-language", "de"), ("accept-language", "en")
PRIVATE = ("cache-control", "private")
POSTED = (("cache-control", "max-age=60"), ("content-location", "/posted"))
JSON = ("content-type", "application/json")
KEY = "test:tenant-global:{}:v1:~h=example.com"
Site = tuple[str, int, int]


def ok(body: bytes = b"ok", *fields: tuple[str, str], status: int = 200) -> Answer:
    """An answer that is complete at once."""
    return Answer(status=status, fields=Fields.of(*fields), body=body)


def drops(*parts: bytes, fields: tuple[tuple[str, str], ...] = (), status: int = 200) -> Answer:
    """An answer that comes in parts."""
    return Answer(status=status, fields=Fields.of(*fields), parts=parts)


class Cut(Enum):
    """How a scenario ends early."""

    LEAVES = "the client leaves"
    INSISTS = "the client is cancelled again at every turn"
    SHUTDOWN = "fills and writes are cut short"
    DESERTED = "the client leaves as soon as a fill or write runs, which is cut short later"
    KILLED = "fills and writes are cancelled again at every turn"


ENGINES_OWN = frozenset({Cut.SHUTDOWN, Cut.DESERTED, Cut.KILLED})
"""Here what is cut is not the client but what the engine runs."""


@dataclass
class Scenario:
    """A target, what the origin answers there in turn, and what came before the request that is cut."""

    target: str
    answers: list[Any]
    fields: tuple[tuple[str, str], ...] = (SID,)
    method: str = "GET"
    before: tuple[tuple[tuple[str, str], ...], ...] = ()
    """The fields of requests that were answered before."""
    stale: bool = True
    """Whether what they stored is stale by now."""
    stale_s: float = 1
    """For how long."""
    company: tuple[tuple[str, str], ...] | None = None
    """The fields of another request beside it, which is not cut."""
    leads: bool = True
    """Whether it comes before its company."""
    other_replica: Waited | None = None
    """What becomes of another replica's fill of the key."""
    crowded: bool = False
    """Whether another refresh has to end before there is a turn for one."""
    tunnel: bool = False
    """Whether it is a WebSocket's handshake."""
    express: bool = False
    """Whether it is the express lane that asks."""
    at_once: bool = False
    """Whether the request goes to the origin at once."""
    kept_later: bool = False
    """Whether the store takes its time with what came of that."""


GZIP, LONG = ("accept-encoding", "gzip"), ok(b"text " * 100, ("content-type", "text/plain"))
PARTS = [ok(b"01234", ("content-range", "bytes 0-4/8"), ETAG, status=206)]
SCENARIOS = {
    "miss": Scenario("/thing", [ok(b"one")]),
    "miss-at-once": Scenario("/thing", [ok(b"one")], at_once=True),
    "miss-at-once-with-company": Scenario("/thing", [ok(b"one")], company=(SID,), at_once=True),
    "miss-at-once-kept-later": Scenario(
        "/thing", [ok(b"one")], company=(SID,), at_once=True, kept_later=True
    ),
    "stream-at-once": Scenario("/thing", [drops(b"o", b"n", b"e")], at_once=True),
    "forward-at-once": Scenario("/plain", [ok(b"one")], at_once=True),
    "miss-with-company": Scenario("/thing", [ok(b"one")], company=(SID,)),
    "stream": Scenario("/thing", [drops(b"o", b"n", b"e")]),
    "stream-with-company": Scenario("/thing", [drops(b"o", b"n", b"e")], company=(SID,)),
    "miss-in-company": Scenario("/thing", [ok(b"one")], company=(SID,), leads=False),
    "too-large-at-once": Scenario("/thing", [ok(b"1234567890")]),
    "too-large": Scenario("/thing", [drops(b"12345", b"67890", b"end")]),
    "private": Scenario("/thing", [drops(b"o", b"n", b"e", fields=(PRIVATE,))]),
    "private-with-company": Scenario("/thing", [drops(b"o", fields=(PRIVATE,))], company=(SID,)),
    "other-variant": Scenario(
        "/thing", [ok(b"one", VARY), ok(b"two", VARY)], fields=(SID, GERMAN), company=(SID, ENGLISH)
    ),
    "revalidate": Scenario("/thing", [ok(b"one", ETAG), drops(status=304)], before=((SID,),)),
    "revalidate-variants": Scenario(
        "/thing",
        [ok(b"a", ETAG, VARY), ok(b"b", ETAG, VARY), ok(b"", ETAG, status=304)],
        fields=(SID, GERMAN),
        before=((SID, GERMAN), (SID, ENGLISH)),
    ),
    "confirms-nothing": Scenario(
        "/thing",
        [ok(b"a", ETAG, VARY), ok(b"b", ETAG, VARY), ok(b"", ("etag", '"3"'), status=304), ok(b"c")],
        fields=(SID, GERMAN),
        before=((SID, GERMAN), (SID, ENGLISH)),
    ),
    "turned-private": Scenario("/thing", [ok(b"one", ETAG), ok(b"", PRIVATE, status=304)], before=((SID,),)),
    "stand-in": Scenario("/thing", [ok(b"one"), drops(b"down", status=503)], before=((SID,),)),
    "head-agrees": Scenario("/thing", [ok(b"one", ETAG), ok(b"", ETAG)], method="HEAD", before=((SID,),)),
    "head-differs": Scenario("/thing", [ok(b"one"), ok(b"", ETAG)], method="HEAD", before=((SID,),)),
    "range": Scenario("/thing", [drops(b"01", fields=(("content-range", "bytes 0-1/5"), ETAG), status=206)],
        fields=(SID, ("range", "bytes=0-1"))),
    "rest": Scenario(
        "/thing",
        [*PARTS, ok(b"567", ("content-range", "bytes 5-7/8"), ("etag", '"2"'), status=206), ok(b"whole")],
        before=((SID, ("range", "bytes=0-4")),),
        stale=False,
    ),
    "rest-of-another-length": Scenario(
        "/thing",
        [*PARTS, drops(b"", fields=(("content-range", "bytes */3"),), status=416), ok(b"whole")],
        before=((SID, ("range", "bytes=0-4")),),
        stale=False,
    ),
    "whole-of-parts": Scenario(
        "/thing",
        [ok(b"0123", ("content-range", "bytes 0-3/6"), ETAG, status=206),
         ok(b"45", ("content-range", "bytes 4-5/6"), ETAG, status=206)],
        before=((SID, ("range", "bytes=0-3")),),
        stale=False,
    ),
    "part-unasked": Scenario("/thing", PARTS),
    "odd-tags": Scenario("/thing", [drops(b"one", fields=(("cache-tag", "@"),))]),
    "personalised": Scenario("/swr", [drops(b"s-ann-the-first")], fields=(("cookie", "sid=s-ann-the-first"),)),
    "private-in-public": Scenario("/swr", [drops(b"o", fields=(PRIVATE,)), drops(b"mine", fields=(PRIVATE,))]),
    "refresh-by-head": Scenario("/swr", [ok(b"old"), drops(b"")], method="HEAD", before=((),)),
    "refresh": Scenario("/swr", [ok(b"old"), drops(b"n", b"ew")], before=((),)),
    "filled-by-another": Scenario("/swr", [ok(b"one")], other_replica=Waited.FILLED),
    "given-up-by-another": Scenario("/swr", [ok(b"one")], other_replica=Waited.GAVE_UP),
    "lost-by-another": Scenario("/swr", [ok(b"one")], other_replica=Waited.LOST),
    "refresh-in-its-turn": Scenario("/swr", [ok(b"old"), ok(b"new")], before=((),), crowded=True),
    "early-refresh": Scenario(
        "/hot", [ok(b"old", VARY), ok(b"new", VARY)], fields=(GERMAN,), before=((GERMAN,), (ENGLISH,)), stale=False
    ),
    "alone": Scenario(
        "/thing", [drops(b"o", fields=(PRIVATE,)), drops(b"o", b"n", fields=(PRIVATE,))], before=((SID,),), stale=False
    ),
    "alone-and-kept": Scenario(
        "/thing", [drops(b"o", fields=(PRIVATE,)), drops(b"o", b"n")], before=((SID,),), stale=False
    ),
    "alone-and-304-unasked": Scenario(
        "/thing", [drops(b"o", fields=(PRIVATE,)), drops(status=304)], before=((SID,),), stale=False
    ),
    "304-unasked": Scenario("/thing", [drops(status=304)]),
    "tunnel": Scenario("/thing", [], tunnel=True),
    "express": Scenario("/thing", [], express=True),
    "coded-miss": Scenario("/coded", [LONG], fields=(GZIP,)),
    "coded-hit": Scenario("/coded", [LONG], fields=(GZIP,), before=((GZIP,),), stale=False),
    "coded-stale": Scenario("/coded", [LONG, LONG], fields=(GZIP,), before=((GZIP,),)),
    "coded-stand-in": Scenario(
        "/coded", [LONG, drops(b"down", status=503)], fields=(GZIP,), before=((GZIP,),), stale_s=100
    ),
    "coded-over-a-limit": Scenario("/scarce", [LONG], fields=(GZIP,), before=((GZIP,),), stale=False),
    "forward": Scenario("/plain", [drops(b"o", b"ne")]),
    "one-at-a-time": Scenario("/held", [drops(b"o", b"ne")]),
    "no-store": Scenario("/asked", [drops(b"o", b"ne")], fields=(("cache-control", "no-store"),)),
    "post": Scenario("/posted", [drops(b"now", fields=POSTED)], fields=(), method="POST"),
    "post-at-once": Scenario("/posted", [ok(b"now", *POSTED)], fields=(), method="POST"),
    "write": Scenario("/thing", [drops(b"put")], method="PUT"),
    "batch": Scenario("/many?ids=1,2", [ok(b'[{"id":1},{"id":2}]', JSON)], fields=()),
    "batch-in-parts": Scenario("/many?ids=1,2", [drops(b'[{"id":1},', b'{"id":2}]', fields=(JSON,))], fields=()),
    "batch-with-company": Scenario("/many?ids=1,2", [ok(b'[{"id":1},{"id":2}]', JSON)], fields=(), company=()),
    "batch-in-company": Scenario(
        "/many?ids=1,2", [ok(b'[{"id":1},{"id":2}]', JSON)], fields=(), company=(), leads=False
    ),
    "batch-no-array": Scenario("/many?ids=1,2", [drops(b"{}", fields=(JSON,))], fields=()),
    "batch-in-full": Scenario(
        "/many?ids=1,2", [ok(b'[{"id":1}]', JSON), ok(b"whole")], fields=(), before=((),), stale=False
    ),
    "batch-precondition": Scenario("/many?ids=1,2", [drops(b"o", b"ne")], fields=(("if-match", '"1"'),)),
    "batch-stand-in": Scenario(
        "/many?ids=1,2", [ok(b'[{"id":1},{"id":2}]', JSON), drops(b"down", status=503)], fields=(), before=((),)
    ),
    "batch-stand-in-for-nothing": Scenario(
        "/many?ids=1,2",
        [ok(b'[{"id":1},{"id":2}]', JSON), UpstreamError(502, "connect-refused", sent=False)],
        fields=(),
        before=((),),
    ),
    "batch-refresh": Scenario(
        "/pages?ids=1,2", [ok(b'[{"id":1},{"id":2}]', JSON), drops(b"[]", fields=(JSON,))], fields=(), before=((),)
    ),
    "batch-refresh-in-its-turn": Scenario(
        "/pages?ids=1,2", [ok(b'[{"id":1},{"id":2}]', JSON)], fields=(), before=((),), crowded=True
    ),
}  # fmt: skip


async def one_turn(_: str) -> None:
    """Suspend, so that whoever called can be cancelled here."""
    await asyncio.sleep(0)


async def unless_release(name: str) -> None:
    """Suspend before a call, unless it would never be made then: a lease not given back ends by its age."""
    if name != "release":
        await asyncio.sleep(0)


async def unless_acquire(name: str) -> None:
    """Suspend after a call, unless what it gave would be lost then: so is a lease, which ends by its age."""
    if name != "acquire":
        await asyncio.sleep(0)


def taking_a_second(house: Any) -> Callable[[str], Awaitable[None]]:
    """What takes no time to fetch need not be refreshed early."""

    async def pause(step: str) -> None:
        if step == "send":
            house.clock.pass_s(1)

    return pause


async def prepare(assemble: Callable[..., Any], scenario: Scenario, until: AsyncExitStack) -> Any:
    """A house in which ``scenario`` can begin, and all that it works with suspends; some of it held ``until`` then."""
    governor = Governor(at_once=1)
    house = assemble(POLICY, governor=governor, draw=lambda: 1 - 1e-15)
    if not scenario.at_once:
        house.leases.inner = MemoryLeases(house.purger.begin, 30.0)
    house.origin.script(scenario.target, *scenario.answers)
    house.origin.pause = taking_a_second(house)
    for fields in scenario.before:
        await house.ask(scenario.target, *fields)
    house.clock.pass_s(60 + scenario.stale_s if scenario.stale else 40)
    house.origin.pause = one_turn
    house.origin.at_once = scenario.at_once
    for part in (house.store, house.leases, house.purger, house.limiter, house.sessions, house.forms):
        part.before, part.after = unless_release, unless_acquire
    # Nothing is found at hand: all is read.
    house.store.peek = lambda *_: None
    house.store.local = False
    if scenario.kept_later:
        house.store.write_now = lambda _: False
    if scenario.crowded:
        await until.enter_async_context(governor.turn(0))
    if scenario.other_replica is not None:
        # As another replica would hold it.
        held = await house.leases.inner.acquire(KEY.format(scenario.target[1:]))
        until.push_async_callback(house.leases.inner.release, held, scenario.other_replica)
    return house


async def cut_at(assemble: Callable[..., Any], scenario: Scenario, how: Cut, turns: int) -> set[Site] | None:
    """Where the engine was when ``scenario`` was cut after ``turns``; None if it was over by then."""
    until = AsyncExitStack()
    house = await prepare(assemble, scenario, until)
    client, company = begin(house, scenario)
    for turn in range(turns):
        if turn == 12:
            await until.aclose()
        if how is Cut.DESERTED and running(house):
            client.cancel()
        await asyncio.sleep(0)
    if client.done() and not running(house):
        await asyncio.gather(*house.asked, return_exceptions=True)
        return None
    cut_tasks = await cut(house, client, how)
    await until.aclose()
    await house.quiet()
    sites = {site for task in cut_tasks for site in sites_of(task)}
    await check(house, scenario, how, company)
    return sites


async def shake_hands(house: Any, scenario: Scenario) -> None:
    """Ask for a WebSocket, which is admitted and then not opened."""
    head = RequestHead(method="GET", target=scenario.target.encode(), fields=Fields.of(*scenario.fields))
    with ExitStack() as until:
        admitted = await house.engine.admit_tunnel(head, Client(address="192.0.2.1"), until)
        assert isinstance(admitted, RequestHead)


async def pass_gate(house: Any) -> None:
    """Ask for the express lane whether one more request is within a limit."""
    gate = Gate(house.sessions, house.engine._admission, 1.0)
    await gate.ask((Check(LimitRule(name="each", limit=5, period_s=60.0), "somebody"),))


def asked_by(house: Any, scenario: Scenario) -> Coroutine[Any, Any, Any]:
    """What the client has begun."""
    if scenario.express:
        return pass_gate(house)
    if scenario.tunnel:
        return shake_hands(house, scenario)
    return house.ask(scenario.target, *scenario.fields, method=scenario.method)


def begin(house: Any, scenario: Scenario) -> tuple["asyncio.Task[Any]", "asyncio.Task[Any] | None"]:
    """The client that is cut, and its company."""
    company = None
    if scenario.company is not None and not scenario.leads:
        company = house.asking(scenario.target, *scenario.company, method=scenario.method)
    client = asyncio.create_task(asked_by(house, scenario))
    house.asked.append(client)
    if scenario.company is not None and scenario.leads:
        company = house.asking(scenario.target, *scenario.company, method=scenario.method)
    return client, company


def running(house: Any) -> list["asyncio.Task[Any]"]:
    """The tasks that the engine owns."""
    return [*house.flights._tasks, *house.tasks._running]


async def cut(house: Any, client: "asyncio.Task[Any]", how: Cut) -> list["asyncio.Task[Any]"]:
    """End ``client``, or what the engine runs; the tasks that were ended."""
    if how in ENGINES_OWN:
        # A drain lets things go on for a while before it cuts: whatever it cuts has begun.
        while any(getcoroutinestate(task.get_coro()) == CORO_CREATED for task in running(house)):
            await one_turn("")
        ended = running(house)
        for task in ended:
            task.cancel()
        while how is Cut.KILLED and running(house):
            await one_turn("")
            for task in running(house):
                task.cancel()
        await house.flights.drain(0)
        await house.tasks.drain(0)
        return ended
    client.cancel()
    while how is Cut.INSISTS and not client.done():
        await one_turn("")
        client.cancel()
    return [client]


async def check(house: Any, scenario: Scenario, how: Cut, company: "asyncio.Task[Any] | None") -> None:
    """Nothing is held, others were answered, and the next client is served."""
    await asyncio.gather(*house.asked, return_exceptions=True)
    assert {} == house.leaks()
    leases = {} if scenario.at_once else house.leases.inner._leases
    if how is not Cut.KILLED:
        assert {} == leases
    leases.clear()
    if company is not None and how not in ENGINES_OWN:
        assert company.result().status == 200
    house.origin.script(scenario.target, ok(b"after"))
    answer = await house.ask(scenario.target, *scenario.fields, method=scenario.method)
    assert answer.status in {200, 206}
    await house.quiet()
    assert {} == house.leaks()


def sites_of(task: "asyncio.Task[Any]") -> Iterator[Site]:
    """The awaits of the engine through which a cancellation went, by file, line and column."""
    error: BaseException | None = None
    try:
        error = task.exception()
    except (asyncio.CancelledError, asyncio.InvalidStateError) as raised:
        error = raised
    while error is not None:
        yield from _sites(error)
        error = error.__context__


def _sites(error: BaseException) -> Iterator[Site]:
    traceback = error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if Path(code.co_filename).parent == ENGINE:
            line, _, column, _ = list(code.co_positions())[traceback.tb_lasti // 2]
            yield Path(code.co_filename).name, line or 0, column or 0
        traceback = traceback.tb_next


async def cut_everywhere(assemble: Callable[..., Any], scenario: Scenario, how: Cut) -> set[Site]:
    """Cut ``scenario`` at every turn; where the engine was each time."""
    met: set[Site] = set()
    for turns in range(1000):
        sites = await cut_at(assemble, scenario, how, turns)
        if sites is None:
            return met
        met |= sites
    raise AssertionError("the scenario does not end")


@pytest.mark.parametrize("how", Cut, ids=lambda how: how.name.lower())
@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS.keys())
async def test_cut_anywhere_nothing_leaks(assemble, scenario: Scenario, how: Cut) -> None:
    """Bodies are let go, fills and leases end, company is answered, and the next client is served."""
    assert await cut_everywhere(assemble, scenario, how) or how in ENGINES_OWN


def awaits_of(file: Path) -> Iterator[list[Site]]:
    """Every suspension point in ``file``: where it may be said to be. Python 3.13 has an ``async with`` at its item."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Await | ast.AsyncFor | ast.AsyncWith):
            items = [item.context_expr for item in node.items] if isinstance(node, ast.AsyncWith) else []
            yield [(file.name, place.lineno, place.col_offset) for place in (node, *items)]


async def cut_draining(turns: int, work: Coroutine[Any, Any, object]) -> set[Site]:
    """Where a drain was when it was cut after ``turns``."""
    tasks = Tasks()
    running = tasks.start(work)
    draining = asyncio.create_task(tasks.drain(0 if turns > 1 else 60))
    for _ in range(turns):
        await one_turn("")
    draining.cancel()
    await asyncio.wait([draining])
    running.cancel()
    await asyncio.wait([running])
    return set(sites_of(draining))


async def deaf() -> None:
    """Take a while to end, though cancelled."""
    try:
        await asyncio.Event().wait()
    finally:
        for _ in range(9):
            await one_turn("")


async def test_a_drain_may_be_cut_too() -> None:
    """While it lets work end, and while it waits for what it cancelled."""
    assert 2 == len(await cut_draining(1, deaf()) | await cut_draining(6, deaf()))


async def test_every_await_was_cut(assemble) -> None:
    """No ``await`` of the engine is left untried."""
    met = await cut_draining(1, deaf()) | await cut_draining(6, deaf())
    for scenario in SCENARIOS.values():
        for how in Cut:
            met |= await cut_everywhere(assemble, scenario, how)
    assert [] == [sites for file in ENGINE.glob("*.py") for sites in awaits_of(file) if met.isdisjoint(sites)]

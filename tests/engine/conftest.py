"""An engine as ``wiring`` assembles it, over real memory stores, a scripted origin and a clock that only tests move."""

import asyncio
import random
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import lru_cache
from inspect import iscoroutinefunction
from typing import Any

import pytest

from cacheproxy.engine.active import Active
from cacheproxy.engine.admission import Admission
from cacheproxy.engine.batch import Batches
from cacheproxy.engine.batch_fetch import BatchCarrier
from cacheproxy.engine.carry import Carrier
from cacheproxy.engine.degrade import Degrade
from cacheproxy.engine.engine import Client, Engine
from cacheproxy.engine.fill import Filler
from cacheproxy.engine.forward import Forwarder
from cacheproxy.engine.identify import Identifier
from cacheproxy.engine.meanwhile import Meanwhile
from cacheproxy.engine.origin_side import OriginSide
from cacheproxy.engine.permit import Permits
from cacheproxy.engine.popular import Counters
from cacheproxy.engine.posted import Posted
from cacheproxy.engine.record import AccessLog, Journal
from cacheproxy.engine.recorder import Event, NullRecorder
from cacheproxy.engine.replies import Replies
from cacheproxy.engine.reply import Reply
from cacheproxy.engine.tasks import Tasks
from cacheproxy.errors import StateError
from cacheproxy.fills.flight import Flights
from cacheproxy.fills.governor import Governor
from cacheproxy.fills.hit_for_miss import HitForMiss
from cacheproxy.fills.lease import NoLeases
from cacheproxy.invalidation.contract import Purge, PurgeMode
from cacheproxy.invalidation.local import LocalPurger
from cacheproxy.limits.memory import MemoryLimiter
from cacheproxy.policy.load import load_policy
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.head import RequestHead, ResponseHead
from cacheproxy.sessions.contract import Session
from cacheproxy.storage.forms import Forms
from cacheproxy.storage.memory import MemoryStore
from cacheproxy.upstream.bodies import BytesBody
from cacheproxy.upstream.contract import ResponseBody
from cacheproxy.upstream.fake import Answer, ScriptedOrigin

from ..clocks import FakeClock  # noqa: TID252 - of all tests, whatever their root is called

POLICY = """
version: 1
session: {cookie: sid, key: "session:{id}", identity: {X-User-Id: user_id}}
limits:
  each: {rate: 2/minute, by: [client_ip]}
  misses: {rate: 1/minute, by: [client_ip], count: miss}
routes:
  - {name: item, match: "GET /items/{id}", cache: {ttl: 60s, key: "items:{id}", tags: [items, "item:{id}"]}}
  - name: item-write
    match: ["POST /items/{id}", "PUT /items/{id}", "DELETE /items/{id}"]
    purge: [items, "item:{id}"]
  - {name: swr, match: "GET /swr/{id}", cache: {ttl: 60s, key: "swr:{id}", stale_while_revalidate: 30s}}
  - {name: hot, match: "GET /hot/{id}", cache: {ttl: 60s, key: "hot:{id}", early_refresh: true}}
  - {name: sie, match: "GET /sie/{id}", cache: {ttl: 60s, key: "sie:{id}", stale_if_error: 5m}}
  - {name: mine, match: "GET /mine/{id}", session: required, cache: {ttl: 60s, key: "mine:{id}", scope: user}}
  - {name: asked, match: "GET /asked/{id}", cache: {ttl: 60s, key: "asked:{id}", client_cache_control: honor}}
  - {name: small, match: "GET /small/{id}", cache: {ttl: 60s, key: "small:{id}", max_body: 8B}}
  - {name: each, match: "GET /each/{id}", limits: [each], cache: {ttl: 60s, key: "each:{id}"}}
  - {name: misses, match: "GET /misses/{id}", limits: [each, misses], cache: {ttl: 60s, key: "misses:{id}"}}
  - {name: origin, match: "GET /origin/{id}", cache: {ttl: origin, key: "origin:{id}"}}
  - {name: any, match: "/any/{id}", cache: {ttl: 60s, key: "any:{id}"}}
  - {name: plain, match: "/plain/{rest:path}"}
"""


class Notes(NullRecorder):
    """Keeps what the engine tells."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.requests: list[dict[str, Any]] = []
        self.events: Counter[tuple[str, ...]] = Counter()

    def request(self, **said: Any) -> None:
        """Keep one request."""
        self.requests.append(said)

    def tally(self, **said: Any) -> "Like":
        """Keep those that are like one."""
        return Like(self, said)

    def event(self, event: Event, *labels: str, n: int = 1) -> None:
        """Count one event."""
        self.events[(event.value, *map(str, labels))] += n


class Like:
    """Requests that are like one of which ``said`` was told."""

    def __init__(self, notes: Notes, said: dict[str, Any]) -> None:
        """To be kept in ``notes``."""
        self._notes, self._said = notes, said

    def add(self, seconds: float) -> None:
        """Keep one of them."""
        self._notes.request(**self._said, seconds=seconds)


class FakeSessions:
    """Sessions that a test wrote."""

    def __init__(self) -> None:
        """One user each behind s-ann and s-bob; s-none has no user."""
        self.known: dict[str, dict[str, object]] = {
            "s-ann": {"user_id": "ann", "org_id": "red"},
            "s-bob": {"user_id": "bob", "org_id": "blue"},
            "s-none": {},
        }
        self.at_hand: dict[str, Session] = {}

    def peek(self, session_id: str) -> Session | None:
        """The session, if a test put it at hand."""
        return self.at_hand.get(session_id)

    async def load(self, session_id: str, budget: object = None) -> Session | None:
        """The session, if it is known."""
        fields = self.known.get(session_id)
        return None if fields is None else Session(session_id, fields)


class Shaky:
    """Any collaborator, whose calls fail where ``fails`` names them, and meet ``before`` and ``after`` each time."""

    def __init__(self, inner: Any) -> None:
        """Pass everything on to ``inner``."""
        self.inner = inner
        self.fails: set[str] = set()
        self.calls: Counter[str] = Counter()
        self.before: Callable[[str], Awaitable[None]] = _at_once
        self.after: Callable[[str], Awaitable[None]] = _at_once

    def __getattr__(self, name: str) -> Any:
        """``inner``'s attribute; its asynchronous methods wrapped."""
        method = getattr(self.inner, name)
        if not iscoroutinefunction(method):
            return method

        async def call(*args: Any, **kwargs: Any) -> Any:
            self.calls[name] += 1
            await self.before(name)
            if name in self.fails:
                raise StateError("refused", f"{name} is told to fail")
            result = await method(*args, **kwargs)
            await self.after(name)
            return result

        return call


async def _at_once(name: str) -> None:
    return


class Tracked:
    """A body from the origin, and whether whoever had it let go of it; ``pause`` is met before each step."""

    def __init__(self, inner: ResponseBody, pause: Callable[[str], Awaitable[None]]) -> None:
        """Pass ``inner`` on."""
        self._inner = inner
        self._pause = pause
        self.let_go = inner.complete is not None
        self.length = inner.length
        self.trailers = Fields()

    @property
    def complete(self) -> bytes | None:
        """What is here already."""
        return self._inner.complete

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The chunks."""
        async for chunk in self._inner:
            await self._pause("chunk")
            yield chunk
        await self._pause("end")

    async def aclose(self) -> None:
        """Note it."""
        self.let_go = True
        await self._pause("aclose")
        await self._inner.aclose()


class Origin(ScriptedOrigin):
    """A scripted origin that knows which of its bodies are still held."""

    def __init__(self) -> None:
        """Answer nothing yet."""
        super().__init__()
        self.bodies: list[Tracked] = []
        self.pause: Callable[[str], Awaitable[None]] = _at_once

    async def send(self, *args: Any, **kwargs: Any) -> tuple[ResponseHead, ResponseBody]:
        """The next answer."""
        await self.pause("send")
        head, body = await super().send(*args, **kwargs)
        self.bodies.append(Tracked(body, self.pause))
        return head, self.bodies[-1]

    @property
    def held(self) -> int:
        """How many bodies nobody let go of."""
        return sum(not body.let_go for body in self.bodies)


class Drip:
    """A body whose chunks come when a test says so."""

    def __init__(self, length: int | None = None) -> None:
        """Nothing has come."""
        self._queue: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()
        self.complete = None
        self.length = length
        self.trailers = Fields()
        self.closed = False

    def drop(self, *chunks: bytes | Exception | None) -> None:
        """Let ``chunks`` come; None is the end, an exception breaks off."""
        for chunk in chunks:
            self._queue.put_nowait(chunk)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The chunks as they come."""
        while (chunk := await self._queue.get()) is not None:
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk

    async def aclose(self) -> None:
        """Note it."""
        self.closed = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Dripping(Answer):
    """An answer whose body is a Drip."""

    drip: Drip

    def content(self) -> ResponseBody:
        """The drip."""
        return self.drip


@dataclass
class Answered:
    """A reply whose body was read to its end."""

    status: int
    fields: Fields
    body: bytes

    def __getitem__(self, name: str) -> str | None:
        """All lines of a field, or None."""
        value = self.fields.combined(name.encode())
        return None if value is None else value.decode()


@dataclass
class House:
    """An engine and all around it."""

    engine: Engine
    origin: Origin
    store: Shaky
    leases: Shaky
    purger: Shaky
    limiter: Shaky
    sessions: Shaky
    forms: Shaky
    flights: "Flights[Any]"
    tasks: Tasks
    hit_for_miss: HitForMiss
    notes: Notes
    counters: Counters
    clock: FakeClock
    asked: list["asyncio.Task[Answered]"] = field(default_factory=list)

    async def handle(
        self, target: str, *fields: tuple[str, str], method: str = "GET", body: bytes | None = None, **how: Any
    ) -> Reply:
        """The engine's reply as it is."""
        head = RequestHead(method=method, target=target.encode(), fields=Fields.of(*fields), authority=b"example.com")
        client = Client(
            address=how.get("address", "192.0.2.1"), trusted=how.get("trusted", False), ours=how.get("ours", False)
        )
        content = how.get("content") or (None if body is None else BytesBody(body))
        return await self.engine.handle(head, content, client, how.get("on_interim"))

    async def ask(self, target: str, *fields: tuple[str, str], **how: Any) -> Answered:
        """The reply, read to its end as the edge would."""
        reply = await self.handle(target, *fields, **how)
        if isinstance(reply.body, bytes):
            return Answered(reply.status, reply.fields, reply.body)
        try:
            body = b"".join([chunk async for chunk in reply.body])
        finally:
            await reply.body.aclose()
        return Answered(reply.status, reply.fields, body)

    def asking(self, target: str, *fields: tuple[str, str], **how: Any) -> "asyncio.Task[Answered]":
        """A client of its own."""
        task = asyncio.get_running_loop().create_task(self.ask(target, *fields, **how))
        self.asked.append(task)
        return task

    async def purge(self, *tags: str, soft: bool = False) -> None:
        """Purge, and come back once that is acknowledged."""
        await self.purger.inner.purge(Purge(tags=tags, mode=PurgeMode.SOFT if soft else PurgeMode.HARD))

    async def quiet(self) -> None:
        """Come back when nothing can run until a test does something."""
        loop = asyncio.get_running_loop()
        ready: deque[object] = loop._ready  # type: ignore[attr-defined]
        while True:
            await asyncio.sleep(0)
            if not ready:
                return

    def leaks(self) -> dict[str, int]:
        """What is still held though nobody is there to want it."""
        mine = {asyncio.current_task(), *self.asked}
        tasks = [task for task in asyncio.all_tasks() if task not in mine]
        held = {"bodies": self.origin.held, "flights": len(self.flights), "tasks": len(tasks)}
        return {name: count for name, count in held.items() if count}


def _assemble(policy: str, *, origin: Origin, store: MemoryStore, clock: FakeClock, **parts: Any) -> House:
    """As ``wiring.application.assemble``, with each collaborator in a Shaky."""
    notes = parts.get("notes") or Notes()
    inner_purger = parts.get("purger") or LocalPurger(store, "r1", 86_400.0, clock)
    shaky_store, purger = Shaky(store), Shaky(inner_purger)
    leases = Shaky(parts.get("leases") or NoLeases(purger.begin, getattr(inner_purger, "stamp", lambda: None)))
    limiter, sessions = Shaky(MemoryLimiter(clock)), Shaky(FakeSessions())
    governor = parts.get("governor") or Governor()
    degrade, hit_for_miss, flights, tasks = Degrade(notes), HitForMiss(clock), Flights[Any](), Tasks()
    side = OriginSide(origin, notes, clock)
    carrier = Carrier(
        origin=side, store=shaky_store, hit_for_miss=hit_for_miss, degrade=degrade, recorder=notes, clock=clock
    )
    shelf = parts.get("shelf", store)
    meanwhile = Meanwhile(shaky_store, shelf, degrade, clock)
    permits = Permits(
        leases=leases,
        purger=purger,
        meanwhile=meanwhile,
        hit_for_miss=hit_for_miss,
        degrade=degrade,
        recorder=notes,
        clock=clock,
    )
    filler = Filler(
        carrier=carrier,
        permits=permits,
        meanwhile=meanwhile,
        flights=flights,
        governor=governor,
        draw=parts.get("draw", random.random),
        hit_for_miss=hit_for_miss,
        recorder=notes,
        clock=clock,
    )
    counters = Counters()
    journal = Journal(notes, clock, parts.get("log", AccessLog.OFF), counters)
    forms = Shaky(Forms(store))
    admission = Admission(limiter, degrade, notes)
    forwarder = Forwarder(side, purger, Posted(carrier, purger, degrade, tasks, clock), tasks, notes)
    batches = Batches(
        carrier=BatchCarrier(
            origin=side, store=shaky_store, purger=purger, degrade=degrade, recorder=notes, clock=clock
        ),
        store=shaky_store,
        admission=admission,
        forwarder=forwarder,
        flights=flights,
        governor=governor,
        degrade=degrade,
        recorder=notes,
        clock=clock,
    )
    engine = Engine(
        active=_active(policy),
        store=shaky_store,
        replies=Replies(forms, shelf, journal, clock),
        identifier=Identifier(sessions, degrade),
        admission=admission,
        filler=filler,
        forwarder=forwarder,
        batches=batches,
        degrade=degrade,
        journal=journal,
        clock=clock,
        prefix="test",
        budget_s=0.05,
    )
    return House(
        engine,
        origin,
        shaky_store,
        leases,
        purger,
        limiter,
        sessions,
        forms,
        flights,
        tasks,
        hit_for_miss,
        notes,
        counters,
        clock,
    )


@lru_cache
def _active(policy: str) -> Active:
    return Active(*load_policy(policy, "test.yaml", {}))


@pytest.fixture
def clock() -> FakeClock:
    """A clock of the test's own."""
    return FakeClock()


@pytest.fixture(scope="session")
def assemble() -> Callable[..., House]:
    """``assemble(policy, ...)``: a house that the test looks after itself."""

    def make(policy: str = POLICY, **parts: Any) -> House:
        clock = parts.pop("clock", None) or FakeClock()
        parts = {"store": MemoryStore(1 << 20, clock=clock), "origin": Origin(), **parts}
        return _assemble(policy, clock=clock, **parts)

    return make


@pytest.fixture
async def build(clock: FakeClock) -> AsyncIterator[Callable[..., House]]:
    """``build(policy, ...)``: a house of its own; all that it started must have ended when the test does."""
    houses: list[House] = []

    def make(policy: str = POLICY, **parts: Any) -> House:
        parts = {"store": MemoryStore(1 << 20, clock=clock), "origin": Origin(), **parts}
        houses.append(_assemble(policy, clock=clock, **parts))
        return houses[-1]

    yield make
    for house in houses:
        house.origin.release()
        await house.quiet()
        assert house.leaks() == {}


@pytest.fixture
def house(build: Callable[..., House]) -> House:
    """An engine with the sample policy."""
    return build()


@pytest.fixture
def dripping() -> Callable[..., tuple[Drip, Dripping]]:
    """``dripping(*fields)``: a body that comes when told, and the answer that it belongs to."""

    def make(*fields: tuple[str, str], status: int = 200, length: int | None = None) -> tuple[Drip, Dripping]:
        drip = Drip(length)
        return drip, Dripping(status=status, fields=Fields.of(*fields), drip=drip)

    return make

"""For any order of things: nothing from before a purge is served after it, and nobody gets another's response."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from cacheproxy.errors import UpstreamError
from cacheproxy.fills.lease import MemoryLeases
from cacheproxy.invalidation.local import LocalPurger
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.head import RequestHead, ResponseHead
from cacheproxy.storage.memory import MemoryStore
from cacheproxy.upstream.bodies import BytesBody, PartsBody

POLICY = """
version: 1
session: {cookie: sid, identity: {X-User-Id: user_id}}
routes:
  - {name: all, match: "GET /all/{id}", cache: {ttl: 60s, key: "all:{id}", tags: ["all:{id}"], stale_if_error: 1h}}
  - name: own
    match: "GET /own/{id}"
    session: required
    cache: {ttl: 60s, key: "own:{id}", tags: ["own:{id}"], scope: user}
  - {name: lang, match: "GET /lang/{id}", cache: {ttl: 60s, key: "lang:{id}", tags: ["lang:{id}"]}}
  - {name: write, match: ["PUT /all/{id}", "PUT /own/{id}", "PUT /lang/{id}"]}
"""
KINDS = ("all", "own", "lang")
PERSONS = ("ann", "bob")


@dataclass
class Held:
    """A request that the origin has not answered yet, and what it knew when that came."""

    head: RequestHead
    version: int
    answer: "asyncio.Future[tuple[str, bool, bool]]"


class Ledger:
    """An origin whose things have versions, and which answers when and how it is told."""

    def __init__(self) -> None:
        """All things are in version 0."""
        self.versions: Counter[str] = Counter()
        self.held: list[Held] = []

    async def send(self, request: RequestHead, *_: object) -> tuple[ResponseHead, Any]:
        """The thing, in the version in which the request met it or in that of the answer."""
        thing = request.target.decode()
        held = Held(request, self.versions[thing], asyncio.get_running_loop().create_future())
        self.held.append(held)
        how, as_met, in_parts = await held.answer
        if how == "fails":
            raise UpstreamError(502, "closed-early", sent=True)
        if request.method == "PUT":
            self.versions[thing] += 1
        version = held.version if as_met and request.method == "GET" else self.versions[thing]
        return self._said(request, version, how, in_parts=in_parts)

    def begin(self, *_: object) -> None:
        """Never at once."""

    def _said(self, request: RequestHead, version: int, how: str, *, in_parts: bool) -> tuple[ResponseHead, Any]:
        user = (request.fields.get(b"x-user-id") or b"-").decode()
        language = (request.fields.get(b"accept-language") or b"-").decode()
        etag = f'"{version}-{user}-{language}"'
        fields = [("etag", etag)]
        if b"/lang/" in request.target:
            fields.append(("vary", "accept-language"))
        if how == "private":
            fields.append(("cache-control", "private"))
        if etag.encode() in (request.fields.get(b"if-none-match") or b""):
            return ResponseHead(304, Fields.of(*fields)), BytesBody()
        words = [part.encode() for part in (f"{version} ", f"{user} ", language)]
        body = PartsBody(words) if in_parts else BytesBody(b"".join(words))
        return ResponseHead(503 if how == "is-down" else 200, Fields.of(*fields)), body


@dataclass
class Asked:
    """A client: what it asked for, and the version that the last purge before it was acknowledged at."""

    thing: str
    person: str
    floor: int
    task: "asyncio.Task[Any]"


@dataclass
class World:
    """One or two replicas over one store, their origin, and their clients."""

    houses: list[Any]
    origin: Ledger
    floors: Counter[str] = field(default_factory=Counter)
    clients: list[Asked] = field(default_factory=list)

    def ask(self, replica: int, kind: str, number: int, person: str) -> None:
        """A client comes."""
        thing = f"/{kind}/{number}"
        fields = {"own": [("cookie", f"sid=s-{person}")], "lang": [("accept-language", person)]}.get(kind, [])
        house = self.houses[replica % len(self.houses)]
        self.clients.append(Asked(thing, person, self.floors[thing], house.asking(thing, *fields)))

    def write(self, replica: int, kind: str, number: int, person: str) -> None:
        """A client changes a thing; when it knows, so must everybody."""
        thing = f"/{kind}/{number}"
        house = self.houses[replica % len(self.houses)]

        async def write() -> None:
            written = await house.ask(thing, method="PUT")
            if written.status < 400:
                self.floors[thing] = max(self.floors[thing], int(written.body.split(b" ")[0]))

        task = asyncio.get_running_loop().create_task(write())
        house.asked.append(task)

    def answer(self, number: int, how: str, as_met: bool, in_parts: bool) -> None:
        """The origin answers one of those that wait."""
        if self.origin.held:
            held = self.origin.held.pop(number % len(self.origin.held))
            if not held.answer.done():
                held.answer.set_result((how, as_met, in_parts))

    def change(self, kind: str, number: int) -> None:
        """A thing changes behind our back."""
        self.origin.versions[f"/{kind}/{number}"] += 1

    async def purge(self, kind: str, number: int, soft: bool, changed: bool) -> None:
        """Purge a thing, changed or not. Softly purged, it may still stand in for an error where that is allowed."""
        if changed:
            self.change(kind, number)
        await self.houses[0].purge(f"{kind}:{number}", soft=soft)
        if not soft or kind != "all":
            self.floors[f"/{kind}/{number}"] = self.origin.versions[f"/{kind}/{number}"]

    def leave(self, number: int) -> None:
        """A client hangs up."""
        if self.clients:
            self.clients[number % len(self.clients)].task.cancel()

    async def check(self) -> None:
        """Everybody who stayed was told the truth."""
        for client in self.clients:
            [answer] = await asyncio.gather(client.task, return_exceptions=True)
            if isinstance(answer, asyncio.CancelledError | UpstreamError) or answer.status != 200:
                continue
            version, user, language = answer.body.decode().split(" ")
            assert int(version) >= client.floor
            assert user == (client.person if client.thing.startswith("/own/") else "-")
            assert language == (client.person if client.thing.startswith("/lang/") else "-")


KIND, NUMBER, PERSON = st.sampled_from(KINDS), st.sampled_from([0, 0, 0, 1]), st.sampled_from(PERSONS)
WHICH, REPLICA = st.integers(0, 3), st.integers(0, 1)
HOW = st.sampled_from(["is", "is", "is", "private", "fails", "is-down"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), REPLICA, KIND, NUMBER, PERSON),
        st.tuples(st.just("ask"), REPLICA, KIND, NUMBER, PERSON),
        st.tuples(st.just("answer"), WHICH, HOW, st.booleans(), st.booleans()),
        st.tuples(st.just("answer"), WHICH, HOW, st.booleans(), st.booleans()),
        st.tuples(st.just("change"), KIND, NUMBER),
        st.tuples(st.just("purge"), KIND, NUMBER, st.booleans(), st.booleans()),
        st.tuples(st.just("write"), REPLICA, KIND, NUMBER, PERSON),
        st.tuples(st.just("leave"), WHICH),
        st.tuples(st.just("pass_s"), st.sampled_from([1.0, 61.0])),
        st.tuples(st.just("turn")),
    ),
    min_size=20,  # else lists are short on average; to shrink there are turns
    max_size=60,
)


async def live(assemble: Callable[..., Any], replicas: int, steps: list[Any]) -> None:
    """Let ``steps`` happen, each while what came before is under way, then all come to its end."""
    first = assemble(POLICY)
    clock = first.clock
    store = MemoryStore(1 << 20, clock=clock)
    purger = LocalPurger(store, "all", 86_400.0, clock)
    leases = MemoryLeases(purger.begin, 1e6)
    origin = Ledger()
    common = {"store": store, "purger": purger, "leases": leases, "origin": origin, "clock": clock}
    world = World([assemble(POLICY, **common) for _ in range(replicas)], origin)
    for name, *details in steps:
        if name == "turn":
            await asyncio.sleep(0)
            continue
        if name == "pass_s":
            clock.pass_s(*details)
        elif name == "purge":
            await world.purge(*details)
        else:
            getattr(world, name)(*details)
        if name != "leave":
            await first.quiet()
    while any(not task.done() for house in world.houses for task in house.asked) or origin.held:
        world.answer(0, "is", as_met=False, in_parts=False)
        await first.quiet()
    await world.check()
    for house in world.houses:
        assert 0 == len(house.flights)
    assert {} == leases._leases


@settings(max_examples=300, deadline=None)
@given(replicas=st.integers(1, 2), steps=STEPS)
def test_whatever_happens_in_whatever_order(assemble, replicas: int, steps: list[Any]) -> None:
    """No response from before an acknowledged purge is served to who asks after it, and none to another."""
    asyncio.run(live(assemble, replicas, steps))

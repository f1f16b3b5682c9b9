"""The lane for requests past the cache: to clients and to the origin it is the ordinary way, and nothing gets lost."""

import asyncio
import functools
import re
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
from structlog.testing import capture_logs
from uvicorn.config import Config
from uvicorn.server import ServerState

from cacheproxy.clock import SystemClock
from cacheproxy.engine.recorder import Event
from cacheproxy.policy.load import load_policy
from cacheproxy.server import outlet, pass_lane
from cacheproxy.server.protocol import EdgeProtocol
from cacheproxy.settings import Settings
from cacheproxy.wiring.application import Application, assemble

POLICY = """
version: 1
upstream: {url: "http://127.0.0.1:%d", timeouts: {first_byte: 500ms}, pool: {max_connections: %d}}
session: {cookie: sid}
tenant: {from: "header:X-Org-Id"}
limits: {each: {rate: 1000/minute, by: [client_ip]}}
routes:
  - {name: item, match: "GET /items/{id}", cache: {ttl: 60s, key: "items:{id}", tags: ["item:{id}"]}}
  - {name: write, match: "POST /items/{id}", purge: ["item:{id}"]}
  - {name: hot, match: "GET /hot/{id}", session: ignore, cache: {ttl: 60s, key: "hot:{id}"}}
  - {name: limited, match: "/limited/{rest:path}", limits: [each]}
  - {name: mine, match: "/mine/{rest:path}", session: optional}
  - {name: any, match: "/{rest:path}", session: ignore}
"""
OWN_ID = re.compile(rb"x-request-id: [^\r]*\r\n")
GET = b"GET /a HTTP/1.1\r\nHost: a.example\r\n"
WRITE = GET.replace(b"GET /a", b"POST /items/1") + b"Content-Length: 2\r\n\r\n{}"
READ = GET.replace(b"/a", b"/items/1")
OK = b"HTTP/1.1 200 OK\r\ndate: Fri, 20 Nov 2026 12:00:00 GMT\r\n"
ANSWERS = {
    "sized": OK + b"content-length: 2\r\nset-cookie: a=1\r\nset-cookie: b=2\r\n\r\nhi",
    "chunked": OK + b"transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-trailer: 1\r\n\r\n",
    "empty": OK + b"content-length: 0\r\n\r\n",
    "no-content": OK.replace(b"200 OK", b"204 No Content") + b"\r\n",
    "not-modified": OK.replace(b"200 OK", b"304 Not Modified") + b'etag: "1"\r\n\r\n',
    "error": OK.replace(b"200 OK", b"500 Oh") + b"content-length: 2\r\n\r\nno",
    "odd-status": OK.replace(b"200 OK", b"299 ") + b"content-length: 2\r\n\r\nno",
    "no-date": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
    "closing": OK + b"content-length: 2\r\nconnection: close\r\n\r\nhi",
    "old": OK.replace(b"1.1", b"1.0") + b"content-length: 2\r\n\r\nhi",
    "hop": OK + b"content-length: 2\r\nkeep-alive: 5\r\nconnection: x-hop\r\nx-hop: 1\r\nupgrade: h2c\r\n\r\nhi",
    "ours": OK + b"content-length: 2\r\nx-cache: HIT\r\nx-request-id: forged\r\ncache-status: far; hit\r\n\r\nhi",
    "purging": OK + b"content-length: 2\r\ncacheproxy-purge: x\r\nsurrogate-key: y\r\n\r\nhi",
    "large": OK + b"content-length: 100000\r\n\r\n" + b"x" * 100_000,
    "endless": OK + b"\r\nuntil the end",
    "interim": b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + OK + b"content-length: 2\r\n\r\nhi",
    "surplus": OK + b"content-length: 2\r\n\r\nhi!",
    "truncated": OK + b"content-length: 3\r\n\r\nhi",
    "malformed": OK + b"content-length: 2\r\ncontent-length: 3\r\n\r\nhi",
    "nothing": b"",
}
ENDS = {"endless", "truncated", "nothing", "malformed"}
"""Answers after which the origin closes."""


@dataclass
class Origin:
    """Answers every request as ``answer`` says, once ``gate`` is open; keeps what it got."""

    port: int = 0
    answer: bytes = ANSWERS["sized"]
    ends: bool = False
    got: list[bytes] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    tasks: set["asyncio.Task[None]"] = field(default_factory=set)
    gone: int = 0

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A connection, in a task that ``end`` waits for."""
        self.tasks.add(asyncio.create_task(self.serve(reader, writer)))

    async def end(self) -> None:
        """End all connections."""
        self.gate.set()
        self.close_idle()
        await asyncio.gather(*self.tasks)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.writers.append(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = re.search(rb"content-length: ([0-9]+)", head)
                self.got.append(head + await reader.readexactly(int(length[1]) if length else 0))
                self.arrived.set()
                await self.gate.wait()
                writer.write(self.answer)
                if self.ends:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            self.gone += 1
        writer.close()

    def close_idle(self) -> None:
        """End all connections, as a server does with those that it kept for long enough."""
        for writer in self.writers:
            writer.close()


@dataclass
class House:
    """A sidecar in this process, and how often its engine was asked."""

    application: Application
    origin: Origin
    port: int
    state: ServerState
    handled: int = 0

    async def connect(self, address: str = "127.0.0.1") -> "Client":
        """A client's connection, from a local ``address``."""
        return Client(*await asyncio.open_connection("127.0.0.1", self.port, local_addr=(address, 0)))

    async def ask(self, raw: bytes, address: str = "127.0.0.1") -> bytes:
        """What comes for ``raw`` on a connection of its own, which is kept open by neither side."""
        client = await self.connect(address)
        try:
            return await client.ask(raw)
        finally:
            await client.close()

    async def known(self, raw: bytes) -> None:
        """Let the lane learn ``raw``."""
        for _ in range(2):
            await self.ask(raw)
        self.handled = 0
        self.origin.got.clear()
        self.origin.arrived.clear()


@dataclass
class Client:
    """A client's connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, raw: bytes) -> bytes:
        """The next response to ``raw``, as bytes, through its end; interim ones are part of it."""
        self.writer.write(raw)
        return await self.response(raw)

    async def response(self, raw: bytes = b"") -> bytes:
        """The next response, to ``raw``."""
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 5)
        if head.startswith(b"HTTP/1.1 1"):
            return head + await self.response(raw)
        bodiless = raw.startswith(b"HEAD") or head[9:12] in {b"204", b"304"}
        length = re.search(rb"\r\ncontent-length: ([0-9]+)\r\n", head)
        if bodiless:
            return head
        if length:
            return head + await self.reader.readexactly(int(length[1]))
        return head + await self.reader.readuntil(b"0\r\n\r\n")

    def leave(self) -> None:
        """Hang up by RST: a mere end of what is sent may be from one who still waits for the answer."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def close(self) -> None:
        """Close in order."""
        self.writer.close()
        await self.writer.wait_closed()


Start = Callable[..., Awaitable[House]]


@pytest.fixture
async def start(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Start]:
    """Starts a sidecar without Redis."""
    async with AsyncExitStack() as stack:

        async def started(*, access_log: str = "off", connections: int = 8, text: str = POLICY) -> House:
            origin = Origin()
            origin.gate.set()
            listening = await stack.enter_async_context(await asyncio.start_server(origin.accept, "127.0.0.1", 0))
            stack.push_async_callback(origin.end)
            origin.port = listening.sockets[0].getsockname()[1]
            policy, router = load_policy(text % (origin.port, connections), "test.yaml", {})
            settings = Settings.load(config="test.yaml", redis="none", access_log=access_log)
            application = await assemble(settings, policy, router, stack)
            state = ServerState()
            config = Config(app=None, log_config=None)
            make: Any = functools.partial(EdgeProtocol, application.edge, SystemClock(), config, state, {})
            edge = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
            stack.callback(edge.close)
            house = House(application, origin, edge.sockets[0].getsockname()[1], state)
            handle = application.edge.handle

            def counted(*args: Any, **kwargs: Any) -> Any:
                house.handled += 1
                return handle(*args, **kwargs)

            monkeypatch.setattr(application.edge, "handle", counted)
            return house

        yield started


@pytest.fixture
async def house(start: Start) -> House:
    """A sidecar."""
    return await start()


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS", b"POST", b"DELETE"])
@pytest.mark.parametrize("name", ANSWERS)
async def test_whatever_the_origin_answers_either_way_gives_it_alike(house: House, name: str, method: bytes) -> None:
    """Status, fields and body are those of the ordinary way, the request's own id aside, whatever method asks."""
    raw = GET.replace(b"GET", method) + b"Content-Length: 2\r\n\r\n{}"
    await house.known(raw)
    bodiless = method == b"HEAD"
    house.origin.answer = ANSWERS[name].partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if bodiless else ANSWERS[name]
    house.origin.ends = name in ENDS
    house.application.edge.pass_lane.clear()
    ordinary = await _told(house, raw)
    house.origin.answer, house.origin.ends = ANSWERS["sized" if not bodiless else "empty"], False
    await house.known(raw)
    house.origin.answer = ANSWERS[name].partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if bodiless else ANSWERS[name]
    house.origin.ends = name in ENDS
    quick = await _told(house, raw)
    assert ordinary == quick


async def _told(house: House, raw: bytes) -> bytes:
    """All that a client is told, as far as it is no moment's or request's own."""
    client = await house.connect()
    client.writer.write(raw)
    client.writer.write_eof()
    told = await asyncio.wait_for(client.reader.read(), 5)
    await client.close()
    return re.sub(rb"date: [^\r]*", b"", OWN_ID.sub(b"", told))


@pytest.mark.parametrize(
    ("name", "handled"), [("sized", 0), ("chunked", 0), ("no-content", 0), ("large", 1), ("interim", 1), ("endless", 1)]
)
async def test_what_comes_whole_is_answered_without_the_engine(house: House, name: str, handled: int) -> None:
    """Where the answer is a stream, or not the only one, the ordinary way goes on; the origin is asked once."""
    await house.known(GET + b"\r\n")
    house.origin.answer, house.origin.ends = ANSWERS[name], name in ENDS
    await _told(house, GET + b"\r\n")
    assert (handled, 1) == (house.handled, len(house.origin.got))


@pytest.mark.parametrize(
    ("path", "more"), [(b"/limited/1", b""), (b"/mine/1", b"Cookie: sid=ann\r\n")], ids=["limit", "session"]
)
async def test_what_hangs_on_more_than_its_head_takes_the_ordinary_way(house: House, path: bytes, more: bytes) -> None:
    """A limit must count, a session be asked about."""
    raw = GET.replace(b"/a", path) + more + b"\r\n"
    await house.known(raw)
    await house.ask(raw)
    assert house.handled == 1


async def test_a_date_that_the_origin_does_not_give_is_that_of_the_moment(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is remembered of answers holds no time of ours (RFC 9110 §6.6.1)."""
    house.origin.answer = ANSWERS["no-date"]
    await house.known(GET + b"\r\n")
    for day in (b"Fri, 20 Nov 2026 12:00:00 GMT", b"Sat, 21 Nov 2026 12:00:00 GMT"):
        monkeypatch.setattr(outlet, "format_http_date", lambda _, day=day: day)
        assert b"date: " + day in await house.ask(GET + b"\r\n")
    assert house.handled == 0


@pytest.mark.parametrize(
    "more",
    [
        b"Connection: close\r\n\r\n",
        b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
    ids=["close", "expect", "chunked"],
)
async def test_what_needs_care_takes_the_ordinary_way(house: House, more: bytes) -> None:
    """A connection that ends, a client that waits to be told to go on, a body whose length only its end tells."""
    raw = GET.replace(b"GET", b"POST") + more
    await house.known(raw)
    await house.ask(raw)
    assert house.handled == 1


HOT = GET.replace(b"/a", b"/hot/1") + b"Cookie: theme=dark\r\n\r\n"
PRIVATE = OK + b"cache-control: private\r\ncontent-length: 2\r\n\r\nme"


async def _hot(house: House) -> None:
    """Let the lane learn ``HOT``, which the cache knows not to be for sharing."""
    house.origin.answer = PRIVATE
    await house.known(HOT)
    await house.known(HOT)


async def test_what_nobody_can_share_is_sent_on_at_once(house: House) -> None:
    """A key that is remembered as hit-for-miss: its requests run side by side, and are told what they always were."""
    await _hot(house)
    ordinary = await house.ask(HOT.replace(b"Host", b"host"))
    assert (1, 1) == (house.handled, len(house.origin.got))
    quick = await house.ask(HOT)
    assert (1, 2) == (house.handled, len(house.origin.got))
    assert OWN_ID.sub(b"", ordinary) == OWN_ID.sub(b"", quick)
    assert b"cache-status: cacheproxy; fwd=uri-miss; fwd-status=200; detail=private\r\nx-cache: MISS" in quick
    first, second = house.origin.got
    assert sorted(OWN_ID.sub(b"", first).splitlines()) == sorted(OWN_ID.sub(b"", second).splitlines())


async def test_what_nobody_could_share_is_counted_as_on_the_ordinary_way(house: House) -> None:
    """A miss of its resource, a hit-for-miss, and a response that was not stored."""
    await _hot(house)
    metrics = house.application.metrics

    def counted() -> list[int]:
        events = [metrics.events[event] for event in (Event.HIT_FOR_MISS, Event.NOT_STORED, Event.UPSTREAM)]
        requests = sum(metrics.requests["GET", "hot", "miss"].counts)
        return [requests, *metrics.misses.values(), *(sum(tally.values()) for tally in events)]

    before = counted()
    await house.ask(HOT.replace(b"Host", b"host"))
    between = counted()
    await house.ask(HOT)
    assert (0, 1) == (len(house.origin.got) - 2, house.handled)
    steps = [(later - earlier) for earlier, later in zip(before, between, strict=True)]
    assert steps == [later - earlier for earlier, later in zip(between, counted(), strict=True)]


async def test_what_can_be_shared_after_all_is_stored_by_the_next_fetch(house: House) -> None:
    """The one that brought it was sent before the tag clock was asked, so that a purge meanwhile could be missed."""
    await _hot(house)
    house.origin.answer = OK + b"cache-control: public, max-age=600000\r\ncontent-length: 3\r\n\r\nall"
    assert [(b"MISS", b"all"), (b"MISS", b"all"), (b"HIT", b"all")] == [_state(await house.ask(HOT)) for _ in range(3)]
    assert (3, 2) == (house.handled, len(house.origin.got))


@pytest.mark.parametrize("stored", [True, False], ids=["something came", "forgotten"])
async def test_a_key_that_may_be_shared_again_takes_the_ordinary_way(house: House, stored: bool) -> None:
    """Others may have stored it since, or its time as hit-for-miss is over."""
    await _hot(house)
    if stored:
        house.origin.answer = OK + b"content-length: 3\r\n\r\nall"
        await house.ask(GET.replace(b"/a", b"/hot/1").replace(b"Host", b"host") + b"\r\n")
        house.application.edge.pass_lane._forwarder._hit_for_miss.remember(_key(house))
    else:
        house.application.edge.pass_lane._forwarder._hit_for_miss.forget(_key(house))
    house.handled = 0
    house.origin.got.clear()
    answer = _state(await house.ask(HOT))
    assert (1, (b"HIT", b"all") if stored else (b"MISS", b"me")) == (house.handled, answer)
    assert stored == (not house.origin.got)


def _known(house: House) -> list[pass_lane._KnownPass]:
    """All that the lane knows."""
    return [known for line in house.application.edge.pass_lane._lines.values() for known in line.passes.values()]


def _key(house: House) -> str:
    known = next(iter(_known(house)))
    assert known.plan is not None
    assert known.plan.alone is not None
    return known.plan.alone.key


@pytest.mark.parametrize("name", ["error", "not-modified", "large", "interim", "malformed", "nothing"])
async def test_what_else_comes_for_such_a_key_is_the_ordinary_known(house: House, name: str) -> None:
    """Also where it is an error, which something stored might have to stand in for."""
    await _hot(house)
    house.origin.answer, house.origin.ends = ANSWERS[name], name in ENDS
    quick = await _told(house, HOT)
    assert house.handled == 1
    ordinary = await _told(house, HOT.replace(b"Host", b"host"))
    assert ordinary == quick


async def test_the_origin_gets_the_same_request_under_another_id(house: House) -> None:
    """What it is told of the client, its body, and everything else is as on the ordinary way."""
    raw = GET.replace(b"GET", b"PUT") + b"Cookie: a=1\r\nX-Org-Id: red\r\nContent-Length: 2\r\n\r\n{}"
    for _ in range(3):
        await house.ask(raw)
    first, _, third = house.origin.got
    assert (2, sorted(OWN_ID.sub(b"", first).splitlines())) == (
        house.handled,
        sorted(OWN_ID.sub(b"", third).splitlines()),
    )
    assert OWN_ID.findall(first) != OWN_ID.findall(third)


async def test_an_id_of_the_clients_own_is_kept(house: House) -> None:
    """The origin sees it, and the answer bears it."""
    raw = GET + b"X-Request-ID: mine-1\r\n\r\n"
    await house.known(raw)
    answer = await house.ask(raw)
    assert (0, 1, 1) == (house.handled, answer.count(b"x-request-id: mine-1\r\n"), house.origin.got[0].count(b"mine-1"))


UNREAD = [
    b"User-Agent", b"user-agent", b"REFERER", b"Cookie", b"cookie", b"Accept", b"Accept-Language", b"traceparent",
    b"tracestate", b"baggage", b"B3", b"X-B3-TraceId", b"X-Amzn-Trace-Id", b"Sec-Fetch-Mode", b"DNT", b"Priority",
]  # fmt: skip
"""Fields that no rule reads, spelled as clients spell them."""
ANYBODY = POLICY.replace("by: [client_ip]", "by: [session.id]") + "trusted_proxies: [127.0.0.0/8, 10.0.0.0/8]\n"
"""A policy that does not ask where requests come from, but for proxies that it believes."""
HOPS = [b"198.51.100.7", b"10.0.0.9, 198.51.100.8", b"2001:db8::1", b"unknown", b"10.0.0.1", b"", b"not an address"]
OCTETS = [*range(0x21, 0x7F), 0x09, 0x20, 0x80, 0xFF]


def _of_its_own(random: Random) -> bytes:
    """Field lines as one client in a thousand has them."""
    names = random.choices(UNREAD, k=random.randrange(6))
    values = [bytes(random.choices(OCTETS, k=random.randrange(30))) for _ in names]
    for _ in range(random.randrange(3)):
        names.append(random.choice([b"X-Forwarded-For", b"x-forwarded-for", b"X-Real-IP"]))
        values.append(random.choice(HOPS))
    pads = [random.choice([b"", b" ", b"\t ", b"   "]) for _ in names]
    return b"".join(b"%b:%b%b%b\r\n" % line for line in zip(names, pads, values, pads, strict=True))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("method", "path"), [(b"GET", b"/a"), (b"GET", b"/hot/1"), (b"POST", b"/a")])
async def test_heads_that_differ_in_what_nobody_reads_go_the_same_way(
    start: Start, method: bytes, path: bytes, seed: int
) -> None:
    """The lane takes them, and the origin and the client are told all that the ordinary way tells, and no more."""
    random = Random(seed)
    house = await start(text=ANYBODY)
    house.origin.answer = PRIVATE
    for number in range(3):
        await house.known(_asked(method, path, b"User-Agent: the first\r\nCookie: its=own\r\n", b"x" * number))
    for _ in range(8):
        raw = _asked(method, path, _of_its_own(random), random.choice([b"", b"x", b"xy", b"x" * 99]))
        quick = await house.ask(raw)
        assert (0, 1) == (house.handled, len(house.origin.got))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(house.application.edge.pass_lane, "begin", lambda *_, **__: None)
            ordinary = await house.ask(raw)
        assert (1, 2) == (house.handled, len(house.origin.got))
        assert OWN_ID.sub(b"", ordinary) == OWN_ID.sub(b"", quick)
        first, second = (_in_any_order(got) for got in house.origin.got)
        assert first == second
        house.handled = 0
        house.origin.got.clear()


def _asked(method: bytes, path: bytes, lines: bytes, content: bytes) -> bytes:
    """A request; a GET has no content."""
    framed = b"Content-Length: %d\r\n\r\n%b" % (len(content), content) if method == b"POST" else b"\r\n"
    return GET.replace(b"GET /a", b"%b %b" % (method, path)) + lines + framed


def _in_any_order(got: bytes) -> tuple[list[tuple[bytes, list[bytes]]], bytes]:
    """What the origin got, less its id. Lines of different names may change places (RFC 9110 §5.3)."""
    head, _, content = OWN_ID.sub(b"", got).partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    names = sorted({line.partition(b": ")[0] for line in lines[1:]})
    told = [(name, [line for line in lines[1:] if line.partition(b": ")[0] == name]) for name in names]
    return [(b"", lines[:1]), *told], content


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
async def test_targets_of_one_route_go_the_same_way(start: Start, method: bytes) -> None:
    """Each is asked for as it is spelled, and has a line of its own in the log."""
    house = await start(access_log="all")
    house.origin.answer = ANSWERS["empty"]
    raw = GET.replace(b"GET", method) + b"\r\n"
    await house.known(raw)
    targets = [b"/b", b"/a?x=1&y=%22", b"/c/~d", b'/~"', b"/d/"]
    with capture_logs() as lines:
        quick = [await house.ask(raw.replace(b"/a", target)) for target in targets]
    assert 0 == house.handled
    with pytest.MonkeyPatch.context() as patch, capture_logs() as ordinary_lines:
        patch.setattr(house.application.edge.pass_lane, "begin", lambda *_, **__: None)
        ordinary = [await house.ask(raw.replace(b"/a", target)) for target in targets]
    assert [OWN_ID.sub(b"", answer) for answer in ordinary] == [OWN_ID.sub(b"", answer) for answer in quick]
    told = [_in_any_order(got) for got in house.origin.got]
    assert told[: len(targets)] == told[len(targets) :]
    assert [line["path"] for line in ordinary_lines] == [line["path"] for line in lines]


@pytest.mark.parametrize(
    "target",
    [
        b"/items/1",
        b"/limited/1",
        b"/mine/1",
        b"/hot/1",
        b"http://a.example/b",
        b"//b",
        b"/b/../items/1",
        b"/b%2f1",
        b"/%2e/b",
    ],
)
async def test_targets_of_other_routes_do_not(house: House, target: bytes) -> None:
    """What is cached, limited or refused is found by its own route, and so is what is spelled oddly."""
    await house.known(GET + b"\r\n")
    asked = GET.replace(b"/a", target) + b"\r\n"
    quick = await house.ask(asked)
    handled = house.handled
    house.application.edge.pass_lane.clear()
    ordinary = await house.ask(asked)
    status = ordinary[9:12]
    assert (status, b"x-cache: BYPASS" in ordinary or handled == 1) == (quick[9:12], True)
    if handled == 0:
        first, second = (_in_any_order(got) for got in house.origin.got)
        assert first == second


@pytest.mark.parametrize("target", [b"/b#c", b"/b c", b"/b\x00", b"/b\x7f", b"/b\x80", b"b", b"*", b"/b HTTP/1.0 "])
async def test_a_target_that_the_ordinary_way_refuses_is_refused(house: House, target: bytes) -> None:
    """It is read as strictly as ever."""
    await house.known(GET + b"\r\n")
    answer = await house.ask(GET.replace(b"/a", target) + b"\r\n")
    assert (b"400", []) == (answer[9:12], house.origin.got)


async def test_a_target_is_routed_for_its_host(start: Start) -> None:
    """A route may be for one host alone: another's is no reason to go the same way."""
    limited = '{name: limited, match: "/limited/{rest:path}"'
    house = await start(text=POLICY.replace(limited, '{name: limited, match: "a.example/limited/{rest:path}"'))
    for host, handled in ((b"a.example", 1), (b"b.example", 0)):
        raw = GET.replace(b"a.example", host)
        await house.known(raw + b"\r\n")
        await house.ask(raw.replace(b"/a HTTP", b"/limited/1 HTTP") + b"\r\n")
        assert handled == house.handled


async def test_a_target_whose_answers_nobody_can_share_stands_for_no_other(house: House) -> None:
    """What is known of one key is not known of the next."""
    await _hot(house)
    await house.ask(HOT.replace(b"/hot/1", b"/hot/2"))
    assert house.handled == 1


async def test_an_older_version_asks_for_itself(house: House) -> None:
    """Its answer ends the connection."""
    await house.known(GET + b"\r\n")
    answer = await house.ask(GET.replace(b"/a HTTP/1.1", b"/b HTTP/1.0") + b"\r\n")
    assert (1, True) == (house.handled, b"connection: close" in answer)


ODDITIES = [
    b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b"/", b"\0", b"\x80", b"..", b"%2e", b"#", b"?", b"{}", b"HTTP/1.0",
    b"Content-Length: 2\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: dnt\r\n",
    b"Connection: close\r\n", b"Expect: 100-continue\r\n", b"Upgrade: h2c\r\n", b"Host: b.example\r\n", b"DNT: 1\r\n",
    b"Cookie: sid=x\r\n", b"Forwarded: for=192.0.2.9\r\n", b"X-Forwarded-For: 192.0.2.8\r\n", b"X-Real-IP: ::1\r\n",
    b"X-Forwarded-Proto: https\r\n", b"X-Forwarded-Host: c.example\r\n", b"X-Request-ID: mine\r\n",
]  # fmt: skip
USUAL = [
    GET + b"User-Agent: me\r\nCookie: a=1\r\ntraceparent: 1\r\n\r\n",
    GET + b"X-Forwarded-For: 192.0.2.1\r\n\r\n",
    GET.replace(b"GET", b"HEAD") + b"\r\n",
    GET.replace(b"GET", b"POST") + b"Content-Length: 2\r\nUser-Agent: me\r\n\r\n{}",
    HOT,
]


def _disfigured(random: Random, raw: bytes) -> bytes:
    """``raw`` with one or two bytes or lines too many, too few, or of another kind."""
    for _ in range(random.randrange(1, 3)):
        at, line_ends = random.randrange(len(raw)), [match.end() for match in re.finditer(rb"\r\n", raw)]
        cut = random.choice([at, at + 1, random.choice(line_ends)])
        kept = random.choice([at, cut])
        raw = raw[:cut] + random.choice([*ODDITIES, b"", bytes([random.randrange(256)])]) + raw[kept:]
    return raw


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("text", [POLICY, ANYBODY], ids=["addresses count", "anybody"])
async def test_whatever_is_sent_both_ways_take_it_alike(start: Start, text: str, seed: int) -> None:
    """Answered, refused or passed on to the origin: the same bytes, but for ids and the moment."""
    random, house = Random(seed), await start(text=text)
    house.origin.answer = PRIVATE
    for raw in USUAL * 3:
        await house.ask(raw)
    for _ in range(25):
        raw = _disfigured(random, random.choice(USUAL))
        await _told(house, raw)  # what is not for sharing is known then
        house.origin.got.clear()
        quick = await _told(house, raw), [_in_any_order(got) for got in house.origin.got]
        house.origin.got.clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(house.application.edge.pass_lane, "begin", lambda *_, **__: None)
            ordinary = await _told(house, raw), [_in_any_order(got) for got in house.origin.got]
        assert ordinary == quick


@pytest.mark.parametrize(
    "lines",
    [
        b"traceparent: a\x00b\r\n",
        b"traceparent: a\rb\r\n",
        b"traceparent: a\nb\r\n",
        b"traceparent: a\r\n b\r\n",
        b"traceparent: a\x7fb\r\n",
        b"traceparent : a\r\n",
        b" traceparent: a\r\n",
        b"traceparent\r\n",
        b"traceparent: a\nTransfer-Encoding: chunked\r\n",
        b"Cookie: a\r\nTransfer-Encoding: chunked\r\n",
        b"Cookie: a\r\nContent-Length: 2\r\n",
        b"dnt: 1\r\n" * 300,
    ],
)
async def test_what_the_ordinary_way_refuses_does_not_slip_past_it(house: House, lines: bytes) -> None:
    """Each byte of a line that nobody reads is checked all the same: none smuggles a second request to the origin."""
    raw = GET.replace(b"GET", b"POST") + b"Content-Length: 2\r\n"
    await house.known(raw + b"\r\n{}")
    answer = await house.ask(raw + lines + b"\r\n{}")
    assert (True, []) == (answer[9:12] in {b"400", b"431"}, house.origin.got)


@pytest.mark.parametrize("access_log", ["off", "all"])
async def test_callers_are_told_of_and_logged_each_by_his_own_address(start: Start, access_log: str) -> None:
    """Where no rule asks for it all go the same way; who is believed may say who his client is."""
    house = await start(text=ANYBODY, access_log=access_log)
    raw = GET + b"X-Forwarded-For: 198.51.100.%d\r\n\r\n"
    await house.known(raw % 1)
    with capture_logs() as lines:
        for number in (2, 3):
            await house.ask(raw % number)
    told = [re.findall(rb"\r\n(x-forwarded-for|x-real-ip): ([^\r]*)", got) for got in house.origin.got]
    named = [b"198.51.100.2", b"198.51.100.3"]
    assert (0, [[(b"x-forwarded-for", name + b", 127.0.0.1"), (b"x-real-ip", name)] for name in named]) == (
        house.handled,
        told,
    )
    assert ([] if access_log == "off" else [name.decode() for name in named]) == [line["client"] for line in lines]


async def test_who_is_not_believed_goes_no_way_of_a_proxy_that_is(start: Start) -> None:
    """The same words mean something else from him: he speaks for himself, and not for the scheme."""
    house = await start(text=ANYBODY.replace("127.0.0.0/8", "127.0.0.1/32"))
    raw = GET + b"X-Forwarded-For: 198.51.100.1\r\nX-Forwarded-Proto: https\r\n\r\n"
    await house.known(raw)
    await house.ask(raw, "127.0.0.2")
    assert house.handled == 1
    assert {b"x-forwarded-for: 127.0.0.2", b"x-forwarded-proto: http"} <= set(house.origin.got[0].split(b"\r\n"))


async def test_an_address_that_a_rule_reads_counts(house: House) -> None:
    """Clients behind one proxy then go each their own way."""
    await house.known(GET + b"X-Forwarded-For: 198.51.100.1\r\n\r\n")
    await house.ask(GET + b"X-Forwarded-For: 198.51.100.2\r\n\r\n")
    assert house.handled == 1


@pytest.mark.parametrize("lines", [b"Connection: dnt\r\n", b"Accept-Encoding: br\r\n", b"X-New: 1\r\n"])
async def test_a_line_that_is_read_makes_another_request(house: House, lines: bytes) -> None:
    """It may go another way."""
    await house.known(GET + b"DNT: 1\r\n\r\n")
    await house.ask(GET + b"DNT: 1\r\n" + lines + b"\r\n")
    assert house.handled == 1


async def test_a_line_that_connection_nominates_does_not_merely_go_on(house: House) -> None:
    """It ends at this hop, whatever it says (RFC 9110 §7.6.1)."""
    raw = GET + b"Connection: dnt\r\nDNT: %d\r\n\r\n"
    await house.known(raw % 1)
    await house.ask(raw % 2)
    assert (1, False) == (house.handled, b"dnt" in house.origin.got[0].lower())


async def test_what_may_go_no_further_does_not(house: House) -> None:
    """It is answered here each time (RFC 9110 §7.6.2)."""
    raw = GET.replace(b"GET", b"OPTIONS") + b"Max-Forwards: 0\r\n\r\n"
    await house.known(raw)
    answer = await house.ask(raw)
    assert (b"204", []) == (answer[9:12], house.origin.got)


async def test_what_one_client_nominates_does_not_count_for_others(house: House) -> None:
    """Else anybody could have all clients told apart by their browsers' names, each of whom is then new."""
    for _ in range(2):
        await house.known(GET + b"User-Agent: me\r\n\r\n")
        await house.ask(GET + b"Connection: user-agent\r\n\r\n")
        await house.ask(GET + b"Connection: user-agent\r\n\r\n")
    house.handled = 0
    await house.ask(GET + b"User-Agent: you\r\n\r\n")
    assert 0 == house.handled


async def test_a_connection_that_nominates_itself_still_nominates(house: House) -> None:
    """Nobody may take away the field that says what else ends here, before all have read it."""
    raw = GET + b"Connection: connection, dnt\r\nDNT: %d\r\n\r\n"
    await house.known(raw % 1)
    await house.ask(raw % 2)
    assert b"dnt" not in house.origin.got[0].lower()


@pytest.mark.parametrize(
    "other",
    [GET.replace(b"/a", b"/mine/1") + b"\r\n", GET + b"Connection: dnt\r\n\r\n"],
    ids=["another route", "another client"],
)
async def test_what_others_made_count_goes_on_all_the_same(house: House, other: bytes) -> None:
    """No client loses a field because his requests are told apart by it."""
    await house.known(other)
    await house.known(raw := GET + b"Cookie: theme=dark\r\nDNT: 1\r\n\r\n")
    await house.ask(raw)
    assert 0 == house.handled
    assert {b"cookie: theme=dark", b"dnt: 1"} <= set(house.origin.got[0].split(b"\r\n"))


async def test_a_session_told_of_in_an_address_field_costs_no_address(start: Start) -> None:
    """What only this proxy may say there does not take the client's address along."""
    house = await start(
        text=ANYBODY.replace("session: {cookie: sid}", "session: {cookie: sid, identity: {X-Real-IP: id}}")
    )
    await house.known(raw := GET + b"X-Forwarded-For: 198.51.100.1\r\n\r\n")
    await house.ask(raw)
    assert (0, True) == (house.handled, b"\r\nx-forwarded-for: 198.51.100.1" in house.origin.got[0])


@pytest.mark.parametrize("line", [b"content-length", b"content-length:", b"content-length: any"])
async def test_no_line_passes_for_that_there_is_a_body(house: House, line: bytes) -> None:
    """What stands for the length of a body in what is compared is nothing that a client can send."""
    post = GET.replace(b"GET", b"POST")
    await house.known(post + b"Content-Length: 2\r\n\r\n{}")
    answer = await house.ask(post + line + b"\r\n\r\n")
    assert (b"400", []) == (answer[9:12], house.origin.got)


@pytest.mark.parametrize("lengths", [b"Content-Length: 2\r\nContent-Length: 2\r\n", b"Content-Length: +2\r\n"])
async def test_a_body_of_doubtful_length_is_refused_on_the_lane_too(house: House, lengths: bytes) -> None:
    """Content-Length is read anew each time, as strictly as ever."""
    post = GET.replace(b"GET", b"POST")
    await house.known(post + b"Content-Length: 2\r\n\r\n{}")
    answer = await house.ask(post + lengths + b"\r\n{}")
    assert (b"400", []) == (answer[9:12], house.origin.got)


async def test_a_body_that_is_not_all_here_is_taken_in_as_it_comes(house: House) -> None:
    """The lane sends on nothing that it would have to wait for."""
    raw = GET.replace(b"GET", b"POST") + b"Content-Length: 4\r\n\r\n"
    await house.known(raw + b"abcd")
    client = await house.connect()
    client.writer.write(raw + b"ab")
    await _eventually(lambda: house.handled == 1)
    assert (await client.ask(b"cd")).endswith(b"hi")
    await client.close()
    assert house.origin.got[0].endswith(b"\r\n\r\nabcd")


async def test_each_answer_bears_the_id_of_its_request(house: House) -> None:
    """No two are alike, and each is the one that the origin got."""
    await house.known(GET + b"\r\n")
    answers = [OWN_ID.findall(await house.ask(GET + b"\r\n")) for _ in range(5)]
    assert answers == [OWN_ID.findall(got) for got in house.origin.got]
    assert len({each for found in answers for each in found}) == 5


async def test_heads_that_the_origin_changes_are_passed_on_changed(house: House) -> None:
    """What is remembered of its answers never stands in for another."""
    await house.known(GET + b"\r\n")
    for number in range(12):
        house.origin.answer = OK + b'content-length: 2\r\netag: "%d"\r\n\r\n%02d' % (number // 2, number)
        answer = await house.ask(GET + b"\r\n")
        assert (b'etag: "%d"\r\n' % (number // 2) in answer, b"%02d" % number) == (True, answer[-2:])


async def test_equal_heads_before_contents_of_other_lengths_are_framed_for_each(house: House) -> None:
    """A chunked answer's length is not in its head."""
    await house.known(GET + b"\r\n")
    for content in (b"hi", b"hello", b"hi"):
        chunks = b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(content), content)
        house.origin.answer = OK + chunks
        assert content == (await house.ask(GET + b"\r\n")).partition(b"\r\n\r\n")[2]


async def test_a_write_purges_each_time(house: House) -> None:
    """What is stored of its target is gone before the client reads the answer."""
    await house.known(WRITE)
    for number in range(3):
        house.origin.answer = OK + b"content-length: 1\r\n\r\n%d" % number
        await house.ask(WRITE)
        assert (b"MISS", b"%d" % number) == _state(await house.ask(READ + b"\r\n"))
        assert (b"HIT", b"%d" % number) == _state(await house.ask(READ + b"\r\n"))


async def test_a_purge_that_has_to_be_waited_for_is(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Redis must hear of it the ordinary way purges, with the answer that is here: the origin is asked once."""
    write = GET.replace(b"GET /a", b"POST /items/1") + b"Content-Length: 2\r\n\r\n{}"
    read = GET.replace(b"/a", b"/items/1")
    await house.known(write)
    await house.ask(read + b"\r\n")
    house.origin.got.clear()
    house.handled = 0
    monkeypatch.setattr(house.application.state.purger, "purge_now", lambda _: False)
    await house.ask(write)
    assert (1, 1) == (house.handled, len(house.origin.got))
    assert b"MISS" == _state(await house.ask(read + b"\r\n"))[0]


def _state(answer: bytes) -> tuple[bytes, bytes]:
    found = re.search(rb"x-cache: (\w+)", answer)
    assert found
    return found[1], answer.partition(b"\r\n\r\n")[2]


async def test_a_write_purges_though_its_client_left(house: House) -> None:
    """The origin has carried it out."""
    await house.known(WRITE)
    await house.ask(READ + b"\r\n")
    house.origin.arrived.clear()
    house.origin.gate.clear()
    client = await house.connect()
    client.writer.write(WRITE)
    await house.origin.arrived.wait()
    client.leave()
    await _eventually(lambda: _gone(house) == 1)
    house.origin.gate.set()
    await _eventually(lambda: house.application.metrics.events[Event.INVALIDATION][("write",)] == 3)
    assert b"MISS" == _state(await house.ask(READ + b"\r\n"))[0]


async def test_a_write_purges_though_its_client_left_with_the_answer_just_here(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event loop may tell of both in one round, before the ordinary way has made its first step."""
    await house.known(WRITE)
    await house.ask(READ + b"\r\n")
    house.origin.got.clear()
    passed, left = EdgeProtocol._passed, []

    def passed_and_left(protocol: EdgeProtocol) -> None:
        passed(protocol)
        protocol.connection_lost(None)
        left.append(protocol)

    monkeypatch.setattr(house.application.state.purger, "purge_now", lambda _: False)
    monkeypatch.setattr(EdgeProtocol, "_passed", passed_and_left)
    client = await house.connect()
    client.writer.write(WRITE)
    await _eventually(lambda: len(left) == 1)
    monkeypatch.setattr(EdgeProtocol, "_passed", passed)
    await _eventually(lambda: _gone(house) == 1)
    client.leave()
    assert len(house.origin.got) == 1
    assert b"MISS" == _state(await house.ask(READ + b"\r\n"))[0]


async def test_who_leaves_takes_the_fetch_along(house: House) -> None:
    """Nobody would read the answer to a GET: its connection is closed, and its place given back."""
    await house.known(GET + b"\r\n")
    house.origin.gate.clear()
    client = await house.connect()
    client.writer.write(GET + b"\r\n")
    await house.origin.arrived.wait()
    client.leave()
    await _eventually(lambda: _gone(house) == 1)
    house.origin.gate.set()
    await _eventually(lambda: house.origin.gone == 1)
    assert (await house.ask(GET + b"\r\n")).endswith(b"hi")


def _gone(house: House) -> int:
    """How many clients are known to have left before their answer."""
    return house.application.metrics.events[Event.REFUSED].get(("client-gone",), 0)


async def _eventually(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.005)


async def test_a_connection_that_the_origin_was_closing_is_no_error(house: House) -> None:
    """A GET goes out again on a fresh one; a POST may have been carried out, and does not."""
    post = GET.replace(b"GET", b"POST") + b"\r\n"
    for raw in (GET + b"\r\n", post):
        await house.known(raw)
    house.origin.answer, house.origin.ends = b"", True
    assert b"HTTP/1.1 502" == (await house.ask(post))[:12]
    asked = len(house.origin.got)
    await house.known(GET + b"\r\n")
    assert asked == 1
    house.origin.answer, house.origin.ends = ANSWERS["sized"], False
    await house.known(GET + b"\r\n")
    house.origin.close_idle()
    assert (await house.ask(GET + b"\r\n")).endswith(b"hi")


async def test_a_silent_origin_is_waited_for_no_longer(house: House) -> None:
    """504 after the time that the policy gives it."""
    await house.known(GET + b"\r\n")
    house.origin.gate.clear()
    answer = await house.ask(GET + b"\r\n")
    assert (True, 1) == (b"504" in answer[:15] and b"first-byte-timeout" in answer, house.handled)
    house.origin.gate.set()


async def test_who_finds_all_connections_busy_waits_on_the_ordinary_way(start: Start) -> None:
    """The lane takes what is idle, and no place of anybody who waits."""
    house = await start(connections=1)
    await house.known(GET + b"\r\n")
    house.origin.gate.clear()
    first = asyncio.create_task(house.ask(GET + b"\r\n"))
    await house.origin.arrived.wait()
    second = asyncio.create_task(house.ask(GET + b"\r\n"))
    await _eventually(lambda: house.handled == 1)
    house.origin.gate.set()
    assert [True, True] == [answer.endswith(b"hi") for answer in await asyncio.gather(first, second)]


async def test_requests_in_a_row_are_answered_in_their_order(house: House) -> None:
    """One after the other, whichever way each takes."""
    house.origin.answer = ANSWERS["chunked"]
    heads = [GET.replace(b"/a", path) + b"\r\n" for path in (b"/a", b"/items/1", b"/b")]
    for raw in heads:
        await house.known(raw)
    client = await house.connect()
    client.writer.write(b"".join(heads * 3))
    routes = [re.search(rb"cache-status: [^\r]*", await client.response()) for _ in range(9)]
    told = [found[0].count(b"hit") for found in routes if found]
    await client.close()
    assert [0, 1, 0] * 3 == told


async def test_a_server_that_stops_says_so(house: House) -> None:
    """The answer closes the connection, also where the stop came while the origin worked on it."""
    await house.known(GET + b"\r\n")
    house.origin.gate.clear()
    asking = asyncio.create_task(house.ask(GET + b"\r\n"))
    await house.origin.arrived.wait()
    house.application.edge.draining = True
    house.origin.gate.set()
    assert b"connection: close\r\n" in await asking
    assert b"connection: close\r\n" in await house.ask(GET + b"\r\n")


async def test_a_fault_of_the_lane_is_not_the_clients(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ordinary way answers with what came already, and the log has the traceback."""
    await house.known(GET + b"\r\n")

    def fail(*_: object) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr(pass_lane, "render_head", fail)
    house.origin.answer = ANSWERS["chunked"]
    with capture_logs() as lines:
        answer = await house.ask(GET + b"\r\n")
    assert (True, 1, 1) == (answer.endswith(b"hi"), len(house.origin.got), house.handled)
    assert ["answer_not_passed_on"] == [line["event"] for line in lines]


@pytest.mark.parametrize("access_log", ["all", "sampled"])
async def test_requests_on_the_lane_are_logged_and_counted_as_others(start: Start, access_log: str) -> None:
    """The same line but for what is each request's own, one count more of the same."""
    house = await start(access_log=access_log)
    with capture_logs() as lines:
        for _ in range(3):
            await house.ask(GET + b"\r\n")
    own = {"request_id", "duration_ms", "upstream_ms"}
    told = [{name: value for name, value in line.items() if name not in own} for line in lines]
    assert (2, 3, told[0]) == (house.handled, len({line["request_id"] for line in lines}), told[2])
    assert {("GET", "any", "bypass"): 3} == {
        key: sum(each.counts) for key, each in house.application.metrics.requests.items()
    }
    assert {("ok",): 3} == house.application.metrics.events[Event.UPSTREAM]


async def test_what_is_known_is_bounded(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """With too many heads all are forgotten, and learnt anew as they come."""
    monkeypatch.setattr(pass_lane, "MEMO_HEADS", 3)
    for number in range(10):
        await house.known(GET + b"X: %d\r\n\r\n" % number)
        await house.ask(GET + b"X: %d\r\n\r\n" % number)
        assert house.handled == 0


async def test_no_body_and_no_connection_is_kept_with_what_is_known(house: House) -> None:
    """A thousand heads may be known for long; what came with one of them, and who sent it, is let go."""
    await house.known(GET.replace(b"GET", b"POST") + b"Content-Length: 2\r\n\r\n{}")
    await _hot(house)
    plans = [known.plan for known in _known(house)]
    assert [False, True] == [plan.alone is not None for plan in plans if plan is not None]
    for plan in plans:
        assert plan is not None
        exchanges = [plan.exchange, *([plan.alone.exchange] if plan.alone else [])]
        assert {(None, None)} == {(exchange.body, exchange.on_interim) for exchange in exchanges}


async def test_a_new_policy_forgets_what_the_old_one_knew(house: House) -> None:
    """The ordinary way decides anew."""
    await house.known(GET + b"\r\n")
    active = house.application.engine.active
    house.application.reloader._put_in_force(active.policy, active.router)
    await house.ask(GET + b"\r\n")
    assert house.handled == 1


async def test_what_an_old_policy_said_is_not_learnt_under_a_new_one(house: House) -> None:
    """Its answer may come when the new one is in force."""
    active = house.application.engine.active
    for _ in range(3):
        house.origin.gate.clear()
        house.origin.arrived.clear()
        asking = asyncio.create_task(house.ask(GET + b"\r\n"))
        await house.origin.arrived.wait()
        house.application.reloader._put_in_force(active.policy, active.router)
        house.origin.gate.set()
        await asking
    assert ([], 3) == (_known(house), house.handled)

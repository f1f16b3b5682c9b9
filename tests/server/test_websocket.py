"""WebSockets at the edge: admitted like any request, then passed through until either side ends."""

import asyncio
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, cast

import pytest

from cacheproxy.engine.engine import Client
from cacheproxy.engine.reply import Reply, problem
from cacheproxy.errors import UpstreamError
from cacheproxy.policy.route import Policy, Route, UpstreamRules
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.head import RequestHead, ResponseHead
from cacheproxy.server.adapter import Adapter
from cacheproxy.server.websocket import WebSocketApp

SCOPE = {
    "type": "websocket",
    "scheme": "ws",
    "client": ("192.0.2.1", 1234),
    "raw_path": b"/chat",
    "query_string": b"room=1",
    "headers": [(b"Host", b"Example.com"), (b"X-Forwarded-For", b"203.0.113.9"), (b"Cookie", b"sid=1")],
}
POLICY = Policy(upstream=UpstreamRules(), fallback=Route(name="fallback"))


@dataclass
class Closed:
    """How the origin ended."""

    code: int
    reason: str = ""


class Tunnel:
    """The origin's side: what it says is in ``says``, what it hears in ``heard``."""

    def __init__(self, *says: object) -> None:
        """Say ``says``, then keep silent."""
        fields = Fields.of(("sec-websocket-protocol", "chat"), ("x-from", "origin"))
        self.head = ResponseHead(101, fields)
        self.subprotocol = "chat"
        self.heard: list[object] = []
        self.closed: list[tuple[int, str]] = []
        self._says: asyncio.Queue[Any] = asyncio.Queue()
        for message in says:
            self._says.put_nowait(message)

    async def recv(self) -> Any:
        """The next message."""
        return await self._says.get()

    async def send(self, message: object) -> None:
        """Hear ``message``."""
        self.heard.append(message)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """End, the first time with a code that counts."""
        self.closed.append((code, reason))


class Engine:
    """Admits as it is told."""

    def __init__(self, refusal: Reply | None = None) -> None:
        """``refusal`` for everybody, or None."""
        self.active = cast("Any", self)
        self.policy = POLICY
        self.refusal = refusal
        self.asked: list[tuple[RequestHead, Client]] = []
        self.in_flight = 0

    async def admit_tunnel(self, request: RequestHead, client: Client, until: ExitStack) -> RequestHead | Reply:
        """``request``, or the refusal; in flight until then."""
        self.asked.append((request, client))
        self.in_flight += 1
        until.callback(self._leave)
        return request if self.refusal is None else self.refusal

    def _leave(self) -> None:
        self.in_flight -= 1


class Browser:
    """The client's side of ASGI: what it says, and what it is told."""

    def __init__(self, *says: dict[str, Any]) -> None:
        """Connect, then say ``says``, then keep silent."""
        self.told: list[dict[str, Any]] = []
        self._says: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        for event in ({"type": "websocket.connect"}, *says):
            self._says.put_nowait(event)
        self.broken = ""

    async def receive(self) -> dict[str, Any]:
        """The next event."""
        return await self._says.get()

    async def send(self, event: dict[str, Any]) -> None:
        """Be told ``event``; OSError if the connection broke at events of its type."""
        if event["type"] == self.broken:
            raise OSError("gone")
        self.told.append(event)


async def served(browser: Browser, opened: object, engine: Engine | None = None) -> Engine:
    """Serve ``browser`` where opening the tunnel gives, or raises, ``opened``."""
    engine = engine or Engine()

    async def open_tunnel(request: RequestHead) -> Any:
        if isinstance(opened, Exception):
            raise opened
        return opened

    app = WebSocketApp(cast("Any", engine), Adapter(cast("Any", engine), 8080), open_tunnel)
    await app(dict(SCOPE), browser.receive, browser.send)
    assert 0 == engine.in_flight
    return engine


LEAVES = {"type": "websocket.disconnect", "code": 1001, "reason": "away"}


async def test_a_handshake_is_understood_as_any_request() -> None:
    """Its target with the query, its client's own address, and what nobody vouches for left out."""
    engine = await served(Browser(LEAVES), Tunnel())
    [(request, client)] = engine.asked
    assert ("GET", b"/chat?room=1", b"example.com") == (request.method, request.target, request.authority)
    assert ("192.0.2.1", [b"192.0.2.1"]) == (client.address, request.fields.all(b"x-forwarded-for"))


async def test_messages_pass_both_ways() -> None:
    """Text as text, bytes as bytes, in order, until the client leaves: the origin is told with its code."""
    says = [{"type": "websocket.receive", "text": "a"}, {"type": "websocket.receive", "bytes": b"b", "text": None}]
    browser, tunnel = Browser(*says), Tunnel("c", b"d")
    serving = asyncio.create_task(served(browser, tunnel))
    while len(browser.told) < 3 or len(tunnel.heard) < 2:
        await asyncio.wait([serving], timeout=0)
    browser._says.put_nowait(LEAVES)
    await serving
    assert {"type": "websocket.accept", "subprotocol": "chat", "headers": [(b"x-from", b"origin")]} == browser.told[0]
    sent = [event.get("text", event.get("bytes")) for event in browser.told[1:]]
    assert (["c", b"d"], ["a", b"b"], (1001, "away")) == (sent, tunnel.heard, tunnel.closed[0])


async def test_the_origins_end_is_the_clients() -> None:
    """With the code that the origin gave."""
    browser, tunnel = Browser(), Tunnel(Closed(4001, "enough"))
    await served(browser, tunnel)
    assert {"type": "websocket.close", "code": 4001, "reason": "enough"} == browser.told[-1]
    assert tunnel.closed


async def test_a_client_that_gives_no_reason_leaves_none() -> None:
    """An end without a code is a normal one."""
    tunnel = Tunnel()
    await served(Browser({"type": "websocket.disconnect", "reason": None}), tunnel)
    assert (1000, "") == tunnel.closed[0]


@pytest.mark.parametrize(
    ("opened", "status"),
    [
        (Reply(403, Fields.of(("x", "y"), ("content-length", "99"), ("connection", "close")), b"no"), 403),
        (UpstreamError(502, "connect-refused", sent=False), 502),
    ],
    ids=["refused", "gone"],
)
async def test_an_origin_that_opens_nothing_is_answered_for(opened: object, status: int) -> None:
    """Its own refusal, framed anew, or ours where there is none."""
    browser = Browser()
    await served(browser, opened)
    start, body = browser.told
    assert ("websocket.http.response.start", status) == (start["type"], start["status"])
    assert (b"content-length", b"%d" % len(body["body"])) == start["headers"][-1]
    assert b"connection" not in dict(start["headers"])


async def test_who_is_not_admitted_never_reaches_the_origin() -> None:
    """The engine's refusal is the answer."""
    browser = Browser()
    await served(browser, AssertionError("not to be opened"), Engine(problem(401, "session-required", "log in")))
    assert 401 == browser.told[0]["status"]


@pytest.mark.parametrize("broken", ["websocket.accept", "websocket.send"])
async def test_a_client_that_breaks_off_ends_the_tunnel(broken: str) -> None:
    """Before it was accepted as well as later: the origin is not left with half a conversation."""
    browser, tunnel = Browser(), Tunnel("a")
    browser.broken = broken
    [outcome] = await asyncio.gather(served(browser, tunnel), return_exceptions=True)
    assert tunnel.closed
    assert isinstance(outcome, OSError) == (broken == "websocket.accept")


async def test_a_server_that_stops_ends_the_tunnel() -> None:
    """Cancelled, both directions end, and the origin is told."""
    tunnel, engine = Tunnel(), Engine()
    serving = asyncio.create_task(served(Browser(), tunnel, engine))
    while not tunnel._says._getters:
        await asyncio.wait([serving], timeout=0)
    serving.cancel()
    await asyncio.wait([serving])
    assert (True, 0, {asyncio.current_task()}) == (bool(tunnel.closed), engine.in_flight, asyncio.all_tasks())


async def test_nothing_but_websockets_is_served() -> None:
    """Plain requests never come this way."""
    engine = cast("Any", Engine())
    browser = Browser()
    with pytest.raises(RuntimeError):
        await WebSocketApp(engine, Adapter(engine, 1), cast("Any", None))(
            {"type": "http"}, browser.receive, browser.send
        )


async def test_a_secure_websocket_on_a_unix_socket() -> None:
    """What is wss is https to the origin; a peer without an address is as near as can be."""
    engine = Engine()
    scope = {**SCOPE, "scheme": "wss", "client": None, "query_string": b""}

    async def open_tunnel(request: RequestHead) -> Any:
        return Tunnel()

    browser = Browser(LEAVES)
    await WebSocketApp(cast("Any", engine), Adapter(cast("Any", engine), 1), open_tunnel)(
        scope, browser.receive, browser.send
    )
    [(request, client)] = engine.asked
    assert ("https", b"/chat", "203.0.113.9") == (request.scheme, request.target, client.address)

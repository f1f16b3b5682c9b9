"""WebSockets to a real server, opened, refused, bridged and broken."""

import asyncio
import http
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from websockets.asyncio.server import Server, ServerConnection, serve, unix_serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import Close
from websockets.http11 import Request, Response

from cacheproxy.errors import UpstreamError
from cacheproxy.policy.route import Timeouts, UpstreamRules
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.head import RequestHead
from cacheproxy.upstream.reasons import Reason
from cacheproxy.upstream.tunnel import Closed, Refused, Tunnel, TunnelRules, open_tunnel

ASKED = Fields.of(
    ("host", "shop.example"),
    ("connection", "upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("sec-websocket-version", "13"),
    ("sec-websocket-extensions", "permessage-deflate"),
    ("origin", "https://shop.example"),
    ("cookie", "a=1"),
    ("cookie", "b=2"),
    ("x-user-id", "42"),
)
WS = RequestHead(method="GET", target=b"/chat/%2f?room=%41", fields=ASKED)
Listen = Callable[..., Awaitable[UpstreamRules]]


@pytest.fixture
async def listen(tmp_path: Path) -> AsyncIterator[Listen]:
    """Start a WebSocket server for a handler and give the rules to reach it."""
    servers: list[Server] = []

    async def start(
        handler: Callable[[ServerConnection], Awaitable[None]], *, unix: bool = False, **options: object
    ) -> UpstreamRules:
        if unix:
            path = str(tmp_path / "ws.sock")
            servers.append(await unix_serve(handler, path, **options))
            return UpstreamRules(socket=path)
        server = await serve(handler, "127.0.0.1", 0, **options)
        servers.append(server)
        return UpstreamRules(port=server.sockets[0].getsockname()[1])

    yield start
    for server in servers:
        server.close()
        await server.wait_closed()


async def opened(rules: UpstreamRules, request: RequestHead = WS, limits: TunnelRules | None = None) -> Tunnel:
    """A tunnel that the origin did open."""
    tunnel = await open_tunnel(rules, request, limits)
    assert isinstance(tunnel, Tunnel)
    return tunnel


async def echo(peer: ServerConnection) -> None:
    """Send every message back."""
    async for message in peer:
        await peer.send(message)


@pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
async def test_messages_pass_both_ways(listen: Listen, unix: bool) -> None:
    """Text stays text, bytes stay bytes, empty and large ones too."""
    tunnel = await opened(await listen(echo, unix=unix))
    for message in ("hello \u2603", b"\0\1", "", b"x" * 300_000):
        await tunnel.send(message)
        assert await tunnel.recv() == message
    await tunnel.close()


async def test_the_handshake_asks_what_the_client_asked(listen: Listen) -> None:
    """Raw target and fields arrive as they are; the hop's own fields are the library's, and each comes once."""
    seen: list[Request] = []
    tunnel = await opened(await listen(echo, process_request=lambda _, request: seen.append(request)))
    headers = seen[0].headers
    assert seen[0].path == "/chat/%2f?room=%41"
    assert headers.get_all("host") == ["shop.example"]
    assert headers.get_all("cookie") == ["a=1", "b=2"]
    assert headers["x-user-id"] == "42"
    assert headers["origin"] == "https://shop.example"
    assert headers["sec-websocket-key"] != "dGhlIHNhbXBsZSBub25jZQ=="
    assert "sec-websocket-extensions" not in headers
    assert "user-agent" not in headers
    await tunnel.close()


async def test_a_target_beyond_ascii_is_percent_encoded(listen: Listen) -> None:
    """Bytes that the library cannot send raw mean the same encoded."""
    seen: list[Request] = []
    rules = await listen(echo, process_request=lambda _, request: seen.append(request))
    tunnel = await opened(rules, RequestHead(method="GET", target=b"/\xc3\xa9", fields=ASKED))
    assert seen[0].path == "/%C3%A9"
    await tunnel.close()


async def test_the_origin_chooses_the_subprotocol_and_sets_fields(listen: Listen) -> None:
    """What the origin answered is there for the client, less the hop's own fields."""

    def with_cookie(_: ServerConnection, __: Request, response: Response) -> None:
        response.headers["Set-Cookie"] = "seen=1"

    rules = await listen(echo, subprotocols=["chat.v2", "chat.v1"], process_response=with_cookie)
    offering = RequestHead(
        method="GET", target=b"/", fields=ASKED.plus((b"sec-websocket-protocol", b"chat.v1, chat.v2"))
    )
    tunnel = await opened(rules, offering)
    assert tunnel.subprotocol == "chat.v2"
    assert tunnel.head.status == 101
    assert tunnel.head.fields.get(b"set-cookie") == b"seen=1"
    assert b"sec-websocket-accept" not in tunnel.head.fields
    assert b"upgrade" not in tunnel.head.fields
    await tunnel.close()


@pytest.mark.parametrize("status", [http.HTTPStatus.FORBIDDEN, http.HTTPStatus.FOUND, http.HTTPStatus.OK])
async def test_a_refusal_is_passed_on_as_it_is(listen: Listen, status: http.HTTPStatus) -> None:
    """Status, fields and body of the refusing answer are the client's; a redirect is not followed."""

    def refuse(peer: ServerConnection, _: Request) -> Response:
        response = peer.respond(status, "no entry\n")
        response.headers["Location"] = "https://elsewhere.example/"
        return response

    refused = await open_tunnel(await listen(echo, process_request=refuse), WS)
    assert isinstance(refused, Refused)
    assert refused.head.status == status
    assert refused.head.fields.get(b"location") == b"https://elsewhere.example/"
    assert refused.body == b"no entry\n"


@pytest.mark.parametrize(
    ("code", "reason", "seen"),
    [
        pytest.param(1000, "bye", Closed(1000, "bye"), id="normal"),
        pytest.param(1001, "", Closed(1001), id="going-away"),
        pytest.param(4001, "own", Closed(4001, "own"), id="application"),
    ],
)
async def test_the_origin_closes(listen: Listen, code: int, reason: str, seen: Closed) -> None:
    """Code and reason of the origin's close are told, again and again."""

    async def handler(peer: ServerConnection) -> None:
        await peer.close(code, reason)

    tunnel = await opened(await listen(handler))
    assert await tunnel.recv() == seen
    assert await tunnel.recv() == seen
    await tunnel.send("into the void")
    await tunnel.close()


async def test_an_origin_that_vanishes_is_a_bad_gateway(listen: Listen) -> None:
    """Without a closing handshake the client learns 1014, as 1006 cannot be sent."""

    async def handler(peer: ServerConnection) -> None:
        peer.transport.abort()

    tunnel = await opened(await listen(handler))
    closed = await tunnel.recv()
    assert isinstance(closed, Closed)
    assert closed.code == 1014


@pytest.mark.parametrize(("code", "sent"), [(1000, 1000), (1001, 1001), (1005, 1000), (1006, 1001), (4002, 4002)])
async def test_the_client_closes(listen: Listen, code: int, sent: int) -> None:
    """The client's code reaches the origin; one that no frame may carry becomes the nearest that may."""
    ended: asyncio.Future[Close | None] = asyncio.get_running_loop().create_future()

    async def handler(peer: ServerConnection) -> None:
        try:
            await peer.recv()
        except ConnectionClosed as closed:
            ended.set_result(closed.rcvd)

    tunnel = await opened(await listen(handler))
    await tunnel.close(code, "why")
    close = await ended
    assert close is not None
    assert (close.code, close.reason) == (sent, "why")


async def test_a_message_over_the_limit_ends_the_tunnel(listen: Listen) -> None:
    """A message too big is not read: 1009."""

    async def handler(peer: ServerConnection) -> None:
        await peer.send(b"x" * 2000)
        await peer.wait_closed()

    tunnel = await opened(await listen(handler), limits=TunnelRules(max_message_bytes=1000))
    closed = await tunnel.recv()
    assert isinstance(closed, Closed)
    assert closed.code == 1009


async def test_pings_are_answered(listen: Listen) -> None:
    """The origin's pings get their pongs without the bridge doing anything."""
    answered = asyncio.Event()

    async def handler(peer: ServerConnection) -> None:
        await (await peer.ping(b"there?"))
        answered.set()
        await peer.wait_closed()

    tunnel = await opened(await listen(handler))
    await answered.wait()
    await tunnel.close()


async def test_a_deaf_origin_is_given_up(serve: Callable[..., Awaitable[UpstreamRules]]) -> None:
    """An origin that answers no ping in time is gone: 1011."""

    async def handler(peer) -> None:
        accept = await accept_of(peer)
        peer.say(b"HTTP/1.1 101 Go\r\nupgrade: websocket\r\nconnection: upgrade\r\n" + accept)
        await peer.gone()

    limits = TunnelRules(ping_interval_s=0.02, ping_timeout_s=0.02, close_s=0.02)
    tunnel = await opened(await serve(handler), limits=limits)
    closed = await tunnel.recv()
    assert isinstance(closed, Closed)
    assert closed.code == 1011


@pytest.mark.parametrize(
    ("frame", "code"),
    [(b"\x88\x02\x03\xe8", 1000), (b"nonsense", 1002), (b"\x81\x02\xff\xfe", 1007)],
    ids=["closed", "no-frame", "not-utf-8"],
)
@pytest.mark.parametrize("at_once", [True, False])
async def test_an_origin_that_closes_and_stays_is_cut_off(
    serve: Callable[..., Awaitable[UpstreamRules]], frame: bytes, code: int, at_once: bool
) -> None:
    """Whether it closes or errs, with its handshake or later: the end comes in the time for a closing handshake."""

    async def handler(peer) -> None:
        head = b"HTTP/1.1 101 Go\r\nupgrade: websocket\r\nconnection: upgrade\r\n" + await accept_of(peer)
        peer.say(head + frame if at_once else head)
        if not at_once:
            await peer.reader.read(1)
            peer.say(frame)
        await peer.gone()

    tunnel = await opened(await serve(handler), limits=TunnelRules(ping_interval_s=30, close_s=0.05))
    if not at_once:
        await tunnel.send("go on")
    closed = await asyncio.wait_for(tunnel.recv(), 2)
    assert isinstance(closed, Closed)
    assert closed.code == code


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(b"", Reason.CLOSED_EARLY, id="closed"),
        pytest.param(b"SSH-2.0\r\n", Reason.MALFORMED_RESPONSE, id="another-protocol"),
        pytest.param(
            b"HTTP/1.1 101 Go\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: x\r\n\r\n",
            Reason.MALFORMED_RESPONSE,
            id="wrong-accept",
        ),
        pytest.param(
            b"HTTP/1.1 101 Go\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
            Reason.MALFORMED_RESPONSE,
            id="wrong-upgrade",
        ),
        pytest.param(b"HTTP/1.1 403 No\r\ncontent-length: 5\r\n\r\nno", Reason.CLOSED_EARLY, id="truncated-refusal"),
    ],
)
async def test_a_bad_answer_is_a_bad_gateway(
    serve: Callable[..., Awaitable[UpstreamRules]], answer: bytes, reason: Reason
) -> None:
    """Neither a tunnel nor a refusal that could be passed on: 502."""

    async def handler(peer) -> None:
        await peer.request()
        peer.say(answer)

    with pytest.raises(UpstreamError) as error:
        await open_tunnel(await serve(handler), WS)
    assert (error.value.status, error.value.reason) == (502, reason)


async def test_a_handshake_without_an_answer_is_a_gateway_timeout(
    serve: Callable[..., Awaitable[UpstreamRules]],
) -> None:
    """The answer to the handshake is due within the first-byte limit; the connection is closed then."""
    gone = asyncio.Event()

    async def handler(peer) -> None:
        await peer.gone()
        gone.set()

    with pytest.raises(UpstreamError) as error:
        await open_tunnel(await serve(handler, timeouts=Timeouts(first_byte_s=0.02)), WS)
    assert (error.value.status, error.value.reason) == (504, Reason.FIRST_BYTE_TIMEOUT)
    await gone.wait()


async def test_cancelling_a_handshake_closes_the_connection(
    serve: Callable[..., Awaitable[UpstreamRules]],
) -> None:
    """A client that leaves before the answer leaves nothing behind."""
    arrived, gone = asyncio.Event(), asyncio.Event()

    async def handler(peer) -> None:
        await peer.request()
        arrived.set()
        await peer.gone()
        gone.set()

    opening = asyncio.create_task(open_tunnel(await serve(handler), WS))
    await arrived.wait()
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await gone.wait()


async def test_a_refused_connection_is_named() -> None:
    """Dialling fails as it does for any request."""
    with pytest.raises(UpstreamError) as error:
        await open_tunnel(UpstreamRules(socket="/nonexistent.sock"), WS)
    assert (error.value.reason, error.value.sent) == (Reason.CONNECT_FAILED, False)


async def test_over_tls(listen: Listen, certificate: tuple[Path, Path]) -> None:
    """A verified origin is tunnelled to over TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    plain = await listen(echo, ssl=context)
    tunnel = await opened(UpstreamRules(scheme="https", port=plain.port, ca_file=str(certificate[0])))
    await tunnel.send("hello")
    assert await tunnel.recv() == "hello"
    await tunnel.close()


async def accept_of(peer) -> bytes:
    """The rest of a right answer to the handshake that ``peer`` got."""
    from websockets.utils import accept_key

    head = await peer.reader.readuntil(b"\r\n\r\n")
    key = head.lower().partition(b"sec-websocket-key: ")[0]
    raw = head[len(key) + len(b"sec-websocket-key: ") :].split(b"\r\n")[0]
    return b"sec-websocket-accept: %b\r\n\r\n" % accept_key(raw.decode()).encode()

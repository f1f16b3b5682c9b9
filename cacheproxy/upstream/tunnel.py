"""The origin's side of a WebSocket, message by message (RFC 6455)."""

import asyncio
from dataclasses import dataclass
from urllib.parse import quote_from_bytes

from websockets.asyncio.client import ClientConnection
from websockets.client import ClientProtocol
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage, InvalidStatus
from websockets.http11 import Request
from websockets.typing import Subprotocol
from websockets.uri import WebSocketURI

from cacheproxy.policy.route import UpstreamRules
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.forwarding import HOP_BY_HOP
from cacheproxy.semantics.head import RequestHead, ResponseHead
from cacheproxy.upstream.dial import Dialer
from cacheproxy.upstream.reasons import Reason, failure

Message = str | bytes

HANDSHAKE_FIELDS = HOP_BY_HOP | {
    b"expect",
    b"sec-websocket-accept",
    b"sec-websocket-extensions",
    b"sec-websocket-key",
    b"sec-websocket-protocol",
    b"sec-websocket-version",
}
"""Fields that belong to one hop: each side of the tunnel has its own."""
BODY_FIELDS = frozenset({b"content-length", b"transfer-encoding"})
ASCII_VISIBLE = "".join(map(chr, range(0x21, 0x7F)))
NORMAL, GOING_AWAY, NO_STATUS, ABNORMAL, BAD_GATEWAY = 1000, 1001, 1005, 1006, 1014


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelRules:
    """How much one message may hold, and how long the origin may keep silent."""

    max_message_bytes: int = 16 << 20
    ping_interval_s: float = 20.0
    ping_timeout_s: float = 20.0
    close_s: float = 5.0
    """How long the origin may take over the closing handshake."""


@dataclass(frozen=True, slots=True)
class Closed:
    """How the origin ended: ``code`` is one that may be sent on (RFC 6455 §7.4)."""

    code: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """The origin's answer where it did not open the tunnel: for the client, as it is."""

    head: ResponseHead
    body: bytes


class Tunnel:
    """An open WebSocket to the origin. Pings are answered and sent by itself."""

    def __init__(self, peer: ClientConnection, head: ResponseHead) -> None:
        """Speak through ``peer``, whose handshake was answered with ``head``."""
        self._peer = peer
        self.head = head
        """The answer to the handshake, less what belongs to that hop."""

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that the origin chose among those the client offered, or None."""
        return self._peer.subprotocol

    async def recv(self) -> Message | Closed:
        """Return the next message, text as str, or how the origin ended. One reader at a time."""
        try:
            return await self._peer.recv()
        except ConnectionClosed as ended:
            return _closed(ended)

    async def send(self, message: Message) -> None:
        """Send ``message``, waiting where the origin does not take it; dropped once the tunnel is closed."""
        try:
            await self._peer.send(message)
        except ConnectionClosed:
            return

    async def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Close with the client's ``code``; one that may not be sent becomes its nearest. Idempotent."""
        sendable = {NO_STATUS: NORMAL, ABNORMAL: GOING_AWAY}.get(code, code)
        await self._peer.close(sendable, reason)


class Handshake(ClientProtocol):
    """The library's handshake, asking what the client asked."""

    def __init__(self, uri: WebSocketURI, asked: RequestHead, rules: TunnelRules) -> None:
        """Ask with the fields of ``asked``."""
        offered = asked.fields.combined(b"sec-websocket-protocol") or b""
        names = [Subprotocol(name.strip()) for name in offered.decode("latin-1").split(",") if name.strip()]
        super().__init__(uri, subprotocols=names or None, max_size=rules.max_message_bytes)
        self._asked = asked

    def connect(self) -> Request:
        """Return the request: the library's fields, then the client's."""
        request = super().connect()
        fields = self._asked.fields.without(HANDSHAKE_FIELDS | BODY_FIELDS)
        if b"host" in fields:
            del request.headers["Host"]
        for name, value in fields:
            request.headers[name.decode("latin-1")] = value.decode("latin-1")
        return request


async def open_tunnel(
    upstream: UpstreamRules, request: RequestHead, rules: TunnelRules | None = None
) -> Tunnel | Refused:
    """Ask the origin to open the WebSocket that ``request`` asks for. UpstreamError where it gave no usable answer."""
    limits = rules or TunnelRules()
    peer = await Dialer(upstream).dial(lambda: _peer(upstream, request, limits))
    try:
        async with asyncio.timeout(upstream.timeouts.first_byte_s):
            await peer.handshake(user_agent_header=None)
    except BaseException as error:
        peer.transport.abort()
        return _refused(error)
    peer.start_keepalive()
    assert peer.response is not None
    fields = _fields(peer.response.headers).without(HANDSHAKE_FIELDS | BODY_FIELDS)
    return Tunnel(peer, ResponseHead(101, fields))


class _Peer(ClientConnection):
    """The library's connection, which itself waits for the end of one that should be closed only when it is asked."""

    _ending = False

    def data_received(self, data: bytes) -> None:
        """Give the origin ``close_timeout`` to end what it, or an error of its own, has closed."""
        super().data_received(data)
        if self.close_deadline is not None and not self._ending:
            self._ending = True
            self.loop.call_at(self.close_deadline, self.transport.abort)


def _peer(upstream: UpstreamRules, request: RequestHead, rules: TunnelRules) -> ClientConnection:
    return _Peer(
        Handshake(_uri(upstream, request), request, rules),
        ping_interval=rules.ping_interval_s,
        ping_timeout=rules.ping_timeout_s,
        close_timeout=rules.close_s,
    )


def _uri(upstream: UpstreamRules, request: RequestHead) -> WebSocketURI:
    path, _, query = quote_from_bytes(request.target, safe=ASCII_VISIBLE).partition("?")
    host, port = ("localhost", 80) if upstream.socket is not None else (upstream.host, upstream.port)
    return WebSocketURI(upstream.scheme == "https", host, port, path, query, None, None)


def _refused(error: BaseException) -> Refused:
    match error:
        case InvalidStatus():
            response = error.response
            return Refused(ResponseHead(response.status_code, _fields(response.headers)), bytes(response.body))
        case TimeoutError():
            raise failure(Reason.FIRST_BYTE_TIMEOUT) from error
        case InvalidMessage() if isinstance(error.__cause__, EOFError):
            raise failure(Reason.CLOSED_EARLY, str(error.__cause__)) from error
        case InvalidHandshake():
            raise failure(Reason.MALFORMED_RESPONSE, str(error.__cause__ or error)) from error
        case OSError():
            raise failure(Reason.CLOSED_EARLY, str(error)) from error
        case _:
            raise error


def _closed(ended: ConnectionClosed) -> Closed:
    frame = ended.rcvd if ended.rcvd is not None and ended.rcvd_then_sent is not False else ended.sent
    if frame is None:
        return Closed(BAD_GATEWAY, "the origin's connection was lost")
    return Closed(NORMAL if frame.code == NO_STATUS else frame.code, frame.reason)


def _fields(headers: Headers) -> Fields:
    return Fields((name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.raw_items())

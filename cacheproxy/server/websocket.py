"""WebSockets: routed, identified and limited like any request, then passed through message by message."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any, Protocol

from cacheproxy.engine.engine import Engine
from cacheproxy.engine.problems import unavailable
from cacheproxy.engine.reply import Reply
from cacheproxy.errors import UpstreamError
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.forwarding import response_fields
from cacheproxy.semantics.head import RequestHead, ResponseHead
from cacheproxy.server.adapter import Adapter

Message = str | bytes
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Closed(Protocol):
    """How the origin ended a tunnel."""

    @property
    def code(self) -> int:
        """A code that may be sent on."""
        ...

    @property
    def reason(self) -> str:
        """For a person."""
        ...


class Tunnel(Protocol):
    """An open WebSocket to the origin (``upstream.tunnel.Tunnel``)."""

    head: ResponseHead

    @property
    def subprotocol(self) -> str | None:
        """The one that the origin chose."""
        ...

    async def recv(self) -> Message | Closed:
        """The next message, or how the origin ended."""
        ...

    async def send(self, message: Message) -> None:
        """Pass ``message`` on."""
        ...

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """End it."""
        ...


class WebSocketApp:
    """The ASGI application behind uvicorn's WebSocket protocol."""

    def __init__(
        self, engine: Engine, adapter: Adapter, open_tunnel: Callable[[RequestHead], Awaitable[Tunnel | Reply]]
    ) -> None:
        """``open_tunnel`` gives the tunnel, or the origin's refusal."""
        self._engine = engine
        self._adapter = adapter
        self._open_tunnel = open_tunnel

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one WebSocket from its handshake to its end."""
        if scope["type"] != "websocket":
            raise RuntimeError("this application speaks WebSocket only")
        await receive()  # websocket.connect
        peer = scope["client"][0] if scope.get("client") else ""
        request, client = self._adapter.understand(_request_of(scope), peer)
        with ExitStack() as until:
            admitted = await self._engine.admit_tunnel(request, client, until)
            opened = admitted if isinstance(admitted, Reply) else await self._open(admitted)
            if isinstance(opened, Reply):
                await _refuse(send, opened)
                return
            try:
                await send({"type": "websocket.accept", "subprotocol": opened.subprotocol, "headers": _outward(opened)})
                await _bridge(opened, receive, send)
            finally:
                await opened.close()

    async def _open(self, request: RequestHead) -> Tunnel | Reply:
        try:
            return await self._open_tunnel(request)
        except UpstreamError as error:
            return unavailable(error)


async def _bridge(tunnel: Tunnel, receive: Receive, send: Send) -> None:
    """Pass messages both ways until either side ends; then end the other."""
    inward = asyncio.create_task(_from_client(tunnel, receive))
    outward = asyncio.create_task(_to_client(tunnel, send))
    try:
        await asyncio.wait((inward, outward), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (inward, outward):
            task.cancel()
        await asyncio.gather(inward, outward, return_exceptions=True)


async def _from_client(tunnel: Tunnel, receive: Receive) -> None:
    while True:
        event = await receive()
        if event["type"] == "websocket.disconnect":
            await tunnel.close(event.get("code", 1000), event.get("reason") or "")
            return
        text = event.get("text")
        await tunnel.send(event["bytes"] if text is None else text)


async def _to_client(tunnel: Tunnel, send: Send) -> None:
    while True:
        message = await tunnel.recv()
        if isinstance(message, str):
            await send({"type": "websocket.send", "text": message})
        elif isinstance(message, bytes):
            await send({"type": "websocket.send", "bytes": message})
        else:
            await send({"type": "websocket.close", "code": message.code, "reason": message.reason})
            return


async def _refuse(send: Send, reply: Reply) -> None:
    body = reply.body if isinstance(reply.body, bytes) else b""
    fields = [pair for pair in reply.fields if pair[0] not in {b"content-length", b"transfer-encoding", b"connection"}]
    fields.append((b"content-length", b"%d" % len(body)))
    await send({"type": "websocket.http.response.start", "status": reply.status, "headers": fields})
    await send({"type": "websocket.http.response.body", "body": body})


def _outward(tunnel: Tunnel) -> list[tuple[bytes, bytes]]:
    return [pair for pair in response_fields(tunnel.head.fields) if pair[0] != b"sec-websocket-protocol"]


def _request_of(scope: Scope) -> RequestHead:
    query = scope["query_string"]
    fields = Fields((name.lower(), value) for name, value in scope["headers"])
    return RequestHead(
        method="GET",
        target=scope["raw_path"] + (b"?" + query if query else b""),
        fields=fields,
        authority=(fields.get(b"host") or b"").lower(),
        scheme="https" if scope["scheme"] == "wss" else "http",
    )

"""One request and its response on a connection."""

from contextlib import aclosing
from functools import partial

import structlog

from cacheproxy.engine.pass_plan import Dispatched
from cacheproxy.engine.reply import Reply, ReplyStream, problem
from cacheproxy.errors import CacheproxyError
from cacheproxy.limits.contract import Asked
from cacheproxy.semantics.head import ResponseHead
from cacheproxy.server.adapter import Arrived
from cacheproxy.server.body import Upload
from cacheproxy.server.edge import Edge
from cacheproxy.server.express import Asking
from cacheproxy.server.outlet import Outlet
from cacheproxy.server.wire import render_head, render_interim

log = structlog.get_logger()


class Cycle:
    """Carries one request to the engine and its reply to the client."""

    __slots__ = ("_arrived", "_dispatched", "_edge", "_outlet", "_raw", "_request", "body", "keep_alive", "responding")

    def __init__(
        self,
        edge: Edge,
        outlet: Outlet,
        raw: bytes,
        arrived: Arrived,
        body: Upload | None,
        dispatched: Dispatched | None = None,
    ) -> None:
        """``raw`` is the head that was understood as ``arrived``; ``dispatched`` says how it was sent on already."""
        self._edge = edge
        self._outlet = outlet
        self._raw = raw
        self._arrived = arrived
        self._request = arrived.request
        self.body = body
        self.keep_alive = arrived.framing.keep_alive
        self.responding = False
        self._dispatched = dispatched

    @property
    def goes_on(self) -> bool:
        """Whether its request was sent on already."""
        return self._dispatched is not None

    async def run(self) -> bool:
        """Answer; whether the connection may be used again."""
        asking = None if self._dispatched is not None or self._edge.draining else self._asking()
        asked = None if asking is None else await self._edge.lane.ask(asking)
        if asked is not None and not isinstance(asked, Asked):
            self.responding = True
            self._outlet.write(b"".join(asked))
            return self.keep_alive
        return await self._send(await self._handle(asked))

    async def _handle(self, asked: Asked | None) -> Reply:
        """The engine's reply, which goes on from what was sent already."""
        dispatched = self._dispatched
        handle = (
            partial(self._edge.handle, asked=asked, dispatched=dispatched) if asked or dispatched else self._edge.handle
        )
        try:
            return await handle(self._request, self.body, self._arrived.client, self._interim)
        except Exception:
            log.exception("request_failed", path=self._request.path.decode("latin-1"))
            return problem(500, "internal-error", "a fault of the proxy; its log has the details")

    def _asking(self) -> Asking | None:
        """The answer that is known but for its limits; None where nothing is known."""
        arrived = self._arrived
        return self._edge.lane.asking(self._raw, trusted=arrived.client.trusted, peer=arrived.peer)

    def continue_(self) -> None:
        """Tell a client that expects it to go on and send its body (RFC 9110 §10.1.1)."""
        if self._arrived.framing.expects_continue and not self.responding:
            self._outlet.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _interim(self, head: ResponseHead) -> None:
        if self._request.http_version == "1.1" and not self.responding:
            self._outlet.write(render_interim(head))

    async def _send(self, reply: Reply) -> bool:
        self.responding = True
        unread = self.body is not None and not self.body.ended
        head_only = self._request.method == "HEAD"
        head, chunked, close = render_head(
            reply,
            head_only=head_only,
            date=self._outlet.date(),
            close=not self.keep_alive or unread or self._edge.draining,
            version=self._request.http_version,
        )
        if isinstance(reply.body, bytes):
            self._outlet.write(head if head_only or reply.status in {204, 304} else head + reply.body)
            if not close and self._request.http_version == "1.1":
                self._learn(reply, head)
            return not close
        if head_only or reply.status in {204, 304}:
            await reply.body.aclose()
            self._outlet.write(head)
            return not close
        return await self._stream(head, reply.body, chunked=chunked) and not close

    def _learn(self, reply: Reply, head: bytes) -> None:
        if reply.pass_plan is not None:
            self._edge.pass_lane.learn(self._raw, self._arrived, reply.pass_plan)
        if reply.shelved is None:
            return
        self._edge.lane.learn(
            self._raw,
            reply,
            head,
            method=self._request.method,
            trusted=self._arrived.client.trusted,
            peer=self._arrived.peer,
        )

    async def _stream(self, head: bytes, body: ReplyStream, *, chunked: bool) -> bool:
        """Send ``body`` as it comes; a body that breaks off breaks the connection off, so that nobody keeps half."""
        self._outlet.write(head)
        try:
            async with aclosing(body):
                whole = await self._pass_on(body, chunked=chunked)
        except CacheproxyError as error:
            log.warning("response_cut_off", path=self._request.path.decode("latin-1"), reason=str(error))
            whole = False
        except BaseException:
            self._outlet.abort()
            raise
        if not whole:
            self._outlet.abort()
        elif chunked:
            self._outlet.write(b"0\r\n\r\n")
        return whole

    async def _pass_on(self, body: ReplyStream, *, chunked: bool) -> bool:
        """Whether all came that was announced. No byte goes out beyond that, and no empty chunk: that is the last."""
        left = body.length
        async for chunk in body:
            if left is not None:
                left -= len(chunk)
                if left < 0:
                    return False
            if chunk:
                self._outlet.write(b"%x\r\n%s\r\n" % (len(chunk), chunk) if chunked else chunk)
                await self._outlet.drained()
        return not left

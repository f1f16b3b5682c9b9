"""The origin over HTTP/1.1: our own client, strict in what it reads and small in what it costs."""

import asyncio
from collections.abc import Coroutine
from functools import partial

from cacheproxy.errors import UpstreamError
from cacheproxy.policy.route import UpstreamRules
from cacheproxy.semantics.head import RequestHead
from cacheproxy.upstream.bodies import BytesBody, at_hand
from cacheproxy.upstream.connection import Connection
from cacheproxy.upstream.contract import OnInterim, Prepared, RequestBody, Sent
from cacheproxy.upstream.dial import Dialer
from cacheproxy.upstream.exchange import Exchange, Response
from cacheproxy.upstream.limits import ALL_AHEAD_BYTES
from cacheproxy.upstream.pool import Pool
from cacheproxy.upstream.read_ahead import ReadAhead
from cacheproxy.upstream.request_head import authority, completed, render
from cacheproxy.upstream.uploads import NO_LEAVE, Leave, Uploads

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
"""Methods that may be sent twice (RFC 9110 §9.2.2)."""


class HttpOrigin:
    """Sends requests over pooled connections. Make it, use it and close it in one event loop."""

    def __init__(self, rules: UpstreamRules) -> None:
        """Reach the origin by ``rules``; nothing is opened before the first request."""
        self._host = authority(rules)
        self._times = rules.timeouts
        self._senders: set[asyncio.Task[None]] = set()
        self._dialer = Dialer(rules)
        self._pool = Pool(
            self._dial,
            size=rules.max_connections,
            wait_s=rules.pool_wait_s,
            keepalive_s=rules.keepalive_s,
        )
        self._ahead = ReadAhead(ALL_AHEAD_BYTES)
        self._uploads = Uploads(max(1, rules.max_connections // 2), rules.pool_wait_s)

    def __repr__(self) -> str:
        """Show the pool."""
        return f"<HttpOrigin {self._host.decode()} {self._pool!r}>"

    @property
    def connections(self) -> dict[str, int]:
        """How many there are, by what they do (``Pool.counts``)."""
        return self._pool.counts

    @property
    def gave_way(self) -> int:
        """How many slow readers lost their connection to others."""
        return self._pool.gave_way

    async def send(
        self,
        request: RequestHead,
        body: RequestBody | None = None,
        on_interim: OnInterim | None = None,
        begun: Sent | None = None,
    ) -> Response:
        """Return the final response. UpstreamError with a ``Reason`` where none came.

        A request that met a connection which the origin was just closing is sent once more, on a fresh one: only if
        it is idempotent, not a byte of a response came but for a 408, and its body can be sent again.
        """
        body = at_hand(body)
        if begun is not None or body is None or isinstance(body, BytesBody):
            return await self._send(request, body, on_interim, begun, NO_LEAVE)
        with await self._uploads.enter(body) as leave:
            return await self._send(request, at_hand(body), on_interim, None, leave)

    async def _send(
        self,
        request: RequestHead,
        body: RequestBody | None,
        on_interim: OnInterim | None,
        begun: Sent | None,
        leave: Leave,
    ) -> Response:
        head = render(request, body, self._host)
        if isinstance(begun, Exchange):
            exchange = begun
            exchange.follow(on_interim)
        else:
            exchange = self._begin(await self._pool.acquire(), request, head, body, on_interim, leave)
        try:
            head_and_body = await exchange.response()
        except UpstreamError as error:
            if not exchange.met_closing(error) or request.method not in IDEMPOTENT:
                raise
        else:
            if not exchange.met_timeout or request.method not in IDEMPOTENT:
                return head_and_body
            await head_and_body[1].aclose()
        connection = await self._pool.acquire(fresh=True)
        return await self._begin(connection, request, head, body, on_interim, leave).response()

    def begin(self, prepared: Prepared, fields: bytes, content: bytes) -> Exchange | None:
        """Send what is ``prepared`` over an idle connection; None where there is none."""
        connection = self._pool.idle()
        if connection is None:
            return None
        exchange = Exchange(connection, prepared.method, self._times, None, self._ahead)
        exchange.send_whole(completed(prepared, fields, content))
        return exchange

    async def aclose(self) -> None:
        """Close all connections; requests under way fail."""
        self._pool.close()
        await asyncio.gather(*self._senders, return_exceptions=True)

    async def _dial(self) -> Connection:
        loop = asyncio.get_running_loop()
        return await self._dialer.dial(lambda: Connection(loop, self._times.idle_s))

    def _begin(
        self,
        connection: Connection,
        request: RequestHead,
        head: bytes,
        body: RequestBody | None,
        on_interim: OnInterim | None,
        leave: Leave,
    ) -> Exchange:
        exchange = Exchange(connection, request.method, self._times, on_interim, self._ahead)
        expects = body is not None and b"expect" in request.fields
        exchange.send(head, body, expects=expects, spawn=partial(self._spawn, leave=leave))
        return exchange

    def _spawn(self, sending: Coroutine[None, None, None], leave: Leave = NO_LEAVE) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(sending)
        self._senders.add(task)
        task.add_done_callback(self._senders.discard)
        task.add_done_callback(leave.give_back)
        return task

"""The engine's way to the origin: what goes on from hop to hop, and what is noted of it."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial

from cacheproxy.clock import Clock
from cacheproxy.engine.exchange import Exchange
from cacheproxy.engine.identify import sealed
from cacheproxy.engine.recorder import Event, Recorder
from cacheproxy.errors import UpstreamError
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.forwarding import PSEUDONYM, request_fields, response_fields
from cacheproxy.semantics.head import RequestHead, ResponseHead
from cacheproxy.upstream.bodies import BytesBody
from cacheproxy.upstream.contract import OnInterim, Origin, Prepared, RequestBody, ResponseBody, Sent
from cacheproxy.upstream.request_head import lines_to_repeat, prepare, request_line

MAX_KNOWN = 1024
_REQUEST_ID = frozenset({b"x-request-id"})


class OriginSide:
    """Sends requests on as a proxy must (RFC 9110 §7.6)."""

    def __init__(self, origin: Origin, recorder: Recorder, clock: Clock, loop_id: bytes = PSEUDONYM) -> None:
        """Send to ``origin``, marked with ``loop_id``."""
        self._origin = origin
        self._recorder = recorder
        self._clock = clock
        self._loop_id = loop_id
        self._known: dict[int, _Kept] = {}
        """By the identity of the fields, which are the same object for heads that differ in their targets alone."""

    async def send(
        self, exchange: Exchange, request: RequestHead, body: RequestBody | None, begun: Sent | None = None
    ) -> tuple[ResponseHead, ResponseBody]:
        """The origin's response to ``request`` as it came. UpstreamError. What is learnt is noted in ``exchange``.

        ``begun`` is what was sent of it already.
        """
        if begun is None:
            begun, exchange.begun = exchange.begun, None
        started = self._clock.monotonic() if begun is None else exchange.started
        try:
            head, arriving = await self._answer(exchange, request, body, begun)
        except UpstreamError as error:
            self._recorder.event(Event.UPSTREAM, error.reason)
            raise
        finally:
            exchange.upstream_s += self._clock.monotonic() - started
        self.answered()
        exchange.forward_status = head.status
        return head, arriving

    async def _answer(
        self, exchange: Exchange, request: RequestHead, body: RequestBody | None, begun: Sent | None
    ) -> tuple[ResponseHead, ResponseBody]:
        """The short way where the request can go at once and its answer comes whole; else the origin's ordinary one."""
        if begun is None and body is None and (begun := self.start(exchange, request)) is not None:
            await _told(begun)
            if begun.whole is not None:
                head, content = begun.whole
                return head, BytesBody(content)
        fields = self._fields(exchange, request)
        return await self._origin.send(request.with_fields(fields), body, _onward(exchange), begun)

    def start(self, exchange: Exchange, request: RequestHead) -> Sent | None:
        """Send ``request``, which has no body, at once; None where that cannot be done."""
        if exchange.seal_secret or (not request.authority and b"host" not in request.fields):
            return None
        known = self._kept(exchange, request)
        if not known.lines:
            known.lines = lines_to_repeat(request.with_fields(known.fields))
        prepared = Prepared(request.method, request_line(request) + known.lines)
        return self._origin.begin(prepared, b"x-request-id: %b\r\n" % exchange.request_id.encode(), b"")

    def note(self, exchange: Exchange, head: ResponseHead, asked_at: float) -> None:
        """Note that the origin, which was ``asked_at`` then (monotonic), has answered ``exchange`` with ``head``."""
        exchange.upstream_s += self._clock.monotonic() - asked_at
        exchange.forward_status = head.status
        self.answered()

    def answered(self) -> None:
        """Note that the origin answered a request."""
        self._recorder.event(Event.UPSTREAM, "ok")

    def prepare(self, exchange: Exchange, request: RequestHead, carried: Collection[bytes]) -> Prepared:
        """``request``, which is made for ``exchange``, as it goes on, to be sent again and again.

        The fields that are ``carried`` are each request's own.
        """
        return prepare(request.with_fields(self._kept(exchange, request).fields.without(carried)))

    def begin(self, prepared: Prepared, fields: bytes, content: bytes) -> Sent | None:
        """Send what is ``prepared`` at once, with ``fields`` and ``content`` of its own, if that can be."""
        return self._origin.begin(prepared, fields, content)

    def _fields(self, exchange: Exchange, request: RequestHead) -> Fields:
        fields = self._kept(exchange, request).fields.plus((b"x-request-id", exchange.request_id.encode()))
        return sealed(exchange, request.with_fields(fields), self._clock.now()) if exchange.seal_secret else fields

    def _kept(self, exchange: Exchange, request: RequestHead) -> "_Kept":
        """What goes on of the fields of ``request``, less its id. A head that came before is not gone through again."""
        cached = exchange.route.cache is not None
        known = self._known.get(id(request.fields))
        if known is not None and known.cached is cached and _is_alike(known.request, request):
            return known
        fields = request_fields(
            request, loop_id=self._loop_id, protected=exchange.identity_names, surrogate=cached
        ).without(_REQUEST_ID)
        kept = _Kept(request, cached, fields)
        if not (exchange.identity_names or request.fields.is_long):  # with a name, they are this request's own
            self._remember(kept)
        return kept

    def _remember(self, kept: "_Kept") -> None:
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known[id(kept.request.fields)] = kept


@dataclass(slots=True)
class _Kept:
    """What goes on of a request's fields, whatever its target."""

    request: RequestHead
    cached: bool
    """Whether its route has a cache."""
    fields: Fields
    """Less the request's id."""
    lines: bytes = b""
    """The same as bytes, once they were needed for a request without a body."""


def _is_alike(known: RequestHead, request: RequestHead) -> bool:
    """Whether they are the same to the next hop, their targets aside."""
    same = known.method == request.method and known.http_version == request.http_version
    return known.fields is request.fields and same and known.authority == request.authority


def news_of(sent: Sent) -> "asyncio.Future[None]":
    """Done as soon as there is anything to be known of the response to what was ``sent`` just now."""
    news: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    sent.when_told(partial(_wake, news))
    return news


async def _told(sent: Sent) -> None:
    """Wait for ``news_of`` it; cancelled, give it up."""
    try:
        await news_of(sent)
    except asyncio.CancelledError:
        sent.abandon()
        raise


def _wake(news: "asyncio.Future[None]") -> None:
    if not news.done():
        news.set_result(None)


def _onward(exchange: Exchange) -> OnInterim | None:
    """Where interim responses go: to the client, as far as they are for it."""
    on_interim = exchange.on_interim
    if on_interim is None:
        return None
    return lambda head: on_interim(ResponseHead(head.status, response_fields(head.fields)))

"""The engine's way to the origin: what goes on from hop to hop, and what is noted of it."""

from cacheproxy.clock import Clock
from cacheproxy.engine.exchange import Exchange
from cacheproxy.engine.identify import sealed
from cacheproxy.engine.recorder import Event, Recorder
from cacheproxy.errors import UpstreamError
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.forwarding import request_fields, response_fields
from cacheproxy.semantics.head import RequestHead, ResponseHead
from cacheproxy.upstream.contract import OnInterim, Origin, RequestBody, ResponseBody

MAX_KNOWN = 1024
_REQUEST_ID = frozenset({b"x-request-id"})


class OriginSide:
    """Sends requests on as a proxy must (RFC 9110 §7.6)."""

    def __init__(self, origin: Origin, recorder: Recorder, clock: Clock) -> None:
        """Send to ``origin``."""
        self._origin = origin
        self._recorder = recorder
        self._clock = clock
        self._known: dict[int, tuple[RequestHead, bool, Fields]] = {}

    async def send(
        self, exchange: Exchange, request: RequestHead, body: RequestBody | None
    ) -> tuple[ResponseHead, ResponseBody]:
        """The origin's response to ``request`` as it came. UpstreamError. What is learnt is noted in ``exchange``."""
        fields = self._fields(exchange, request)
        started = self._clock.monotonic()
        try:
            head, arriving = await self._origin.send(request.with_fields(fields), body, _onward(exchange))
        except UpstreamError as error:
            self._recorder.event(Event.UPSTREAM, error.reason)
            raise
        finally:
            exchange.upstream_s += self._clock.monotonic() - started
        self._recorder.event(Event.UPSTREAM, "ok")
        exchange.forward_status = head.status
        return head, arriving

    def _fields(self, exchange: Exchange, request: RequestHead) -> Fields:
        """What goes on of the fields of ``request``, and its id. A head that came before is not gone through again."""
        cached = exchange.route.cache is not None
        known = self._known.get(id(request))
        if known is not None and known[0] is request and known[1] is cached:
            fields = known[2]
        else:
            fields = request_fields(request, protected=exchange.identity_names, surrogate=cached)
            fields = fields.without(_REQUEST_ID)
            if request is exchange.request:
                self._remember(request, fields, cached=cached)
        fields = fields.plus((b"x-request-id", exchange.request_id.encode()))
        return sealed(exchange, request.with_fields(fields), self._clock.now()) if exchange.seal_secret else fields

    def _remember(self, request: RequestHead, fields: Fields, *, cached: bool) -> None:
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known[id(request)] = (request, cached, fields)


def _onward(exchange: Exchange) -> OnInterim | None:
    """Where interim responses go: to the client, as far as they are for it."""
    on_interim = exchange.on_interim
    if on_interim is None:
        return None
    return lambda head: on_interim(ResponseHead(head.status, response_fields(head.fields)))

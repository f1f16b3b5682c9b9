"""The engine's way to the origin: what goes on from hop to hop, and what is noted of it."""

from cacheproxy.clock import Clock
from cacheproxy.engine.exchange import Exchange
from cacheproxy.engine.recorder import Event, Recorder
from cacheproxy.errors import UpstreamError
from cacheproxy.semantics.forwarding import request_fields, response_fields
from cacheproxy.semantics.head import RequestHead, ResponseHead
from cacheproxy.upstream.contract import OnInterim, Origin, RequestBody, ResponseBody


class OriginSide:
    """Sends requests on as a proxy must (RFC 9110 §7.6)."""

    def __init__(self, origin: Origin, recorder: Recorder, clock: Clock) -> None:
        """Send to ``origin``."""
        self._origin = origin
        self._recorder = recorder
        self._clock = clock

    async def send(
        self, exchange: Exchange, request: RequestHead, body: RequestBody | None
    ) -> tuple[ResponseHead, ResponseBody]:
        """The origin's response to ``request`` as it came. UpstreamError. What is learnt is noted in ``exchange``."""
        fields = request_fields(request, protected=exchange.identity_names, surrogate=exchange.route.cache is not None)
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


def _onward(exchange: Exchange) -> OnInterim | None:
    """Where interim responses go: to the client, as far as they are for it."""
    on_interim = exchange.on_interim
    if on_interim is None:
        return None
    return lambda head: on_interim(ResponseHead(head.status, response_fields(head.fields)))

"""From a connection's request to the engine's: who the client is, and what the origin is told of the way here."""

from dataclasses import replace

from cacheproxy.engine.engine import Client, Engine
from cacheproxy.engine.reply import Reply
from cacheproxy.semantics.head import RequestHead
from cacheproxy.server.body import BodyStream
from cacheproxy.server.edge import OnInterim
from cacheproxy.server.forwarded import UNIX, client_address, forwarding_fields, is_trusted, without_forwarding


class Adapter:
    """Calls the engine for one listener."""

    def __init__(self, engine: Engine, port: int) -> None:
        """Call ``engine`` for what comes in on ``port``."""
        self._engine = engine
        self._own_port = b":%d" % port

    async def handle(self, request: RequestHead, body: BodyStream | None, peer: str, on_interim: OnInterim) -> Reply:
        """The engine's answer to what ``peer`` (an address, empty for a unix socket) sent."""
        understood, client = self.understand(request, peer)
        return await self._engine.handle(understood, body, client, on_interim)

    def trusts(self, peer: str) -> bool:
        """Whether ``peer`` is a proxy that is believed."""
        return is_trusted(peer or UNIX, self._engine.active.policy.trusted_proxies)

    def understand(self, request: RequestHead, peer: str) -> tuple[RequestHead, Client]:
        """``request`` with what earlier hops say replaced by what may be believed of it, and its client."""
        peer = peer or UNIX
        trusted = self._engine.active.policy.trusted_proxies
        told = forwarding_fields(request, peer, trusted)
        by_name = dict(told)
        understood = replace(
            request,
            fields=without_forwarding(request.fields).plus(*told),
            # Replicas on ports of their own share their keys; any other port is a client's word, and told apart.
            authority=by_name.get(b"x-forwarded-host", request.authority).removesuffix(self._own_port),
            scheme=by_name.get(b"x-forwarded-proto", request.scheme.encode()).decode("latin-1"),
        )
        address = client_address(peer, request.fields, trusted)
        return understood, Client(address=address, trusted=is_trusted(peer, trusted))

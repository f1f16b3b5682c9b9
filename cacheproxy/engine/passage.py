"""How a request goes past the cache, where that hangs on its head alone."""

from dataclasses import dataclass

from cacheproxy.engine.active import Active
from cacheproxy.engine.exchange import Exchange
from cacheproxy.upstream.contract import Sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """Says that a reply came past the cache, and that its request goes on in the same way whenever its head comes."""

    exchange: Exchange
    """How it was forwarded."""
    active: Active
    """The policy by which it was."""
    named: bytes
    """Its id where the client gave it one, else empty."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A request that was sent on at once."""

    passage: Passage
    sent: Sent
    request_id: bytes
    started: float
    """Monotonic."""


def passage_of(exchange: Exchange, active: Active) -> Passage | None:
    """How ``exchange``, which was forwarded, may be repeated; None where it hangs on more than the request's head."""
    asked = exchange.asked_elsewhere or exchange.session is not None or exchange.seal_secret or exchange.route.limits
    if asked or exchange.key is not None or b"expect" in exchange.request.fields:
        return None
    given = exchange.request.fields.get(b"x-request-id") or b""
    return Passage(exchange=exchange, active=active, named=given if given == exchange.request_id.encode() else b"")

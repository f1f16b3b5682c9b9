"""What a connection needs from the rest of the program, and the limits it holds its client to."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from cacheproxy.engine.engine import Client
from cacheproxy.engine.pass_plan import Dispatched
from cacheproxy.engine.reply import Reply
from cacheproxy.limits.contract import Asked
from cacheproxy.semantics.head import RequestHead
from cacheproxy.server.adapter import Arrived
from cacheproxy.server.body import Upload
from cacheproxy.server.express import ExpressLane
from cacheproxy.server.pass_lane import PassLane
from cacheproxy.server.room import MOST_CONNECTIONS
from cacheproxy.upstream.contract import OnInterim


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeLimits:
    """How long and how much a client may make us wait. Seconds and bytes."""

    head_s: float = 10.0
    """From the first byte of a head to its last."""
    body_s: float = 60.0
    """Between two reads of a body."""
    keepalive_s: float = 75.0
    """Idle between requests: longer than a balancer's, so that the balancer closes first."""
    write_s: float = 60.0
    """Without a byte taken by a slow reader."""
    linger_s: float = 2.0
    """Reading on after a refusal, so that the client sees the answer rather than a reset."""
    linger_bytes: int = 1 << 20
    max_connections: int = MOST_CONNECTIONS
    message_bytes: int = 1 << 20
    """Of one WebSocket message from a client. As much may be held for each of them until its message is whole."""


class Handle(Protocol):
    """The engine: a request, its body if it has one, its client, and where interim responses go."""

    def __call__(
        self,
        request: RequestHead,
        body: Upload | None,
        client: Client,
        on_interim: OnInterim,
        /,
        asked: Asked | None = None,
        dispatched: Dispatched | None = None,
    ) -> Awaitable[Reply]:
        """The answer; ``asked`` is what limits have said of the request already, ``dispatched`` how it was sent on."""
        ...


Read = Callable[[bytes, str, str], Arrived]
"""A head's bytes, the connection's scheme, and its peer's address (empty for a unix socket). ClientError."""


def _unheard(_reason: str) -> None:
    """Nobody counts what is refused."""


@dataclass(slots=True, kw_only=True)
class Edge:
    """Shared by all connections of one listener."""

    handle: Handle
    read: Read
    lane: ExpressLane
    pass_lane: PassLane
    trusts: Callable[[str], bool]
    """Whether the peer of that address is a proxy that is believed."""
    limits: EdgeLimits = field(default_factory=EdgeLimits)
    refused: Callable[[str], None] = _unheard
    """Told the reason code of each request that was refused before the engine saw it."""
    draining: bool = False

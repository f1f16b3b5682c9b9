"""How a request goes past the cache, where that hangs on its head alone."""

from dataclasses import dataclass
from typing import NamedTuple

from cacheproxy.engine.active import Active
from cacheproxy.engine.exchange import Exchange
from cacheproxy.engine.fill_job import FillJob
from cacheproxy.semantics.head import RequestHead
from cacheproxy.upstream.contract import Sent


@dataclass(frozen=True, slots=True, kw_only=True)
class PassPlan:
    """Says that a reply came past the cache, and that its request goes on in the same way whenever its head comes."""

    exchange: Exchange
    """How it was forwarded."""
    active: Active
    """The policy by which it was."""
    sent: RequestHead
    """What goes on, less its id."""
    carried: frozenset[bytes]
    """The request fields that merely go on: requests that differ in them alone go the same way."""
    any_target: bool
    """Whether it is the same for all targets of its route, whatever their paths and queries say."""
    alone: FillJob | None = None
    """The fill that it was, where the cache had a part in it, and knew that nobody could share it."""


class Dispatched(NamedTuple):
    """A request that was sent on at once. A tuple, as one is made for each of them."""

    plan: PassPlan
    sent: Sent
    request_id: bytes
    client: str
    """Its address."""
    path: str
    started: float
    """Monotonic."""

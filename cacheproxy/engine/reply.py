"""What the engine answers with, before the edge puts it on the wire."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import NamedTuple, Protocol

from cacheproxy.engine.pass_plan import PassPlan
from cacheproxy.limits.contract import Check
from cacheproxy.policy.route import LimitHeaders, Policy
from cacheproxy.semantics.fields import Fields, Pair
from cacheproxy.sessions.contract import Session


class ReplyStream(Protocol):
    """A body that is sent on as it arrives. It is read to its end or closed."""

    @property
    def length(self) -> int | None:
        """Bytes, or None where only the end tells."""
        ...

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The chunks. An error in between means that the client must see the body cut off, not ended."""
        ...

    async def aclose(self) -> None:
        """Let go of it. Idempotent."""
        ...


class Visited(Protocol):
    """A place in L1 that remembers being asked for, so that it is not the next to be evicted."""

    visited: bool

    @property
    def body(self) -> bytes:
        """What is kept there; empty once it was dropped."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a repeated reply hangs on beside its request's head, and is asked about each time."""

    session: Session | None = None
    """The session it is for: it must still be known, and the same."""
    checks: tuple[Check, ...] = ()
    """The rates that the request counts against."""
    limit_headers: LimitHeaders = LimitHeaders.BOTH
    by_peer: bool = False
    """Whether the address of the peer matters, which is not in the head."""
    policy: Policy | None = None
    """The policy that it was answered by."""
    unread: frozenset[bytes] = frozenset()
    """Request fields that it does not hang on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """Says that a reply is the refusal of a request over its limit, and hangs on nothing but its terms."""

    terms: Terms
    route: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelved:
    """Says that a reply hangs on nothing but its terms and one place in L1, until it is stale.

    Its Age is ``now - born_at`` at any ``now``, and the ``ttl`` of Cache-Status ``stale_at - now``, in epoch seconds.
    """

    key: str
    slot: Visited
    place: object
    """For ``MemoryStore.unchanged``."""
    born_at: float
    stale_at: float
    until: float
    """When it is to be decided anew, in epoch seconds: where it may be refreshed early, before it is stale."""
    route: str
    resource_type: str
    terms: Terms = Terms()


class Reply(NamedTuple):
    """A response: its fields carry no framing (the edge adds it), but for a HEAD's or 304's own Content-Length.

    A tuple, as each request takes two or three.
    """

    status: int
    fields: Fields
    body: bytes | ReplyStream = b""
    shelved: Shelved | Blocked | None = None
    """What it hangs on, where the express lane may repeat it."""
    pass_plan: PassPlan | None = None
    """How its request is sent on again, where that hangs on the request's head alone."""

    def with_fields(self, fields: Fields) -> "Reply":
        """The same reply with other fields."""
        return Reply(self.status, fields, self.body, self.shelved, self.pass_plan)

    def repeated_by(self, pass_plan: PassPlan | None) -> "Reply":
        """The same reply, whose request is sent on again by ``pass_plan``."""
        return Reply(self.status, self.fields, self.body, self.shelved, pass_plan)


def problem(status: int, reason: str, detail: str, *extra: Pair) -> Reply:
    """A problem+json reply (RFC 9457); ``reason`` is a stable code. Never to be cached by anybody."""
    title = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "Error"
    content = {"type": "about:blank", "title": title, "status": status, "reason": reason, "detail": detail}
    fields = Fields(((b"content-type", b"application/problem+json"), (b"cache-control", b"no-store"), *extra))
    return Reply(status, fields, json.dumps(content).encode())

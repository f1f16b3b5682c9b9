"""The one mutable record of a request. Headers, log line and metrics are all read from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from cacheproxy.limits.contract import Asked, Check, LimitState
from cacheproxy.limits.in_flight import Permits
from cacheproxy.policy.identity import Identity
from cacheproxy.policy.keys import CacheKey, NoKeyReason
from cacheproxy.policy.paths import Param
from cacheproxy.policy.route import Policy, Route
from cacheproxy.redis_link.contract import Budget
from cacheproxy.semantics.cache_status import Detail
from cacheproxy.semantics.head import RequestHead
from cacheproxy.semantics.invalidation import SAFE_METHODS
from cacheproxy.semantics.plan import Forward
from cacheproxy.semantics.storing import PassReason
from cacheproxy.sessions.contract import Session
from cacheproxy.storage.contract import Tier
from cacheproxy.upstream.contract import OnInterim, RequestBody, Sent


class XCache(StrEnum):
    """The word of the ``X-Cache`` field."""

    HIT = "HIT"
    MISS = "MISS"
    STALE = "STALE"
    REVALIDATED = "REVALIDATED"
    BYPASS = "BYPASS"


@dataclass(slots=True, kw_only=True)
class Exchange:
    """What is known of a request so far. ``started`` is monotonic, ``now`` epoch seconds."""

    request: RequestHead
    """As the engine understands it: stripped of what a client may not say, in the fields' own order."""
    body: RequestBody | None
    on_interim: OnInterim | None
    request_id: str
    started: float
    now: float
    budget: Budget
    policy: Policy
    """In force when it came, and for it until it is answered."""
    route: Route
    ours: bool = False
    """Whether nobody asked but we."""
    peer_trusted: bool = False
    """Whether the request came from a proxy that the policy trusts."""
    params: Mapping[str, Param] = field(default_factory=dict)
    identity: Identity = field(default_factory=Identity)
    seal_secret: str = field(default="", repr=False)
    """Key of the seal over the identity fields, set when the request goes on to the origin; empty for none."""
    identity_names: frozenset[bytes] = frozenset()
    """Request fields that carry the identity: no client's Connection may drop them."""
    personal_names: frozenset[bytes] = frozenset()
    """Those of them that say more than the tenant, which is in every key."""
    limit_states: tuple[LimitState, ...] = ()
    permits: tuple[Permits, ...] = ()
    """Its places among the requests in flight: given back when its answer has been sent, or will not be."""
    key: CacheKey | None = None
    """None where the cache has no part in it. A POST's is that of a GET for the same target."""

    begun: Sent | None = None
    """It is on its way to the origin already, unless the way there has been met since."""
    session: Session | None = None
    """The session it is answered for."""
    checks: tuple[Check, ...] = ()
    """The rates it was counted against."""
    asked: Asked | None = None
    """What was asked about it before it came here."""
    asked_elsewhere: bool = False
    """Whether the answer hangs on more than the request's head, the store, that session and those rates."""
    x_cache: XCache = XCache.BYPASS
    forward: Forward | None = None
    """Why the request went to the origin (RFC 9211 §2.2); None where it did not."""
    forward_status: int | None = None
    stored: bool = False
    collapsed: bool = False
    tier: Tier | None = None
    ttl_s: float | None = None
    detail: Detail | PassReason | NoKeyReason | None = None
    upstream_s: float = 0.0
    error: str = ""
    """The reason code of what went wrong."""
    error_detail: str = ""
    """More of it, for the log: it may name hosts that are not the client's business."""

    @property
    def hit(self) -> bool:
        """Whether it was answered from the store, and the origin was not asked (RFC 9211 §2.1)."""
        return self.forward is None and self.x_cache in {XCache.HIT, XCache.STALE}

    def drop_begun(self) -> None:
        """Give up what is on its way, if nobody has met it there: it was answered otherwise. Idempotent."""
        if self.begun is not None:
            self.begun.abandon()
            self.begun = None

    def give_up(self) -> None:
        """Nobody waits for the answer any more. A write that is on its way is seen through all the same. Idempotent."""
        self.leave()
        if self.request.method in SAFE_METHODS:
            self.drop_begun()

    def leave(self) -> None:
        """Give back its places among the requests in flight. Idempotent."""
        for permits in self.permits:
            permits.release()
        self.permits = ()

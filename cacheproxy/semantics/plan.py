"""What to do about a request, given what is stored for it (RFC 9111 §4). Pure: the engine carries it out."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from cacheproxy.semantics.cache_control import CacheControl
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.freshness import current_age
from cacheproxy.semantics.head import RequestHead
from cacheproxy.semantics.ranges import Missing, covers, missing_part
from cacheproxy.semantics.rules import CacheRules, ClientControl, Mode
from cacheproxy.semantics.storing import PassReason, grants_authorized
from cacheproxy.semantics.validators import has_validator


class Stored(Protocol):
    """A stored response, as far as these rules look at it. ``storage.contract.Entry`` is one."""

    @property
    def status(self) -> int:
        """200, or 206 where only a part is stored, or any other final status."""
        ...

    @property
    def fields(self) -> Fields:
        """Its fields as stored."""
        ...

    @property
    def body(self) -> bytes:
        """Its body; of a 206, the part."""
        ...

    @property
    def received_at(self) -> float:
        """Epoch seconds at which it came, or was last validated."""
        ...

    @property
    def lifetime_s(self) -> float:
        """Freshness lifetime."""
        ...

    @property
    def initial_age_s(self) -> float:
        """Corrected initial age."""
        ...

    @property
    def swr_s(self) -> float:
        """Seconds past its lifetime that it may be served while it is revalidated."""
        ...

    @property
    def sie_s(self) -> float:
        """Seconds past its lifetime that it may be served where the origin fails."""
        ...

    @property
    def must_revalidate(self) -> bool:
        """Whether it may never be served stale."""
        ...


class Forward(StrEnum):
    """Why a request goes to the origin: the ``fwd`` of Cache-Status (RFC 9211 §2.2)."""

    BYPASS = "bypass"
    METHOD = "method"
    URI_MISS = "uri-miss"
    VARY_MISS = "vary-miss"
    MISS = "miss"
    REQUEST = "request"
    STALE = "stale"
    PARTIAL = "partial"


@dataclass(frozen=True, slots=True)
class Serve:
    """Answer with what is stored; it is fresh and ``age_s`` old."""

    stored: Stored
    age_s: float


@dataclass(frozen=True, slots=True)
class ServeStale:
    """Answer with what is stored although it is stale; ``refresh`` it in the background if told so."""

    stored: Stored
    age_s: float
    refresh: bool


@dataclass(frozen=True, slots=True)
class Revalidate:
    """Ask the origin whether what is stored still holds (it has a validator), then answer."""

    stored: Stored
    age_s: float
    reason: Forward


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch:
    """Ask the origin for a response."""

    reason: Forward
    detail: PassReason | None = None
    storable: bool = True
    """False: pass the answer through. It is not stored, shared or taken from anybody else's fill."""
    stored: Stored | None = None
    """What there is, stale or partial: for stale-if-error, and to be combined with what comes."""
    missing: Missing | None = None
    """What lacks of a stored part: ask for that range only (RFC 9111 §3.4)."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer ``status`` without asking the origin (only-if-cached, RFC 9111 §5.2.1.7)."""

    status: int = 504


Plan = Serve | ServeStale | Revalidate | Fetch | Refuse

_READ = frozenset({"GET", "HEAD"})
_DECISIVE = frozenset({
    b"authorization", b"cache-control", b"if-match", b"if-unmodified-since", b"pragma",
})  # fmt: skip
_NOT_ASKED = CacheControl()


def plan(
    request: RequestHead,
    stored: Stored | None,
    rules: CacheRules,
    now: float,
    *,
    soft_purged: bool = False,
    vary_miss: bool = False,
) -> Plan:
    """Say how to answer ``request`` at ``now``, given the most fitting ``stored`` response (RFC 9111 §4).

    ``vary_miss``: there are stored responses under this key, but none that fits.
    """
    if request.method not in _READ and request.method not in rules.methods:
        return Fetch(reason=Forward.METHOD)
    asked = _NOT_ASKED
    if not _DECISIVE.isdisjoint(request.fields.names()):
        decisive = [pair for pair in request.fields.pairs if pair[0] in _DECISIVE]
        asked = _client_control(Fields(decisive), rules)
        aside = _aside({name for name, _ in decisive}, stored, asked, rules)
        if aside is not None:
            return Refuse() if asked.only_if_cached else aside
    if stored is not None:
        if stored.status == 206 and not covers(stored, request):
            return Refuse() if asked.only_if_cached else _complete(stored, request, rules)
        return _plan_found(stored, now, asked, soft_purged=soft_purged)
    return Refuse() if asked.only_if_cached else Fetch(reason=Forward.VARY_MISS if vary_miss else Forward.URI_MISS)


def _plan_found(stored: Stored, now: float, asked: CacheControl, *, soft_purged: bool) -> Plan:
    age_s = current_age(stored.initial_age_s, stored.received_at, now)
    if soft_purged or age_s >= stored.lifetime_s:
        return _plan_stale(stored, age_s, asked, soft_purged=soft_purged)
    if asked is _NOT_ASKED or _fresh_enough(stored, age_s, asked):
        return Serve(stored, age_s)
    return Refuse() if asked.only_if_cached else _validate(stored, age_s, Forward.REQUEST)


def may_serve_on_error(stored: Stored, rules: CacheRules, now: float) -> bool:
    """Whether ``stored`` may stand in for the origin's error or silence at ``now`` (RFC 5861 §4).

    The window was fixed when it was stored, unless the policy overrides: then the policy of now decides.
    """
    by_policy = rules.stale_if_error_s if rules.mode is Mode.OVERRIDE else None
    window_s = stored.sie_s if by_policy is None else by_policy
    staleness_s = current_age(stored.initial_age_s, stored.received_at, now) - stored.lifetime_s
    return not stored.must_revalidate and staleness_s <= window_s and window_s > 0.0


def is_error(status: int) -> bool:
    """Whether the origin's answer is one that stale-if-error stands in for: 500, 502, 503 or 504 (RFC 5861 §4)."""
    return status in {500, 502, 503, 504}


def takes_stale(request: RequestHead, rules: CacheRules, age_s: float) -> bool:
    """Whether the client asks for nothing that a stale response of that age fails (RFC 9111 §5.2.1)."""
    return _takes_stale(_client_control(request.fields, rules), age_s)


def _client_control(decisive: Fields, rules: CacheRules) -> CacheControl:
    """What the client asks of caches, where the policy lets it (RFC 9111 §5.2.1, §5.4)."""
    if rules.client_cache_control is ClientControl.IGNORE:
        return _NOT_ASKED
    if b"cache-control" in decisive:
        return CacheControl.of(decisive)
    no_cache = b"no-cache" in (decisive.get(b"pragma") or b"").lower()
    return CacheControl(no_cache=True) if no_cache else _NOT_ASKED


def _aside(names: set[bytes], stored: Stored | None, asked: CacheControl, rules: CacheRules) -> Fetch | None:
    """The fetch that a request needs which no stored response may answer, or None."""
    if asked.no_store:
        return Fetch(reason=Forward.REQUEST, detail=PassReason.REQUEST_NO_STORE, storable=False)
    if not names.isdisjoint((b"if-match", b"if-unmodified-since")):
        # Only the origin can tell whether they hold (RFC 9111 §4.3.2).
        return Fetch(reason=Forward.BYPASS, detail=PassReason.PRECONDITION, storable=False)
    if b"authorization" in names and stored is not None and not _may_see(stored, rules):
        return Fetch(reason=Forward.BYPASS, detail=PassReason.AUTHORIZATION, storable=False)
    return None


def _may_see(stored: Stored, rules: CacheRules) -> bool:
    """Whether a request with Authorization may be answered with what is stored (RFC 9111 §3.5)."""
    return rules.allow_authorization or grants_authorized(CacheControl.effective(stored.fields))


def _fresh_enough(stored: Stored, age_s: float, asked: CacheControl) -> bool:
    """Whether a fresh response is so for this client too (RFC 9111 §5.2.1.1, .3, .4)."""
    if asked.no_cache or (asked.max_age_s is not None and age_s > asked.max_age_s):
        return False
    return asked.min_fresh_s is None or stored.lifetime_s - age_s >= asked.min_fresh_s


def _plan_stale(stored: Stored, age_s: float, asked: CacheControl, *, soft_purged: bool) -> Plan:
    staleness_s = age_s - stored.lifetime_s
    if not stored.must_revalidate and _takes_stale(asked, age_s):
        if staleness_s <= stored.swr_s and stored.swr_s > 0.0:
            return ServeStale(stored, age_s, refresh=True)
        if asked.max_stale_s is not None and staleness_s <= asked.max_stale_s and not soft_purged:
            return ServeStale(stored, age_s, refresh=False)
    return Refuse() if asked.only_if_cached else _validate(stored, age_s, Forward.STALE)


def _takes_stale(asked: CacheControl, age_s: float) -> bool:
    """Whether the client asked for nothing that a stale response fails."""
    if asked.no_cache or asked.min_fresh_s is not None:
        return False
    return asked.max_age_s is None or age_s <= asked.max_age_s


def _validate(stored: Stored, age_s: float, reason: Forward) -> Revalidate | Fetch:
    if has_validator(stored.fields):
        return Revalidate(stored, age_s, reason)
    return Fetch(reason=reason, stored=stored)


def _complete(stored: Stored, request: RequestHead, rules: CacheRules) -> Fetch:
    """Fetch what a stored part lacks: the rest, where a whole response is asked for (RFC 9111 §3.4) and may be kept."""
    wants_whole = request.method == "GET" and b"range" not in request.fields
    missing = missing_part(stored, rules.max_body_bytes) if wants_whole else None
    return Fetch(reason=Forward.PARTIAL, stored=stored, missing=missing)

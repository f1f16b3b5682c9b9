"""Whether a shared cache may store a response, for how long, and what of it (RFC 9111 §3)."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from cacheproxy.semantics.cache_control import CacheControl
from cacheproxy.semantics.cookies import sets_own_cookie
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.freshening import dated
from cacheproxy.semantics.freshness import (
    HEURISTICALLY_CACHEABLE,
    explicit_lifetime,
    heuristic_lifetime,
    initial_age,
)
from cacheproxy.semantics.head import RequestHead, ResponseHead
from cacheproxy.semantics.invalidation import names_target
from cacheproxy.semantics.ranges import parse_content_range
from cacheproxy.semantics.reading import Reading, reading_of
from cacheproxy.semantics.rules import CacheRules, ClientControl, Mode
from cacheproxy.semantics.vary import variance

UNDERSTOOD = frozenset({
    200, 201, 202, 203, 204, 205, 206, 300, 301, 302, 303, 307, 308,
    400, 401, 402, 403, 404, 405, 406, 408, 409, 410, 411, 413, 414, 415, 417, 421, 422, 426, 451,
    500, 501, 502, 503, 504, 505,
})  # fmt: skip
"""Status codes whose requirements on caches are known, and met, here (RFC 9111 §5.2.2.3, RFC 9110 §15)."""

NEVER_STORED = frozenset({304, 412, 416, 428, 429, 431, 511})
"""Answers to a condition or range of one request, and those that RFC 6585 §3 to §6 forbid to store."""

POLICY_LIFETIME = frozenset({200, 203, 204, 206, 300, 301, 308})
"""Status codes to which a route's plain ``ttl`` applies. Others take a row of their own (negative caching)."""


class PassReason(StrEnum):
    """Why a response is not stored. Each is a ``detail`` of Cache-Status, see docs/cache-status.md."""

    METHOD = "method"
    STATUS = "status"
    NOT_UNDERSTOOD = "not-understood"
    REQUEST_NO_STORE = "request-no-store"
    NO_STORE = "no-store"
    PRIVATE = "private"
    AUTHORIZATION = "authorization"
    SET_COOKIE = "set-cookie"
    SENSITIVE = "sensitive"
    """The policy says so of its media type, or of a field that it has."""
    VARY_STAR = "vary-star"
    PARTIAL = "partial-content"
    NO_LIFETIME = "no-lifetime"
    NOT_REUSABLE = "not-reusable"
    TOO_LARGE = "too-large"
    PRECONDITION = "precondition"
    STORE_WHEN = "store-when"
    """The route's condition on requests whose answers are stored does not hold."""
    PERSONALISED = "personalised"
    """It names its caller (the engine's leak guard)."""
    TAGS = "tags-refused"
    """Its tags are too many, too large or malformed, so that a purge could miss it (``invalidation.tags``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """It may be stored: what a stored response is made of, less its body. Times as in ``storage.contract.Entry``."""

    status: int
    fields: Fields
    lifetime_s: float
    initial_age_s: float
    swr_s: float
    sie_s: float
    must_revalidate: bool
    keep_until: float
    vary: tuple[bytes, ...]
    variance: bytes


@dataclass(frozen=True, slots=True)
class Pass:
    """It may not be stored, nor handed to anybody but the client whose request it answers."""

    reason: PassReason


@dataclass(frozen=True, slots=True)
class _Lifetime:
    seconds: float
    by_policy: bool


def assess(
    request: RequestHead, response: ResponseHead, rules: CacheRules, *, requested_at: float, received_at: float
) -> Store | Pass:
    """Say whether a shared cache may store ``response``, and on what terms (RFC 9111 §3)."""
    told = reading_of(response)
    control = told.control
    for reason in _refusals(request, response, told, rules):
        return Pass(reason)
    names = told.names_if_http if request.scheme == "http" else told.names
    if names is None:
        return Pass(PassReason.VARY_STAR)
    age_s = initial_age(told.dated_at, told.age_s, requested_at=requested_at, received_at=received_at)
    lifetime = _lifetime(response, told, rules, age_s=age_s, received_at=received_at)
    if lifetime is None:
        return Pass(PassReason.NO_LIFETIME)
    must_revalidate = not lifetime.by_policy and _forbids_stale(control)
    swr_s, sie_s = (0.0, 0.0) if must_revalidate else _stale_windows(control, rules)
    use_s = lifetime.seconds - age_s + max(swr_s, sie_s)
    keep_s = max(0.0, use_s) + (rules.keep_stale_s if told.has_validator else 0.0)
    if keep_s <= 0.0:
        return Pass(PassReason.NOT_REUSABLE)
    return Store(
        status=response.status,
        fields=dated(told.kept, received_at),
        lifetime_s=lifetime.seconds,
        initial_age_s=age_s,
        swr_s=swr_s,
        sie_s=sie_s,
        must_revalidate=must_revalidate,
        keep_until=received_at + keep_s,
        vary=names,
        variance=variance(names, request.fields),
    )


def grants_authorized(control: CacheControl) -> bool:
    """Whether the origin lets a shared cache reuse what was asked for with Authorization (RFC 9111 §3.5)."""
    return control.public or control.must_revalidate or control.s_maxage_s is not None


def _refusals(request: RequestHead, response: ResponseHead, told: Reading, rules: CacheRules) -> Iterator[PassReason]:
    """The reasons not to store that hold in every mode."""
    control = told.control
    if request.method == "HEAD" or not (request.method in rules.methods or _post_for_get(request, response, control)):
        yield PassReason.METHOD
    if rules.client_cache_control is ClientControl.HONOR and CacheControl.of(request.fields).no_store:
        yield PassReason.REQUEST_NO_STORE
    if response.status < 200 or response.status in NEVER_STORED:
        yield PassReason.STATUS
    if control.must_understand and response.status not in UNDERSTOOD:
        yield PassReason.NOT_UNDERSTOOD
    if control.no_store and not control.must_understand:
        yield PassReason.NO_STORE
    if control.private:
        yield PassReason.PRIVATE
    if b"authorization" in request.fields and not (rules.allow_authorization or grants_authorized(control)):
        yield PassReason.AUTHORIZATION
    yield from _content_refusals(response, told, rules)


def _content_refusals(response: ResponseHead, told: Reading, rules: CacheRules) -> Iterator[PassReason]:
    """The reasons not to store that lie in what the response carries."""
    if told.sets_cookies and sets_own_cookie(response.fields, rules.shared_cookies):
        yield PassReason.SET_COOKIE
    if (rules.sensitive_fields or rules.sensitive_types) and _is_sensitive(response.fields, rules):
        yield PassReason.SENSITIVE
    if response.status == 206 and parse_content_range(response.fields) is None:
        yield PassReason.PARTIAL
    if told.content_length is not None and told.content_length > rules.max_body_bytes:
        yield PassReason.TOO_LARGE


def _is_sensitive(fields: Fields, rules: CacheRules) -> bool:
    if any(name in fields for name in rules.sensitive_fields):
        return True
    if not rules.sensitive_types:
        return False
    # a list of types is malformed, and clients differ in which one they believe: each counts
    given = (fields.combined(b"content-type") or b"").lower()
    types = {part.partition(b";")[0].strip() for part in given.split(b",")}
    return not rules.sensitive_types.isdisjoint(types | {each.partition(b"/")[0] + b"/*" for each in types})


def _post_for_get(request: RequestHead, response: ResponseHead, control: CacheControl) -> bool:
    """Whether a POST's answer says that it is what a GET would bring, and for how long (RFC 9110 §9.3.3)."""
    explicit = control.s_maxage_s is not None or control.max_age_s is not None or b"expires" in response.fields
    location = response.fields.get(b"content-location")
    return (
        request.method == "POST"
        and 200 <= response.status < 300
        and explicit
        and location is not None
        and names_target(location, request)
    )


def _lifetime(
    response: ResponseHead, told: Reading, rules: CacheRules, *, age_s: float, received_at: float
) -> _Lifetime | None:
    """None where neither origin, policy nor status code allows to keep it (RFC 9111 §3, last condition)."""
    policy_s = _policy_lifetime(response.status, rules)
    if policy_s is not None and rules.mode is Mode.OVERRIDE:
        return _Lifetime(age_s + policy_s, by_policy=True)
    control = told.control
    explicit_s = explicit_lifetime(control, response.fields, received_at)
    cacheable = response.status in HEURISTICALLY_CACHEABLE or control.public
    if explicit_s is None and policy_s is None and not cacheable:
        return None
    if control.no_cache:
        return _Lifetime(0.0, by_policy=False)
    if explicit_s is not None:
        return _Lifetime(explicit_s, by_policy=False)
    if policy_s is not None:
        return _Lifetime(age_s + policy_s, by_policy=False)
    guessed_s = heuristic_lifetime(control, response.status, response.fields, received_at)
    if guessed_s is None and told.has_validator:
        guessed_s = 0.0
    return None if guessed_s is None else _Lifetime(guessed_s, by_policy=False)


def _policy_lifetime(status: int, rules: CacheRules) -> float | None:
    for code, ttl_s in rules.ttl_by_status:
        if code == status:
            return ttl_s
    return rules.ttl_s if status in POLICY_LIFETIME else None


def _forbids_stale(control: CacheControl) -> bool:
    """Whether no stale answer is allowed, whatever else is said (RFC 9111 §4.2.4)."""
    return control.no_cache or control.must_revalidate or control.proxy_revalidate or control.s_maxage_s is not None


def _stale_windows(control: CacheControl, rules: CacheRules) -> tuple[float, float]:
    """Seconds past its lifetime that it may be served while revalidating, and on error (RFC 5861)."""
    return (
        _window(control.stale_while_revalidate_s, rules.stale_while_revalidate_s, rules.mode),
        _window(control.stale_if_error_s, rules.stale_if_error_s, rules.mode),
    )


def _window(origin_s: int | None, policy_s: float | None, mode: Mode) -> float:
    if policy_s is not None and (mode is Mode.OVERRIDE or origin_s is None):
        return policy_s
    return float(origin_s or 0)

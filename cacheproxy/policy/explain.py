"""What would become of a request, and why, said before it is made."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from cacheproxy.errors import ClientError
from cacheproxy.policy.batch import Batch, ForMany, Undivided, take_apart
from cacheproxy.policy.conditions import Condition, Values, decisive, holds
from cacheproxy.policy.identity import Identity
from cacheproxy.policy.keys import CacheKey, NoKeyReason, cache_key
from cacheproxy.policy.lookup import values_of
from cacheproxy.policy.paths import Kind, MatchRule, Segment, canonical_host, decoded, is_int, segments_of, text_of
from cacheproxy.policy.route import LimitRule, Policy, Route, SessionUse
from cacheproxy.policy.router import Match, Router
from cacheproxy.semantics.head import RequestHead
from cacheproxy.semantics.rules import CacheRules, Mode


@dataclass(frozen=True, slots=True)
class Considered:
    """A line of a route's ``match``, and why the request does not fit it; empty where it does."""

    route: str
    match: str
    why_not: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The way of one request through the policy. ``decision`` is refuse, pass, bypass, fetch or look-up."""

    decision: str
    reason: str
    route: str = ""
    considered: tuple[Considered, ...] = ()
    params: Mapping[str, str] = field(default_factory=dict)
    session: str = ""
    limits: tuple[str, ...] = ()
    purge: tuple[str, ...] = ()
    key: str = ""
    key_parts: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    freshness: str = ""
    batch: tuple[str, ...] = ()
    """The keys of the single entries that it is answered from."""


def explain(policy: Policy, router: Router, request: RequestHead, identity: Identity, *, prefix: str) -> Explanation:
    """Say what the policy makes of ``request`` from ``identity``. Nothing is asked of Redis or the origin."""
    considered = tuple(_considered(policy, request))
    try:
        match = router.match(request.method, request.path, request.authority)
    except ClientError as error:
        return Explanation(decision="refuse", reason=f"{error.status} {error.reason}: {error.detail}")
    if match is None:
        reason = "no route matches: forwarded, nothing cached"
        return Explanation(decision="pass", reason=reason, route=policy.fallback.name, considered=considered)
    decision, reason, key = _decide(policy, match, request, identity, prefix)
    route = match.route
    batch = _taken_apart(router, match, request, identity, prefix) if decision != "refuse" else None
    if isinstance(batch, Batch):
        decision, reason, key = (
            "look-up",
            f"answered from {len(batch.ones)} single entries, of route `{batch.rules.route}`",
            None,
        )
    elif batch is not None:
        reason = f"not taken apart, as {batch}; {reason}"
    rules = batch.ones[0].match.route.cache if isinstance(batch, Batch) else route.cache
    return Explanation(
        decision=decision,
        reason=reason,
        route=route.name,
        considered=considered,
        params={name: param.value for name, param in match.params.items()},
        session=route.session.value,
        limits=tuple(_limit(limit) for limit in route.limits),
        purge=tuple(template.text for template in route.purge),
        key=key.text if key else "",
        key_parts=_parts(key.text, prefix) if key else {},
        tags=key.tags if key else (),
        freshness=_freshness(rules) if rules else "",
        batch=tuple(one.key.text for one in batch.ones) if isinstance(batch, Batch) else (),
    )


def _taken_apart(
    router: Router, match: Match, request: RequestHead, identity: Identity, prefix: str
) -> Batch | Undivided | None:
    if match.route.batch is None:
        return None
    whole = ForMany(
        rules=match.route.batch,
        router=router,
        request=request,
        params=match.params,
        identity=identity,
        prefix=prefix,
    )
    return take_apart(whole)


def _decide(
    policy: Policy, match: Match, request: RequestHead, identity: Identity, prefix: str
) -> tuple[str, str, CacheKey | None]:
    route = match.route
    if route.session is SessionUse.REQUIRED and identity.session_id is None:
        return "refuse", "401: the route requires a session", None
    if policy.tenant is not None and policy.tenant.enforce and not identity.tenant:
        return "refuse", "400: the policy requires a tenant", None
    if route.cache is None:
        return "pass", _why_uncached(policy, route), None
    if request.method not in route.cache.methods:
        return "pass", f"{request.method} is not cached", None
    key = cache_key(route, request, match.params, identity, prefix=prefix)
    values = values_of(request, match.params, identity)
    if isinstance(key, CacheKey):
        return *_use(route, values), key
    when = route.bypass.when if key.reason is NoKeyReason.WHEN else None
    why = f" (`{decisive(when, values)}`)" if when is not None else ""
    return "bypass", f"{key.reason}{why}: forwarded, neither looked up nor stored", None


def _use(route: Route, values: Values) -> tuple[str, str]:
    """What is done with a request that has a key."""
    unread, unkept = _failing(route.lookup_when, values), _failing(route.store_when, values)
    if unread and unkept:
        return "bypass", f"`lookup_when` and `store_when` do not hold ({unread}, {unkept}): forwarded"
    if unread:
        return "fetch", f"`lookup_when` does not hold ({unread}): fetched whatever is stored, and stored"
    if unkept:
        return "look-up", f"answered from the cache if fresh, else not stored: `store_when` does not hold ({unkept})"
    return "look-up", "answered from the cache where it holds a usable response, else fetched"


def _failing(condition: Condition | None, values: Values) -> str:
    """The part of ``condition`` that fails; empty where it holds."""
    return "" if condition is None or holds(condition, values) else f"`{decisive(condition, values)}`"


def _why_uncached(policy: Policy, route: Route) -> str:
    if any(known.name == route.name and known.cache is not None for known in policy.routes):
        return "the path is not spelled as the route's: its session and limits apply, its cache does not"
    return "the route has no `cache`: forwarded"


def _considered(policy: Policy, request: RequestHead) -> Iterator[Considered]:
    host = canonical_host(request.authority)
    for route in policy.routes:
        for rule in route.match:
            why_not = _why_not(rule, request, host)
            yield Considered(route.name, shown_rule(rule), why_not)
            if not why_not:
                return


def shown_rule(rule: MatchRule) -> str:
    """A line of ``match`` as a policy writes it."""
    return f"{'|'.join(sorted(rule.methods))} {rule.host}{rule.path.text}".strip()


def _why_not(rule: MatchRule, request: RequestHead, host: str) -> str:
    if rule.host and rule.host != host:
        return f"host `{host}` is not `{rule.host}`"
    if rule.methods and request.method not in rule.methods and not (request.method == "HEAD" and "GET" in rule.methods):
        return f"method {request.method}"
    return _path_why_not(rule.path.segments, [decoded(segment) for segment in segments_of(request.path)])


def _path_why_not(wanted: tuple[Segment, ...], given: list[bytes]) -> str:
    for at, segment in enumerate(wanted):
        if at == len(given):
            return "the path is shorter"
        if segment.kind is Kind.PATH:
            return ""
        if segment.kind is Kind.LITERAL and segment.literal != given[at]:
            return f"`{text_of(given[at])}` is not `{text_of(segment.literal)}`"
        if segment.kind is Kind.INT and not is_int(given[at]):
            return f"`{text_of(given[at])}` is not a number"
        if segment.kind is Kind.STR and not given[at]:
            return f"nothing stands for `{{{segment.name}}}`"
    return "the path is longer" if len(given) > len(wanted) else ""


def _limit(rule: LimitRule) -> str:
    rate = f"{rule.limit} per {rule.period_s:g}s" if rule.limit else ""
    in_flight = f"{rule.concurrency} in flight" if rule.concurrency else ""
    how = f"{rule.algorithm}, {rule.count}" if rule.limit else rule.count
    return f"{rule.name}: {' and '.join(filter(None, (rate, in_flight)))} by {', '.join(rule.by)} ({how})"


def _freshness(rules: CacheRules) -> str:
    if rules.ttl_s is None:
        return "as the origin says"
    first = "the origin's own, else " if rules.mode is Mode.HONOR else ""
    return f"{first}{rules.ttl_s:g}s"


def _parts(key: str, prefix: str) -> dict[str, str]:
    tenant, _, rest = key.removeprefix(prefix + ":").partition(":")
    resource, _, last = rest.rpartition(":")
    suffix = ""
    if last.startswith("~"):
        suffix = last
        resource, _, last = resource.rpartition(":")
    return {"prefix": prefix, "tenant": tenant, "resource": resource, "version": last, "suffix": suffix}

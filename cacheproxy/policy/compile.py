"""The checked model of a policy file, turned into what the program reads."""

import re
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import unquote, urlsplit

from cacheproxy.policy.check_batch import batch_rules
from cacheproxy.policy.conditions import Condition
from cacheproxy.policy.identity import SessionRules, SessionScheme, TenantRules, TenantSource
from cacheproxy.policy.key_rules import BypassRules, QueryRules
from cacheproxy.policy.model_cache import CacheModel, merged
from cacheproxy.policy.model_coding import compress_rules, encode_rules
from cacheproxy.policy.model_conditions import ConditionModel, compile_condition
from cacheproxy.policy.model_limits import ExemptModel, LimitModel
from cacheproxy.policy.models import (
    PolicyModel,
    RouteModel,
    SessionModel,
    TenantModel,
    UpstreamModel,
)
from cacheproxy.policy.route import (
    Algorithm,
    Count,
    EventRules,
    Exemption,
    LimitHeaders,
    LimitMode,
    LimitRule,
    OnGap,
    OnLimit,
    Policy,
    Precision,
    Route,
    Scope,
    SessionUse,
    Timeouts,
    UpstreamRules,
    WithoutRedis,
)
from cacheproxy.semantics.rules import CacheRules, ClientControl, Mode

UNMATCHED = "unmatched"
"""The name of the route for what no route matches."""
_GLOB = re.compile(r"[*?\[]")


def compile_policy(model: PolicyModel, ttl_s_by_route: Mapping[str, float], digest: str) -> Policy:
    """The policy of ``model``, with lifetimes from ``ttl_s_by_route`` in place of its own. Its checks have passed."""
    limits = {name: compile_limit(name, limit) for name, limit in model.limits.items()}
    enforce = model.tenant is not None and model.tenant.enforce
    return Policy(
        upstream=compile_upstream(model.upstream),
        trusted_proxies=tuple(model.trusted_proxies),
        session=compile_session(model.session) if model.session else None,
        tenant=compile_tenant(model.tenant) if model.tenant else None,
        routes=tuple(
            compile_route(route, model, limits, ttl_s_by_route.get(route.name), tenant_required=enforce)
            for route in model.routes
        ),
        fallback=Route(name=UNMATCHED, tenant_required=enforce),
        events=EventRules(
            channels=tuple(name for name in model.events.channel if not _GLOB.search(name)),
            patterns=tuple(name for name in model.events.channel if _GLOB.search(name)),
            on=tuple((kind, tuple(tags)) for kind, tags in model.events.on.items()),
            on_gap=OnGap(model.events.on_gap),
            refill_concurrency=model.events.refill_concurrency,
        ),
        warm=model.warm.rules(),
        digest=digest,
    )


def compile_route(
    route: RouteModel,
    model: PolicyModel,
    limits: Mapping[str, LimitRule],
    ttl_s: float | None,
    *,
    tenant_required: bool,
) -> Route:
    """One route, its cache merged with the defaults; ``ttl_s`` replaces its lifetime unless None."""
    cache = merged(route.cache, model.defaults.cache)
    compiled = Route(
        name=route.name,
        match=tuple(route.match),
        session=SessionUse(route.session),
        user_field=model.session.user_field if model.session else "user_id",
        session_redirect=route.session_redirect or "",
        limits=tuple(limits[name] for name in route.limits),
        limit_headers=LimitHeaders(model.limit_headers),
        purge=tuple(route.purge),
        refuse_body=route.refuse_body,
        batch=batch_rules(route, model),
        tenant_required=tenant_required,
    )
    return compiled if cache is None else _with_cache(compiled, cache, ttl_s)


def names_identity(cache: CacheModel) -> bool:
    """Whether the key itself tells users apart."""
    names = (*(cache.key.names if cache.key else ()), *(cache.suffix.names if cache.suffix else ()))
    return any(name.startswith("session.") or name == "header.authorization" for name in map(str.lower, names))


def compile_limit(name: str, limit: LimitModel) -> LimitRule:
    """A limit."""
    requests, period_s = limit.rate
    return LimitRule(
        name=name,
        limit=requests if limit.rated else 0,
        period_s=period_s,
        concurrency=limit.concurrency or 0,
        burst=limit.burst,
        by=tuple(limit.by),
        algorithm=Algorithm(limit.algorithm),
        count=Count(limit.count),
        without_redis=WithoutRedis(limit.on_redis_down),
        cost=limit.cost.miss,
        cost_hit=limit.cost.hit,
        cost_stale=limit.cost.stale,
        precision=Precision(limit.precision),
        on_limit=OnLimit(limit.on_limit),
        max_delay_s=1.0 if limit.max_delay is None else limit.max_delay,
        mode=LimitMode(limit.mode),
        exempt=compile_exemption(limit.exempt) if limit.exempt else None,
    )


def compile_exemption(exempt: ExemptModel) -> Exemption:
    """Whom a limit does not concern."""
    header = (exempt.header or "").lower().encode("ascii")
    return Exemption(networks=tuple(exempt.networks), header=header, secret=exempt.secret or "")


def compile_session(session: SessionModel) -> SessionRules:
    """Where sessions are."""
    return SessionRules(
        cookie=session.cookie,
        key=session.key,
        ttl_s=session.ttl,
        sliding=session.sliding,
        user_field=session.user_field,
        identity=tuple((name.lower().encode("ascii"), field) for name, field in session.identity.items()),
        namespace=tuple(name.lower().encode("ascii") for name in session.namespace),
        memory_s=session.memory,
        scheme=SessionScheme(session.scheme),
        secret=session.secret or "",
        signed_max_age_s=session.signed_max_age,
        seal_secret=session.seal_secret or "",
    )


def compile_tenant(tenant: TenantModel) -> TenantRules:
    """Where tenants are found."""
    source, name = TenantSource.HOST, ""
    if tenant.from_.startswith("header:"):
        source, name = TenantSource.HEADER, tenant.from_.removeprefix("header:").lower()
    elif tenant.from_.startswith("session."):
        source, name = TenantSource.SESSION, tenant.from_.removeprefix("session.")
    return TenantRules(source=source, name=name, enforce=tenant.enforce, status=tenant.status)


def compile_upstream(upstream: UpstreamModel) -> UpstreamRules:
    """The origin."""
    parts = urlsplit(upstream.url)
    secure = parts.scheme == "https"
    timeouts, health = upstream.timeouts, upstream.health
    return UpstreamRules(
        scheme="https" if secure else "http",
        host=parts.hostname or "localhost",
        port=parts.port or (443 if secure else 80),
        socket=unquote(parts.path) if parts.scheme == "unix" else None,
        timeouts=Timeouts(connect_s=timeouts.connect, first_byte_s=timeouts.first_byte, idle_s=timeouts.idle),
        max_connections=upstream.pool.max_connections,
        keepalive_s=upstream.pool.keepalive,
        pool_wait_s=upstream.pool.wait,
        ca_file=upstream.ca_file,
        health_path=health.path if health else None,
        health_interval_s=health.interval if health else 5.0,
    )


def _with_cache(route: Route, cache: CacheModel, ttl_s: float | None) -> Route:
    cached = [rule.path for rule in route.match if not rule.methods or rule.methods & {"GET", "HEAD"}]
    return replace(
        route,
        cache=_rules(cache, cache.ttl if ttl_s is None else ttl_s),
        key=cache.key,
        path=cached[0] if cache.key else None,
        tags=tuple(cache.tags),
        scope=Scope(cache.scope),
        version=cache.version,
        suffix=cache.suffix,
        key_host=cache.key_host,
        query=QueryRules(
            allow=None if cache.query.allow is None else tuple(cache.query.allow), ignore=tuple(cache.query.ignore)
        ),
        bypass=BypassRules(
            query=tuple(cache.bypass.query),
            headers=tuple(name.lower().encode("ascii") for name in cache.bypass.header),
            cookies=tuple(cache.bypass.cookie),
            when=_condition(cache.bypass.when),
        ),
        lookup_when=_condition(cache.lookup_when),
        store_when=_condition(cache.store_when),
    )


def _condition(model: ConditionModel | None) -> Condition | None:
    return None if model is None else compile_condition(model)


def _rules(cache: CacheModel, ttl_s: float | None) -> CacheRules:
    return CacheRules(
        mode=Mode(cache.mode),
        ttl_s=ttl_s,
        ttl_by_status=tuple(cache.ttl_by_status.items()),
        stale_while_revalidate_s=cache.stale_while_revalidate,
        stale_if_error_s=cache.stale_if_error,
        max_body_bytes=cache.max_body,
        client_cache_control=ClientControl(cache.client_cache_control),
        allow_authorization=cache.allow_authorization or cache.scope in {"user", "session"},
        keep_stale_s=cache.keep_stale,
        max_variants=cache.max_variants,
        shared_cookies=frozenset(name.encode("ascii") for name in cache.shared_cookies),
        early_beta=cache.early_refresh.beta if cache.early_refresh else 0.0,
        compress=compress_rules(cache.compress),
        encode=encode_rules(cache.encode),
        encrypt=cache.encrypt,
        sensitive_types=frozenset(name.lower().encode("ascii") for name in cache.sensitive.content_types),
        sensitive_fields=frozenset(name.lower().encode("ascii") for name in cache.sensitive.fields),
    )

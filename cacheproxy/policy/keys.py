"""The cache key of a request, and the tags its response will carry.

The layout is ``{prefix}:tenant-{tenant}:{resource}:{id...}:{version}[:{suffix}]``. A key is injective: two requests
that an upstream could answer differently never share one, unless the policy says that they do. What the template leaves
out is in the suffix, as ``~h`` host, ``~m`` method, ``~p`` path as spelled, ``~q`` rest of the query, ``~r`` prefix
that a trusted proxy took off the path, ``~s`` session, ``~t`` scheme, ``~u`` user, ``~x`` the policy's own. Escaped
values never hold ``~`` or ``:``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from cacheproxy.policy.conditions import holds
from cacheproxy.policy.identity import Identity
from cacheproxy.policy.lookup import cookies_of, lookup_of, user_id_of, values_of
from cacheproxy.policy.paths import Param
from cacheproxy.policy.query import SplitQuery, parameters, split_query
from cacheproxy.policy.route import Route, Scope
from cacheproxy.policy.tags import EVERYTHING, OF_KEY, all_bounded, for_tenant, path_tag, route_tag
from cacheproxy.policy.templates import digest, key_part
from cacheproxy.semantics.head import RequestHead


class CacheKey(NamedTuple):
    """Where a response is stored, and by which tags it can be purged. A tuple, as one is made for each request."""

    text: str
    tags: tuple[str, ...] = ()


class NoKeyReason(StrEnum):
    """Why a request has no key, and so bypasses the cache."""

    ASKED = "bypass-asked"
    WHEN = "bypass-when"
    NO_SESSION = "no-session"
    NO_USER = "no-user"
    NO_TENANT = "no-tenant"
    INCOMPLETE = "key-incomplete"
    """The key names something that the request does not have."""


@dataclass(frozen=True, slots=True)
class NoKey:
    """There is no key that would be safe to share."""

    reason: NoKeyReason


Params = Mapping[str, Param]
_LONGEST_HOST_BYTES = 255
_READ = frozenset({"GET", "HEAD"})
_OWN = frozenset({Scope.USER, Scope.SESSION})
_NO_QUERY = SplitQuery({}, None)


def cache_key(
    route: Route, request: RequestHead, params: Params, identity: Identity, *, prefix: str
) -> CacheKey | NoKey:
    """The key and tags of ``request`` under ``route``, or why it must bypass the cache."""
    reason = None if route.is_open else _no_key(route, request, params, identity)
    if reason is not None:
        return NoKey(reason)
    query = split_query(request.target, route.key_parameters, route.query) if b"?" in request.target else _NO_QUERY
    lookup = lookup_of(route, request, params, identity, query.values)
    path = request.path
    resource = route.key.render(lookup) if route.key is not None else _named_by_route(route, path)
    variation = "" if route.suffix is None else route.suffix.render(lookup)
    if resource is None or variation is None:
        return NoKey(NoKeyReason.INCOMPLETE)
    suffix = "".join(_suffix(route, request, path, params, identity, query))
    if variation:
        suffix += "~x=" + variation
    text = f"{prefix}:{_tenant(identity)}:{resource}:{route.version}"
    tags = _tags(route, path, identity, resource, lookup)
    return CacheKey(f"{text}:{suffix}" if suffix else text, tags)


def _no_key(route: Route, request: RequestHead, params: Params, identity: Identity) -> NoKeyReason | None:
    if _asks_for_bypass(route, request):
        return NoKeyReason.ASKED
    if route.bypass.when is not None and holds(route.bypass.when, values_of(request, params, identity)):
        return NoKeyReason.WHEN
    if not identity.tenant and (route.tenant_required or route.scope is Scope.TENANT):
        return NoKeyReason.NO_TENANT
    if route.scope is Scope.SESSION and not identity.session_id:
        return NoKeyReason.NO_SESSION
    if route.scope is Scope.USER and user_id_of(identity, route.user_field) is None:
        return NoKeyReason.NO_USER
    return None


def _asks_for_bypass(route: Route, request: RequestHead) -> bool:
    rules = route.bypass
    if rules.query and any(parameter.name in rules.query for parameter in parameters(request.query)):
        return True
    if any(name in request.fields for name in rules.headers):
        return True
    return bool(rules.cookies) and any(name in rules.cookies for name, _ in cookies_of(request))


def _named_by_route(route: Route, path: bytes) -> str:
    return f"@{key_part(route.name)}:{key_part(path.decode('latin-1'))}"


def _tenant(identity: Identity) -> str:
    if not identity.tenant:
        return "tenant-global"
    return "tenant-" + ("%67lobal" if identity.tenant == "global" else key_part(identity.tenant))


def _suffix(
    route: Route, request: RequestHead, path: bytes, params: Params, identity: Identity, query: SplitQuery
) -> list[str]:
    parts = []
    if route.key_host:
        parts.append("~h=" + _host_part(request.authority))
    if request.method not in _READ:
        parts.append("~m=" + key_part(request.method))
    if route.path is not None and route.path.spell({name: p.value for name, p in params.items()}) != path:
        parts.append("~p=" + digest(path))
    if request.scheme != "http":
        parts.append("~t=" + key_part(request.scheme))
    prefix = request.fields.get(b"x-forwarded-prefix")
    if prefix is not None:
        parts.append("~r=" + digest(prefix))
    if query.rest is not None:
        parts.append("~q=" + key_part(query.rest.decode("latin-1")))
    if route.scope is Scope.USER:
        parts.append("~u=" + digest((user_id_of(identity, route.user_field) or "").encode("utf-8", "surrogatepass")))
    elif route.scope is Scope.SESSION:
        parts.append("~s=" + digest((identity.session_id or "").encode("utf-8", "surrogatepass")))
    return parts


def _host_part(authority: bytes) -> str:
    # Hosts are few, unless somebody makes them up: long ones are worth no memory.
    return _known_host(authority) if len(authority) <= _LONGEST_HOST_BYTES else _spelled_host(authority)


def _spelled_host(authority: bytes) -> str:
    return key_part(authority.decode("latin-1").lower())


_known_host = lru_cache(maxsize=1024)(_spelled_host)


def _tags(
    route: Route, path: bytes, identity: Identity, resource: str, lookup: Callable[[str], str | None]
) -> tuple[str, ...]:
    tags = [EVERYTHING, route_tag(route.name), path_tag(path)]
    for template in route.tags:
        tag = template.render(lookup)
        if tag:
            tags.append(tag)
    if route.key is not None:
        tags += (OF_KEY + resource, *route.key.prefixes)
    if route.scope in _OWN:
        user_id = user_id_of(identity, route.user_field)
        if user_id is not None:
            tags.append(f"user:{user_id}")
        if route.scope is Scope.SESSION:
            tags.append(f"session:{identity.session_id}")
    each_once = all_bounded(tags)
    return for_tenant(each_once, identity.tenant) if identity.tenant else each_once

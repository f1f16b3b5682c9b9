"""For whom a request counts: the subjects of its limits. Pure."""

import hmac
from collections.abc import Callable, Mapping
from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network, ip_address

from cacheproxy.policy.identity import Identity
from cacheproxy.policy.lookup import lookup_of
from cacheproxy.policy.paths import Param, decoded, text_of
from cacheproxy.policy.route import LimitRule, Route
from cacheproxy.policy.templates import digest, key_part
from cacheproxy.semantics.head import RequestHead

IPV6_PREFIX_BITS = 64
"""What one subscriber is given (RFC 6177): counting single addresses would let anybody have 2**64 quotas."""

_SECRET = ("header.", "cookie.", "query.")
"""Sources whose values may be credentials: they reach Redis as digests only."""


def subject_of(
    rule: LimitRule, route: Route, request: RequestHead, params: Mapping[str, Param], identity: Identity
) -> str | None:
    """What ``rule`` counts by, in this request; None where it does not apply: exempt, or a part has no value.

    Two requests have the same subject only if every part is the same.
    """
    if is_exempt(rule, request, identity):
        return None
    lookup = lookup_of(route, request, params, identity)
    parts = []
    for source in rule.by:
        value = _value(source, request, lookup)
        if not value:
            return None
        parts.append(f"{source}={_safe(source, value)}")
    return ",".join(parts) or "all"


def is_exempt(rule: LimitRule, request: RequestHead, identity: Identity) -> bool:
    """Whether ``rule`` leaves this request alone: by its client's network, or by a secret that it carries."""
    exempt = rule.exempt
    if exempt is None:
        return False
    if exempt.header and exempt.secret:
        given = request.fields.all(exempt.header)
        if len(given) == 1 and hmac.compare_digest(given[0], exempt.secret.encode()):
            return True
    if not exempt.networks:
        return False
    try:
        address = ip_address(identity.client_ip)
    except ValueError:
        return False
    return any(address in network for network in exempt.networks)


def _safe(source: str, value: str) -> str:
    """``value`` free of what separates parts; a digest where it may be a credential."""
    return digest(value.encode("utf-8", "surrogatepass")) if source.startswith(_SECRET) else key_part(value)


def _value(source: str, request: RequestHead, lookup: Callable[[str], str | None]) -> str | None:
    if source == "path":
        return text_of(decoded(request.path))
    if source == "client_ip":
        return _subscriber(lookup(source) or "")
    return lookup(source.removeprefix("param."))


@lru_cache(maxsize=4096)
def _subscriber(client_ip: str) -> str:
    if ":" not in client_ip:
        return client_ip
    try:
        address = ip_address(client_ip)
    except ValueError:
        return client_ip
    if not isinstance(address, IPv6Address):
        return client_ip
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Network((int(address), IPV6_PREFIX_BITS), strict=False))

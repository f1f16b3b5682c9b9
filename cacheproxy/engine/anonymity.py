"""Who asks is not told where the answer is for many. Pure.

On a public route whose lifetime the policy gives (the origin may be silent), the fetch is made for nobody: without the
session's identity and without cookies, but for those that the key tells apart. What an origin is not told it cannot put
into a response that others will see. Where the answer turns out to be for one alone, it is asked for again in full.
"""

from cacheproxy.engine.exchange import Exchange
from cacheproxy.policy.lookup import cookies_of
from cacheproxy.policy.route import Scope
from cacheproxy.semantics.fields import Pair
from cacheproxy.semantics.head import RequestHead
from cacheproxy.semantics.rules import CacheRules

COOKIE = b"cookie"


def personal_fields(exchange: Exchange, rules: CacheRules) -> frozenset[bytes]:
    """The request fields of ``exchange`` that say who asks and are in no key; none where that is the origin's business.

    That is so where the key carries the identity, and where the origin's own word alone makes a response storable.
    """
    if rules.ttl_s is None or exchange.route.scope not in {Scope.PUBLIC, Scope.TENANT}:
        return frozenset()
    names = exchange.route.key_names
    told = () if any(name.startswith("session.") for name in names) else exchange.personal_names
    cookies = {COOKIE} if any(f"cookie.{name}" not in names for name, _ in cookies_of(exchange.request)) else set()
    return frozenset({*told, *cookies})


def anonymous(request: RequestHead, personal: frozenset[bytes], key_names: frozenset[str]) -> RequestHead:
    """``request`` as nobody in particular would make it: of its cookies those remain that the key names."""
    fields = request.fields.without(personal)
    if COOKIE in personal:
        kept = [f"{name}={value}" for name, value in cookies_of(request) if f"cookie.{name}" in key_names]
        line: Pair = (COOKIE, "; ".join(kept).encode("latin-1"))
        fields = fields.plus(line) if kept else fields
    return request.with_fields(fields)

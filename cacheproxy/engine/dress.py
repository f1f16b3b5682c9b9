"""A reply's last touches: what every answer says of itself. Pure."""

from cacheproxy.engine.exchange import Exchange
from cacheproxy.engine.reply import Reply
from cacheproxy.limits.headers import limit_fields
from cacheproxy.semantics.cache_status import cache_status

OURS = frozenset({b"x-cache", b"x-request-id"})
"""Fields that only this proxy writes: the origin's are replaced."""


def dress(exchange: Exchange, reply: Reply) -> Reply:
    """``reply`` with ``Cache-Status``, ``X-Cache``, ``X-Request-ID`` and the limits' fields."""
    told = cache_status(
        hit=exchange.hit,
        fwd=exchange.forward,
        fwd_status=exchange.forward_status,
        ttl=None if exchange.ttl_s is None else int(exchange.ttl_s // 1),
        stored=exchange.stored,
        collapsed=exchange.collapsed,
        detail=exchange.detail,
    )
    fields = reply.fields.without(OURS).plus(
        (b"cache-status", told),
        (b"x-cache", exchange.x_cache.encode()),
        (b"x-request-id", exchange.request_id.encode()),
    )
    if exchange.limit_states:
        limits = limit_fields(exchange.limit_states, exchange.route.limit_headers)
        # RateLimit is a list, to which ours is added; the older fields can tell of one limit, and no client of two.
        fields = fields.without({name for name, _ in limits if name.startswith(b"x-")}).plus(*limits)
    return reply.with_fields(fields)

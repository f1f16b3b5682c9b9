"""What a route leaves to the cache of a request: anything at all, and what its conditions leave of the plan. Pure."""

from dataclasses import replace
from typing import assert_never

from cacheproxy.engine.exchange import Exchange
from cacheproxy.policy.conditions import holds
from cacheproxy.policy.lookup import values_of
from cacheproxy.semantics.cache_status import Detail
from cacheproxy.semantics.plan import Fetch, Forward, Plan, Refuse, Revalidate, Serve, ServeStale
from cacheproxy.semantics.storing import PassReason


def may_cache(exchange: Exchange) -> bool:
    """Whether the cache has a part in requests like this one; noted in ``exchange`` where not."""
    rules = exchange.route.cache
    if rules is None:
        exchange.forward = Forward.BYPASS
        exchange.detail = exchange.detail or (Detail.NO_CACHE_POLICY if exchange.route.match else Detail.NO_ROUTE)
        return False
    if exchange.request.method not in rules.methods or exchange.body is not None:
        exchange.forward = Forward.BYPASS if exchange.request.method in rules.methods else Forward.METHOD
        return False
    return True


def may_look_up(exchange: Exchange) -> bool:
    """Whether the request may be answered with what is stored; noted in ``exchange`` where not."""
    condition = exchange.route.lookup_when
    if condition is None or holds(condition, values_of(exchange.request, exchange.params, exchange.identity)):
        return True
    exchange.detail = Detail.LOOKUP_WHEN
    return False


def may_store(exchange: Exchange) -> bool:
    """Whether the answer to the request may be stored, as far as the request itself goes."""
    condition = exchange.route.store_when
    return condition is None or holds(condition, values_of(exchange.request, exchange.params, exchange.identity))


def allowed(exchange: Exchange, decided: Plan) -> Plan:
    """``decided``, or what may be done in its place: a fetch that is not stored, or that says why it was made."""
    if exchange.route.lookup_when is None and exchange.route.store_when is None:
        return decided
    if exchange.detail is Detail.LOOKUP_WHEN and isinstance(decided, Fetch) and decided.storable:
        decided = replace(decided, reason=Forward.BYPASS)
    if may_store(exchange):
        return decided
    match decided:
        case ServeStale(refresh=True):
            return _unstored(Forward.STALE)
        case Revalidate(reason=reason) | Fetch(reason=reason, storable=True):
            return _unstored(reason)
        case Serve() | ServeStale() | Fetch() | Refuse():
            return decided
        case _:
            assert_never(decided)


def _unstored(reason: Forward) -> Fetch:
    return Fetch(reason=reason, detail=PassReason.STORE_WHEN, storable=False)

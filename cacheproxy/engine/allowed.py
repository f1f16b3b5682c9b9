"""What a route's ``lookup_when`` and ``store_when`` leave of the plan for a request. Pure."""

from dataclasses import replace
from typing import assert_never

from cacheproxy.engine.exchange import Exchange
from cacheproxy.policy.conditions import holds
from cacheproxy.policy.lookup import values_of
from cacheproxy.semantics.cache_status import Detail
from cacheproxy.semantics.plan import Fetch, Forward, Plan, Refuse, Revalidate, Serve, ServeStale
from cacheproxy.semantics.storing import PassReason


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

"""What a request gets that is over a limit: 429, or what is stored where the rules put up with that."""

from typing import assert_never

from cacheproxy.engine.exchange import Exchange, XCache
from cacheproxy.engine.reply import Reply
from cacheproxy.engine.serve import reply_from, whole_seconds
from cacheproxy.limits.contract import Limited
from cacheproxy.limits.headers import limited_fields, limited_problem
from cacheproxy.policy.route import LimitHeaders, OnLimit, Served
from cacheproxy.semantics.cache_status import Detail
from cacheproxy.semantics.freshness import current_age
from cacheproxy.semantics.plan import Fetch, Forward, Plan, Refuse, Revalidate, Serve, ServeStale, takes_stale
from cacheproxy.storage.contract import Entry


def limited_reply(limited: Limited, style: LimitHeaders) -> Reply:
    """The 429 (RFC 6585 §4)."""
    return Reply(429, limited_fields(limited, style), limited_problem(limited))


def refuse(exchange: Exchange, limited: Limited) -> Reply:
    """The 429, noted in ``exchange``."""
    exchange.error = "rate-limited"
    exchange.limit_states = ()  # the 429 tells of its own
    return limited_reply(limited, exchange.route.limit_headers)


def stale_will_do(limited: Limited) -> bool:
    """Whether every rule that the request is over would rather have something stored served than nothing."""
    return all(rule.on_limit is OnLimit.STALE_ELSE_REJECT for rule in limited.violated)


def answer_limited(exchange: Exchange, limited: Limited, decided: Plan, entry: Entry | None) -> Reply:
    """What is stored, where that will do; else the 429. Nothing is fetched for it, nor refreshed behind it.

    That policy is the leave to serve stale responses (RFC 9111 §4.2.4), but not where the response itself forbids it.
    """
    age_s = None if entry is None or not stale_will_do(limited) else _stale_age_s(exchange, decided, entry)
    if entry is None or age_s is None:
        return refuse(exchange, limited)
    exchange.x_cache = XCache.HIT if isinstance(decided, Serve) else XCache.STALE
    exchange.ttl_s = entry.lifetime_s - age_s
    exchange.detail = Detail.LIMITED
    exchange.limit_states = limited.states
    return reply_from(exchange.request, entry, whole_seconds(age_s))


def served(decided: Plan) -> Served:
    """What carrying out ``decided`` counts as."""
    match decided:
        case Serve() | Refuse():
            return Served.HIT
        case ServeStale():
            return Served.STALE
        case Revalidate() | Fetch():
            return Served.MISS
        case _:
            assert_never(decided)


def _stale_age_s(exchange: Exchange, decided: Plan, entry: Entry) -> float | None:
    """The age at which ``entry`` answers a request that was to be answered as ``decided``; None where it may not."""
    match decided:
        case Serve(_, age_s) | ServeStale(_, age_s, _):
            return age_s
        case Revalidate() | Fetch():
            rules = exchange.route.cache
            if rules is None or decided.reason is not Forward.STALE or entry.must_revalidate:
                return None
            age_s = current_age(entry.initial_age_s, entry.received_at, exchange.now)
            return age_s if takes_stale(exchange.request, rules, age_s) else None
        case Refuse():
            return None
        case _:
            assert_never(decided)

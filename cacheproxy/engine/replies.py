"""What a client is answered with, once it is decided from what, and what is noted of that."""

from dataclasses import replace
from typing import assert_never

from cacheproxy.clock import Clock
from cacheproxy.engine.exchange import Exchange, XCache
from cacheproxy.engine.fill_job import Filled, Outcome, Passed
from cacheproxy.engine.record import Journal
from cacheproxy.engine.repeating import Shelf, repeatable_hit
from cacheproxy.engine.reply import Reply
from cacheproxy.engine.represent import Forms, passing, represent
from cacheproxy.engine.serve import reply_fetched, reply_from, reply_through, wants_all, whole_seconds
from cacheproxy.semantics.freshness import current_age
from cacheproxy.storage.contract import Entry


class Replies:
    """Makes replies of stored responses and of what fills bring, in the form that each client likes best."""

    def __init__(self, forms: Forms, shelf: Shelf, journal: Journal, clock: Clock) -> None:
        """``forms`` are given out where a route says so; ``shelf`` is L1, from which hits may be repeated."""
        self._forms = forms
        self._shelf = shelf
        self._journal = journal
        self._clock = clock

    async def hit(self, exchange: Exchange, entry: Entry, age_s: float) -> Reply:
        """``entry``, which is fresh and ``age_s`` old."""
        assert exchange.key is not None
        exchange.x_cache = XCache.HIT
        exchange.ttl_s = entry.lifetime_s - age_s
        place = self._shelf.place(exchange.key.text)
        reply = reply_from(exchange.request, await self.shown(exchange, entry), whole_seconds(age_s))
        if self._journal.every_line:
            return reply
        return repeatable_hit(exchange, reply, entry, age_s, self._shelf, place)

    async def stale(self, exchange: Exchange, entry: Entry, age_s: float) -> Reply:
        """``entry``, which is stale."""
        exchange.x_cache = XCache.STALE
        exchange.ttl_s = entry.lifetime_s - age_s
        return reply_from(exchange.request, await self.shown(exchange, entry), whole_seconds(age_s))

    async def fetched(self, exchange: Exchange, outcome: Outcome) -> Reply:
        """What a fill brought."""
        match outcome:
            case Filled(entry, status, stored, age, arrived):
                exchange.stored = stored
                if stored or not status:
                    age_s = current_age(entry.initial_age_s, entry.received_at, self._clock.now())
                    exchange.ttl_s = entry.lifetime_s - age_s
                if status == 304:
                    exchange.x_cache = XCache.REVALIDATED
                own = entry.fields if arrived is None or exchange.collapsed else arrived
                if wants_all(exchange.request) and not _has_forms(exchange):
                    return reply_fetched(entry, own, age)
                shown = await self.shown(exchange, replace(entry, fields=own))
                return reply_from(exchange.request, shown, age)
            case Passed(head, body, reason, gathered):
                exchange.stored = gathered
                if reason is not None:
                    exchange.detail = reason
                rules = exchange.route.cache
                if gathered and rules is not None and rules.encode is not None:
                    head = passing(head, body.length, rules.encode)
                complete = getattr(body, "complete", None)
                return reply_through(head, body if complete is None else complete)
            case _:
                assert_never(outcome)

    async def shown(self, exchange: Exchange, entry: Entry) -> Entry:
        """``entry`` in the form that the client likes best, where its route gives out more than one."""
        rules = exchange.route.cache
        if rules is None or rules.encode is None:
            return entry
        return await represent(exchange.request, entry, rules.encode, self._forms)


def _has_forms(exchange: Exchange) -> bool:
    """Whether its route gives out stored responses in more than one coding."""
    return exchange.route.cache is not None and exchange.route.cache.encode is not None

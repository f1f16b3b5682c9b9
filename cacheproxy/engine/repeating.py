"""Which replies may be repeated without deciding anew, and on what that hangs."""

from typing import Protocol

from cacheproxy.engine.exchange import Exchange
from cacheproxy.engine.fill import early_for_s
from cacheproxy.engine.record import resource_type
from cacheproxy.engine.reply import Blocked, Reply, Shelved, Terms, Visited
from cacheproxy.policy.route import OnLimit
from cacheproxy.policy.unread import reads_peer, unread_fields
from cacheproxy.semantics.fields import Fields
from cacheproxy.storage.contract import Entry, Tier


class Kept(Visited, Protocol):
    """The place of an entry in L1, and of its body's coded forms."""

    @property
    def entry(self) -> Entry:
        """The entry that is there."""
        ...

    def place_of(self, body: bytes) -> Visited:
        """Where ``body`` is kept, which is the entry's or one of its forms."""
        ...


class Shelf(Protocol):
    """L1, as far as the express lane needs to know it (``storage.memory.MemoryStore``)."""

    def find(self, key: str, request: Fields) -> Kept | None:
        """The place of the most fitting entry."""
        ...

    def place(self, key: str) -> object:
        """What is kept under ``key``, to be compared with later."""
        ...

    def varied(self, key: str) -> frozenset[bytes]:
        """The request fields by which one of the entries under ``key`` is chosen."""
        ...


def repeatable_hit(exchange: Exchange, reply: Reply, entry: Entry, age_s: float, shelf: Shelf, place: object) -> Reply:
    """``reply``, made of ``entry``, with its place in L1 where it hangs on nothing but that, its session and rates.

    ``place`` is where ``entry`` was found, or what had replaced it while its limits were asked about: that is another
    entry, as may be what stands there by now, for a form of it was waited for.
    """
    assert exchange.key is not None
    fields = exchange.request.fields
    if exchange.tier is not Tier.L1 or b"range" in fields or exchange.route.names_client or not _repeatable(exchange):
        return reply
    slot = shelf.find(exchange.key.text, fields)
    stale_at = exchange.now - age_s + entry.lifetime_s
    until = stale_at - early_for_s(exchange, entry)
    if slot is None or slot.entry != entry or until <= exchange.now:
        return reply
    shelved = Shelved(
        key=exchange.key.text,
        slot=slot.place_of(reply.body) if isinstance(reply.body, bytes) else slot,
        place=place,
        born_at=exchange.now - age_s,
        stale_at=stale_at,
        until=until,
        route=exchange.route.name,
        resource_type=resource_type(exchange.route),
        terms=_terms(exchange, shelf.varied(exchange.key.text)),
    )
    return reply._replace(shelved=shelved)


def repeatable_refusal(exchange: Exchange, reply: Reply) -> Reply:
    """``reply``, a 429 to a request that was not looked up, with what it hangs on where that is all there is."""
    reads = exchange.request.method in {"GET", "HEAD"} and exchange.body is None
    if not reads or not exchange.checks or not _repeatable(exchange):
        return reply
    return reply._replace(shelved=Blocked(terms=_terms(exchange), route=exchange.route.name))


def _repeatable(exchange: Exchange) -> bool:
    """Whether all that the answer hangs on can be asked about again. Who may be held back is not answered at once."""
    return not exchange.asked_elsewhere and all(check.rule.on_limit is not OnLimit.DELAY for check in exchange.checks)


def _terms(exchange: Exchange, varied: frozenset[bytes] = frozenset()) -> Terms:
    return Terms(
        session=exchange.session,
        checks=exchange.checks,
        limit_headers=exchange.route.limit_headers,
        by_peer=_counts_client(exchange) or reads_peer(exchange.policy, varied),
        policy=exchange.policy,
        unread=unread_fields(exchange.policy, exchange.route, varied),
    )


def _counts_client(exchange: Exchange) -> bool:
    """Whether the address that a request comes from matters to its limits."""
    rules = exchange.route.limits
    return any("client_ip" in rule.by or (rule.exempt is not None and rule.exempt.networks) for rule in rules)

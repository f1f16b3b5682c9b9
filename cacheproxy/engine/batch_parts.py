"""A request for many while it is answered: what is known of each of its ids. Pure."""

from dataclasses import dataclass, field, replace

from cacheproxy.engine.allowed import allowed, may_look_up
from cacheproxy.engine.batch_answer import Piece, element_of, fresh_for_s, merged
from cacheproxy.engine.batch_fetch import Asking, Usable, Wanted
from cacheproxy.engine.exchange import Exchange, XCache
from cacheproxy.engine.reply import Reply
from cacheproxy.policy.batch import Batch, ForMany, One, Undivided, take_apart
from cacheproxy.policy.route import Served
from cacheproxy.policy.router import Router
from cacheproxy.semantics.cache_status import Detail
from cacheproxy.semantics.plan import Fetch, Forward, Plan, Revalidate, Serve, ServeStale, plan
from cacheproxy.semantics.rules import CacheRules
from cacheproxy.semantics.storing import PassReason
from cacheproxy.semantics.tag_clock import Verdict
from cacheproxy.storage.contract import Entry, Found


@dataclass(slots=True)
class Part:
    """One id: its request, what is to be done about it, and what it is answered with."""

    one: One
    whole: Exchange
    decided: Plan = field(default_factory=lambda: Fetch(reason=Forward.URI_MISS))
    piece: Piece | None = None
    unknown: bool = False
    """Whether the origin was asked, and does not know it."""
    _alone: Exchange | None = None

    @property
    def exchange(self) -> Exchange:
        """As it would be if it were asked for alone. Made when it is needed: most parts are answered without."""
        if self._alone is None:
            match = self.one.match
            self._alone = replace(
                self.whole,
                request=self.one.request,
                on_interim=None,
                route=match.route,
                params=match.params,
                key=self.one.key,
                permits=(),
            )
        return self._alone

    @property
    def may_look_up(self) -> bool:
        """Whether what is stored may answer it."""
        return self.one.match.route.lookup_when is None or may_look_up(self.exchange)

    @property
    def rules(self) -> CacheRules:
        """How its response is cached."""
        assert self.one.match.route.cache is not None
        return self.one.match.route.cache

    @property
    def is_missing(self) -> bool:
        """Whether there is nothing to answer it with."""
        return self.piece is None and not self.unknown

    @property
    def is_wanted(self) -> bool:
        """Whether the origin should be asked for it, if it is asked at all."""
        return self.is_missing or (isinstance(self.decided, ServeStale) and self.decided.refresh)

    @property
    def may_follow(self) -> bool:
        """Whether another's fill may answer it."""
        return not (isinstance(self.decided, Fetch) and self.decided.reason is Forward.BYPASS)

    @property
    def may_be_merged(self) -> bool:
        """Whether a request for it alone would be answered by what anybody may be answered by."""
        decided = self.decided
        return not isinstance(decided, Fetch) or decided.storable or decided.detail is PassReason.STORE_WHEN


@dataclass(frozen=True, slots=True)
class Many:
    """A request for many, and all its parts."""

    exchange: Exchange
    batch: Batch
    parts: tuple[Part, ...]

    @property
    def missing(self) -> list[Part]:
        """Those that there is nothing for."""
        return [part for part in self.parts if part.is_missing]

    @property
    def wanted(self) -> list[Part]:
        """Those that the origin should be asked for."""
        return [part for part in self.parts if part.is_wanted]

    @property
    def served(self) -> Served:
        """What answering it counts as: a miss if one of them is one."""
        if self.missing:
            return Served.MISS
        return Served.STALE if any(isinstance(part.decided, ServeStale) for part in self.parts) else Served.HIT

    @property
    def reason(self) -> Forward:
        """Why the origin is asked."""
        if any(part.piece is not None for part in self.parts):
            return Forward.PARTIAL
        decided = self.parts[0].decided
        return decided.reason if isinstance(decided, Fetch | Revalidate) else Forward.MISS

    def asking(self, parts: list[Part]) -> Asking:
        """The request for ``parts``, to be made of the origin."""
        wanted = tuple(Wanted(part.one, part.exchange) for part in parts)
        return Asking(batch=self.batch, client=self.exchange.request, wanted=wanted)


def many_of(exchange: Exchange, router: Router, prefix: str) -> Many | None:
    """The single requests that ``exchange`` stands for; None where it stands for itself."""
    rules = exchange.route.batch
    if rules is None or exchange.body is not None or exchange.begun is not None:
        return None
    batch = take_apart(
        ForMany(
            rules=rules,
            router=router,
            request=exchange.request,
            params=exchange.params,
            identity=exchange.identity,
            prefix=prefix,
        )
    )
    if isinstance(batch, Batch):
        return Many(exchange, batch, tuple(Part(one, exchange) for one in batch.ones))
    if batch is not Undivided.NO_IDS and exchange.route.cache is None:
        exchange.detail = Detail.BATCH_WHOLE
    return None


def decide(many: Many, part: Part, found: Found | None, now: float) -> None:
    """What is to be done about ``part`` at ``now``, given what was ``found`` for it."""
    entry = None if found is None else found.entry
    soft_purged = found is not None and found.verdict is Verdict.STALE
    decided = plan(part.one.request, entry, part.rules, now, soft_purged=soft_purged)
    route = part.one.match.route
    unconditional = route.lookup_when is None and route.store_when is None
    part.decided = decided if unconditional else allowed(part.exchange, decided)
    if entry is not None and isinstance(part.decided, Serve | ServeStale):
        give(many, part, entry)


def give(many: Many, part: Part, entry: Entry) -> None:
    """Answer ``part`` from ``entry``, if that is its element, or says that there is none."""
    element = element_of(many.batch.rules, part.one.id, entry)
    if element is not None:
        part.piece = Piece(entry, element)


def hand_out(parts: list[Part], arrived: Usable) -> None:
    """Answer ``parts`` with what came for them."""
    for part in parts:
        part.piece = arrived.pieces.get(part.one.id)
        part.unknown = part.piece is None
        part.decided = Fetch(reason=Forward.URI_MISS)


def reply_of(many: Many, arrived: Usable | None, now: float) -> Reply:
    """The array of all parts, and what it is, noted in the exchange."""
    exchange = many.exchange
    pieces = {part.one.id: part.piece for part in many.parts if part.piece is not None}
    exchange.ttl_s = fresh_for_s(pieces.values(), now)
    if exchange.forward is None:
        stale = [part.decided for part in many.parts if isinstance(part.decided, ServeStale)]
        exchange.x_cache = XCache.STALE if stale else XCache.HIT
        if stale:
            refreshed = any(decided.refresh for decided in stale)
            exchange.detail = Detail.STALE_WHILE_REVALIDATE if refreshed else Detail.MAX_STALE
    return merged(many.batch, pieces, () if arrived is None else (arrived.fields,), now)

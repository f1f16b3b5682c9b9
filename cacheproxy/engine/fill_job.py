"""One fill: what it is to fetch, and what it gives to those who wait for it."""

import asyncio
from dataclasses import dataclass
from math import inf

from cacheproxy.engine.exchange import Exchange
from cacheproxy.engine.fill_fields import FillFields, fill_fields_of
from cacheproxy.engine.shared_body import SharedBody
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.head import RequestHead, ResponseHead
from cacheproxy.semantics.plan import Fetch, Revalidate
from cacheproxy.semantics.rules import CacheRules
from cacheproxy.semantics.storing import PassReason
from cacheproxy.storage.contract import Entry
from cacheproxy.upstream.contract import ResponseBody


@dataclass(frozen=True, slots=True)
class Filled:
    """A response that may be shared."""

    entry: Entry
    status: int
    """What the origin answered: 304 where it confirmed what was stored; 0 where it was another's fill."""
    stored: bool
    age: bytes | None = None
    """Its Age now; None where it came from the origin without one."""
    arrived: Fields | None = None
    """All fields that came from the origin just now, those that may not be stored among them: for the leader alone."""
    asked_at: float = -inf
    """When the origin was asked (monotonic): nothing purged before that can be in it, whoever came by then."""


@dataclass(frozen=True, slots=True)
class Passed:
    """A response for the leader alone, as it arrives; ``gathered`` where it is kept for the store meanwhile."""

    head: ResponseHead
    body: ResponseBody | SharedBody
    reason: PassReason | None = None
    gathered: bool = False
    alone: "FillJob | None" = None
    """The fill, where it was nobody's but its leader's, and the response's head says that it will be so again."""


@dataclass(frozen=True, slots=True)
class Unstamped:
    """A response that may be shared, but not stored: while the tag clock is silent nobody could tell a later purge.

    It is for those who came before the origin was asked, at ``asked_at``.
    """

    entry: Entry
    asked_at: float


@dataclass(frozen=True, slots=True)
class GaveUp:
    """What came may not be shared: each follower asks for itself."""


Shared = Filled | Unstamped | GaveUp
Outcome = Filled | Passed


class Leader:
    """The leader's place in its fill: told first, and free to leave."""

    __slots__ = ("_gone", "_told", "_waiting")

    def __init__(self) -> None:
        """Nothing is told yet."""
        self._told: Outcome | None = None
        self._waiting: list[asyncio.Future[None]] = []
        self._gone = False

    async def filled(self, fill: "asyncio.Future[Shared]") -> Filled | None:
        """For a follower: the response that may be shared, as soon as it is here; None where the fill's end tells."""
        await self._news(fill)
        return self._told if isinstance(self._told, Filled) else None

    @property
    def waits(self) -> bool:
        """Whether anybody is still there to be told."""
        return not self._gone

    def leave(self) -> None:
        """Nobody leads: a refresh in the background."""
        self._gone = True

    async def outcome(self, fill: "asyncio.Future[Shared]") -> Outcome:
        """What the fill tells its leader, or the error it ended with. Leaving (cancellation) harms nobody."""
        try:
            await self._news(fill)
        except asyncio.CancelledError:
            self._gone = True
            if isinstance(self._told, Passed):
                await self._told.body.aclose()
            raise
        if self._told is not None:
            return self._told
        error = fill.exception()
        assert error is not None, "a fill tells its leader before it ends"
        raise error

    def tell(self, outcome: Outcome) -> None:
        """Answer the leader, once."""
        if self._told is None:
            self._told = outcome
            self._wake()

    async def hand_over(self, passed: Passed) -> None:
        """Answer the leader with what is still arriving; if it left, let go of that."""
        if self._gone:
            await passed.body.aclose()
        else:
            self.tell(passed)

    async def _news(self, fill: "asyncio.Future[Shared]") -> None:
        """Wait until the leader was told, or ``fill`` has ended."""
        if self._told is not None or fill.done():
            return
        if not self._waiting:
            fill.add_done_callback(self._wake)
        news: asyncio.Future[None] = fill.get_loop().create_future()
        self._waiting.append(news)
        await news

    def _wake(self, _fill: "asyncio.Future[Shared] | None" = None) -> None:
        waiting, self._waiting = self._waiting, []
        for news in waiting:
            if not news.done():
                news.set_result(None)


@dataclass(slots=True, kw_only=True)
class FillJob:
    """What a fill is to fetch, and for whom first."""

    exchange: Exchange
    """Its leader's."""
    key: str
    tags: tuple[str, ...]
    rules: CacheRules
    request: RequestHead
    """As its leader asked: what Vary and ``assess`` look at."""
    plan: Fetch | Revalidate
    leader: Leader
    fields: FillFields
    shared: bool = True
    """Whether others may join it, and a lease is taken."""
    in_full: bool = False
    """Whether the fields that say who asks are sent after all, because the answer is not for many."""
    _anonymous: RequestHead | None = None

    @property
    def personal(self) -> frozenset[bytes]:
        """Request fields that say who asks."""
        return self.fields.personal

    @property
    def names_asker(self) -> bool:
        """Whether the origin is told who asks: what it then says of a stored response is for nobody else."""
        return self.in_full and bool(self.personal)

    @property
    def sent(self) -> RequestHead:
        """The request as the origin is to see it, before conditions: what Vary and ``assess`` look at."""
        if self.in_full or self.fields.anonymous is self.request.fields:
            return self.request
        if self._anonymous is None:
            self._anonymous = self.request.with_fields(self.fields.anonymous)
        return self._anonymous

    @property
    def alone(self) -> bool:
        """Whether it is for its leader and nobody else: a plain request, that asks for all there is."""
        if self.shared or self.request.method != "GET" or not isinstance(self.plan, Fetch):
            return False
        return self.plan.missing is None and (self.in_full or not self.personal)

    @classmethod
    def of(cls, exchange: Exchange, plan: Fetch | Revalidate, request: RequestHead) -> "FillJob":
        """The fill that ``exchange`` needs, asking for ``request``."""
        assert exchange.key is not None
        assert exchange.route.cache is not None
        return cls(
            exchange=exchange,
            key=exchange.key.text,
            tags=exchange.key.tags,
            rules=exchange.route.cache,
            request=request,
            plan=plan,
            leader=Leader(),
            fields=fill_fields_of(exchange, exchange.route.cache, request),
            in_full=request.method == "HEAD",
        )

"""One request to the origin for many ids, and what it gives to each of them."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from cacheproxy.clock import Clock
from cacheproxy.engine.allowed import may_store
from cacheproxy.engine.anonymity import anonymous, personal_fields
from cacheproxy.engine.arrived import Arrived, entry_of
from cacheproxy.engine.batch_answer import OF_THE_WHOLE, Piece, UnusableError, elements
from cacheproxy.engine.degrade import Degrade
from cacheproxy.engine.exchange import Exchange
from cacheproxy.engine.fill_job import Filled, GaveUp, Shared, Unstamped
from cacheproxy.engine.leak_guard import names_caller
from cacheproxy.engine.origin_side import OriginSide
from cacheproxy.engine.recorder import Event, Recorder
from cacheproxy.engine.shared_body import SharedBody
from cacheproxy.invalidation.contract import Purger
from cacheproxy.invalidation.tags import response_tags
from cacheproxy.policy.batch import Batch, One, query_for
from cacheproxy.policy.route import Scope
from cacheproxy.redis_link.contract import Role
from cacheproxy.semantics.cache_status import Detail
from cacheproxy.semantics.conditional import fill_fields
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.head import RequestHead, ResponseHead
from cacheproxy.semantics.rules import CacheRules
from cacheproxy.semantics.storing import Pass, PassReason, Store, assess
from cacheproxy.semantics.vary import variance
from cacheproxy.storage.contract import Entry
from cacheproxy.storage.contract import Store as Storage

MAX_ANSWER_BYTES = 4 << 20
"""A larger answer is not taken apart: that would keep everybody else waiting."""
_ACCEPT_ENCODING = b"accept-encoding"
_TO_ONE_REQUEST = frozenset({206, 304, 412, 416})
"""Answers to a condition or a range: ours had none, and the client's may have."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One of the ids that the origin is asked for, and the exchange as it would be if it were asked for alone."""

    one: One
    exchange: Exchange


@dataclass(frozen=True, slots=True, kw_only=True)
class Usable:
    """The origin's answer, taken apart."""

    pieces: Mapping[str, Piece]
    fields: Fields
    """What the answer says beside them, and of those that are not there."""
    for_others: frozenset[str]
    """The ids whose pieces may be stored, and given to others."""
    stored: bool
    asked_at: float
    """When the origin was asked (monotonic)."""

    def shared(self, one: str) -> Shared:
        """What who waits for the single response gets."""
        if one not in self.for_others:
            return GaveUp()
        entry = self.pieces[one].entry
        return (
            Filled(entry, 200, stored=True, asked_at=self.asked_at) if self.stored else Unstamped(entry, self.asked_at)
        )


@dataclass(frozen=True, slots=True)
class Unusable:
    """The origin's answer as it came: nothing of it may be stored. ``content`` is None where it is for nobody."""

    head: ResponseHead
    content: bytes | None
    reason: PassReason | Detail = Detail.BATCH_UNUSABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """One request for many, and where what comes of it is told."""

    batch: Batch
    client: RequestHead
    """As the client sent it."""
    wanted: tuple[Wanted, ...]
    told: "asyncio.Future[Usable | Unusable]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    @property
    def lead(self) -> Exchange:
        """The exchange of the first; all have the same fields, identity and route."""
        return self.wanted[0].exchange

    @property
    def rules(self) -> CacheRules:
        """How single responses are cached."""
        assert self.lead.route.cache is not None
        return self.lead.route.cache

    @property
    def personal(self) -> frozenset[bytes]:
        """Request fields that say who asks, and are kept from the origin."""
        return personal_fields(self.lead, self.rules)

    @property
    def single(self) -> RequestHead:
        """The first single request as the origin would see it: what Vary and ``assess`` look at."""
        personal, route = self.personal, self.lead.route
        return anonymous(self.lead.request, personal, route.key_names) if personal else self.lead.request

    @property
    def is_whole(self) -> bool:
        """Whether the origin is asked for neither more nor less than the client asked for, and as the client did."""
        return len(self.wanted) == len(self.batch.asked) and not self.personal

    @property
    def sent(self) -> RequestHead:
        """The request to the origin. In no coding: nobody takes a compressed array apart."""
        fields = fill_fields(self.single.fields).replaced(_ACCEPT_ENCODING, b"identity")
        query = query_for(self.batch, [each.one.id for each in self.wanted])
        target = self.client.target if len(self.wanted) == len(self.batch.asked) else self.client.path + b"?" + query
        return self.client._replace(target=target, fields=fields)


class BatchCarrier:
    """Asks the origin for many, and stores each."""

    def __init__(
        self, *, origin: OriginSide, store: Storage, purger: Purger, degrade: Degrade, recorder: Recorder, clock: Clock
    ) -> None:
        """Everything it works with comes from ``wiring``."""
        self._origin = origin
        self._store = store
        self._purger = purger
        self._degrade = degrade
        self._recorder = recorder
        self._clock = clock

    async def carry(self, asking: Asking) -> GaveUp:
        """Tell what the origin's answer gives to all ids, then store it. UpstreamError."""
        stamp = await self._degrade.instead(Role.CACHE, self._purger.begin(), None)
        requested_at, asked_at = self._clock.now(), self._clock.monotonic()
        head, body = await self._origin.send(asking.lead, asking.sent, None)
        received_at = self._clock.now()
        content = await SharedBody(body, MAX_ANSWER_BYTES, read=False).gather()
        judged = self._judge(asking, Arrived(head, body, requested_at, received_at, stamp, asked_at), content)
        asking.told.set_result(judged)
        if isinstance(judged, Usable) and judged.stored:
            await asyncio.gather(*(self._write(judged.pieces[one].entry) for one in judged.for_others))
        return GaveUp()

    async def _write(self, entry: Entry) -> None:
        await self._degrade.instead(Role.CACHE, self._store.write(entry), None)

    def _judge(self, asking: Asking, arrived: Arrived, content: bytes | None) -> Usable | Unusable:
        head = arrived.head
        if head.status != 200 or content is None:
            return Unusable(head, None if head.status in _TO_ONE_REQUEST else content)
        part = ResponseHead(200, head.fields.without(OF_THE_WHOLE))
        single = asking.single
        verdict = assess(single, part, asking.rules, requested_at=arrived.requested_at, received_at=arrived.received_at)
        terms = _terms(asking, head, verdict)
        if isinstance(terms, PassReason):
            self._recorder.event(Event.NOT_STORED, terms)
            return Unusable(head, content, terms)
        try:
            wanted = [each.one.id for each in asking.wanted]
            found = elements(asking.batch.rules, head.fields, content, wanted)
        except UnusableError:
            return Unusable(head, content)
        return _usable(asking, arrived, _for_any_coding(terms, single), found)


def _terms(asking: Asking, head: ResponseHead, verdict: Store | Pass) -> Store | PassReason:
    """On what terms the answer may be stored, or why it may not."""
    if isinstance(verdict, Pass):
        return verdict.reason
    if response_tags(head.fields).refused:
        return PassReason.TAGS
    return verdict if asking.personal.isdisjoint(verdict.vary) else PassReason.PERSONALISED


def _for_any_coding(verdict: Store, single: RequestHead) -> Store:
    """``verdict`` for clients of any Accept-Encoding: a part of what came in no coding is for all of them."""
    names = tuple(name for name in verdict.vary if name != _ACCEPT_ENCODING)
    return replace(verdict, vary=names, variance=variance(names, single.fields))


def _usable(asking: Asking, arrived: Arrived, verdict: Store, found: Mapping[str, bytes]) -> Usable:
    tags = response_tags(arrived.head.fields).tags
    is_new = b"age" not in arrived.head.fields
    pieces = {}
    for_others = set()
    for each in asking.wanted:
        text = found.get(each.one.id)
        if text is None:
            continue
        pieces[each.one.id] = Piece(_entry(each, arrived, verdict, text, tags), text, is_new)
        if _is_for_others(each.exchange, verdict, text):
            for_others.add(each.one.id)
    return Usable(
        pieces=pieces,
        fields=verdict.fields,
        for_others=frozenset(for_others),
        stored=arrived.stamp is not None,
        asked_at=arrived.asked_at,
    )


def _is_for_others(single: Exchange, verdict: Store, text: bytes) -> bool:
    rules = single.route.cache
    if rules is None or len(text) > rules.max_body_bytes or not may_store(single):
        return False
    for_many = single.route.scope in {Scope.PUBLIC, Scope.TENANT}
    return not (for_many and names_caller(single.identity, verdict.fields, text))


def _entry(wanted: Wanted, arrived: Arrived, verdict: Store, text: bytes, tags: tuple[str, ...]) -> Entry:
    one, route = wanted.one, wanted.exchange.route.name
    return entry_of(arrived, verdict, text, key=one.key.text, tags=(*one.key.tags, *tags), route=route)

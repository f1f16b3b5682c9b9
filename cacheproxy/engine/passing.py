"""Requests past the cache that go on as they did before, at once: no task, and nothing decided anew.

It has no rules of its own. The ordinary way forwards first, and says (``Reply.passage``) that all it decided hangs on
the request's head alone: where the cache has no part in it, or knows that nobody could share what comes (hit-for-miss).
The same head is then sent on as the same bytes, under an id of its own. Where the answer comes whole, it is dressed by
the ordinary means; whatever else comes, the ordinary way goes on from there (``Begun``).
"""

from dataclasses import dataclass, replace
from typing import Protocol

from cacheproxy.clock import Clock
from cacheproxy.engine.active import Active
from cacheproxy.engine.arrived import fetch_of, refusal
from cacheproxy.engine.dress import dress
from cacheproxy.engine.exchange import Exchange
from cacheproxy.engine.fill_job import FillJob
from cacheproxy.engine.forward import Forwarder, Untrue, untrue_by
from cacheproxy.engine.origin_side import OriginSide
from cacheproxy.engine.passage import Begun, Passage
from cacheproxy.engine.record import Journal
from cacheproxy.engine.recorder import Event, Recorder
from cacheproxy.engine.reply import Reply
from cacheproxy.engine.request_id import RequestIds
from cacheproxy.engine.serve import reply_through
from cacheproxy.fills.hit_for_miss import HitForMiss
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.head import ResponseHead
from cacheproxy.semantics.storing import PassReason
from cacheproxy.upstream.contract import Prepared


class Shelf(Protocol):
    """L1 (``storage.memory.MemoryStore``)."""

    def find(self, key: str, request: Fields) -> object | None:
        """What would answer ``request``, or might once it is confirmed."""
        ...


@dataclass(frozen=True, slots=True)
class Weight:
    """What an answer brings about beside itself."""

    untrue: Untrue | None = None
    reason: PassReason | None = None
    """Why it is not stored, where the cache had a part in it."""


def passage_of(exchange: Exchange, active: Active, alone: FillJob | None = None) -> Passage | None:
    """How ``exchange`` may be repeated, which was forwarded, or fetched ``alone``.

    None where it hangs on more than the request's head, and what the cache remembers of its key.
    """
    asked = exchange.asked_elsewhere or exchange.session is not None or exchange.seal_secret or exchange.route.limits
    stored = exchange.key is not None and alone is None
    if asked or stored or exchange.route.batch is not None or b"expect" in exchange.request.fields:
        return None
    given = exchange.request.fields.get(b"x-request-id") or b""
    return Passage(
        exchange=exchange,
        active=active,
        named=given if given == exchange.request_id.encode() else b"",
        sent=exchange.request if alone is None else fetch_of(alone),
        alone=alone,
    )


class Passing:
    """Sends on at once, and answers by the means of the ordinary way."""

    def __init__(
        self,
        *,
        origin: OriginSide,
        forwarder: Forwarder,
        shelf: Shelf,
        hit_for_miss: HitForMiss,
        journal: Journal,
        recorder: Recorder,
        clock: Clock,
    ) -> None:
        """Everything it works with comes from ``wiring``."""
        self._origin = origin
        self._forwarder = forwarder
        self._shelf = shelf
        self._hit_for_miss = hit_for_miss
        self._journal = journal
        self._recorder = recorder
        self._now, self._monotonic = clock.now, clock.monotonic
        self._request_ids = RequestIds()

    def prepare(self, passage: Passage) -> tuple[Passage, Prepared]:
        """``passage`` less what was its one request's own (its body, its client), and what goes on each time."""
        prepared = self._origin.prepare(passage.exchange, passage.sent)
        exchange = replace(passage.exchange, body=None, on_interim=None)
        alone = None if passage.alone is None else replace(passage.alone, exchange=exchange)
        return replace(passage, exchange=exchange, alone=alone), prepared

    def begin(self, passage: Passage, prepared: Prepared, content: bytes | None) -> Begun | None:
        """Send it on, with ``content`` if it has any; None where that cannot be done at once."""
        started = self._monotonic()
        if passage.alone is not None and not self._is_still_alone(passage.alone):
            return None
        request_id = passage.named or self._request_ids.new()
        sent = self._origin.begin(prepared, request_id, content)
        return None if sent is None else Begun(passage, sent, request_id, started)

    def weigh(self, begun: Begun, head: ResponseHead) -> Weight | None:
        """What the answer ``head`` brings about; None where the ordinary way has to see to that.

        It holds for all requests by the same passage. What may not be stored now is not, though its time may come.
        """
        alone = begun.passage.alone
        if alone is None:
            return Weight(untrue=untrue_by(begun.passage.exchange, head))
        reason = refusal(alone, head, self._now())
        return None if reason is None else Weight(reason=reason)

    def settle(self, weight: Weight) -> bool:
        """Purge what the answer makes untrue; False, and nothing is done, where that would have to be waited for."""
        return weight.untrue is None or self._forwarder.purge_now(weight.untrue)

    def reply(self, begun: Begun, head: ResponseHead, content: bytes, weight: Weight) -> Reply:
        """The answer, which is ``head`` and ``content`` and no more, as the client gets it."""
        return dress(_answered(begun, head.status, weight), reply_through(head, content))

    def note(self, begun: Begun, status: int, weight: Weight) -> None:
        """Take note of a request that was answered with ``status``."""
        seconds = self._monotonic() - begun.started
        self._origin.answered()
        if weight.reason is not None:
            self._recorder.event(Event.HIT_FOR_MISS)
            self._recorder.event(Event.NOT_STORED, weight.reason)
        if self._journal.repeated(begun.passage.exchange, seconds):
            self._journal.write(_answered(begun, status, weight, upstream_s=seconds), status, seconds)

    def _is_still_alone(self, job: FillJob) -> bool:
        """Whether nobody can share what comes for ``job``, and nothing came that it could be answered with."""
        return self._hit_for_miss.remembers(job.key) and self._shelf.find(job.key, job.request.fields) is None


def _answered(begun: Begun, status: int, weight: Weight, upstream_s: float = 0.0) -> Exchange:
    """The record of a request that the origin answered with ``status``."""
    exchange = begun.passage.exchange
    return replace(
        exchange,
        request_id=begun.request_id.decode(),
        forward_status=status,
        detail=weight.reason or exchange.detail,
        upstream_s=upstream_s,
    )

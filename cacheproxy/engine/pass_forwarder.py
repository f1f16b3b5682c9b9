"""Requests past the cache that go on as they did before, at once: no task, and nothing decided anew.

It has no rules of its own. The ordinary way forwards first, and says (``Reply.pass_plan``) that all it decided hangs
on the request's head alone: where the cache has no part in it, or knows that nobody could share what comes
(hit-for-miss). A head that is alike in all that is read is then sent on as the same bytes, with what is its own. Where
the answer comes whole, it is dressed by the ordinary means; whatever else comes, the ordinary way goes on from there
(``Dispatched``).
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol

from cacheproxy.clock import Clock
from cacheproxy.engine.active import Active
from cacheproxy.engine.arrived import fetch_of, refusal
from cacheproxy.engine.dress import dress
from cacheproxy.engine.exchange import Exchange
from cacheproxy.engine.fill_job import FillJob
from cacheproxy.engine.forward import Forwarder, Untrue, untrue_by
from cacheproxy.engine.origin_side import OriginSide
from cacheproxy.engine.pass_plan import Dispatched, PassPlan
from cacheproxy.engine.record import Journal, Repeated
from cacheproxy.engine.recorder import Event, Recorder
from cacheproxy.engine.reply import Reply
from cacheproxy.engine.request_id import RequestIds
from cacheproxy.engine.serve import reply_through
from cacheproxy.fills.hit_for_miss import HitForMiss
from cacheproxy.policy.identity import SessionRules
from cacheproxy.policy.unread import TELL_ADDRESSES, carried_fields
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.forwarding import connection_fields
from cacheproxy.semantics.head import ResponseHead
from cacheproxy.semantics.storing import PassReason
from cacheproxy.sessions.identity import strip
from cacheproxy.upstream.contract import Prepared


class Shelf(Protocol):
    """L1 (``storage.memory.MemoryStore``)."""

    def holds(self, key: str) -> bool:
        """Whether anything is kept under ``key``, whomever it may answer."""
        ...


@dataclass(frozen=True, slots=True)
class Effects:
    """What an answer brings about beside itself."""

    noted: Repeated
    untrue: Untrue | None = None
    reason: PassReason | None = None
    """Why it is not stored, where the cache had a part in it."""


def pass_plan_of(exchange: Exchange, active: Active, alone: FillJob | None = None) -> PassPlan | None:
    """How ``exchange`` may be repeated, which was forwarded, or fetched ``alone``.

    None where it hangs on more than the request's head, and what the cache remembers of its key; or where the origin
    was not asked, as with what may be forwarded no more (Max-Forwards).
    """
    if exchange.forward_status is None:
        return None
    asked = exchange.asked_elsewhere or exchange.session is not None or exchange.seal_secret or exchange.route.limits
    stored = exchange.key is not None and alone is None
    if asked or stored or exchange.route.batch is not None or b"expect" in exchange.request.fields:
        return None
    carried = _unreserved(carried_fields(exchange.policy, exchange.route), exchange.policy.session)
    if not carried.isdisjoint(connection_fields(exchange.request.fields)):
        return None  # what must end here would count for everybody, if this were known
    return PassPlan(
        exchange=exchange,
        active=active,
        sent=exchange.request if alone is None else fetch_of(alone),
        carried=carried,
        any_target=exchange.route.cache is None and exchange.request.method in {"GET", "HEAD"},
        alone=alone,
    )


@lru_cache(maxsize=256)
def _unreserved(names: frozenset[bytes], rules: SessionRules | None) -> frozenset[bytes]:
    """Those of ``names`` that a client may send. The fields that tell addresses stay together, or go together."""
    sendable = strip(Fields((name, b"") for name in names), rules).names()
    return sendable if sendable >= TELL_ADDRESSES else sendable - TELL_ADDRESSES


class PassForwarder:
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

    def prepare(self, plan: PassPlan) -> tuple[PassPlan, Prepared]:
        """``plan`` less what was its one request's own (its body, its client), and what goes on each time."""
        prepared = self._origin.prepare(plan.exchange, plan.sent, plan.carried)
        exchange = replace(plan.exchange, body=None, on_interim=None)
        alone = None if plan.alone is None else replace(plan.alone, exchange=exchange)
        return replace(plan, exchange=exchange, alone=alone), prepared

    def begin(
        self,
        plan: PassPlan,
        prepared: Prepared,
        *,
        carried: bytes,
        given_id: bytes | None,
        client: str,
        path: str,
        content: bytes,
    ) -> Dispatched | None:
        """Send it on with the lines that are ``carried``; None where that cannot be done at once.

        ``given_id`` is what its ``client`` (an address) calls it, if anything; ``content`` its body, empty if it has
        none.
        """
        started = self._monotonic()
        if plan.alone is not None and not self._is_still_alone(plan.alone):
            return None
        request_id = self._request_ids.new() if given_id is None else self._request_ids.of(given_id).encode()
        sent = self._origin.begin(prepared, b"%bx-request-id: %b\r\n" % (carried, request_id), content)
        return None if sent is None else Dispatched(plan, sent, request_id, client, path, started)

    def effects_of(self, dispatched: Dispatched, head: ResponseHead) -> Effects | None:
        """What the answer ``head`` brings about; None where the ordinary way has to see to that.

        It holds for all requests by the same plan. What may not be stored now is not, though its time may come.
        """
        alone = dispatched.plan.alone
        if alone is None:
            untrue = untrue_by(dispatched.plan.exchange, head)
            return Effects(self._journal.repeating(_answered(dispatched, head.status), head.status), untrue=untrue)
        reason = refusal(alone, head, self._now())
        if reason is None:
            return None
        return Effects(self._journal.repeating(_answered(dispatched, head.status, reason), head.status), reason=reason)

    def commit(self, dispatched: Dispatched, effects: Effects) -> bool:
        """Purge what the answer makes untrue, and take note of the request.

        False, and nothing is done, where that purge would have to be waited for.
        """
        if effects.untrue is not None and not self._forwarder.purge_now(effects.untrue):
            return False
        event = self._recorder.event
        event(Event.UPSTREAM, "ok")
        if effects.reason is not None:
            event(Event.HIT_FOR_MISS)
            event(Event.NOT_STORED, effects.reason)
        seconds = self._monotonic() - dispatched.started
        self._journal.again(effects.noted, dispatched.request_id, dispatched.client, dispatched.path, seconds)
        return True

    def reply(self, dispatched: Dispatched, head: ResponseHead, content: bytes, effects: Effects) -> Reply:
        """The answer, which is ``head`` and ``content`` and no more, as the client gets it."""
        return dress(_answered(dispatched, head.status, effects.reason), reply_through(head, content))

    def _is_still_alone(self, job: FillJob) -> bool:
        """Whether nobody can share what comes for ``job``, and nothing came that anybody could be answered with."""
        return self._hit_for_miss.remembers(job.key) and not self._shelf.holds(job.key)


def _answered(dispatched: Dispatched, status: int, reason: PassReason | None = None) -> Exchange:
    """The record of a request that the origin answered with ``status``, which is not stored for ``reason``."""
    exchange = dispatched.plan.exchange
    return replace(
        exchange,
        request_id=dispatched.request_id.decode(),
        identity=replace(exchange.identity, client_ip=dispatched.client),
        forward_status=status,
        detail=reason or exchange.detail,
    )

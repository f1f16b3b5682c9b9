"""The fill itself: ask the origin, and make of its answer what the rules allow."""

from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any

from cacheproxy.clock import Clock
from cacheproxy.engine.degrade import Degrade
from cacheproxy.engine.fill_job import Filled, FillJob, GaveUp, Passed, Shared, Unstamped
from cacheproxy.engine.leak_guard import names_caller
from cacheproxy.engine.origin_side import OriginSide
from cacheproxy.engine.recorder import Event, Recorder
from cacheproxy.engine.serve import may_stand_in, whole_seconds
from cacheproxy.engine.shared_body import SharedBody
from cacheproxy.errors import UpstreamError
from cacheproxy.fills.hit_for_miss import HitForMiss
from cacheproxy.invalidation.tags import response_tags
from cacheproxy.policy.route import Scope
from cacheproxy.redis_link.contract import Role
from cacheproxy.semantics.cache_control import CacheControl
from cacheproxy.semantics.conditional import completion_fields, fill_fields, revalidation_fields
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.freshening import dated, freshen, head_agrees, validated, without_cookies
from cacheproxy.semantics.head import RequestHead, ResponseHead
from cacheproxy.semantics.plan import Fetch, Revalidate, is_error
from cacheproxy.semantics.ranges import combine
from cacheproxy.semantics.storing import Pass, PassReason, Store, assess, grants_authorized
from cacheproxy.semantics.tag_clock import Stamp
from cacheproxy.storage.contract import Entry
from cacheproxy.storage.contract import Store as Storage
from cacheproxy.upstream.bodies import BytesBody
from cacheproxy.upstream.contract import ResponseBody

NO_STAMP = Stamp("", 0)
"""What is not stored bears this; every store would refuse it."""


@dataclass(frozen=True, slots=True)
class _Arrived:
    """The origin's answer, with the moments around it and the fill's stamp (None: nothing may be stored)."""

    head: ResponseHead
    body: ResponseBody
    requested_at: float
    received_at: float
    stamp: Stamp | None
    asked_at: float = -inf
    """Monotonic."""


_LIES_IN_THE_RESPONSE = frozenset(PassReason) - {
    PassReason.METHOD,
    PassReason.AUTHORIZATION,
    PassReason.REQUEST_NO_STORE,
    PassReason.PARTIAL,
}
"""Reasons that will hold for the next request, too. The others lie in the one that was made."""


_LIES_IN_THE_HEAD = _LIES_IN_THE_RESPONSE - {PassReason.TOO_LARGE, PassReason.PERSONALISED}
"""Those of them that can be told before there is content."""


class Carrier:
    """Fetches for one fill and stores what it may."""

    def __init__(
        self,
        *,
        origin: OriginSide,
        store: Storage,
        hit_for_miss: HitForMiss,
        degrade: Degrade,
        recorder: Recorder,
        clock: Clock,
    ) -> None:
        """Everything it works with comes from ``wiring``."""
        self._origin = origin
        self._store = store
        self._hit_for_miss = hit_for_miss
        self._degrade = degrade
        self._recorder = recorder
        self._clock = clock

    async def carry(self, job: FillJob, stamp: Stamp | None) -> Shared:
        """What the origin's answer gives to all who wait; the job's leader is told first. UpstreamError."""
        variants = await self._variants(job) if isinstance(job.plan, Revalidate) else ()
        arrived = await self._ask(job, stamp, variants)
        if arrived.head.status == 304 and variants:
            return await self._confirmed(job, arrived, variants)
        await self._refuse_failure(job, arrived)
        if job.request.method == "HEAD" and not job.names_asker:
            await self._head_tells(job, arrived)
        return await self._judge(job, arrived)

    async def carry_alone(self, job: FillJob, stamp: Stamp | None) -> Passed | Coroutine[Any, Any, Shared]:
        """The origin's answer for the job's leader alone, or what is left to do where it is fit for others too.

        Of that the leader is told first. For a job that is ``alone``. UpstreamError.
        """
        arrived = await self._ask(job, stamp, ())
        await self._refuse_failure(job, arrived)
        fit = self._fit(job, arrived, _verdict(job, arrived))
        return fit if isinstance(fit, Passed) else self._gather(job, arrived, *fit)

    async def _ask(self, job: FillJob, stamp: Stamp | None, variants: Sequence[Entry]) -> _Arrived:
        requested_at, asked_at = self._clock.now(), self._clock.monotonic()
        asked = job.sent
        sent = asked.with_fields(_asking(job, asked, variants))
        head, body = await self._origin.send(job.exchange, sent, None)
        return _Arrived(head, body, requested_at, self._clock.now(), stamp, asked_at)

    async def _refuse_failure(self, job: FillJob, arrived: _Arrived) -> None:
        """UpstreamError for an answer to what was not asked, and for an error where something may stand in for it."""
        status = arrived.head.status
        if status == 304:
            await arrived.body.aclose()
            raise UpstreamError(502, "malformed-response", sent=True, detail="a 304 to a request without a condition")
        if is_error(status) and self._may_stand_in(job):
            await arrived.body.aclose()
            raise UpstreamError(status, f"status-{status}", sent=True)

    async def adopt(
        self, job: FillJob, head: ResponseHead, body: ResponseBody, requested_at: float, stamp: Stamp
    ) -> Shared:
        """As ``carry``, with an answer that is here already."""
        return await self._judge(job, _Arrived(head, body, requested_at, self._clock.now(), stamp))

    async def _variants(self, job: FillJob) -> Sequence[Entry]:
        """The stored responses that the origin may be asked to confirm, the one that fits the request first.

        They are looked up anew: a 304 must not bring back what was purged since the request came.
        """
        selected = job.plan.stored
        assert isinstance(selected, Entry)
        stored = await self._degrade.instead(Role.CACHE, self._store.variants(job.key), ())
        return sorted(stored, key=lambda entry: (entry.vary, entry.variance) != (selected.vary, selected.variance))

    def _may_stand_in(self, job: FillJob) -> bool:
        stored = job.plan.stored
        return stored is not None and may_stand_in(job.request, stored, job.rules, self._clock.now())

    async def _judge(self, job: FillJob, arrived: _Arrived) -> Shared:
        verdict = _verdict(job, arrived)
        if job.personal and not job.in_full and _is_for_one(job, verdict):
            await arrived.body.aclose()
            job.in_full = True
            return await self.carry(job, arrived.stamp)
        fit = self._fit(job, arrived, verdict)
        if isinstance(fit, Passed):
            await job.leader.hand_over(fit)
            return GaveUp()
        return await self._gather(job, arrived, *fit)

    def _fit(self, job: FillJob, arrived: _Arrived, verdict: Store | Pass) -> tuple[Store, Sequence[str]] | Passed:
        """On what terms, and with which tags of its own, it may be kept; or the response for the leader alone."""
        if job.personal:
            verdict = _shareable(job, arrived.head, verdict)
        if isinstance(verdict, Pass):
            return self._passed(job, arrived, verdict.reason)
        tags = response_tags(arrived.head.fields)
        if tags.refused or (arrived.stamp is None and (not job.shared or verdict.status == 206)):
            return self._passed(job, arrived, PassReason.TAGS if tags.refused else None)
        return verdict, tags.tags

    def _passed(self, job: FillJob, arrived: _Arrived, reason: PassReason | None) -> Passed:
        """The response for the leader alone; that this key is not for sharing is remembered."""
        if reason is not None:
            self._refuse(job, reason)
        alone = None if job.shared or reason not in _LIES_IN_THE_HEAD else job
        return Passed(arrived.head, arrived.body, reason, alone=alone)

    async def _pass(self, job: FillJob, arrived: _Arrived, reason: PassReason) -> GaveUp:
        await job.leader.hand_over(self._passed(job, arrived, reason))
        return GaveUp()

    def _refuse(self, job: FillJob, reason: PassReason) -> None:
        self._recorder.event(Event.NOT_STORED, reason)
        if job.shared and reason in _LIES_IN_THE_RESPONSE:
            self._hit_for_miss.remember(job.key)

    async def _gather(self, job: FillJob, arrived: _Arrived, verdict: Store, tags: Sequence[str]) -> Shared:
        """Take the body in, streaming it to the leader meanwhile if it is not here yet."""
        content = arrived.body.complete
        if content is None:
            shared = SharedBody(arrived.body, job.rules.max_body_bytes, read=job.leader.waits)
            job.leader.tell(Passed(arrived.head, shared, gathered=arrived.stamp is not None))
            content = await shared.gather()
        elif len(content) > job.rules.max_body_bytes:
            return await self._pass(job, arrived, PassReason.TOO_LARGE)
        if content is None:
            return await self._pass(job, arrived, PassReason.TOO_LARGE)
        if _is_for_many(job) and names_caller(job.exchange.identity, verdict.fields, content):
            self._refuse(job, PassReason.PERSONALISED)
            job.leader.tell(Passed(arrived.head, BytesBody(content), PassReason.PERSONALISED))
            return GaveUp()
        return await self._keep(job, arrived, verdict, content, tags)

    async def _keep(
        self, job: FillJob, arrived: _Arrived, verdict: Store, content: bytes, tags: Sequence[str]
    ) -> Shared:
        entry = _entry(job, arrived, verdict, content, tags)
        if entry.status == 206:
            return await self._keep_part(job, arrived, entry)
        self._hit_for_miss.forget(job.key)
        filled = Filled(
            entry,
            arrived.head.status,
            stored=arrived.stamp is not None,
            age=arrived.head.fields.get(b"age"),
            arrived=arrived.head.fields.without({b"age"}),
            asked_at=arrived.asked_at,
        )
        job.leader.tell(filled)
        if arrived.stamp is None:
            return Unstamped(entry, arrived.asked_at)
        await self._write(entry)
        return filled

    async def _keep_part(self, job: FillJob, arrived: _Arrived, part: Entry) -> Shared:
        """A 206: combine it with what is stored (RFC 9111 §3.4). Who asked for a range gets what the origin sent."""
        whole = _combined(job, part)
        if b"range" in job.request.fields:
            job.leader.tell(Passed(arrived.head, BytesBody(part.body), gathered=True))
            await self._write(whole or part)
            return GaveUp()
        if whole is None or whole.status == 206:
            if isinstance(job.plan, Fetch) and job.plan.missing is not None:
                # The rest of a part did not fit what is stored: the client asked for all of it, so ask again.
                return await self.carry(replace(job, plan=Fetch(reason=job.plan.reason)), arrived.stamp)
            job.leader.tell(Passed(arrived.head, BytesBody(part.body), PassReason.PARTIAL))
            return GaveUp()
        filled = Filled(whole, 206, stored=True)
        job.leader.tell(filled)
        await self._write(whole)
        return filled

    async def _write(self, entry: Entry) -> None:
        await self._degrade.instead(Role.CACHE, self._store.write(entry), None)

    async def _confirmed(self, job: FillJob, arrived: _Arrived, variants: Sequence[Entry]) -> Shared:
        """A 304: bring every stored response that it validates up to date (RFC 9111 §4.3.4), answer with the best."""
        await arrived.body.aclose()
        fields = without_cookies(dated(arrived.head.fields, arrived.received_at), job.rules.shared_cookies)
        confirmed = [variants[index] for index in validated([entry.fields for entry in variants], fields)]
        if not confirmed:
            return await self.carry(replace(job, plan=Fetch(reason=job.plan.reason)), arrived.stamp)
        renewed = [self._renewed(job, arrived, entry, fields) for entry in confirmed]
        kept = [entry for entry in renewed if entry is not None]
        if job.names_asker or len(kept) < len(renewed):
            if arrived.stamp is not None and not job.names_asker:
                await self._drop(job)
            answer = ResponseHead(confirmed[0].status, freshen(confirmed[0].fields, fields))
            job.leader.tell(Passed(answer, BytesBody(confirmed[0].body)))
            return GaveUp()
        filled = Filled(kept[0], 304, stored=True, age=whole_seconds(kept[0].initial_age_s))
        job.leader.tell(filled)
        for entry in kept:
            await self._write(entry)
        return filled

    def _renewed(self, job: FillJob, arrived: _Arrived, entry: Entry, fields: Fields) -> Entry | None:
        """``entry`` with what a 304 (or HEAD) said, judged anew; None where it may be kept no longer."""
        head = ResponseHead(entry.status, freshen(entry.fields, fields))
        request = replace(job.sent, method="GET")
        verdict = assess(request, head, job.rules, requested_at=arrived.requested_at, received_at=arrived.received_at)
        tags = response_tags(fields)
        if isinstance(verdict, Pass) or arrived.stamp is None or tags.refused:
            return None
        renewed = _entry(job, arrived, verdict, entry.body, (*entry.tags, *tags.tags))
        same = entry.vary == renewed.vary
        return replace(renewed, variance=entry.variance) if same else renewed

    async def _head_tells(self, job: FillJob, arrived: _Arrived) -> None:
        """A 200 to HEAD updates the stored response that it describes, or shows it to be out of date (§4.3.5).

        Without a validator it does neither: else what the origin never confirmed would live for ever.
        """
        stored, head = job.plan.stored, arrived.head
        if not isinstance(stored, Entry) or (head.status, stored.status) != (200, 200) or arrived.stamp is None:
            return
        if not head_agrees(stored.fields, len(stored.body), head.fields):
            await self._drop(job)
        elif b"etag" in head.fields or b"last-modified" in head.fields:
            fields = without_cookies(dated(head.fields, arrived.received_at), job.rules.shared_cookies)
            renewed = self._renewed(job, arrived, stored, fields)
            await (self._drop(job) if renewed is None else self._write(renewed))

    async def _drop(self, job: FillJob) -> None:
        await self._degrade.instead(Role.CACHE, self._store.delete(job.key), 0)


def _verdict(job: FillJob, arrived: _Arrived) -> Store | Pass:
    requested_at, received_at = arrived.requested_at, arrived.received_at
    return assess(job.sent, arrived.head, job.rules, requested_at=requested_at, received_at=received_at)


def asked_alone(job: FillJob) -> RequestHead:
    """The request of a fill that nobody else has a part in, and for which nothing is stored."""
    return job.sent.with_fields(_asking(job, job.sent, ()))


def refusal(job: FillJob, head: ResponseHead, now: float) -> PassReason | None:
    """Why ``head`` brings nothing to be stored for ``job``, whatever its content; None where that is to be seen."""
    if head.status == 304 or is_error(head.status):
        return None
    verdict = assess(job.sent, head, job.rules, requested_at=now, received_at=now)
    if isinstance(verdict, Pass):
        return verdict.reason if verdict.reason in _LIES_IN_THE_HEAD else None
    return PassReason.TAGS if response_tags(head.fields).refused else None


def _is_for_many(job: FillJob) -> bool:
    """Whether the response would be shared among users."""
    return job.exchange.route.scope in {Scope.PUBLIC, Scope.TENANT}


def _is_for_one(job: FillJob, verdict: Store | Pass) -> bool:
    """Whether the answer to nobody in particular shows that it is to be asked for in full."""
    if isinstance(verdict, Pass):
        return verdict.reason not in {PassReason.TOO_LARGE, PassReason.PARTIAL}
    return not job.personal.isdisjoint(verdict.vary)


def _shareable(job: FillJob, head: ResponseHead, verdict: Store | Pass) -> Store | Pass:
    """``verdict``, unless the origin was told who asks, and neither says that it is for all nor varies on it."""
    if isinstance(verdict, Pass) or not job.in_full or job.personal <= set(verdict.vary):
        return verdict
    return verdict if grants_authorized(CacheControl.effective(head.fields)) else Pass(PassReason.PERSONALISED)


def _asking(job: FillJob, asked: RequestHead, variants: Sequence[Entry]) -> Fields:
    """The request fields of the fetch: with our conditions in place of the client's."""
    if variants:
        return revalidation_fields(asked.fields, [entry.fields for entry in variants])
    if isinstance(job.plan, Fetch) and job.plan.missing is not None:
        return completion_fields(asked.fields, job.plan.missing)
    return fill_fields(asked.fields, keep_range=True)


def _combined(job: FillJob, part: Entry) -> Entry | None:
    """``part`` and what is stored as one (RFC 9111 §3.4), or None."""
    stored = job.plan.stored
    if not isinstance(stored, Entry) or (selected := combine(stored, part)) is None:
        return None
    tags = tuple(dict.fromkeys((*part.tags, *stored.tags)))
    return replace(part, status=selected.status, fields=selected.fields, body=selected.body, tags=tags)


def _entry(job: FillJob, arrived: _Arrived, verdict: Store, content: bytes, tags: Sequence[str]) -> Entry:
    return Entry(
        key=job.key,
        vary=verdict.vary,
        variance=verdict.variance,
        status=verdict.status,
        fields=verdict.fields,
        body=content,
        requested_at=arrived.requested_at,
        received_at=arrived.received_at,
        lifetime_s=verdict.lifetime_s,
        initial_age_s=verdict.initial_age_s,
        swr_s=verdict.swr_s,
        sie_s=verdict.sie_s,
        must_revalidate=verdict.must_revalidate,
        keep_until=verdict.keep_until,
        stamp=arrived.stamp or NO_STAMP,
        tags=tuple(dict.fromkeys((*job.tags, *tags))),
        route=job.exchange.route.name,
    )

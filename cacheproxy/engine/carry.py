"""The fill itself: ask the origin, and make of its answer what the rules allow."""

from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any

from cacheproxy.clock import Clock
from cacheproxy.engine.arrived import (
    LIES_IN_THE_HEAD,
    LIES_IN_THE_RESPONSE,
    Arrived,
    Underway,
    combined,
    completes,
    entry_for,
    fetch_of,
    is_for_many,
    is_part,
    plain_entry,
    verdict_on,
    wants_all,
)
from cacheproxy.engine.degrade import Degrade
from cacheproxy.engine.fill_job import Filled, FillJob, GaveUp, Passed, Shared, Unstamped
from cacheproxy.engine.leak_guard import names_caller
from cacheproxy.engine.origin_side import OriginSide
from cacheproxy.engine.recorder import Event, Recorder
from cacheproxy.engine.revalidation import Revalidator
from cacheproxy.engine.serve import may_stand_in
from cacheproxy.engine.shared_body import SharedBody
from cacheproxy.errors import UpstreamError
from cacheproxy.fills.hit_for_miss import HitForMiss
from cacheproxy.invalidation.tags import response_tags
from cacheproxy.redis_link.contract import Role
from cacheproxy.semantics.cache_control import CacheControl
from cacheproxy.semantics.head import ResponseHead
from cacheproxy.semantics.plan import Fetch, Revalidate, is_error
from cacheproxy.semantics.storing import Pass, PassReason, Store, grants_authorized
from cacheproxy.semantics.tag_clock import Stamp
from cacheproxy.storage.contract import Entry
from cacheproxy.storage.contract import Store as Storage
from cacheproxy.upstream.bodies import BytesBody
from cacheproxy.upstream.contract import ResponseBody

_AGE = frozenset({b"age"})


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
        self._revalidator = Revalidator(store, degrade)

    def ask_now(self, job: FillJob) -> Underway | None:
        """Ask the origin at once for all there is; None where that cannot be done, or is not what is to be asked."""
        if not isinstance(job.plan, Fetch) or job.plan.missing is not None:
            return None
        requested_at, asked_at = self._clock.now(), self._clock.monotonic()
        sent = self._origin.start(job.exchange, fetch_of(job))
        return None if sent is None else Underway(sent, requested_at, asked_at)

    def filled_now(self, job: FillJob, stamp: Stamp, asked: Underway) -> Filled | None:
        """What came of it for all, to be kept, where it is plain; None, and nothing is done, where it is not."""
        if asked.sent.whole is None:
            return None
        head, content = asked.sent.whole
        arrived = Arrived(head, BytesBody(content), asked.requested_at, self._clock.now(), stamp, asked.asked_at)
        entry = plain_entry(job, arrived, content)
        if entry is None:
            return None
        self._origin.note(job.exchange, head, asked.asked_at)
        self._hit_for_miss.forget(job.key)
        return _filled(arrived, entry)

    def keep_now(self, filled: Filled) -> bool:
        """Store what was filled, where that needs no waiting; else False, and nothing is done."""
        return self._store.write_now(filled.entry)

    async def keep(self, filled: Filled) -> Filled:
        """Store what was filled."""
        await self._write(filled.entry)
        return filled

    async def carry(self, job: FillJob, stamp: Stamp | None, asked: Underway | None = None) -> Shared:
        """What the origin's answer gives to all who wait; the job's leader is told first. UpstreamError.

        ``asked`` is what the origin was asked for it already.
        """
        variants = await self._revalidator.variants(job) if isinstance(job.plan, Revalidate) else ()
        arrived = await self._ask(job, stamp, variants, asked)
        if arrived.head.status == 304 and variants:
            confirmed = await self._revalidator.confirmed(job, arrived, variants)
            return confirmed or await self.carry(replace(job, plan=Fetch(reason=job.plan.reason)), stamp)
        await self._refuse_failure(job, arrived)
        if completes(job) and arrived.head.status in {206, 416}:
            return await self._join(job, arrived)
        if job.request.method == "HEAD" and not job.names_asker:
            await self._revalidator.head_tells(job, arrived)
        return await self._judge(job, arrived)

    async def carry_alone(self, job: FillJob, stamp: Stamp | None) -> Passed | Coroutine[Any, Any, Shared]:
        """The origin's answer for the job's leader alone, or what is left to do where it is fit for others too.

        Of that the leader is told first. For a job that is ``alone``. UpstreamError.
        """
        arrived = await self._ask(job, stamp, ())
        await self._refuse_failure(job, arrived)
        fit = self._fit(job, arrived, verdict_on(job, arrived))
        return fit if isinstance(fit, Passed) else self._gather(job, arrived, *fit)

    async def _ask(
        self, job: FillJob, stamp: Stamp | None, variants: Sequence[Entry], asked: Underway | None = None
    ) -> Arrived:
        sent, requested_at, asked_at = None, self._clock.now(), self._clock.monotonic()
        if asked is not None:
            sent, requested_at, asked_at = asked.sent, asked.requested_at, asked.asked_at
        head, body = await self._origin.send(job.exchange, fetch_of(job, variants), None, sent)
        return Arrived(head, body, requested_at, self._clock.now(), stamp, asked_at)

    async def _refuse_failure(self, job: FillJob, arrived: Arrived) -> None:
        """UpstreamError for an answer to what was not asked, and for an error where something may stand in for it."""
        status = arrived.head.status
        if status == 304:
            await arrived.body.aclose()
            raise UpstreamError(502, "malformed-response", sent=True, detail="a 304 to a request without a condition")
        if is_part(arrived.head) and job.request.method == "GET" and wants_all(job):
            await arrived.body.aclose()
            raise UpstreamError(502, "malformed-response", sent=True, detail="a part (206) to a request for the whole")
        if is_error(status) and self._may_stand_in(job):
            await arrived.body.aclose()
            raise UpstreamError(status, f"status-{status}", sent=True)

    async def adopt(
        self, job: FillJob, head: ResponseHead, body: ResponseBody, requested_at: float, stamp: Stamp
    ) -> Shared:
        """As ``carry``, with an answer that is here already."""
        return await self._judge(job, Arrived(head, body, requested_at, self._clock.now(), stamp))

    def _may_stand_in(self, job: FillJob) -> bool:
        stored = job.plan.stored
        return stored is not None and may_stand_in(job.request, stored, job.rules, self._clock.now())

    async def _judge(self, job: FillJob, arrived: Arrived) -> Shared:
        verdict = verdict_on(job, arrived)
        if job.personal and not job.in_full and _is_for_one(job, verdict):
            await arrived.body.aclose()
            job.in_full = True
            return await self.carry(job, arrived.stamp)
        fit = self._fit(job, arrived, verdict)
        if isinstance(fit, Passed):
            await job.leader.hand_over(fit)
            return GaveUp()
        return await self._gather(job, arrived, *fit)

    def _fit(self, job: FillJob, arrived: Arrived, verdict: Store | Pass) -> tuple[Store, Sequence[str]] | Passed:
        """On what terms, and with which tags of its own, it may be kept; or the response for the leader alone."""
        if job.personal:
            verdict = _shareable(job, arrived.head, verdict)
        if isinstance(verdict, Pass):
            return self._passed(job, arrived, verdict.reason)
        tags = response_tags(arrived.head.fields)
        if tags.refused or (arrived.stamp is None and (not job.shared or verdict.status == 206)):
            return self._passed(job, arrived, PassReason.TAGS if tags.refused else None)
        return verdict, tags.tags

    def _passed(self, job: FillJob, arrived: Arrived, reason: PassReason | None) -> Passed:
        """The response for the leader alone; that this key is not for sharing is remembered."""
        if reason is not None:
            self._refuse(job, reason)
        alone = None if job.shared or reason not in LIES_IN_THE_HEAD else job
        return Passed(arrived.head, arrived.body, reason, alone=alone)

    async def _pass(self, job: FillJob, arrived: Arrived, reason: PassReason) -> GaveUp:
        await job.leader.hand_over(self._passed(job, arrived, reason))
        return GaveUp()

    def _refuse(self, job: FillJob, reason: PassReason) -> None:
        self._recorder.event(Event.NOT_STORED, reason)
        if job.shared and reason in LIES_IN_THE_RESPONSE:
            self._hit_for_miss.remember(job.key)

    async def _gather(self, job: FillJob, arrived: Arrived, verdict: Store, tags: Sequence[str]) -> Shared:
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
        if is_for_many(job) and names_caller(job.exchange.identity, verdict.fields, content):
            self._refuse(job, PassReason.PERSONALISED)
            job.leader.tell(Passed(arrived.head, BytesBody(content), PassReason.PERSONALISED))
            return GaveUp()
        return await self._keep(job, arrived, verdict, content, tags)

    async def _keep(
        self, job: FillJob, arrived: Arrived, verdict: Store, content: bytes, tags: Sequence[str]
    ) -> Shared:
        entry = entry_for(job, arrived, verdict, content, tags)
        if entry.status == 206:
            return await self._keep_part(job, arrived, entry)
        self._hit_for_miss.forget(job.key)
        filled = _filled(arrived, entry)
        job.leader.tell(filled)
        if arrived.stamp is None:
            return Unstamped(entry, arrived.asked_at)
        await self._write(entry)
        return filled

    async def _keep_part(self, job: FillJob, arrived: Arrived, part: Entry) -> GaveUp:
        """A 206, for who asked for a range: kept joined to what is stored, where that can be (RFC 9111 §3.4)."""
        job.leader.tell(Passed(arrived.head, BytesBody(part.body), gathered=True))
        await self._write(combined(job, part) or part)
        return GaveUp()

    async def _join(self, job: FillJob, arrived: Arrived) -> Shared:
        """The rest of what is stored: nobody is answered before it is here and fits, as the client asked for all."""
        rest = await SharedBody(arrived.body, job.rules.max_body_bytes, read=False).gather()
        whole = None if rest is None else self._joined(job, arrived, rest)
        if whole is None or whole.status == 206:
            return await self.carry(replace(job, plan=Fetch(reason=job.plan.reason)), arrived.stamp)
        filled = Filled(whole, 206, stored=True)
        job.leader.tell(filled)
        await self._write(whole)
        return filled

    def _joined(self, job: FillJob, arrived: Arrived, rest: bytes) -> Entry | None:
        fit = self._fit(job, arrived, verdict_on(job, arrived))
        if isinstance(fit, Passed):
            return None
        verdict, tags = fit
        if is_for_many(job) and names_caller(job.exchange.identity, verdict.fields, rest):
            return None
        return combined(job, entry_for(job, arrived, verdict, rest, tags))

    async def _write(self, entry: Entry) -> None:
        await self._degrade.instead(Role.CACHE, self._store.write(entry), None)


def _filled(arrived: Arrived, entry: Entry) -> Filled:
    """What ``arrived`` gives to all, as it is stored in ``entry``."""
    return Filled(
        entry,
        arrived.head.status,
        stored=arrived.stamp is not None,
        age=arrived.head.fields.get(b"age"),
        arrived=arrived.head.fields.without(_AGE),
        asked_at=arrived.asked_at,
    )


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

"""What a fill asks the origin, and what its answer comes to by the rules. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import inf

from cacheproxy.engine.fill_job import FillJob
from cacheproxy.engine.leak_guard import names_caller
from cacheproxy.invalidation.tags import response_tags
from cacheproxy.policy.route import Scope
from cacheproxy.semantics.conditional import completion_fields, fill_fields, revalidation_fields
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.head import RequestHead, ResponseHead
from cacheproxy.semantics.plan import Fetch, is_error
from cacheproxy.semantics.ranges import combine
from cacheproxy.semantics.storing import Pass, PassReason, Store, assess
from cacheproxy.semantics.tag_clock import Stamp
from cacheproxy.storage.contract import Entry
from cacheproxy.upstream.contract import ResponseBody, Sent

NO_STAMP = Stamp("", 0)
"""What is not stored bears this; every store would refuse it."""


LIES_IN_THE_RESPONSE = frozenset(PassReason) - {
    PassReason.METHOD,
    PassReason.AUTHORIZATION,
    PassReason.REQUEST_NO_STORE,
    PassReason.PARTIAL,
}
"""Reasons that will hold for the next request, too. The others lie in the one that was made."""


LIES_IN_THE_HEAD = LIES_IN_THE_RESPONSE - {PassReason.TOO_LARGE, PassReason.PERSONALISED}
"""Those of them that can be told before there is content."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """The origin's answer, with the moments around it and the fill's stamp (None: nothing may be stored)."""

    head: ResponseHead
    body: ResponseBody
    requested_at: float
    received_at: float
    stamp: Stamp | None
    asked_at: float = -inf
    """Monotonic."""


@dataclass(frozen=True, slots=True)
class Underway:
    """What the origin was asked at once, and when: ``requested_at`` in epoch seconds, ``asked_at`` monotonic."""

    sent: Sent
    requested_at: float
    asked_at: float


def fetch_of(job: FillJob, variants: Sequence[Entry] = ()) -> RequestHead:
    """The request of the fetch: with our conditions in place of the client's."""
    asked = job.sent
    fields = _asking(job, asked, variants)
    return asked if fields is asked.fields else asked.with_fields(fields)


def _asking(job: FillJob, asked: RequestHead, variants: Sequence[Entry]) -> Fields:
    if variants:
        return revalidation_fields(asked.fields, [entry.fields for entry in variants])
    if isinstance(job.plan, Fetch) and job.plan.missing is not None:
        return completion_fields(asked.fields, job.plan.missing)
    known = asked.fields is job.fields.anonymous
    return job.fields.unconditional if known else fill_fields(asked.fields, keep_range=True)


def wants_all(job: FillJob) -> bool:
    """Whether the client asked for all there is, and none of it is here, so that the origin was asked for all, too."""
    return b"range" not in job.request.fields and not completes(job)


def completes(job: FillJob) -> bool:
    """Whether the origin is asked for the rest of what is stored, by a client who asked for all there is."""
    return isinstance(job.plan, Fetch) and job.plan.missing is not None


def is_part(head: ResponseHead) -> bool:
    """Whether it says that it is a part. A 206 without Content-Range is an origin's own invention."""
    return head.status == 206 and b"content-range" in head.fields


def verdict_on(job: FillJob, arrived: Arrived) -> Store | Pass:
    """Whether it may be stored, and on what terms."""
    requested_at, received_at = arrived.requested_at, arrived.received_at
    return assess(job.sent, arrived.head, job.rules, requested_at=requested_at, received_at=received_at)


def plain_entry(job: FillJob, arrived: Arrived, content: bytes) -> Entry | None:
    """The response as it is stored, where nothing about it has to be looked at more closely; else None."""
    status = arrived.head.status
    if status in {206, 304} or is_error(status) or len(content) > job.rules.max_body_bytes:
        return None
    verdict, tags = verdict_on(job, arrived), response_tags(arrived.head.fields)
    if isinstance(verdict, Pass) or tags.refused:
        return None
    if job.personal and (job.in_full or not job.personal.isdisjoint(verdict.vary)):
        return None
    if is_for_many(job) and names_caller(job.exchange.identity, verdict.fields, content):
        return None
    return entry_for(job, arrived, verdict, content, tags.tags)


def is_for_many(job: FillJob) -> bool:
    """Whether the response would be shared among users."""
    return job.exchange.route.scope in {Scope.PUBLIC, Scope.TENANT}


def refusal(job: FillJob, head: ResponseHead, now: float) -> PassReason | None:
    """Why ``head`` brings nothing to be stored for ``job``, whatever its content; None where that is to be seen."""
    if head.status == 304 or is_error(head.status) or is_part(head):
        return None
    verdict = assess(job.sent, head, job.rules, requested_at=now, received_at=now)
    if isinstance(verdict, Pass):
        return verdict.reason if verdict.reason in LIES_IN_THE_HEAD else None
    return PassReason.TAGS if response_tags(head.fields).refused else None


def combined(job: FillJob, part: Entry) -> Entry | None:
    """``part`` and what is stored as one (RFC 9111 §3.4), or None."""
    stored = job.plan.stored
    if not isinstance(stored, Entry) or (selected := combine(stored, part, job.rules.max_body_bytes)) is None:
        return None
    tags = tuple(dict.fromkeys((*part.tags, *stored.tags)))
    return replace(part, status=selected.status, fields=selected.fields, body=selected.body, tags=tags)


def entry_of(arrived: Arrived, verdict: Store, content: bytes, *, key: str, tags: Iterable[str], route: str) -> Entry:
    """The response as it is stored under ``key``, on the terms of ``verdict``."""
    return Entry(
        key=key,
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
        tags=tuple(dict.fromkeys(tags)),
        route=route,
    )


def entry_for(job: FillJob, arrived: Arrived, verdict: Store, content: bytes, tags: Iterable[str]) -> Entry:
    """The response as ``job`` stores it, under its own tags and ``tags``."""
    route = job.exchange.route.name
    return entry_of(arrived, verdict, content, key=job.key, tags=(*job.tags, *tags), route=route)

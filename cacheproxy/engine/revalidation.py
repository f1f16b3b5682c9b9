"""Stored responses brought up to date: by a 304, by what the origin says to HEAD (RFC 9111 §4.3)."""

from collections.abc import Sequence
from dataclasses import replace

from cacheproxy.engine.arrived import Arrived, entry_for
from cacheproxy.engine.degrade import Degrade
from cacheproxy.engine.fill_job import Filled, FillJob, GaveUp, Passed, Shared
from cacheproxy.engine.serve import whole_seconds
from cacheproxy.invalidation.tags import response_tags
from cacheproxy.redis_link.contract import Role
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.freshening import dated, freshen, head_agrees, validated, without_cookies
from cacheproxy.semantics.head import ResponseHead
from cacheproxy.semantics.storing import Pass, assess
from cacheproxy.storage.contract import Entry, Store
from cacheproxy.upstream.bodies import BytesBody


class Revalidator:
    """Confirms what is stored, and drops what is not confirmed."""

    def __init__(self, store: Store, degrade: Degrade) -> None:
        """Of what is in ``store``."""
        self._store = store
        self._degrade = degrade

    async def variants(self, job: FillJob) -> Sequence[Entry]:
        """The stored responses that the origin may be asked to confirm, the one that fits the request first.

        They are looked up anew: a 304 must not bring back what was purged since the request came.
        """
        selected = job.plan.stored
        assert isinstance(selected, Entry)
        stored = await self._degrade.instead(Role.CACHE, self._store.variants(job.key), ())
        return sorted(stored, key=lambda entry: (entry.vary, entry.variance) != (selected.vary, selected.variance))

    async def confirmed(self, job: FillJob, arrived: Arrived, variants: Sequence[Entry]) -> Shared | None:
        """A 304: bring every stored response that it validates up to date (RFC 9111 §4.3.4), answer with the best.

        None where it validates none of the ``variants``.
        """
        await arrived.body.aclose()
        fields = without_cookies(dated(arrived.head.fields, arrived.received_at), job.rules.shared_cookies)
        confirmed = [variants[index] for index in validated([entry.fields for entry in variants], fields)]
        if not confirmed:
            return None
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

    async def head_tells(self, job: FillJob, arrived: Arrived) -> None:
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

    def _renewed(self, job: FillJob, arrived: Arrived, entry: Entry, fields: Fields) -> Entry | None:
        """``entry`` with what a 304 (or HEAD) said, judged anew; None where it may be kept no longer."""
        head = ResponseHead(entry.status, freshen(entry.fields, fields))
        request = job.sent._replace(method="GET")
        verdict = assess(request, head, job.rules, requested_at=arrived.requested_at, received_at=arrived.received_at)
        tags = response_tags(fields)
        if isinstance(verdict, Pass) or arrived.stamp is None or tags.refused:
            return None
        renewed = entry_for(job, arrived, verdict, entry.body, (*entry.tags, *tags.tags))
        same = entry.vary == renewed.vary
        return replace(renewed, variance=entry.variance) if same else renewed

    async def _write(self, entry: Entry) -> None:
        await self._degrade.instead(Role.CACHE, self._store.write(entry), None)

    async def _drop(self, job: FillJob) -> None:
        await self._degrade.instead(Role.CACHE, self._store.delete(job.key), 0)

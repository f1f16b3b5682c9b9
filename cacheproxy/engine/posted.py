"""A POST whose answer is what a GET for the same target would bring, stored for that (RFC 9110 §9.3.3).

Such an answer purges what is stored of its target, and is itself what comes after. It may be kept only if none of its
tags was purged while the origin worked on it: then what it says is younger than every purge but its own.
"""

from collections.abc import Callable
from dataclasses import dataclass

from cacheproxy.clock import Clock
from cacheproxy.engine.allowed import may_store
from cacheproxy.engine.carry import Carrier
from cacheproxy.engine.degrade import Degrade
from cacheproxy.engine.exchange import Exchange
from cacheproxy.engine.fill_job import Filled, FillJob
from cacheproxy.engine.shared_body import SharedBody
from cacheproxy.engine.tasks import Tasks
from cacheproxy.invalidation.contract import Purger, Receipt, Watch
from cacheproxy.invalidation.tags import response_tags
from cacheproxy.policy.keys import CacheKey, cache_key
from cacheproxy.policy.router import Match
from cacheproxy.redis_link.contract import Role
from cacheproxy.semantics.head import ResponseHead
from cacheproxy.semantics.plan import Fetch, Forward
from cacheproxy.semantics.tag_clock import Stamp
from cacheproxy.upstream.bodies import BytesBody
from cacheproxy.upstream.contract import ResponseBody


@dataclass(frozen=True, slots=True)
class Begun:
    """When a POST went to the origin: by the tag clock, and in epoch seconds."""

    stamp: Stamp
    requested_at: float


class Posted:
    """Keeps what POSTs brought."""

    def __init__(self, carrier: Carrier, purger: Purger, degrade: Degrade, tasks: Tasks, clock: Clock) -> None:
        """``carrier`` judges and stores, ``tasks`` carries that to its end."""
        self._carrier = carrier
        self._purger = purger
        self._degrade = degrade
        self._tasks = tasks
        self._clock = clock

    async def begin(self, exchange: Exchange) -> Begun | None:
        """To be taken before the origin is asked; None where the answer cannot be kept whatever it is."""
        if exchange.key is None:
            return None
        stamp = await self._degrade.instead(Role.CACHE, self._purger.begin(exchange.budget), None)
        return None if stamp is None else Begun(stamp, self._clock.now())

    def watch(self, exchange: Exchange, begun: Begun | None, head: ResponseHead) -> Watch | None:
        """What must not have been purged since ``begun``; None where the answer is not to be kept."""
        if begun is None or exchange.key is None or b"content-location" not in head.fields:
            return None
        return Watch(begun.stamp, (*exchange.key.tags, *response_tags(head.fields).tags))

    async def keep(
        self, exchange: Exchange, begun: Begun | None, purged: Receipt | None, head: ResponseHead, body: ResponseBody
    ) -> ResponseBody | SharedBody:
        """``body``, on its way to the client, and into the store where ``head`` and what was ``purged`` allow that."""
        stamp = _after(begun, purged)
        if begun is None or stamp is None:
            return body
        job = FillJob.of(exchange, Fetch(reason=Forward.METHOD), exchange.request)
        job.shared, job.in_full = False, True
        judged = self._tasks.start(self._carrier.adopt(job, head, body, begun.requested_at, stamp))
        outcome = await job.leader.outcome(judged)
        if isinstance(outcome, Filled):
            exchange.stored = True
            return BytesBody(outcome.entry.body)
        exchange.stored = outcome.gathered
        return outcome.body


def posted_key(exchange: Exchange, match: Callable[[str, bytes, bytes], Match | None], prefix: str) -> CacheKey | None:
    """The key under which a GET would find the answer to ``exchange``; None if it is no POST, or GETs go elsewhere."""
    request = exchange.request
    if request.method != "POST" or exchange.route.cache is None or not may_store(exchange):
        return None
    fetched = match("GET", request.path, request.authority)
    if fetched is None or fetched.route is not exchange.route:
        return None
    key = cache_key(fetched.route, request._replace(method="GET"), fetched.params, exchange.identity, prefix=prefix)
    return key if isinstance(key, CacheKey) else None


def _after(begun: Begun | None, purged: Receipt | None) -> Stamp | None:
    """The first moment after the POST's own purge; None if another fell between that and its beginning."""
    if begun is None or purged is None or not purged.undisturbed or purged.epoch != begun.stamp.epoch:
        return None
    return Stamp(purged.epoch, purged.at_us + 1)

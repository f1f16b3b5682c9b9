"""Carries out purges through Redis, and keeps those that Redis does not take at once."""

import asyncio
from dataclasses import replace

import structlog

from cacheproxy.client.wire import Recorded
from cacheproxy.errors import StateError
from cacheproxy.invalidation.contract import Applied, Purge, Receipt, Watch
from cacheproxy.invalidation.mirrors import Mirrors
from cacheproxy.invalidation.outbox import Outbox
from cacheproxy.invalidation.receipts import Receipts
from cacheproxy.invalidation.tag_clock import TagClock, background
from cacheproxy.redis_link.contract import Budget
from cacheproxy.redis_link.errors import Lost
from cacheproxy.semantics.tag_clock import Stamp

log = structlog.get_logger(__name__)

RETRY_S = 0.25
_BROKE_OFF = {Lost.LOST, Lost.TIMEOUT}


class RedisPurger:
    """A contract.Purger over the tag clock. Owns one task, while something waits in the outbox."""

    def __init__(self, clock: TagClock, mirrors: Mirrors, receipts: Receipts, outbox: Outbox | None = None) -> None:
        """Apply each purge to ``mirrors`` at once, without waiting for the bus to bring it back."""
        self._clock = clock
        self._mirrors = mirrors
        self._receipts = receipts
        self._outbox = outbox or Outbox()
        self._flushing: asyncio.Task[None] | None = None

    @property
    def settled(self) -> bool:
        """Whether the tag clock knows every purge known here. While it does not, L2 must not be read."""
        return self._flushing is None

    async def begin(self, budget: Budget | None = None) -> Stamp:
        """A tag-clock stamp, to be taken before the origin is contacted. StateError."""
        return await self._clock.begin(budget)

    async def purge(self, purge: Purge, *, wait_s: float | None = None) -> Receipt:
        """Purge on every replica; with ``wait_s``, come back when all live ones have. StateError if not recorded."""
        if wait_s is None:
            return _receipt(await self._insist(purge))
        with self._receipts.waiter() as waiter:
            recorded = await self._insist(purge, waiter.token)
            outcome = await self._receipts.collect(waiter, recorded.replicas, wait_s)
        return replace(_receipt(recorded), acknowledged=outcome.acknowledged, silent=outcome.silent)

    def purge_now(self, purge: Purge) -> bool:  # noqa: ARG002 - whatever it names
        """Never: Redis is to know of it."""
        return False

    async def purge_soon(self, purge: Purge, watch: Watch | None = None) -> Receipt | None:
        """Purge now if Redis answers; else None, and it is done as soon as Redis does. L1 rests until then."""
        try:
            return _receipt(await self._record(purge, watch=watch))
        except StateError as error:
            self._outbox.put(purge)
            self._flush_later(error)
            return None

    async def aclose(self) -> None:
        """Stop trying. What Redis has not taken by now is lost, and said so."""
        if self._flushing is not None:
            self._flushing.cancel()
            await asyncio.wait([self._flushing])
            log.error("purges_lost")

    async def _insist(self, purge: Purge, waiter: str = "") -> Recorded:
        """Record ``purge``, and again where the connection broke: twice is harmless, and requests cut off what is slow.

        StateError if Redis is away.
        """
        budget = background()
        while True:
            try:
                return await self._record(purge, waiter, budget)
            except StateError as error:
                if error.reason not in _BROKE_OFF or asyncio.get_running_loop().time() >= budget.deadline:
                    raise

    async def _record(
        self, purge: Purge, waiter: str = "", budget: Budget | None = None, watch: Watch | None = None
    ) -> Recorded:
        recorded = await self._clock.purge(purge, waiter=waiter, watch=watch, budget=budget)
        applied = Applied(epoch=recorded.epoch, at_us=recorded.at_us, tags=purge.tags, mode=purge.mode)
        self._mirrors.apply(applied)
        return recorded

    def _flush_later(self, error: StateError) -> None:
        if self._flushing is None:
            log.warning("purges_wait", reason=error.reason)
            self._mirrors.hold()
            self._flushing = asyncio.get_running_loop().create_task(self._flush())

    async def _flush(self) -> None:
        while self._outbox:
            await asyncio.sleep(RETRY_S)
            for purge in self._outbox.take():
                await self._try(purge)
        self._flushing = None
        self._mirrors.let_go()
        log.info("purges_settled")

    async def _try(self, purge: Purge) -> None:
        try:
            await self._record(purge, budget=background())
        except StateError:
            self._outbox.put(purge)


def _receipt(recorded: Recorded) -> Receipt:
    return Receipt(
        event_id=recorded.event_id, at_us=recorded.at_us, epoch=recorded.epoch, undisturbed=recorded.undisturbed
    )

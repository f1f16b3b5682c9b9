"""The tag clock of a replica that is alone: no Redis, no bus, nobody to wait for."""

import secrets

from cacheproxy.clock import Clock, SystemClock
from cacheproxy.invalidation.contract import Applied, Mirror, Purge, Receipt
from cacheproxy.redis_link.contract import Budget
from cacheproxy.semantics.tag_clock import Stamp


class LocalPurger:
    """A contract.Purger in memory, for ``--redis none``. Its purges are in force when they return."""

    settled = True

    def __init__(self, mirror: Mirror, replica: str, max_lifetime_s: float, clock: Clock | None = None) -> None:
        """Trust ``mirror`` from now on: nobody else can change what it holds."""
        self._mirror = mirror
        self._replica = replica
        self._lifetime_us = int(max_lifetime_s * 1_000_000)
        self._clock = clock or SystemClock()
        self._epoch = secrets.token_hex(16)
        self._now_us = 0
        self._last_us = 0
        """When the last purge was made."""
        self._base_us = 0
        self._mirror.trust(trusted=True, epoch=self._epoch)

    async def begin(self, budget: Budget | None = None) -> Stamp:  # noqa: ARG002 - there is nothing to wait for
        """A stamp, to be taken before the origin is contacted."""
        return Stamp(self._epoch, self._tick())

    async def purge(self, purge: Purge, *, wait_s: float | None = None) -> Receipt:  # noqa: ARG002 - as above
        """Purge at once."""
        at_us, after_us, self._last_us = self._tick(), self._last_us, self._now_us
        self._mirror.apply(Applied(epoch=self._epoch, at_us=at_us, tags=purge.tags, mode=purge.mode))
        self._compact(at_us)
        return Receipt(
            event_id=f"{at_us}-0",
            at_us=at_us,
            acknowledged=(self._replica,),
            epoch=self._epoch,
            after_us=after_us,
        )

    async def purge_soon(self, purge: Purge) -> Receipt:
        """Purge at once."""
        return await self.purge(purge)

    async def aclose(self) -> None:
        """Nothing to stop."""

    def _tick(self) -> int:
        self._now_us = max(int(self._clock.now() * 1_000_000), self._now_us + 1)
        return self._now_us

    def _compact(self, now_us: int) -> None:
        """Let the mirror drop purges older than any entry, once in each lifetime."""
        if now_us - self._base_us > 2 * self._lifetime_us:
            self._base_us = now_us - self._lifetime_us
            self._mirror.trust(trusted=True, epoch=self._epoch, base_us=self._base_us)

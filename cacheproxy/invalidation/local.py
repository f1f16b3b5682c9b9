"""The tag clock of a replica that is alone: no Redis, no bus, nobody to wait for."""

import secrets
from collections import deque

from cacheproxy.clock import Clock, SystemClock
from cacheproxy.invalidation.contract import Applied, Mirror, Purge, Receipt, Watch
from cacheproxy.redis_link.contract import Budget
from cacheproxy.semantics.tag_clock import Stamp

_REMEMBERED = 256


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
        self._lately: deque[tuple[int, tuple[str, ...]]] = deque(((0, ()),), _REMEMBERED)
        """The last purges, each with its time."""
        self._base_us = 0
        self._mirror.trust(trusted=True, epoch=self._epoch)

    async def begin(self, budget: Budget | None = None) -> Stamp:  # noqa: ARG002 - there is nothing to wait for
        """A stamp, to be taken before the origin is contacted."""
        return self.stamp()

    def stamp(self) -> Stamp:
        """What ``begin`` gives."""
        return Stamp(self._epoch, self._tick())

    async def purge(self, purge: Purge, *, wait_s: float | None = None) -> Receipt:  # noqa: ARG002 - as above
        """Purge at once."""
        return self._purge(purge, undisturbed=False)

    def purge_now(self, purge: Purge) -> bool:
        """Purge at once."""
        self._apply(purge)
        return True

    async def purge_soon(self, purge: Purge, watch: Watch | None = None) -> Receipt:
        """Purge at once."""
        return self._purge(purge, undisturbed=watch is not None and self._undisturbed(watch))

    async def aclose(self) -> None:
        """Nothing to stop."""

    def _purge(self, purge: Purge, *, undisturbed: bool) -> Receipt:
        at_us = self._apply(purge)
        return Receipt(
            event_id=f"{at_us}-0",
            at_us=at_us,
            acknowledged=(self._replica,),
            epoch=self._epoch,
            undisturbed=undisturbed,
        )

    def _apply(self, purge: Purge) -> int:
        """When it was carried out, by the tag clock."""
        at_us = self._tick()
        self._lately.append((at_us, purge.tags))
        self._mirror.apply(Applied(epoch=self._epoch, at_us=at_us, tags=purge.tags, mode=purge.mode))
        self._compact(at_us)
        return at_us

    def _undisturbed(self, watch: Watch) -> bool:
        since_us = watch.stamp.began_at_us
        if self._lately[0][0] >= since_us:
            return False  # there were more than are remembered
        watched = frozenset(watch.tags)
        return all(at_us < since_us or watched.isdisjoint(tags) for at_us, tags in self._lately)

    def _tick(self) -> int:
        self._now_us = max(int(self._clock.now() * 1_000_000), self._now_us + 1)
        return self._now_us

    def _compact(self, now_us: int) -> None:
        """Let the mirror drop purges older than any entry, once in each lifetime."""
        if now_us - self._base_us > 2 * self._lifetime_us:
            self._base_us = now_us - self._lifetime_us
            self._mirror.trust(trusted=True, epoch=self._epoch, base_us=self._base_us)

"""Purges among workers that share no Redis: each has its own tag clock, so each is told, before the purger goes on."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from cacheproxy.invalidation.contract import Purge, Purger, Receipt
from cacheproxy.redis_link.contract import Budget
from cacheproxy.semantics.tag_clock import Stamp

Tell = Callable[[Purge], Awaitable[str | None]]
"""Has one sibling purge; its name once it has, None where it did not answer: it is dead, and so is its memory."""


class SharingPurger:
    """A contract.Purger that has every sibling purge, too, before it returns."""

    def __init__(self, own: Purger, siblings: Sequence[Tell]) -> None:
        """Purge with ``own`` first."""
        self._own = own
        self._siblings = siblings

    async def begin(self, budget: Budget | None = None) -> Stamp:
        """A stamp of this worker's own clock."""
        return await self._own.begin(budget)

    async def purge(self, purge: Purge, *, wait_s: float | None = None) -> Receipt:
        """Purge here and there."""
        receipt = await self._own.purge(purge, wait_s=wait_s)
        told = await asyncio.gather(*(tell(purge) for tell in self._siblings))
        return replace(receipt, acknowledged=(*receipt.acknowledged, *(name for name in told if name is not None)))

    async def purge_soon(self, purge: Purge) -> Receipt:
        """Purge here and there."""
        return await self.purge(purge)

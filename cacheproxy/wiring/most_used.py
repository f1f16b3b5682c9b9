"""What clients ask for most: counted here, told to Redis, and read from there by whoever starts."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress

from cacheproxy.engine.popular import Counters, Popular
from cacheproxy.errors import StateError
from cacheproxy.policy.model_warm import is_warm_request
from cacheproxy.policy.warming import WarmRules
from cacheproxy.redis_link.contract import Budget
from cacheproxy.storage.usage import Usage

TELL_EVERY_S = 30.0
PATIENCE_S = 1.0
"""For Redis, which no request waits for here."""


class MostUsed:
    """The requests that clients make most often, of all replicas where there is Redis, else of this process."""

    def __init__(self, counters: Counters, usage: Usage | None, rules: Callable[[], WarmRules]) -> None:
        """Tell ``usage`` what ``counters`` counted, by the ``rules`` in force."""
        self._counters = counters
        self._usage = usage
        self._rules = rules

    async def requests(self) -> list[Popular]:
        """As many as the rules want, the most used first."""
        wanted = self._rules().most_used
        if not wanted:
            return []
        told = await self._told(self._usage, wanted) if self._usage is not None else []
        by_line: dict[str, Popular] = {}
        for popular in (*told, *self._counters.most(wanted)):
            by_line.setdefault(popular.line, popular)
        return list(by_line.values())[:wanted]

    @asynccontextmanager
    async def telling(self) -> AsyncIterator[None]:
        """Tell Redis now and then, and once more at the end."""
        task = asyncio.create_task(self._tell_on(), name="most used")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
            await self.tell()

    async def tell(self) -> None:
        """Tell Redis what was used since it was told last. What it does not take is forgotten."""
        uses = self._counters.take(2 * self._rules().most_used)
        if self._usage is not None:
            with suppress(StateError):
                await self._usage.add([(popular.text(), count) for popular, count in uses], _budget())

    async def _tell_on(self) -> None:
        while True:
            await asyncio.sleep(TELL_EVERY_S)
            await self.tell()

    async def _told(self, usage: Usage, wanted: int) -> list[Popular]:
        try:
            return list(_understood(await usage.most(wanted, _budget())))
        except StateError:
            return []


def _understood(texts: Iterable[bytes]) -> Iterable[Popular]:
    for text in texts:
        with suppress(ValueError, RecursionError):
            popular = Popular.of(text)
            if is_warm_request(popular.line):
                yield popular


def _budget() -> Budget:
    return Budget(asyncio.get_running_loop().time() + PATIENCE_S)

"""Those who wait for leases to end, by token, and what was heard before they began to wait."""

import asyncio
from collections import OrderedDict

from cacheproxy.fills.contract import Taken, Waited

_REMEMBERED = 4096


class Waiters:
    """Futures by token. The word that a lease has ended may overtake the reply that it is taken: it is remembered."""

    def __init__(self, remembered: int = _REMEMBERED) -> None:
        """Remember the outcomes of the last ``remembered`` leases."""
        self._remembered = remembered
        self._outcomes: OrderedDict[str, Waited] = OrderedDict()
        self._waiting: dict[str, set[asyncio.Future[Waited]]] = {}

    async def wait(self, taken: Taken, patience_s: float) -> Waited:
        """What became of ``taken``; LOST where it ran out unheard, WAITED_OUT where patience did so first."""
        known = self._outcomes.get(taken.token)
        if known is not None:
            return known
        future: asyncio.Future[Waited] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(taken.token, set())
        waiting.add(future)
        try:
            async with asyncio.timeout(min(patience_s, taken.expires_in_s)):
                return await future
        except TimeoutError:
            return Waited.LOST if taken.expires_in_s <= patience_s else Waited.WAITED_OUT
        finally:
            waiting.discard(future)
            if not waiting:
                self._waiting.pop(taken.token, None)

    def wake(self, token: str, outcome: Waited) -> None:
        """The lease of ``token`` ended with ``outcome``."""
        self._outcomes[token] = outcome
        if len(self._outcomes) > self._remembered:
            self._outcomes.popitem(last=False)
        for future in self._waiting.get(token, ()):
            if not future.done():
                future.set_result(outcome)

    def wake_all(self) -> None:
        """The word for which anybody waits may never come: they find out for themselves what became of their leases."""
        for future in [each for waiting in self._waiting.values() for each in waiting]:
            if not future.done():
                future.set_result(Waited.LOST)

"""Warming: requests made before the first client's, after purges, and whenever the operator asks."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Protocol

import structlog

from cacheproxy.engine.engine import Client, Engine
from cacheproxy.engine.popular import Popular
from cacheproxy.engine.reply import Reply
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.head import RequestHead
from cacheproxy.wiring.most_used import MostUsed
from cacheproxy.wiring.told import Purged

CONCURRENCY = 4
"""Requests at a time: the origin may have just started itself."""
BUDGET_S = 10.0
"""For one run as a whole; readiness waits no longer."""
GATHER_S = 0.1
"""How long purges are gathered before what they took is asked for again."""
REST_S = 1.0
"""Between two runs after purges: what is still there costs a look each time."""
SETTLE_S = 2.0
"""How long the bus is waited for before the first run: it may purge what was stored while nobody listened."""
LOOK_AGAIN_S = 0.02
GAP_S = 10.0
"""After a start, all may be purged for a gap from before it, and with it what was warmed: it is warmed again."""
OURSELVES = Client(address="127.0.0.1", ours=True)
_ANY_HOST = "localhost"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Warmed:
    """What came of one request: its ``status`` (None: no answer in time) and its X-Cache."""

    request: str
    status: int | None = None
    cache: str = ""

    @property
    def is_good(self) -> bool:
        """Whether there was an answer, and no error."""
        return self.status is not None and self.status < 400


class Invalidated(Protocol):
    """What is known of purges (``wiring.state.State``)."""

    @property
    def purged(self) -> Purged:
        """Whether anything was, of late."""
        ...

    @property
    def settled(self) -> bool:
        """Whether nothing is purged any more for what happened before the start."""
        ...


class Warmer:
    """Makes the requests that the policy in force names, and those that clients make most."""

    def __init__(self, engine: Engine, most_used: MostUsed, state: Invalidated, *, budget_s: float = BUDGET_S) -> None:
        """Ask through ``engine``, and give up after ``budget_s``."""
        self._engine = engine
        self._most_used = most_used
        self._state = state
        self._budget_s = budget_s
        self._turn = asyncio.Lock()
        self._good = 0
        rules = engine.active.policy.warm
        self._of = len(rules.requests)
        self.pending = bool(rules.requests or rules.most_used)
        """Whether the first run is still to end."""

    @property
    def parts(self) -> Mapping[str, str]:
        """For readiness: how many of the requests were answered, in the latest run; empty where none is named."""
        return {"warm": f"{self._good} of {self._of}"} if self._of else {}

    @asynccontextmanager
    async def beginning(self) -> AsyncIterator[None]:
        """The first run, and those after purges, beside what is done meanwhile; cut short at the end of that."""
        task = asyncio.create_task(self._keep_warm(), name="warming")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def run(self) -> list[Warmed]:
        """What came of each request, in the policy's order, then of the most used.

        One run at a time. Failures are logged, never raised.
        """
        async with self._turn:
            named = [Popular(line=line) for line in self._engine.active.policy.warm.requests]
            lines = {each.line for each in named}
            used = [each for each in await self._most_used.requests() if each.line not in lines]
            self._good = 0
            self._of = len(named) + len(used)
            until, places = asyncio.get_running_loop().time() + self._budget_s, asyncio.Semaphore(CONCURRENCY)
            asking = [self._warm(each, until, places, named=True) for each in named]
            asking += [self._warm(each, until, places, named=False) for each in used]
            warmed = await asyncio.gather(*asking)
            self.pending = False
        _tell(warmed)
        return warmed

    async def report(self) -> Mapping[str, object]:
        """One ``run`` as operators see it."""
        warmed = await self.run()
        good = sum(each.is_good for each in warmed)
        return {"warmed": good, "failed": len(warmed) - good, "requests": [asdict(each) for each in warmed]}

    async def _keep_warm(self) -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        while self._waits_for_bus(start):  # noqa: ASYNC110 - there is no one event
            await asyncio.sleep(LOOK_AGAIN_S)
        self._state.purged.look()  # nothing is warm yet that this could have made cold
        await self.run()
        while True:
            await self._state.purged.wait()
            await asyncio.sleep(GATHER_S)
            old_gap = self._state.purged.look() and loop.time() < start + GAP_S
            if old_gap or self._engine.active.policy.warm.after_purge:
                await self.run()
            await asyncio.sleep(REST_S)

    def _waits_for_bus(self, start: float) -> bool:
        late = asyncio.get_running_loop().time() > start + SETTLE_S
        return self.pending and not self._state.settled and not late

    async def _warm(self, popular: Popular, until: float, places: asyncio.Semaphore, *, named: bool) -> Warmed:
        """What came of one request. What the policy names is worth a line where it fails."""
        warmed, why, bug = Warmed(popular.line), "no answer in time", None
        try:
            async with asyncio.timeout_at(until), places:
                reply = await self._engine.handle(request_of(popular), None, OURSELVES)
                await _to_its_end(reply)
            warmed = Warmed(popular.line, reply.status, (reply.fields.get(b"x-cache") or b"").decode())
            why = f"answered {warmed.status}"
        except TimeoutError:
            pass
        except Exception as error:
            why, bug = "an error on the way", error
        self._good += warmed.is_good
        if bug is not None or (named and not warmed.is_good):
            log.warning("not_warmed", request=popular.line.partition("?")[0], reason=why, exc_info=bug)
        return warmed


def _tell(warmed: list[Warmed]) -> None:
    """One line for a run in which anything had to be fetched."""
    failed = sum(not each.is_good for each in warmed)
    fetched = sum(each.is_good and each.cache != "HIT" for each in warmed)
    if failed or fetched:
        log.info("warmed", requests=len(warmed), fetched=fetched, failed=failed)


def request_of(popular: Popular) -> RequestHead:
    """The request of ``GET /path?query`` or ``GET host/path?query``; without a host it is for localhost."""
    method, place = popular.line.split()
    host, slash, target = place.partition("/")
    authority = host or _ANY_HOST
    return RequestHead(
        method=method,
        target=(slash + target).encode("latin-1"),
        fields=Fields.of(("host", authority), *popular.fields),
        authority=authority.encode("latin-1"),
        scheme=popular.scheme,
    )


async def _to_its_end(reply: Reply) -> None:
    """Read a body that is still arriving: it is stored when it is whole."""
    if not isinstance(reply.body, bytes):
        try:
            async for _ in reply.body:
                pass
        finally:
            await reply.body.aclose()

"""Warming: the requests that the policy names, made before the first client's, and whenever the operator asks."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass

import structlog

from cacheproxy.engine.engine import Client, Engine
from cacheproxy.engine.reply import Reply
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.head import RequestHead

CONCURRENCY = 4
"""Requests at a time: the origin may have just started itself."""
BUDGET_S = 10.0
"""For one run as a whole; readiness waits no longer."""
OURSELVES = Client(address="127.0.0.1")
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


class Warmer:
    """Makes the requests that the policy in force names."""

    def __init__(self, engine: Engine, *, budget_s: float = BUDGET_S) -> None:
        """Ask through ``engine``; what is unanswered after ``budget_s`` is given up."""
        self._engine = engine
        self._budget_s = budget_s
        self._turn = asyncio.Lock()
        self._good = 0
        self._of = len(engine.active.policy.warm)
        self.pending = self._of > 0
        """Whether the first run is still to end."""

    @property
    def parts(self) -> Mapping[str, str]:
        """For readiness: how many of the requests were answered, in the latest run; empty where none is named."""
        return {"warm": f"{self._good} of {self._of}"} if self._of else {}

    @asynccontextmanager
    async def beginning(self) -> AsyncIterator[None]:
        """The first run, beside what is done meanwhile; cut short at the end of that."""
        first = asyncio.create_task(self.run())
        try:
            yield
        finally:
            first.cancel()
            with suppress(asyncio.CancelledError):
                await first

    async def run(self) -> list[Warmed]:
        """What came of each request, in the policy's order; one run at a time. Failures are logged, never raised."""
        async with self._turn:
            lines = self._engine.active.policy.warm
            self._good, self._of = 0, len(lines)
            until, places = asyncio.get_running_loop().time() + self._budget_s, asyncio.Semaphore(CONCURRENCY)
            warmed = await asyncio.gather(*(self._warm(line, until, places) for line in lines))
            self.pending = False
        if warmed:
            log.info("warmed", requests=self._of, failed=sum(not each.is_good for each in warmed))
        return warmed

    async def report(self) -> Mapping[str, object]:
        """One ``run`` as operators see it."""
        warmed = await self.run()
        good = sum(each.is_good for each in warmed)
        return {"warmed": good, "failed": len(warmed) - good, "requests": [asdict(each) for each in warmed]}

    async def _warm(self, line: str, until: float, places: asyncio.Semaphore) -> Warmed:
        warmed = Warmed(line)
        try:
            async with asyncio.timeout_at(until), places:
                reply = await self._engine.handle(request_of(line), None, OURSELVES)
                await _to_its_end(reply)
            warmed = Warmed(line, reply.status, (reply.fields.get(b"x-cache") or b"").decode())
        except TimeoutError:
            log.warning("not_warmed", request=line, reason="no answer in time")
        except Exception as error:
            log.warning("not_warmed", request=line, reason="an error on the way", exc_info=error)
        else:
            self._count(warmed)
        return warmed

    def _count(self, warmed: Warmed) -> None:
        self._good += warmed.is_good
        if not warmed.is_good:
            log.warning("not_warmed", request=warmed.request, reason=f"answered {warmed.status}")


def request_of(line: str) -> RequestHead:
    """The request of ``GET /path?query`` or ``GET host/path?query``; without a host it is for localhost."""
    method, place = line.split()
    host, slash, target = place.partition("/")
    authority = host or _ANY_HOST
    return RequestHead(
        method=method,
        target=(slash + target).encode(),
        fields=Fields.of(("host", authority)),
        authority=authority.encode(),
    )


async def _to_its_end(reply: Reply) -> None:
    """Read a body that is still arriving: it is stored when it is whole."""
    if not isinstance(reply.body, bytes):
        try:
            async for _ in reply.body:
                pass
        finally:
            await reply.body.aclose()

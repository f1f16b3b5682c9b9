"""Being down, and coming back: the breaker with what it does to the world (log lines, callbacks, probes)."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from cacheproxy.errors import StateError
from cacheproxy.redis_link.breaker import Breaker, Position

log = structlog.get_logger(__name__)

OnChange = Callable[[bool, str], None]
"""Called with whether the link is up, and the reason if it is not."""


class Outage:
    """Says whether calls may pass; while they may not, asks by itself whether the server is back.

    Losing and regaining it are logged and told once each, however many callers found out.
    """

    def __init__(
        self, role: str, shows_life: Callable[[], Awaitable[bool]], breaker: Breaker, on_change: OnChange | None
    ) -> None:
        """``shows_life`` asks the server, with a time limit of its own; it is never asked twice at a time."""
        self._role = role
        self._shows_life = shows_life
        self._breaker = breaker
        self._on_change = on_change
        self._timer: asyncio.TimerHandle | None = None
        self._probing: asyncio.Task[None] | None = None

    @property
    def over(self) -> bool:
        """Whether calls may pass."""
        return self._breaker.position is Position.CLOSED

    def answered(self) -> None:
        """Count a call that was answered."""
        if self._breaker.failures:
            self._breaker.answered()

    def failed(self, error: StateError) -> None:
        """Count a failure that may be an accident."""
        if self._breaker.failed(asyncio.get_running_loop().time()):
            self._begin(error)

    def certain(self, error: StateError) -> None:
        """Begin at once, for a failure that leaves no doubt."""
        if self._breaker.trip(asyncio.get_running_loop().time()):
            self._begin(error)

    async def aclose(self) -> None:
        """Ask no more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.wait([self._probing])

    def _begin(self, error: StateError) -> None:
        log.warning("redis_lost", role=self._role, reason=error.reason, detail=error.detail)
        self._ask_later()
        if self._on_change is not None:
            self._on_change(False, error.reason)  # noqa: FBT003 - a callback's arguments have no names

    def _ask_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_at(self._breaker.probe_at, self._ask)

    def _ask(self) -> None:
        loop = asyncio.get_running_loop()
        if self._breaker.begin_probe(loop.time()):
            self._probing = loop.create_task(self._probe())
        else:
            self._ask_later()

    async def _probe(self) -> None:
        answered = await self._shows_life()
        self._breaker.probed(asyncio.get_running_loop().time(), answered=answered)
        if not answered:
            self._ask_later()
            return
        log.info("redis_back", role=self._role)
        if self._on_change is not None:
            self._on_change(True, "")  # noqa: FBT003 - a callback's arguments have no names

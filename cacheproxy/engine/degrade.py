"""The one place that carries on without shared state."""

from collections.abc import Awaitable
from typing import TypeVar

import structlog

from cacheproxy.clock import Clock, SystemClock
from cacheproxy.engine.recorder import Event, Recorder
from cacheproxy.errors import StateError
from cacheproxy.redis_link.contract import Role

COMMAND_REFUSED = "error"
"""The reason of a StateError for a command that Redis answered with an error. The other reasons are an outage's."""
SETTLED_S = 10.0
"""Commands are taken again where none was refused for so long: a full Redis refuses writes, and takes what it reads."""

log = structlog.get_logger()
Result = TypeVar("Result")
Default = TypeVar("Default")


class Degrade:
    """Turns a StateError into the answer that the request gets by without."""

    def __init__(self, recorder: Recorder, clock: Clock | None = None) -> None:
        """Count every such turn with ``recorder``; say in the log only when commands begin, or cease, to be refused.

        An outage is for the link to tell of.
        """
        self._recorder = recorder
        self._monotonic = (clock or SystemClock()).monotonic
        self._refused_at: dict[Role, float] = {}

    async def instead(self, role: Role, asked: Awaitable[Result], default: Default) -> Result | Default:
        """What was ``asked``, or ``default`` where shared state did not say."""
        try:
            result = await asked
        except StateError as error:
            self._failed(role, error)
            return default
        if role in self._refused_at and self._monotonic() - self._refused_at[role] >= SETTLED_S:
            del self._refused_at[role]
            log.warning("state_back", role=role)
        return result

    def _failed(self, role: Role, error: StateError) -> None:
        self._recorder.event(Event.STATE_ERROR, role, error.reason)
        if error.reason != COMMAND_REFUSED:
            return
        if role not in self._refused_at:
            log.warning("state_lost", role=role, reason=error.reason, detail=error.detail)
        self._refused_at[role] = self._monotonic()

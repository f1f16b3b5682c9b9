"""The one place that carries on without shared state."""

from collections.abc import Awaitable
from typing import TypeVar

import structlog

from cacheproxy.engine.recorder import Event, Recorder
from cacheproxy.errors import StateError
from cacheproxy.redis_link.contract import Role

log = structlog.get_logger()
Result = TypeVar("Result")
Default = TypeVar("Default")


class Degrade:
    """Turns a StateError into the answer that the request gets by without."""

    def __init__(self, recorder: Recorder) -> None:
        """Count every such turn with ``recorder``; say in the log only when a role's state changes."""
        self._recorder = recorder
        self._down: set[Role] = set()

    async def instead(self, role: Role, asked: Awaitable[Result], default: Default) -> Result | Default:
        """What was ``asked``, or ``default`` where shared state did not say."""
        try:
            result = await asked
        except StateError as error:
            self._failed(role, error)
            return default
        if role in self._down:
            self._down.discard(role)
            log.warning("state_back", role=role)
        return result

    def _failed(self, role: Role, error: StateError) -> None:
        self._recorder.event(Event.STATE_ERROR, role, error.reason)
        if role not in self._down:
            self._down.add(role)
            log.warning("state_lost", role=role, reason=error.reason)

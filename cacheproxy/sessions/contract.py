"""What may be asked about a session."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from cacheproxy.redis_link.contract import Budget


@dataclass(frozen=True, slots=True)
class Session:
    """A live session: its id and the fields that the services wrote."""

    id: str
    fields: Mapping[str, object] = field(default_factory=dict)


class Sessions(Protocol):
    """Looks sessions up. Never writes their data; touches the TTL of one that exists."""

    async def load(self, session_id: str, budget: Budget | None = None) -> Session | None:
        """The session, or None where it is unknown, expired or malformed. StateError if it could not be told."""
        ...

    def peek(self, session_id: str) -> Session | None:
        """The session, where it is at hand and ``load`` would not ask anybody; never waits."""
        ...


class NoSessions:
    """Nobody has a session: a policy without them."""

    async def load(self, session_id: str, budget: Budget | None = None) -> Session | None:  # noqa: ARG002
        """None, always."""
        return None

    def peek(self, session_id: str) -> Session | None:  # noqa: ARG002
        """None, always."""
        return None

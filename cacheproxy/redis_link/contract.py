"""What the other rooms may ask of Redis. They import this, never ``redis``."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

Arg = str | bytes | int | float
Command = tuple[Arg, ...]
OnLost = Callable[[], None]
"""Called where a posted script has not answered, or with an error, whatever became of it."""


def nobody_minds() -> None:
    """What is done of a posted script that was lost, where that matters to nobody."""


class Role(StrEnum):
    """What Redis is used for; each use may have a server of its own."""

    CACHE = "cache"
    SESSIONS = "sessions"
    LIMITS = "limits"
    BUS = "bus"


@dataclass(frozen=True, slots=True)
class Budget:
    """The moment, on the event loop's clock, at which one request stops waiting for shared state.

    A call made after it is still given a few milliseconds, for it may have been our own loop that was late.
    """

    deadline: float


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script, run by its SHA and loaded again where the server forgot it."""

    name: str
    source: str
    sha: str


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a subscription, with the pattern that caught it if a pattern did."""

    channel: str
    payload: bytes
    pattern: str | None = None


class Link(Protocol):
    """Redis in one role. Commands issued within one turn of the event loop travel in one pipeline.

    Every method raises StateError where Redis did not answer within the budget (or the link's own limit if None),
    and answers with bytes, ints, lists and dicts as RESP gives them, never decoded text.
    """

    async def call(self, *command: Arg, budget: Budget | None = None) -> Any:
        """The reply to one command."""
        ...

    async def batch(self, commands: Sequence[Command], budget: Budget | None = None) -> list[Any]:
        """The replies to ``commands``, sent together and in this order. StateError if any of them failed."""
        ...

    async def run(
        self, script: Script, keys: Sequence[str], args: Sequence[Arg] = (), budget: Budget | None = None
    ) -> Any:
        """The reply of ``script``. Its keys share one hash slot."""
        ...

    def post(self, script: Script, keys: Sequence[str], args: Sequence[Arg] = (), lost: OnLost = nobody_minds) -> None:
        """Send ``script`` behind what was asked of its server so far; ``lost`` is called where it has not answered."""
        ...

    @property
    def up(self) -> bool:
        """Whether the breaker is closed: the last calls were answered."""
        ...


class ShardedLink(Link, Protocol):
    """A Link whose servers can also be asked one by one, for what is about no key: SCAN, DBSIZE."""

    async def masters(self, budget: Budget | None = None) -> Sequence[Link]:
        """The servers that between them hold every key. StateError where they are not known."""
        ...


class Subscription(Protocol):
    """One dedicated subscriber connection. It does not reconnect by itself: the owner opens another."""

    async def next(self, timeout_s: float) -> Message | None:
        """The next message, or None after ``timeout_s`` without one. StateError if the connection is lost."""
        ...

    async def aclose(self) -> None:
        """Drop the connection."""
        ...


class Subscriber(Protocol):
    """Opens subscriptions."""

    async def subscribe(
        self, channels: Sequence[str], patterns: Sequence[str] = (), *, sharded: Sequence[str] = ()
    ) -> Subscription:
        """A subscription that the server has confirmed. StateError otherwise.

        ``sharded`` channels, which share a slot, are heard whether they are published on by PUBLISH or SPUBLISH.
        """
        ...

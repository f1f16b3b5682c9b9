"""What services and sidecars share in Redis: key names, scripts, and how they are called. Only the standard library.

Everything that a script touches lies in one hash slot, by the literal braces around the prefix.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

DEFAULT_PREFIX = "cacheproxy"
STREAM_LENGTH = 10_000
"""About how many purges and events are kept for replicas that were away."""

Args = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """The names of everything that lives under ``prefix``."""

    prefix: str = DEFAULT_PREFIX

    @property
    def clock(self) -> str:
        """The tag clock, a hash."""
        return f"{{{self.prefix}}}:clock"

    @property
    def stream(self) -> str:
        """Purges and events in the order of the clock, a stream whose ids are their times."""
        return f"{{{self.prefix}}}:stream"

    @property
    def bus(self) -> str:
        """The channel on which replicas hear them, and each other."""
        return f"{{{self.prefix}}}:bus"

    @property
    def replicas(self) -> str:
        """The registry of live replicas, a hash."""
        return f"{{{self.prefix}}}:replicas"

    def lease(self, key: str) -> str:
        """The lease on filling ``key``, a string that holds its token."""
        return f"{{{self.prefix}}}:lease:{key}"

    def awaited(self, key: str) -> str:
        """Which lease on filling ``key`` somebody waits for, a string that holds its token."""
        return f"{{{self.prefix}}}:awaited:{key}"

    def heard(self, marker: str) -> str:
        """How far plain messages after ``marker`` were purged already, a string (see ``invalidation.listener``)."""
        return f"{{{self.prefix}}}:heard:{marker}"

    def lock(self, name: str) -> str:
        """A service's own lock ``name``, a string that holds its token."""
        return f"{self.prefix}:lock:{name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A purge or an event as the tag clock recorded it: its epoch and time, and how many subscribers heard it."""

    epoch: str
    at_us: int
    heard: int
    replicas: tuple[str, ...] = ()
    """Who was registered at that time, where acknowledgements were asked for."""
    undisturbed: bool = False
    """Whether nothing that was watched was purged since."""

    @property
    def event_id(self) -> str:
        """Its id, also that of its entry in the stream."""
        return f"{self.at_us}-0"

    @classmethod
    def of(cls, reply: Sequence[object]) -> "Recorded":
        """Read the reply of ``purge`` or ``publish``."""
        epoch, at, heard, *rest = reply
        names = rest[0] if rest and isinstance(rest[0], list) else []
        return cls(
            epoch=_text(epoch),
            at_us=int(_text(at)),
            heard=int(_text(heard)),
            replicas=tuple(map(_text, names)),
            undisturbed=rest[1:] == [1],
        )


def with_clock(source: str) -> str:
    """``source`` after the script that gives it ``tick``."""
    return lua("clock") + source


def lua(name: str) -> str:
    """The source of this room's script ``name``."""
    return resources.files(__package__).joinpath("lua", f"{name}.lua").read_text("utf-8")


PURGE = with_clock(lua("tell") + lua("record") + lua("purge"))
"""Keys: clock, stream, replicas; arguments by ``purge_args``; the reply is read by ``Recorded.of``."""

PUBLISH = with_clock(lua("tell") + lua("record") + lua("publish"))
"""Keys: clock, stream; arguments by ``publish_args``; the reply is read by ``Recorded.of``."""


def clock_args(time_us: int | None = None) -> Args:
    """The first arguments of every script with a clock: a random epoch, and a time only in tests."""
    return (secrets.token_hex(16), "" if time_us is None else time_us)


def purge_args(
    layout: Layout,
    tags: Sequence[str],
    mode: str,
    *,
    lifetime_us: int = 0,
    waiter: str = "",
    since_us: int | None = None,
    watched: Sequence[str] = (),
    time_us: int | None = None,
) -> Args:
    """Arguments of ``PURGE``. ``lifetime_us`` is that of the longest-lived entry, or 0 where it is not known.

    With ``since_us`` the reply says whether any tag of ``watched`` was purged from then on, before this.
    """
    since = "" if since_us is None else since_us
    asked = (layout.bus, STREAM_LENGTH, lifetime_us, mode, waiter, since, len(watched))
    return (*clock_args(time_us), *asked, *watched, *tags)


def publish_args(layout: Layout, event: str, *, time_us: int | None = None) -> Args:
    """Arguments of ``PUBLISH`` for ``event``, a JSON text."""
    return (*clock_args(time_us), layout.bus, STREAM_LENGTH, event)


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)

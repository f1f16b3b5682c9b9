"""What is said on the bus and kept in the stream, read into values."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from cacheproxy.invalidation.contract import Applied, PurgeMode


@dataclass(frozen=True, slots=True, kw_only=True)
class PurgeRecord:
    """A purge. ``after_us`` is the time of the record before it; a ``waiter`` is to be told when it is applied."""

    applied: Applied
    after_us: int
    waiter: str = ""

    @property
    def epoch(self) -> str:
        """The tag clock's epoch when it was made."""
        return self.applied.epoch

    @property
    def at_us(self) -> int:
        """When it was made."""
        return self.applied.at_us


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRecord:
    """An event as a publisher wrote it, with its time."""

    epoch: str
    at_us: int
    after_us: int
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class BeatSaid:
    """A replica's heartbeat, with what the clock said."""

    replica: str
    number: int
    epoch: str
    at_us: int
    base_us: int
    last_us: int


@dataclass(frozen=True, slots=True)
class AckSaid:
    """``replica`` has applied the purge that ``waiter`` waits for."""

    waiter: str
    replica: str


@dataclass(frozen=True, slots=True)
class LeaveSaid:
    """``replica`` answers from memory no more."""

    replica: str


@dataclass(frozen=True, slots=True)
class OtherSaid:
    """A message that is for another room."""

    kind: str
    members: Mapping[str, object]


Record = PurgeRecord | EventRecord
Said = Record | BeatSaid | AckSaid | LeaveSaid | OtherSaid


def read(payload: bytes) -> Said | None:
    """The message in ``payload``, or None if it is not one of ours."""
    try:
        members = json.loads(payload)
        return _read(members) if isinstance(members, dict) else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def read_record(payload: bytes) -> Record | None:
    """The record in ``payload``, an entry of the stream, or None if it is none."""
    said = read(payload)
    return said if isinstance(said, PurgeRecord | EventRecord) else None


def _read(members: dict[str, object]) -> Said:
    kind = str(members["kind"])
    match kind:
        case "purge":
            return PurgeRecord(
                applied=Applied(
                    epoch=_text(members, "epoch"),
                    at_us=_int(members, "at"),
                    tags=_tags(members),
                    mode=PurgeMode(_text(members, "mode")),
                ),
                after_us=_int(members, "after"),
                waiter=str(members.get("waiter", "")),
            )
        case "event":
            return EventRecord(
                epoch=_text(members, "epoch"),
                at_us=_int(members, "at"),
                after_us=_int(members, "after"),
                payload=_text(members, "event").encode(),
            )
        case "beat":
            return BeatSaid(
                replica=_text(members, "replica"),
                number=_int(members, "number"),
                epoch=_text(members, "epoch"),
                at_us=_int(members, "at"),
                base_us=_int(members, "base"),
                last_us=_int(members, "last"),
            )
        case "ack":
            return AckSaid(_text(members, "waiter"), _text(members, "replica"))
        case "leave":
            return LeaveSaid(_text(members, "replica"))
        case _:
            return OtherSaid(kind, members)


def _text(members: Mapping[str, object], name: str) -> str:
    value = members[name]
    if not isinstance(value, str):
        raise TypeError(name)
    return value


def _int(members: Mapping[str, object], name: str) -> int:
    return int(_text(members, name))


def _tags(members: Mapping[str, object]) -> tuple[str, ...]:
    tags = members["tags"]
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise TypeError("tags")
    return tuple(tags)

"""What was seen in a chaos test, and what of it must not be. Pure: moments are seconds of one monotonic clock."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

LEASE_S = 2.1
"""After so long without its bus a replica's memory is off."""
SETTLES_S = 8.0
"""After so long an event, which nobody acknowledges, must be in force: noticing a break, coming back, catching up."""
LONGEST_S = 12.0
"""The fill of another replica (5 s), a slow origin (2 s), and once more where the first try broke off."""


class Part(StrEnum):
    """What may be in trouble, beside replicas."""

    REDIS = "redis"
    ORIGIN = "origin"
    BUS = "bus"
    """No replica can hear anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of one request, or ``status`` 0 and the error if none came."""

    replica: int
    life: int
    """Which process of that replica was asked: it is killed and started again."""
    method: str
    path: str
    began_at: float
    ended_at: float
    status: int
    version: int = 0
    cache: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """From a moment on, no answer to ``path`` may be older than ``version``."""

    path: str
    version: int
    at: float
    replica: int | None = None
    """Where that holds; None: everywhere."""
    life: int = 0
    soft: bool = False
    """Whether what is marked as stale may be older, where the route allows that."""

    def binds(self, answer: Answer) -> bool:
        """Whether ``answer`` is one that may not be older."""
        here = self.replica is None or (self.replica, self.life) == (answer.replica, answer.life)
        excused = self.soft and answer.cache == "STALE"
        return here and self.at <= answer.began_at and not excused


@dataclass(slots=True)
class Trouble:
    """A replica (by its number) or a part that is dead, stopped or cut off, until ``until``."""

    what: int | Part
    since: float
    until: float = float("inf")

    def touches(self, began_at: float, ended_at: float) -> bool:
        """Whether it falls into that time."""
        return self.since <= ended_at and began_at <= self.until


@dataclass(slots=True)
class History:
    """All that was seen."""

    answers: list[Answer] = field(default_factory=list)
    floors: list[Floor] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)

    def violations(self, stale_routes: Iterable[str] = ()) -> list[str]:
        """What must not be, a line each. Only routes that begin like one of ``stale_routes`` may answer with STALE."""
        allowed = tuple(stale_routes)
        found = [*self._too_old(), *self._failed(), *self._slow(), *self._from_deaf_memory()]
        found += [f"stale: {a}" for a in self.answers if a.cache == "STALE" and not a.path.startswith(allowed)]
        return found

    def _too_old(self) -> Iterator[str]:
        floors: defaultdict[str, list[Floor]] = defaultdict(list)
        for floor in self.floors:
            floors[floor.path].append(floor)
        for answer in self.answers:
            broken = [f for f in floors[answer.path] if f.version > answer.version and f.binds(answer)]
            if broken and answer.status == 200:
                yield f"too old: {answer} after {broken[0]}"

    def _failed(self) -> Iterator[str]:
        """A client sees its own replica die, and an origin that is away; nothing else."""
        for answer in self.answers:
            excuse = answer.replica if answer.status == 0 else Part.ORIGIN
            if (answer.status == 0 or answer.status >= 500) and not self._in_trouble(excuse, answer):
                yield f"failed: {answer}"

    def _slow(self) -> Iterator[str]:
        for answer in self.answers:
            if answer.ended_at - answer.began_at > LONGEST_S and not self._in_trouble(answer.replica, answer):
                yield f"slow: {answer}"

    def _from_deaf_memory(self) -> Iterator[str]:
        """While Redis is away there is nothing to have a hit from but memory, and nobody who vouches for that."""
        silences = [trouble for trouble in self.troubles if trouble.what is Part.BUS]
        for answer in self.answers:
            if answer.cache == "HIT" and any(
                trouble.since + LEASE_S < answer.began_at and answer.ended_at < trouble.until for trouble in silences
            ):
                yield f"from memory without the bus: {answer}"

    def _in_trouble(self, what: int | Part, answer: Answer) -> bool:
        return self.in_trouble(what, answer.began_at, answer.ended_at)

    def in_trouble(self, what: int | Part, began_at: float, ended_at: float) -> bool:
        """Whether ``what`` was in trouble at any time between the two."""
        return any(trouble.what == what and trouble.touches(began_at, ended_at) for trouble in self.troubles)

    def settle(self, written: Iterable[Floor]) -> None:
        """Have what replicas purged by themselves, and did not wait for, hold everywhere after ``SETTLES_S``.

        What is written while Redis is away is purged when it is back, unless the replica that knows of it is killed.
        """
        for floor in written:
            assert floor.replica is not None
            end = floor.at + SETTLES_S
            lost = self.in_trouble(floor.replica, floor.at, end) or self.in_trouble(Part.REDIS, floor.at - 1, end)
            if not lost:
                self.floors.append(Floor(path=floor.path, version=floor.version, at=end, soft=floor.soft))

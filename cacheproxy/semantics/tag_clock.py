"""The rule by which nothing stale survives a purge. Values in, verdict out.

Times are the tag clock's: integer microseconds that never go back within an epoch. A fill takes a ``Stamp`` before it
contacts the origin. What was filled under it is valid only if its epoch is the clock's, it began after ``base``, and no
tag of it was purged at or after it began.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class Stamp:
    """When a fill began, by the tag clock: the clock's ``epoch`` and its time in microseconds."""

    epoch: str
    began_at_us: int


@dataclass(frozen=True, slots=True)
class PurgeTimes:
    """The times of a tag's last hard and last soft purge; 0 for never."""

    hard_us: int = 0
    soft_us: int = 0


class Verdict(Enum):
    """What the clock says of a stored response."""

    VALID = "valid"
    STALE = "stale"
    """Softly purged: may be served under stale-while-revalidate or -if-error, and revalidated."""
    DEAD = "dead"


def judge(
    stamp: Stamp, tags: Collection[str], *, epoch: str, base_us: int, purges: Mapping[str, PurgeTimes]
) -> Verdict:
    """Say whether what was filled under ``stamp`` with ``tags`` is still true. ``purges`` holds recent ones only."""
    if stamp.epoch != epoch or stamp.began_at_us <= base_us:
        return Verdict.DEAD
    if purges.keys().isdisjoint(tags):
        return Verdict.VALID
    verdict = Verdict.VALID
    for tag in tags:
        purge = purges.get(tag)
        if purge is None:
            continue
        if purge.hard_us >= stamp.began_at_us:
            return Verdict.DEAD
        if purge.soft_us >= stamp.began_at_us:
            verdict = Verdict.STALE
    return verdict

"""What a replica that was away reads from the stream, and whether anything is missing from it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from cacheproxy.invalidation.messages import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """How far a replica has followed the clock of ``epoch``: all records after ``since_us``, up to ``at_us``."""

    epoch: str
    since_us: int
    at_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """``records`` are all that were made after ``since_us``: none of them is missing."""

    since_us: int
    records: tuple[Record, ...]

    @classmethod
    def of(cls, records: Sequence[Record], upto_us: int) -> "History":
        """The unbroken end of ``records``, if it reaches ``upto_us``. Each names the time of the one before it."""
        since_us, unbroken = upto_us, 0
        for record in reversed(records):
            if record.at_us != since_us:
                break
            since_us, unbroken = record.after_us, unbroken + 1
        return cls(since_us=since_us, records=tuple(records[len(records) - unbroken :]))

    def reaches(self, at_us: int) -> bool:
        """Whether it holds every record after ``at_us``."""
        return self.since_us <= at_us

    def last_before(self, at_us: int) -> int:
        """The latest record up to ``at_us`` that it knows of: another than that itself is where it parted from it."""
        return max((record.at_us for record in self.records if record.at_us <= at_us), default=self.since_us)

"""Entries folded small for L1: a million of them are a million times what one costs.

An Entry as Python objects takes 1.4 KB beside its body. Folded it is one byte string, and what many entries have in
common (``content-type: application/json``, the tag of a route) is in a table once. Unfolding takes a few microseconds,
and the express lane does without. The bytes never leave this process, so the interpreter's own ``marshal`` will do.
"""

import marshal
from collections.abc import Hashable, Sequence
from typing import Any

from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.tag_clock import Stamp
from cacheproxy.storage.contract import Entry


class Commons:
    """A bounded table of values that came up more than once. A value keeps its number for good."""

    def __init__(self, max_values: int = 4096) -> None:
        """An empty table of at most ``max_values``."""
        self._max_values = max_values
        self._values: list[Any] = []
        self._numbers: dict[Hashable, int] = {}
        self._seen_once: set[Hashable] = set()

    def unfold(self, folded: Any) -> Any:
        """What ``fold`` was given."""
        return self._values[folded] if type(folded) is int else folded

    def fold(self, values: Sequence[Hashable]) -> tuple[Any, ...]:
        """For each of ``values`` its number if it is common, else itself (which is never an int)."""
        numbers = tuple(map(self._numbers.get, values))
        if None not in numbers:
            return numbers
        found = zip(values, numbers, strict=True)
        return tuple([self._noted(value) if number is None else number for value, number in found])

    def _noted(self, value: Hashable) -> Any:
        """``value``, which is not common, or the number that it has from now on as it came again."""
        if len(self._values) >= self._max_values:
            return value
        if value not in self._seen_once:
            # The table must not fill with what never comes again, such as entity tags
            if len(self._seen_once) >= self._max_values:
                self._seen_once.clear()
            self._seen_once.add(value)
            return value
        self._seen_once.discard(value)
        self._numbers[value] = number = len(self._values)
        self._values.append(value)
        return number


def fold(entry: Entry, commons: Commons) -> bytes:
    """All of ``entry`` but its key and its body."""
    stamp = entry.stamp
    epoch, route, vary = commons.fold((stamp.epoch, entry.route, entry.vary))
    return marshal.dumps(
        (
            (epoch, stamp.began_at_us),
            commons.fold(entry.tags),
            entry.status,
            commons.fold(entry.fields.pairs),
            (entry.requested_at, entry.received_at, entry.lifetime_s, entry.initial_age_s, entry.swr_s, entry.sie_s),
            entry.must_revalidate,
            entry.keep_until,
            (route, vary),
            entry.variance,
        )
    )


def unfold_tags(folded: bytes, commons: Commons) -> tuple[Stamp, tuple[str, ...]]:
    """The stamp and the tags alone: all that a purge is judged by."""
    (epoch, began_at_us), tags, *_ = marshal.loads(folded)  # noqa: S302 - our own bytes, from this process
    return Stamp(commons.unfold(epoch), began_at_us), tuple(map(commons.unfold, tags))


def unfold(key: str, folded: bytes, body: bytes, commons: Commons) -> Entry:
    """The entry that was folded."""
    unfolded = marshal.loads(folded)  # noqa: S302 - our own bytes, from this process
    (epoch, began_at_us), tags, status, pairs, times, must_revalidate, keep_until, (route, vary), variance = unfolded
    requested_at, received_at, lifetime_s, initial_age_s, swr_s, sie_s = times
    return Entry(
        key=key,
        vary=commons.unfold(vary),
        variance=variance,
        status=status,
        fields=Fields(map(commons.unfold, pairs)),
        body=body,
        requested_at=requested_at,
        received_at=received_at,
        lifetime_s=lifetime_s,
        initial_age_s=initial_age_s,
        swr_s=swr_s,
        sie_s=sie_s,
        must_revalidate=must_revalidate,
        keep_until=keep_until,
        stamp=Stamp(commons.unfold(epoch), began_at_us),
        tags=tuple(map(commons.unfold, tags)),
        route=commons.unfold(route),
    )

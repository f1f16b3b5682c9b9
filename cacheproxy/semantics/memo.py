"""Remembering what field values and heads mean: the same few come all day."""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Generic, TypeVar

LONGEST_BYTES = 256
"""Longer values are read anew each time: whoever can send them must not be able to fill memory with them."""

S = TypeVar("S")
T = TypeVar("T")


def memoised(maxsize: int) -> Callable[[Callable[[bytes], T]], Callable[[bytes], T]]:
    """Remember a pure function's last ``maxsize`` answers for values of a usual length."""

    def remember(function: Callable[[bytes], T]) -> Callable[[bytes], T]:
        remembered = lru_cache(maxsize)(function)

        @wraps(function)
        def answer(value: bytes) -> T:
            return remembered(value) if len(value) <= LONGEST_BYTES else function(value)

        return answer

    return remember


class ByIdentity(Generic[S, T]):
    """What was made of an object, for as long as the very same one comes again. Bounded: when full it forgets all."""

    __slots__ = ("_known", "_most")

    def __init__(self, most: int) -> None:
        """Remember ``most`` objects, and keep them alive."""
        self._most = most
        self._known: dict[int, tuple[S, T]] = {}

    def of(self, source: S) -> T | None:
        """What was made of ``source``, or None."""
        known = self._known.get(id(source))
        return known[1] if known is not None and known[0] is source else None

    def keep(self, source: S, made: T) -> T:
        """Remember that ``made`` was made of ``source``; it is handed back."""
        if len(self._known) >= self._most:
            self._known.clear()
        self._known[id(source)] = (source, made)
        return made

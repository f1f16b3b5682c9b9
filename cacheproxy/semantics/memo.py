"""Remembering what field values and heads mean: the same few come all day."""

from collections.abc import Callable, Hashable
from functools import lru_cache, wraps
from typing import Generic, TypeVar, TypeVarTuple

LONGEST_BYTES = 256
"""Longer values are read anew each time: whoever can send them must not be able to fill memory with them."""

_MARK_BITS = 14
_MARKS = 1 << _MARK_BITS

S = TypeVar("S")
T = TypeVar("T")
Key = TypeVarTuple("Key")


def memoised(maxsize: int) -> Callable[[Callable[[bytes], T]], Callable[[bytes], T]]:
    """Remember a pure function's last ``maxsize`` answers for values of a usual length."""

    def remember(function: Callable[[bytes], T]) -> Callable[[bytes], T]:
        remembered = lru_cache(maxsize)(function)

        @wraps(function)
        def answer(value: bytes) -> T:
            return remembered(value) if len(value) <= LONGEST_BYTES else function(value)

        return answer

    return remember


class Doorkeeper:
    """Tells what comes again from what comes once, and would only push out of a memo what comes again.

    A crawl asks for each page once: to remember it costs more than to forget it, as all that is remembered has to be
    fetched into the processor's caches to be let go. It may err, and then lets in what came once. 16 KiB.
    """

    __slots__ = ("_marks",)

    def __init__(self) -> None:
        """Nothing came yet."""
        self._marks = bytearray(_MARKS)

    def came(self, key: Hashable) -> bool:
        """Whether ``key`` came before, not too long ago. From now on it did."""
        hashed = hash(key)
        at, mark = hashed & (_MARKS - 1), hashed >> _MARK_BITS & 0x7F | 0x80
        if self._marks[at] == mark:
            return True
        self._marks[at] = mark
        return False


def recurring(function: Callable[[*Key], T], most: int) -> Callable[[*Key], T]:
    """``function``, whose last ``most`` answers to what it was asked more than once are remembered."""
    remembered, door = lru_cache(most)(function), Doorkeeper()

    def answer(*key: *Key) -> T:
        return remembered(*key) if door.came(key) else function(*key)

    return answer


class ByIdentity(Generic[S, T]):
    """What was made of an object, for as long as the very same one comes again. Bounded: when full it forgets all."""

    __slots__ = ("_known", "_most", "_unless")

    def __init__(self, most: int, unless: Callable[[S], bool] | None = None) -> None:
        """Remember ``most`` objects, and keep them alive; none that ``unless`` is true of."""
        self._most = most
        self._unless = unless
        self._known: dict[int, tuple[S, T]] = {}

    def of(self, source: S) -> T | None:
        """What was made of ``source``, or None."""
        known = self._known.get(id(source))
        return known[1] if known is not None and known[0] is source else None

    def keep(self, source: S, made: T) -> T:
        """Remember that ``made`` was made of ``source``; it is handed back."""
        if self._unless is not None and self._unless(source):
            return made
        if len(self._known) >= self._most:
            self._known.clear()
        self._known[id(source)] = (source, made)
        return made

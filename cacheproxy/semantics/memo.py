"""Remembering what short field values mean: the same few come all day."""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import TypeVar

LONGEST_BYTES = 256
"""Longer values are read anew each time: whoever can send them must not be able to fill memory with them."""

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

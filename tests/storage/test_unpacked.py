"""Entries are unpacked once for as long as their bytes stay the same, and few enough of them are remembered."""

from collections.abc import Callable

import pytest

from cacheproxy.storage.contract import Entry
from cacheproxy.storage.unpacked import LARGEST_BYTES, Unpacked

MakeEntry = Callable[..., Entry]


@pytest.fixture
def unpacked() -> Unpacked:
    """Room for two."""
    return Unpacked(max_entries=2)


def test_the_same_bytes_are_the_same_entry(unpacked: Unpacked, entry: MakeEntry) -> None:
    """Of a value that was seen under this key the entry is known."""
    remembered = entry("k")
    unpacked.remember(b"value", remembered)
    assert unpacked.entry("k", bytes(bytearray(b"value"))) is remembered


def test_other_bytes_are_another_entry(unpacked: Unpacked, entry: MakeEntry) -> None:
    """One byte changed, and nothing is known."""
    unpacked.remember(b"value", entry("k"))
    assert unpacked.entry("k", b"valuf") is None


def test_a_value_copied_to_another_key_is_not_known_there(unpacked: Unpacked, entry: MakeEntry) -> None:
    """It must be refused, and this does not stand in the way of that."""
    unpacked.remember(b"value", entry("k"))
    assert unpacked.entry("other", b"value") is None


def test_the_one_not_used_for_longest_is_forgotten_first(unpacked: Unpacked, entry: MakeEntry) -> None:
    """A third takes the place of the one of two that was not asked for."""
    for value in (b"a", b"b"):
        unpacked.remember(value, entry("k"))
    assert unpacked.entry("k", b"a") is not None
    unpacked.remember(b"c", entry("k"))
    assert [unpacked.entry("k", value) is not None for value in (b"a", b"b", b"c")] == [True, False, True]


def test_a_large_value_is_not_remembered(unpacked: Unpacked, entry: MakeEntry) -> None:
    """Many of them would be a memory of their own."""
    unpacked.remember(bytes(LARGEST_BYTES + 1), entry("k"))
    assert unpacked.entry("k", bytes(LARGEST_BYTES + 1)) is None


def test_a_small_value_with_a_large_body_is_not_remembered(unpacked: Unpacked, entry: MakeEntry) -> None:
    """Compressed, a megabyte may be so small: a thousand of them would be a gigabyte."""
    unpacked.remember(b"value", entry("k", bytes(LARGEST_BYTES + 1)))
    assert unpacked.entry("k", b"value") is None


def test_without_room_nothing_is_remembered(entry: MakeEntry) -> None:
    """Where memory keeps entries, this would keep them twice."""
    none = Unpacked(max_entries=0)
    none.remember(b"value", entry("k"))
    assert none.entry("k", b"value") is None

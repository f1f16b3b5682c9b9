"""What was unpacked of late: where memory keeps no entries, those that are read over and over are unpacked once."""

from cacheproxy.storage.contract import Entry

LARGEST_BYTES = 2048
"""Of larger values none are remembered, nor of small ones that hold a larger body, compressed: a thousand must not
fill memory that was said to keep nothing."""


class Unpacked:
    """The entries that small values hold. The same bytes are the same entry, so this is never out of date."""

    def __init__(self, max_entries: int) -> None:
        """Remember so many at most."""
        self._max_entries = max_entries
        self._entries: dict[bytes, Entry] = {}

    def entry(self, key: str, value: bytes) -> Entry | None:
        """What ``value`` under ``key`` was unpacked to before; None if that is not known."""
        entry = self._entries.pop(value, None)
        if entry is None or entry.key != key:
            return None
        self._entries[value] = entry  # at the end again: the one not used for longest goes first
        return entry

    def remember(self, value: bytes, entry: Entry) -> None:
        """Of ``value`` has come ``entry``."""
        if len(value) <= LARGEST_BYTES and len(entry.body) <= LARGEST_BYTES:
            self._entries[value] = entry
        if len(self._entries) > self._max_entries:
            del self._entries[next(iter(self._entries))]

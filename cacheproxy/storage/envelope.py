"""How each route's entries are put into Redis and taken out again: as they are, compressed, or sealed."""

from collections.abc import Mapping
from typing import Protocol

from cacheproxy.semantics.rules import CacheRules
from cacheproxy.storage.codec import PLAIN, SEALED, Corrupt, CorruptReason, pack, unpack
from cacheproxy.storage.compression import LARGEST_BYTES
from cacheproxy.storage.contract import Entry

_PUBLIC = frozenset({b"accept", b"accept-encoding", b"accept-language", b"origin"})
"""Request fields whose values may stand in the list of variants, which is in the clear."""


_LONG_BYTES = 32 << 10
"""From this on, unpacking may hold up every other request by a millisecond."""


def takes_long(value: bytes) -> bool:
    """Whether ``value`` is to be unwrapped beside the event loop: it is large, and compressed or sealed."""
    return len(value) > _LONG_BYTES and not value.startswith(PLAIN)


class Seals(Protocol):
    """What ``sealing.Keyring`` does."""

    def seal(self, value: bytes, key: str) -> bytes:
        """``value`` such that it opens under ``key`` alone."""
        ...

    def open(self, sealed: bytes, key: str) -> bytes | None:
        """What was sealed under ``key``; None if it does not open."""
        ...


class Envelope:
    """Follows the rules of the policy in force: what was stored under other rules stays readable."""

    def __init__(self, seals: Seals | None = None, rules: Mapping[str, CacheRules] | None = None) -> None:
        """``rules`` are by route; without ``seals`` none of them may ask for encryption."""
        self._seals = seals
        self.follow(rules or {})

    def follow(self, rules: Mapping[str, CacheRules]) -> None:
        """Wrap by ``rules`` from now on."""
        self._rules = rules
        self._most_bytes = max((each.max_body_bytes for each in rules.values()), default=LARGEST_BYTES)
        """No entry of ours has more: whoever may write to Redis must not fill our memory with a few bytes."""

    def wrap(self, entry: Entry) -> bytes | None:
        """``entry`` as it is to stand in Redis; None if it must not."""
        known = self._rules
        rules = known.get(entry.route)
        packed = pack(entry, rules.compress if rules else None)
        # an entry of a route that is gone, or of an operator, may be anything: sealed where some route's are
        if not (rules.encrypt if rules else any(each.encrypt for each in known.values())):
            return packed
        if self._seals is None or not _PUBLIC.issuperset(entry.vary):
            return None
        return self._seals.seal(packed, entry.key)

    def unwrap(self, key: str, value: bytes) -> Entry | Corrupt:
        """The entry of ``key`` in ``value``, or why there is none."""
        packed: bytes | None = value
        if value.startswith(SEALED):
            packed = self._seals.open(value, key) if self._seals else None
        entry = Corrupt(CorruptReason.SEALED) if packed is None else unpack(packed, self._most_bytes)
        return Corrupt(CorruptReason.FOREIGN) if isinstance(entry, Entry) and entry.key != key else entry

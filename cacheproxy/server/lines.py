"""What was answered lately, by request line, and by those of its head's other lines that may matter."""

from cacheproxy.engine.reply import Terms
from cacheproxy.server.known import Known
from cacheproxy.server.signature import FieldBlock, FieldBlocks, Key

MAX_HEAD_BYTES = 4096

Found = tuple[Known, FieldBlock]
"""What a head is known to be answered with, and its fields."""


class _Line:
    """One request line: which fields count for it, and its answers.

    The one that was learnt last stands by itself: most have no other, and need no dictionary for it.
    """

    __slots__ = ("_others", "by_peer", "known", "last", "unread")

    def __init__(self, unread: frozenset[bytes], *, by_peer: bool) -> None:
        self.unread = unread
        self.by_peer = by_peer
        self.last: Key | None = None
        self.known: Known | None = None
        self._others: dict[Key, Known] = _NO_OTHERS

    def other(self, key: Key) -> Known | None:
        """The answer under ``key``, unless that is the last."""
        return self._others.get(key)

    def put(self, key: Key, known: Known) -> None:
        """Learn the answer under ``key``, which had none."""
        if self.last is not None and self.known is not None:
            self._others = self._others or {}
            self._others[self.last] = self.known
        self.last, self.known = key, known

    def pop(self, key: Key) -> Known | None:
        """Forget the answer under ``key``; None where it had none."""
        if key != self.last:
            return self._others.pop(key, None)
        known, self.known, self.last = self.known, None, None
        return known

    def kept(self) -> list[Key]:
        """The keys of its answers, the oldest first."""
        return [*self._others, *([] if self.last is None else [self.last])]


class Lines:
    """Answers by request line. Bounded in bytes: the oldest are forgotten."""

    def __init__(self, max_bytes: int) -> None:
        """Know nothing, and never more than ``max_bytes``."""
        self._max_bytes = max_bytes
        self._bytes = 0
        self._blocks = FieldBlocks()
        self._lines: tuple[dict[bytes, _Line], dict[bytes, _Line]] = ({}, {})
        """For clients, and for proxies that are believed."""

    def find(self, raw: bytes, trusted: bool, peer: str) -> Found | None:  # noqa: FBT001 - each hit asks this
        """What the head ``raw``, sent by ``peer``, is known to be answered with."""
        name, _, fields = raw.partition(b"\r\n")
        line = self._lines[trusted].get(name) if len(raw) <= MAX_HEAD_BYTES else None
        block = None if line is None else self._blocks.read(fields, line.unread)
        if line is None or block is None:
            return None
        key = block.key(line.unread, peer if line.by_peer else "")
        known = line.known if key == line.last else line.other(key)
        return None if known is None else (known, block)

    def learn(self, raw: bytes, known: Known, terms: Terms, *, trusted: bool, peer: str) -> None:
        """Know that ``raw`` is answered with ``known`` on those ``terms``, unless it is too long or unfit."""
        if len(raw) > MAX_HEAD_BYTES:
            return
        name, _, fields = raw.partition(b"\r\n")
        line = self._line(name, terms, trusted=trusted)
        block = self._blocks.read(fields, line.unread)
        if block is None:
            return
        key = block.key(line.unread, peer if line.by_peer else "")
        self._forget(name, key, trusted=trusted)
        line.put(key, known)
        self._lines[trusted][name] = line
        self._bytes += _cost_bytes(name, key, known)
        while self._bytes > self._max_bytes:
            self._forget_oldest()

    def forget(self, raw: bytes, *, trusted: bool, peer: str) -> None:
        """Know no longer what ``raw`` is answered with."""
        name, _, fields = raw.partition(b"\r\n")
        line = self._lines[trusted].get(name)
        block = None if line is None else self._blocks.read(fields, line.unread)
        if line is not None and block is not None:
            self._forget(name, block.key(line.unread, peer if line.by_peer else ""), trusted=trusted)

    def clear(self) -> None:
        """Forget everything."""
        self._lines = ({}, {})
        self._bytes = 0

    def _line(self, name: bytes, terms: Terms, *, trusted: bool) -> _Line:
        """The line of that name, with answers of the same kind. What two routes do not agree on counts for both."""
        line = self._lines[trusted].get(name)
        if line is None:
            return _Line(terms.unread, by_peer=terms.by_peer)
        unread, by_peer = line.unread & terms.unread, line.by_peer or terms.by_peer
        if (unread, by_peer) == (line.unread, line.by_peer):
            return line
        for key in line.kept():
            self._forget(name, key, trusted=trusted)
        return _Line(unread, by_peer=by_peer)

    def _forget_oldest(self) -> None:
        trusted = len(self._lines[True]) > len(self._lines[False])
        name, line = next(iter(self._lines[trusted].items()))
        self._forget(name, line.kept()[0], trusted=trusted)

    def _forget(self, name: bytes, key: Key, *, trusted: bool) -> None:
        line = self._lines[trusted].get(name)
        known = None if line is None else line.pop(key)
        if line is None or known is None:
            return
        self._bytes -= _cost_bytes(name, key, known)
        if not line.kept():
            del self._lines[trusted][name]


def _cost_bytes(name: bytes, key: Key, known: Known) -> int:
    return len(name) + len(key if isinstance(key, bytes) else key[0]) + len(known)


_NO_OTHERS: dict[Key, Known] = {}
"""Shared by all lines with one answer: replaced, never added to."""

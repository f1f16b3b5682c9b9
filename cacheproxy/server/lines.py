"""What was answered lately, by request line, and by those of its head's other lines that may matter."""

from cacheproxy.engine.reply import Terms
from cacheproxy.server.known import Known
from cacheproxy.server.signature import FieldBlock, FieldBlocks, Key

MAX_HEAD_BYTES = 4096

Found = tuple[Known, FieldBlock]
"""What a head is known to be answered with, and its fields."""


class _Answers:
    """Those of one kind of client, by request line.

    The answer that a line was given last is at hand: most lines have no other, and need no dictionary for it.
    """

    __slots__ = ("_others", "last")

    def __init__(self) -> None:
        self.last: dict[bytes, Known] = {}
        self._others: dict[bytes, dict[Key, Known]] = {}

    def other(self, name: bytes, key: Key) -> Known | None:
        """The answer of the line ``name`` under ``key``, unless that is the last."""
        return self._others.get(name, _NO_OTHERS).get(key)

    def put(self, name: bytes, known: Known) -> None:
        """Learn an answer of the line ``name``, which has none under its key."""
        before = self.last.get(name)
        if before is not None:
            self._others.setdefault(name, {})[before.key] = before
        self.last[name] = known

    def pop(self, name: bytes, key: Key) -> Known | None:
        """Forget the answer of the line ``name`` under ``key``; None where it has none."""
        others = self._others.get(name, _NO_OTHERS)
        known = others.pop(key, None)
        if known is None:
            known = self.last.get(name)
            if known is None or known.key != key:
                return None
            if others:
                self.last[name] = others.popitem()[1]
            else:
                del self.last[name]
        if not others:
            self._others.pop(name, None)
        return known

    def keys(self, name: bytes) -> list[Key]:
        """Those of the line ``name``, the oldest first."""
        last = self.last.get(name)
        return [*self._others.get(name, _NO_OTHERS), *([] if last is None else [last.key])]


class Lines:
    """Answers by request line. Bounded in bytes: the oldest are forgotten."""

    def __init__(self, max_bytes: int) -> None:
        """Know nothing, and never more than ``max_bytes``."""
        self._max_bytes = max_bytes
        self._bytes = 0
        self._blocks = FieldBlocks()
        self._answers = _Answers(), _Answers()
        """For clients, and for proxies that are believed."""

    def find(self, raw: bytes, trusted: bool, peer: str) -> Found | None:  # noqa: FBT001 - each hit asks this
        """What the head ``raw``, sent by ``peer``, is known to be answered with."""
        name, _, fields = raw.partition(b"\r\n")
        answers = self._answers[trusted]
        known = answers.last.get(name)
        block = None if known is None else self._blocks.read(fields, known.unread)
        if known is None or block is None:
            return None
        key = block.key(known.unread, peer if known.by_peer else "")
        if key == known.key:
            return known, block
        known = answers.other(name, key)
        return None if known is None else (known, block)

    def learn(self, raw: bytes, known: Known, terms: Terms, *, trusted: bool, peer: str) -> None:
        """Know that ``raw`` is answered with ``known`` on those ``terms``, unless it is too long or unfit."""
        if len(raw) > MAX_HEAD_BYTES:
            return
        name, _, fields = raw.partition(b"\r\n")
        known.unread, known.by_peer = self._agreed(name, terms, trusted=trusted)
        block = self._blocks.read(fields, known.unread)
        if block is None:
            return
        known.key = block.key(known.unread, peer if known.by_peer else "")
        self._forget(name, known.key, trusted=trusted)
        self._answers[trusted].put(name, known)
        self._bytes += _cost_bytes(name, known)
        while self._bytes > self._max_bytes:
            self._forget_oldest()

    def forget(self, raw: bytes, *, trusted: bool, peer: str) -> None:
        """Know no longer what ``raw`` is answered with."""
        found = self.find(raw, trusted, peer)
        if found is not None:
            self._forget(raw.partition(b"\r\n")[0], found[0].key, trusted=trusted)

    def clear(self) -> None:
        """Forget everything."""
        self._answers = _Answers(), _Answers()
        self._bytes = 0

    def _agreed(self, name: bytes, terms: Terms, *, trusted: bool) -> tuple[frozenset[bytes], bool]:
        """Which fields do not count for the line ``name``, and whether the peer does.

        What counts for one of two routes counts for the other's answers too: they are learnt anew.
        """
        last = self._answers[trusted].last.get(name)
        if last is None:
            return terms.unread, terms.by_peer
        if (last.unread, last.by_peer) == (terms.unread, terms.by_peer):
            return last.unread, last.by_peer
        agreed = last.unread & terms.unread, last.by_peer or terms.by_peer
        if agreed != (last.unread, last.by_peer):
            for key in self._answers[trusted].keys(name):
                self._forget(name, key, trusted=trusted)
        return agreed

    def _forget_oldest(self) -> None:
        clients, proxies = self._answers
        trusted = len(proxies.last) > len(clients.last)
        name = next(iter(self._answers[trusted].last))
        self._forget(name, self._answers[trusted].keys(name)[0], trusted=trusted)

    def _forget(self, name: bytes, key: Key, *, trusted: bool) -> None:
        known = self._answers[trusted].pop(name, key)
        if known is not None:
            self._bytes -= _cost_bytes(name, known)


def _cost_bytes(name: bytes, known: Known) -> int:
    return len(name) + len(known.key if isinstance(known.key, bytes) else known.key[0]) + len(known)


_NO_OTHERS: dict[Key, Known] = {}
"""Of a line that has one answer. Nothing is ever put into it."""

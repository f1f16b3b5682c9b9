"""What of a request head an answer hangs on: heads that differ elsewhere are answered alike."""

from cacheproxy.policy.unread import NAME_REQUESTS
from cacheproxy.server.head import FIELD_LINES, MAX_FIELDS

_REQUEST_ID = b"x-request-id"
_MOST_SIGNATURES = 8
_LINE_BYTES = 150
"""What one field line takes beside its own bytes, about."""


class FieldBlock:
    """The field lines of one head, through its empty line."""

    __slots__ = ("_lines", "_signatures", "lasting", "request_id")

    def __init__(self, lines: list[tuple[bytes, bytes]]) -> None:
        """``lines`` are whole, each beside its name in lower case."""
        names = {name for name, _ in lines}
        self._lines = lines
        self._signatures: dict[frozenset[bytes], bytes] = {}
        self.request_id = _value(lines, _REQUEST_ID) if _REQUEST_ID in names else None
        """What its client calls the request; None where it does not say."""
        self.lasting = names.isdisjoint(NAME_REQUESTS)
        """Whether it may come again: it does not name its request."""

    def signature(self, unread: frozenset[bytes]) -> bytes:
        """The lines whose fields are not ``unread``. Equal signatures mean requests that are answered alike."""
        known = self._signatures.get(unread)
        if known is None:
            known = b"\r\n".join([line for name, line in self._lines if name not in unread])
            if len(self._signatures) == _MOST_SIGNATURES:
                self._signatures.clear()
            self._signatures[unread] = known
        return known

    def __len__(self) -> int:
        """What it takes in memory, about."""
        return sum(_LINE_BYTES + 2 * len(line) for _, line in self._lines)


class FieldBlocks:
    """Reads field lines; those that came lately are not read again. Bounded in bytes: the oldest are forgotten."""

    def __init__(self, max_bytes: int = 4 << 20) -> None:
        """Remember ``max_bytes`` of them."""
        self._max_bytes = max_bytes
        self._bytes = 0
        self._lately: dict[bytes, FieldBlock] = {}

    def read(self, raw: bytes) -> FieldBlock | None:
        """What ``raw``, all of a head after its request line, says; None where the ordinary way may refuse it."""
        block = self._lately.get(raw)
        if block is None:
            block = _parsed(raw)
            if block is not None and block.lasting:
                self._remember(raw, block)
        return block

    def _remember(self, raw: bytes, block: FieldBlock) -> None:
        self._lately[raw] = block
        self._bytes += len(raw) + len(block)
        while self._bytes > self._max_bytes:
            oldest = next(iter(self._lately))
            self._bytes -= len(oldest) + len(self._lately.pop(oldest))


def _parsed(raw: bytes) -> FieldBlock | None:
    if FIELD_LINES.fullmatch(raw) is None:
        return None
    lines = [(line.partition(b":")[0].lower(), line) for line in raw[:-4].split(b"\r\n")]
    if len(lines) > MAX_FIELDS or sum(name == _REQUEST_ID for name, _ in lines) > 1:
        return None
    return FieldBlock(lines)


def _value(lines: list[tuple[bytes, bytes]], wanted: bytes) -> bytes:
    return next(line.partition(b":")[2].strip(b" \t") for name, line in lines if name == wanted)

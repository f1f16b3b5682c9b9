"""What of a request head an answer hangs on: heads that differ elsewhere are answered alike."""

from cacheproxy.policy.unread import NAME_REQUESTS
from cacheproxy.server.head import FIELD_LINES, MAX_FIELDS

MAX_BLOCK_BYTES = 4096
_REQUEST_ID = b"x-request-id"
_MOST_SIGNATURES = 8
_FIXED_BYTES = 600
"""What one block takes beside its bytes and a signature half as long, about."""

Key = bytes | tuple[bytes, str]
"""What of a head an answer hangs on, with its peer's address where that matters."""
Lines = list[tuple[bytes, bytes]]
"""Whole field lines, each beside its name in lower case."""


class FieldBlock:
    """The field lines of one head, through its empty line."""

    __slots__ = ("_raw", "_signatures", "lasting", "request_id")

    def __init__(self, raw: bytes, lines: Lines, unread: frozenset[bytes]) -> None:
        """``lines`` are those of ``raw``, of which a signature without the ``unread`` is wanted first."""
        names = {name for name, _ in lines}
        self._raw = raw
        self._signatures = {unread: _without(lines, unread)}
        self.request_id = _value(lines, _REQUEST_ID) if _REQUEST_ID in names else None
        """What its client calls the request; None where it does not say."""
        self.lasting = names.isdisjoint(NAME_REQUESTS)
        """Whether it may come again: it does not name its request."""

    def key(self, unread: frozenset[bytes], peer: str = "") -> Key:
        """The lines whose fields are not ``unread``, and ``peer``. Equal keys mean requests that are answered alike."""
        signature = self._signatures.get(unread)
        if signature is None:
            if len(self._signatures) == _MOST_SIGNATURES:
                self._signatures.clear()
            signature = self._signatures[unread] = _without(_lines(self._raw), unread)
        return (signature, peer) if peer else signature

    def __len__(self) -> int:
        """What it takes in memory, about."""
        return _FIXED_BYTES + len(self._raw) * 3 // 2


class FieldBlocks:
    """Reads field lines; those that came lately are not read again. Bounded in bytes: the oldest are forgotten."""

    def __init__(self, max_bytes: int = 8 << 20) -> None:
        """Remember ``max_bytes`` of them."""
        self._max_bytes = max_bytes
        self._bytes = 0
        self._lately: dict[bytes, FieldBlock] = {}

    def read(self, raw: bytes, unread: frozenset[bytes]) -> FieldBlock | None:
        """What ``raw``, all of a head after its request line, says; None where that is not known, or too much.

        The signature that will be asked for first is that without the ``unread``.
        """
        block = self._lately.get(raw)
        if block is None and len(raw) <= MAX_BLOCK_BYTES:
            block = _parsed(raw, unread)
            if block is not None and block.lasting:
                self._remember(raw, block)
        return block

    def _remember(self, raw: bytes, block: FieldBlock) -> None:
        self._lately[raw] = block
        self._bytes += len(block)
        while self._bytes > self._max_bytes:
            self._bytes -= len(self._lately.pop(next(iter(self._lately))))


def _parsed(raw: bytes, unread: frozenset[bytes]) -> FieldBlock | None:
    if FIELD_LINES.fullmatch(raw) is None:
        return None
    lines = _lines(raw)
    if len(lines) > MAX_FIELDS or [name for name, _ in lines].count(_REQUEST_ID) > 1:
        return None
    return FieldBlock(raw, lines, unread)


def _lines(raw: bytes) -> Lines:
    return [(line.partition(b":")[0].lower(), line) for line in raw[:-4].split(b"\r\n")]


def _without(lines: Lines, unread: frozenset[bytes]) -> bytes:
    return b"\r\n".join([line for name, line in lines if name not in unread])


def _value(lines: Lines, wanted: bytes) -> bytes:
    return next(line.partition(b":")[2].strip(b" \t") for name, line in lines if name == wanted)

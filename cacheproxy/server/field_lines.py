"""A head's field lines told apart: those on which the way of its request hangs, and those that only go on with it.

The first are compared as they were sent, with a head that the ordinary way read whole. The others are read here, each
by the two readers that the ordinary way has: the grammar, and llhttp.
"""

from functools import lru_cache
from typing import NamedTuple

from cacheproxy.policy.unread import CONTENT_LENGTH, TELL_ADDRESSES
from cacheproxy.semantics.fields import Pair
from cacheproxy.server.head import LENGTH, MAX_FIELDS, read_line

_REQUEST_ID = b"x-request-id"
_HAS_BODY = CONTENT_LENGTH + b"\r\n\r\n"
"""Stands for the length of a body among the lines that count. No client's line is empty, so that none can say it."""
_HOPS = TELL_ADDRESSES | {b"forwarded"}
_MEMO_BLOCKS = 1024
_MEMO_LINES = 4096
"""Clients send most of their lines again and again. The heads read here are short, so these are."""


class FieldBlock(NamedTuple):
    """The field lines of one head."""

    read: bytes
    """Those that count, each with its line end. Equal ones mean requests that go the same way."""
    carried: bytes
    """The others as they go on, each with its line end, less those that each request has of its own."""
    request_id: bytes | None
    """What its client calls the request; None where it does not say."""
    content_length: int
    """Bytes of its body, as far as Content-Length tells."""
    hops: tuple[Pair, ...]
    """What it says of the addresses on its way."""


class _Line(NamedTuple):
    read: bytes = b""
    carried: bytes = b""
    request_id: bytes | None = None
    content_length: int | None = None
    hop: Pair | None = None


@lru_cache(_MEMO_BLOCKS)
def read_block(raw: bytes, unread: frozenset[bytes]) -> FieldBlock | None:
    """What ``raw``, all of a head after its first line, says if fields that are ``unread`` do not count.

    None where the ordinary way may refuse it.
    """
    lines = [_told_apart(line, unread) for line in raw[:-4].split(b"\r\n")]
    if len(lines) > MAX_FIELDS:
        return None
    read, carried, ids, lengths, hops = zip(*lines, strict=True)
    request_id = next((given for given in ids if given is not None), None)
    # two lengths count as two, and no head is known that has them
    content_length = next((length for length in lengths if length is not None), 0)
    told = tuple(hop for hop in hops if hop is not None)
    return FieldBlock(b"".join(read), b"".join(carried), request_id, content_length, told)


@lru_cache(_MEMO_LINES)
def _told_apart(line: bytes, unread: frozenset[bytes]) -> _Line:
    """What is to be done with one ``line``. One that the ordinary way may refuse counts, so that it gets there."""
    name, _, value = line.partition(b":")
    name, value = name.lower(), value.strip(b" \t")
    read = line + b"\r\n"
    counts = name not in unread or read_line(line) != (name, value)
    if name == _REQUEST_ID:
        return _Line(read=read if counts else b"", request_id=value)
    if name == CONTENT_LENGTH and LENGTH.fullmatch(value):
        length = int(value)
        # that there is a body counts always
        return _Line(read=read if counts or not length else _HAS_BODY, content_length=length)
    if name in _HOPS:
        return _Line(read=read if counts else b"", hop=(name, value))
    return _Line(read=read) if counts or name == CONTENT_LENGTH else _Line(carried=b"%b: %b\r\n" % (name, value))

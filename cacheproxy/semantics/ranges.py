"""Byte ranges: answering them from what is stored, and putting parts together (RFC 9110 §14, RFC 9111 §3.4)."""

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from cacheproxy.semantics.fields import Fields, Pair
from cacheproxy.semantics.freshening import freshen
from cacheproxy.semantics.head import RequestHead
from cacheproxy.semantics.validators import strong_date, strong_etag, strong_validator
from cacheproxy.semantics.vary import vary_names

MAX_RANGES = 16
"""A request for more is answered with the whole: many small ranges cost more than they spare (RFC 9110 §14.2)."""

_MAX_DIGITS = 18
_UNIT = re.compile(rb"bytes=(.*)", re.IGNORECASE | re.DOTALL)
_RANGE = re.compile(rb"[ \t]*+(\d{0,18})-(\d{0,18})[ \t]*+")
_CONTENT_RANGE = re.compile(rb"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", re.IGNORECASE)


class Held(Protocol):
    """What is held of a representation: all of it (any status but 206) or a part."""

    @property
    def status(self) -> int:
        """206 for a part."""
        ...

    @property
    def fields(self) -> Fields:
        """With Content-Range where it is a part."""
        ...

    @property
    def body(self) -> bytes:
        """The bytes held."""
        ...


@dataclass(frozen=True, slots=True)
class ContentRange:
    """Bytes ``first`` to ``last``, both included, of ``complete`` bytes."""

    first: int
    last: int
    complete: int


@dataclass(frozen=True, slots=True)
class ByteRange:
    """A range as asked for: ``first`` to ``last`` (None: to the end), or with ``first`` None the ``last`` bytes."""

    first: int | None
    last: int | None


@dataclass(frozen=True, slots=True)
class Selected:
    """An answer cut from a stored response."""

    status: int
    fields: Fields
    body: bytes


@dataclass(frozen=True, slots=True)
class Missing:
    """What lacks of a stored part, as the Range to ask for; ``if_range`` keeps it from fitting another version."""

    range: bytes
    if_range: bytes | None


@dataclass(frozen=True, slots=True)
class _Piece:
    first: int
    data: bytes


def parse_content_range(fields: Fields) -> ContentRange | None:
    """The one range of a 206 whose complete length is known; None for anything else (RFC 9110 §14.4)."""
    lines = fields.all(b"content-range")
    match = _CONTENT_RANGE.fullmatch(lines[0]) if len(lines) == 1 else None
    if match is None:
        return None
    first, last, complete = (int(digits) for digits in match.groups())
    return ContentRange(first, last, complete) if first <= last < complete else None


def parse_range(value: bytes) -> tuple[ByteRange, ...] | None:
    """The byte ranges asked for; None where the field is to be ignored: another unit, malformed, or too many."""
    unit = _UNIT.fullmatch(value.strip(b" \t"))
    members = unit[1].split(b",", MAX_RANGES) if unit else []
    if len(members) > MAX_RANGES:
        return None
    ranges = [_byte_range(member) for member in members if member.strip(b" \t")]
    valid = tuple(asked for asked in ranges if asked is not None)
    return valid if valid and len(valid) == len(ranges) else None


def _byte_range(member: bytes) -> ByteRange | None:
    match = _RANGE.fullmatch(member)
    if match is None or not (match[1] or match[2]):
        return None
    first = int(match[1]) if match[1] else None
    last = int(match[2]) if match[2] else None
    return None if first is not None and last is not None and last < first else ByteRange(first, last)


def covers(stored: Held, request: RequestHead) -> bool:
    """Whether a stored part (206) holds the one range that ``request`` asks for."""
    return _piece_of_part(stored, request) is not None


def select(request: RequestHead, stored: Held) -> Selected:
    """What ``request`` gets of ``stored``: 206 with the range or ranges it asks for, 416, or all that is stored."""
    if stored.status == 206:
        piece = _piece_of_part(stored, request)
        part = parse_content_range(stored.fields)
        if piece is not None and part is not None:
            return _single(stored, piece, part.complete)
    elif stored.status == 200 and request.method == "GET" and _range_applies(request, stored.fields):
        asked = parse_range(request.fields.combined(b"range") or b"")
        if asked is not None:
            return _select_whole(stored, asked)
    return Selected(stored.status, stored.fields, stored.body)


def missing_part(stored: Held, most_bytes: int) -> Missing | None:
    """The one range that would make a stored part whole, of up to ``most_bytes``, or None if there is no such range."""
    part = parse_content_range(stored.fields)
    if part is None or part.complete > most_bytes:
        return None
    held_to = part.first + len(stored.body) - 1
    if part.first == 0 and held_to < part.complete - 1:
        return Missing(b"bytes=%d-" % (held_to + 1), strong_validator(stored.fields))
    if part.first > 0 and part.last == part.complete - 1:
        return Missing(b"bytes=0-%d" % (part.first - 1), strong_validator(stored.fields))
    return None


def combine(stored: Held, arrived: Held, most_bytes: int) -> Selected | None:
    """What is stored and a 206 that ``arrived``, as one: 200 if that makes it whole, else a longer 206.

    None where they may not be combined: they share no strong validator, or there is a gap (RFC 9111 §3.4), or they
    would have more than ``most_bytes``.
    """
    validator = strong_validator(arrived.fields)
    old, new = _extent(stored), _extent(arrived)
    if validator is None or validator != strong_validator(stored.fields) or old is None or new is None:
        return None
    if old.complete != new.complete or new.first > old.last + 1 or old.first > new.last + 1:
        return None
    first, last = min(old.first, new.first), max(old.last, new.last)
    if last - first >= most_bytes:
        return None
    body = bytearray(last - first + 1)
    body[old.first - first : old.last - first + 1] = stored.body
    body[new.first - first : new.last - first + 1] = arrived.body
    whole = len(body) == new.complete
    fields = freshen(stored.fields, arrived.fields).without((b"content-range", b"content-length"))
    length: Pair = (b"content-length", b"%d" % len(body))
    if whole:
        return Selected(200, fields.plus(length), bytes(body))
    extent = _content_range(first, len(body), new.complete)
    return Selected(206, fields.plus(length, extent), bytes(body))


def _extent(held: Held) -> ContentRange | None:
    """The bytes held, if the body is as long as is said."""
    if held.status == 200 and held.body:
        return ContentRange(0, len(held.body) - 1, len(held.body))
    part = parse_content_range(held.fields) if held.status == 206 else None
    return part if part is not None and part.last - part.first + 1 == len(held.body) else None


def _piece_of_part(stored: Held, request: RequestHead) -> _Piece | None:
    part = parse_content_range(stored.fields)
    asked = parse_range(request.fields.combined(b"range") or b"")
    if part is None or asked is None or len(asked) != 1 or request.method != "GET":
        return None
    return _cut(part, stored.body, asked[0]) if _range_applies(request, stored.fields) else None


def _cut(part: ContentRange, body: bytes, asked: ByteRange) -> _Piece | None:
    """The bytes asked for, if the part has them all.

    A 206 may be shorter than its Content-Range says. Then a range is counted from the end that it names: from the
    part's first byte, or, for the last bytes of a representation, from the part's last.
    """
    to_the_end = part.last == part.complete - 1
    if asked.first is None:
        length = min(asked.last or 0, part.complete)
        if not to_the_end or length == 0 or part.complete - length < part.first:
            return None
        data = body[-length:]
        return _Piece(part.complete - len(data), data)
    last = part.complete - 1 if asked.last is None else min(asked.last, part.complete - 1)
    start = asked.first - part.first
    if start < 0 or start >= len(body) or last > part.last:
        return None
    return _Piece(asked.first, body[start : last - part.first + 1])


def _range_applies(request: RequestHead, fields: Fields) -> bool:
    """Whether If-Range, if there is one, names what is stored by a strong validator (RFC 9110 §13.1.5)."""
    condition = request.fields.get(b"if-range")
    if b"range" not in request.fields:
        return False
    if condition is None:
        return True
    if condition[:1] == b'"' or condition[:2] == b"W/":
        return condition == strong_etag(fields)
    # forms in several codings have one date: it does not say of which form the client has the rest
    return b"accept-encoding" not in (vary_names(fields) or ()) and condition == strong_date(fields)


def _select_whole(stored: Held, asked: tuple[ByteRange, ...]) -> Selected:
    complete = len(stored.body)
    pieces = [_resolve(each, stored.body) for each in asked]
    satisfiable = [piece for piece in pieces if piece is not None]
    if not satisfiable:
        fields = _without_content(stored.fields).plus((b"content-range", b"bytes */%d" % complete))
        return Selected(416, fields.plus((b"content-length", b"0")), b"")
    if len(satisfiable) == 1:
        return _single(stored, satisfiable[0], complete)
    if sum(len(piece.data) for piece in satisfiable) > complete:
        return Selected(stored.status, stored.fields, stored.body)
    return _multiple(stored, satisfiable, complete)


def _resolve(asked: ByteRange, body: bytes) -> _Piece | None:
    complete = len(body)
    if asked.first is None:
        length = min(asked.last or 0, complete)
        return _Piece(complete - length, body[complete - length :]) if length else None
    if asked.first >= complete:
        return None
    stop = complete if asked.last is None else asked.last + 1
    return _Piece(asked.first, body[asked.first : stop])


def _single(stored: Held, piece: _Piece, complete: int) -> Selected:
    fields = stored.fields.without((b"content-range", b"content-length")).plus(
        (b"content-length", b"%d" % len(piece.data)),
        _content_range(piece.first, len(piece.data), complete),
    )
    return Selected(206, fields, piece.data)


def _multiple(stored: Held, pieces: list[_Piece], complete: int) -> Selected:
    """A multipart/byteranges answer (RFC 9110 §14.6). Its boundary follows from the body, so it cannot be guessed."""
    boundary = sha256(stored.body).hexdigest()[:32].encode("ascii")
    content_type = stored.fields.get(b"content-type")
    lines = []
    for piece in pieces:
        lines.append(b"--" + boundary)
        if content_type is not None:
            lines.append(b"Content-Type: " + content_type)
        lines.append(b"Content-Range: " + _content_range(piece.first, len(piece.data), complete)[1])
        lines.extend((b"", piece.data))
    body = b"\r\n".join((*lines, b"--" + boundary + b"--", b""))
    fields = stored.fields.without((b"content-range", b"content-length", b"content-type")).plus(
        (b"content-length", b"%d" % len(body)),
        (b"content-type", b"multipart/byteranges; boundary=" + boundary),
    )
    return Selected(206, fields, body)


def _content_range(first: int, length: int, complete: int) -> Pair:
    return b"content-range", b"bytes %d-%d/%d" % (first, first + length - 1, complete)


def _without_content(fields: Fields) -> Fields:
    return Fields(pair for pair in fields.pairs if not pair[0].startswith(b"content-"))

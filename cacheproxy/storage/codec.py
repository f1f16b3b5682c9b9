"""Entries as bytes that any program can read: a line with a checksum, a line of JSON, the body (docs/format.md).

Whatever is not exactly what ``pack`` makes is refused, by kind, and never guessed at: an old or new version, a cut
value, a flipped bit, somebody else's value under our key.
"""

import json
import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any
from zlib import crc32

from cacheproxy.semantics.coding import is_coded
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.rules import Coding, CompressRules
from cacheproxy.semantics.tag_clock import Stamp
from cacheproxy.storage.compression import AT_REST, LARGEST_BYTES, UnknownCodingError, compress, installed, unpack_body
from cacheproxy.storage.contract import Entry

_MAGIC = b"cacheproxy "
PLAIN = _MAGIC + b"1 "
"""What an entry begins with that is kept as it is."""
_CODED = _MAGIC + b"2 "
SEALED = _MAGIC + b"3 "
"""What an encrypted entry begins with (``sealing``)."""
_CHECKSUM_AT = len(PLAIN)
_META_AT = _CHECKSUM_AT + 9
"""Eight hexadecimal digits and a line feed."""

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

_TEXTS = frozenset({str})

_encode = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode
_decode = json.JSONDecoder().raw_decode


class CorruptReason(StrEnum):
    """Why stored bytes are not an entry."""

    FOREIGN = "foreign"
    """Not ours at all."""
    VERSION = "version"
    """Ours, of an older or newer format."""
    CHECKSUM = "checksum"
    """Cut short or changed on the way."""
    CODING = "coding"
    """Compressed in a way that this replica cannot read."""
    MALFORMED = "malformed"
    """Sound, but made wrongly: by another program, for ours cannot."""
    SEALED = "sealed"
    """Encrypted, and it does not open: changed, moved from another key, or of a key that we do not have."""


@dataclass(frozen=True, slots=True)
class Corrupt:
    """Stored bytes that are not an entry: to be treated as a miss."""

    reason: CorruptReason


def pack(entry: Entry, rules: CompressRules | None = None) -> bytes:
    """``entry`` as bytes. ValueError if one of its times is not a finite number.

    A body is compressed by ``rules``, where that makes it smaller and it has no content coding yet.
    """
    small = None if rules is None else _compressed(entry, rules)
    if small is None:
        return _framed(PLAIN, _meta(entry), entry.body)
    coding, coded = small
    return _framed(_CODED, {**_meta(entry), "coding": coding}, coded)


def unpack(packed: bytes, most_bytes: int = LARGEST_BYTES) -> Entry | Corrupt:
    """The entry that ``packed`` holds, or why it holds none; a body is unpacked to ``most_bytes`` at most."""
    if not packed.startswith((PLAIN, _CODED)):
        return Corrupt(CorruptReason.VERSION if packed.startswith(_MAGIC) else CorruptReason.FOREIGN)
    if packed[_CHECKSUM_AT:_META_AT] != b"%08x\n" % crc32(memoryview(packed)[_META_AT:]):
        return Corrupt(CorruptReason.CHECKSUM)
    end = packed.find(b"\n", _META_AT)
    if end < 0:
        return Corrupt(CorruptReason.MALFORMED)
    body = packed[end + 1 :]
    try:
        known = _object(packed[_META_AT:end].decode())
        if packed.startswith(_CODED):
            body = unpack_body(body, _text(known["coding"]), _up_to(most_bytes, known["body_bytes"]))
        return _entry(known, body)
    except UnknownCodingError:
        return Corrupt(CorruptReason.CODING)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return Corrupt(CorruptReason.MALFORMED)


def _framed(start: bytes, meta: dict[str, Any], body: bytes) -> bytes:
    rest = b"%s\n%s" % (_encode(meta).encode(), body)
    return b"%s%08x\n%s" % (start, crc32(rest), rest)


def _compressed(entry: Entry, rules: CompressRules) -> tuple[Coding, bytes] | None:
    if not rules.above_bytes < len(entry.body) <= LARGEST_BYTES or is_coded(entry.fields):
        return None
    coding, *_ = (*installed((rules.coding,)), Coding.DEFLATE)
    coded = compress(entry.body, coding, AT_REST)
    return (coding, coded) if len(coded) < len(entry.body) else None


def _meta(entry: Entry) -> dict[str, Any]:
    return {
        "key": entry.key,
        "status": entry.status,
        "fields": [(name.decode("latin-1"), value.decode("latin-1")) for name, value in entry.fields.pairs],
        "body_bytes": len(entry.body),
        "requested_at": entry.requested_at,
        "received_at": entry.received_at,
        "lifetime_s": entry.lifetime_s,
        "initial_age_s": entry.initial_age_s,
        "swr_s": entry.swr_s,
        "sie_s": entry.sie_s,
        "must_revalidate": entry.must_revalidate,
        "keep_until": entry.keep_until,
        "epoch": entry.stamp.epoch,
        "began_at_us": entry.stamp.began_at_us,
        "tags": entry.tags,
        "route": entry.route,
        "vary": [name.decode("latin-1") for name in entry.vary],
        "variance": entry.variance.decode("latin-1"),
    }


def _object(text: str) -> dict[str, Any]:
    text = text.strip(" \t\r")
    known, end = _decode(text)
    if end != len(text) or type(known) is not dict:
        raise ValueError(text)
    return known


def _entry(meta: dict[str, Any], body: bytes) -> Entry:
    if meta["body_bytes"] != len(body):
        raise ValueError("body_bytes")
    get = meta.get
    return Entry(
        key=_text(meta["key"]),
        status=_status(meta["status"]),
        fields=_fields(_list(meta["fields"])),
        body=body,
        requested_at=_number(meta["requested_at"]),
        received_at=_number(meta["received_at"]),
        lifetime_s=_number(meta["lifetime_s"]),
        initial_age_s=_number(get("initial_age_s", 0.0)),
        swr_s=_number(get("swr_s", 0.0)),
        sie_s=_number(get("sie_s", 0.0)),
        must_revalidate=get("must_revalidate", False) is True,
        keep_until=_number(meta["keep_until"]),
        stamp=Stamp(_text(meta["epoch"]), _integer(meta["began_at_us"])),
        tags=_texts(_list(get("tags", []))),
        route=_text(get("route", "")),
        vary=tuple([name.encode("latin-1") for name in _list(get("vary", []))]),
        variance=get("variance", "").encode("latin-1"),
    )


def _fields(lines: list[Any]) -> Fields:
    # a line feed in a value would let whoever may write to Redis split our responses (RFC 9112 §11.1)
    if _CONTROL.search("".join([value for _, value in lines])):
        raise ValueError(lines)
    return Fields([(_name(name), value.encode("latin-1")) for name, value in lines])


@lru_cache(maxsize=1024)
def _name(name: str) -> bytes:
    if not _NAME.fullmatch(name):
        raise ValueError(name)
    return name.lower().encode("latin-1")


def _text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError(value)
    return value


def _texts(values: list[Any]) -> tuple[str, ...]:
    if not _TEXTS.issuperset(map(type, values)):
        raise TypeError(values)
    return tuple(values)


def _list(value: Any) -> list[Any]:
    if type(value) is not list:
        raise TypeError(value)
    return value


def _integer(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(value)
    return value


def _up_to(most: int, value: Any) -> int:
    if _integer(value) > most:
        raise ValueError(value)
    return int(value)


def _number(value: Any) -> float:
    # "not finite" without a call: of all floats only infinities and NaN give NaN less themselves
    number = value if type(value) is float else float(_integer(value))
    if number - number != 0.0:
        raise ValueError(value)
    return number


def _status(value: Any) -> int:
    if not 200 <= _integer(value) <= 599:
        raise ValueError(value)
    return int(value)

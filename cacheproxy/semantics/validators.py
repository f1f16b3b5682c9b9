"""Entity tags and modification dates: which are the same, and which are strong (RFC 9110 §8.8)."""

import re

from cacheproxy.semantics.dates import parse_http_date
from cacheproxy.semantics.fields import Fields

_ENTITY_TAG = re.compile(rb'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')


def entity_tags(value: bytes) -> list[bytes]:
    """The well-formed entity tags of an If-None-Match or If-Match list, in order."""
    return _ENTITY_TAG.findall(value)


def weak_match(one: bytes, other: bytes) -> bool:
    """Whether two entity tags name equivalent representations (RFC 9110 §8.8.3.2)."""
    return one.removeprefix(b"W/") == other.removeprefix(b"W/")


def strong_etag(fields: Fields) -> bytes | None:
    """The entity tag if it is well-formed and strong, else None."""
    etag = fields.get(b"etag")
    return etag if etag is not None and etag.startswith(b'"') and _ENTITY_TAG.fullmatch(etag) else None


def strong_date(fields: Fields) -> bytes | None:
    """Last-Modified if it can be used as a strong validator: Date is a second later at least (RFC 9110 §8.8.2.2)."""
    value = fields.get(b"last-modified")
    modified_at = parse_http_date(value or b"")
    dated_at = parse_http_date(fields.get(b"date") or b"")
    return value if modified_at is not None and dated_at is not None and dated_at - modified_at >= 1.0 else None


def has_validator(fields: Fields) -> bool:
    """Whether the origin can be asked if a response with these fields still holds (RFC 9111 §4.3.1)."""
    return bool(fields.get(b"etag") or fields.get(b"last-modified"))


def strong_validator(fields: Fields) -> bytes | None:
    """What tells this representation from every other, byte for byte: usable in If-Range. None if nothing does."""
    return strong_etag(fields) if b"etag" in fields else strong_date(fields)

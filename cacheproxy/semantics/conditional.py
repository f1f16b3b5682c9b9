"""Conditional requests, of clients to us and of ours to the origin (RFC 9110 §13, RFC 9111 §4.3)."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from cacheproxy.semantics.dates import parse_http_date
from cacheproxy.semantics.fields import Fields, Pair
from cacheproxy.semantics.head import RequestHead
from cacheproxy.semantics.ranges import Missing
from cacheproxy.semantics.validators import entity_tags, weak_match

CONDITIONS = frozenset({b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since", b"if-range"})

MAX_OFFERED_BYTES = 2048
"""Of entity tags in one question to the origin: who made it give many long ones must not make it refuse the next."""

_NOT_IN_304 = frozenset({
    b"content-disposition", b"content-encoding", b"content-language", b"content-length", b"content-md5",
    b"content-range", b"content-type", b"transfer-encoding",
})  # fmt: skip


class Stamped(Protocol):
    """A stored response whose age is known."""

    @property
    def status(self) -> int:
        """Its status."""
        ...

    @property
    def fields(self) -> Fields:
        """Its fields."""
        ...

    @property
    def received_at(self) -> float:
        """Epoch seconds."""
        ...


def not_modified(request: RequestHead, stored: Stamped) -> bool:
    """Whether the client has what is stored already, so that 304 answers it (RFC 9111 §4.3.2)."""
    if request.method not in ("GET", "HEAD") or not 200 <= stored.status < 300:
        return False
    tags = request.fields.combined(b"if-none-match")
    if tags is not None:
        return _none_match_fails(tags, stored.fields.get(b"etag"))
    since = request.fields.all(b"if-modified-since")
    return len(since) == 1 and _unmodified_since(since[0], stored)


def not_modified_fields(fields: Fields) -> Fields:
    """The fields of a 304 made from those of the 200: all but what describes a body that is not sent (§15.4.5).

    Last-Modified is left out where an entity tag says it better.
    """
    left_out = _NOT_IN_304 | {b"last-modified"} if b"etag" in fields else _NOT_IN_304
    return fields.without(left_out)


def revalidation_fields(request: Fields, stored: Sequence[Fields]) -> Fields:
    """The request fields that ask the origin which of ``stored`` (best first) still holds (RFC 9111 §4.3.1).

    The client's own conditions and range are replaced: they are answered from what comes of this. Last-Modified is
    sent for a single response only, as a 304 to a date would not say which of several it means.
    """
    etags = _offered(etag for fields in stored if (etag := fields.get(b"etag")))
    conditions: list[Pair] = []
    if etags:
        conditions.append((b"if-none-match", etags))
    modified = stored[0].get(b"last-modified") if len(stored) == 1 else None
    if modified:
        conditions.append((b"if-modified-since", modified))
    return request.without(CONDITIONS | {b"range"}).plus(*conditions)


def _offered(etags: Iterable[bytes]) -> bytes:
    """The first of ``etags`` and as many of the others as an origin surely takes in one field."""
    best, *others = dict.fromkeys(etags) or [b""]
    offered = best
    for etag in others:
        if len(offered) + 2 + len(etag) > MAX_OFFERED_BYTES:
            break
        offered += b", " + etag
    return offered


def fill_fields(request: Fields, *, keep_range: bool = False) -> Fields:
    """The request fields of a fetch whose answer is to be stored: no condition, so that a whole response comes.

    The client's own conditions are evaluated against that. ``keep_range`` leaves Range and If-Range in.
    """
    kept = {b"if-range"} if keep_range else set()
    dropped = CONDITIONS - kept
    return request.without(dropped if keep_range else dropped | {b"range"})


def completion_fields(request: Fields, missing: Missing) -> Fields:
    """The request fields that ask for what lacks of a stored part (RFC 9111 §3.4)."""
    asked = fill_fields(request).plus((b"range", missing.range))
    return asked if missing.if_range is None else asked.plus((b"if-range", missing.if_range))


def _none_match_fails(tags: bytes, etag: bytes | None) -> bool:
    """Whether If-None-Match is false, that is, names what is stored. An odd tag is at least equal to itself."""
    if tags.strip(b" \t") == b"*":
        return True
    if etag is None:
        return False
    return tags == etag or any(weak_match(tag, etag) for tag in entity_tags(tags))


def _unmodified_since(since: bytes, stored: Stamped) -> bool:
    """Whether it was last modified (or made, or received) no later than ``since``; an invalid date says nothing."""
    since_at = parse_http_date(since)
    if since_at is None:
        return False
    for name in (b"last-modified", b"date"):
        at = parse_http_date(stored.fields.get(name) or b"")
        if at is not None:
            return at <= since_at
    return stored.received_at <= since_at

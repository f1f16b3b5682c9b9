"""Replies made of stored responses. Pure."""

from operator import attrgetter

from cacheproxy.engine.reply import Reply, ReplyStream
from cacheproxy.invalidation.tags import STRIPPED
from cacheproxy.semantics.conditional import CONDITIONS, not_modified, not_modified_fields
from cacheproxy.semantics.fields import Fields, Pair
from cacheproxy.semantics.forwarding import response_fields
from cacheproxy.semantics.head import RequestHead, ResponseHead
from cacheproxy.semantics.memo import ByIdentity
from cacheproxy.semantics.plan import Stored, may_serve_on_error
from cacheproxy.semantics.ranges import covers, select
from cacheproxy.semantics.rules import CacheRules
from cacheproxy.storage.contract import Entry

_CHOOSY = CONDITIONS | {b"range"}
"""Request fields by which a request may get less than all."""


def reply_from(request: RequestHead, entry: Entry, age: bytes | None) -> Reply:
    """What ``request`` gets of ``entry``, ``age`` seconds old: a 304, a 206 or 416, or all of it.

    ``age`` is None for a response that comes from the origin just now, and came with none.
    """
    if wants_all(request):
        return reply_whole(entry, entry.fields, age)
    if not_modified(request, entry):
        return Reply(304, _aged(not_modified_fields(entry.fields), age))
    selected = select(request, entry)
    if request.method == "HEAD":
        length: Pair = (b"content-length", b"%d" % len(selected.body))
        return Reply(selected.status, _aged(selected.fields.without((b"content-length",)), age).plus(length))
    return Reply(selected.status, _aged(selected.fields, age), selected.body)


def wants_all(request: RequestHead) -> bool:
    """Whether ``request`` is answered with all of what there is, whatever that is."""
    return request.method == "GET" and _CHOOSY.isdisjoint(request.fields.names())


def reply_whole(entry: Entry, fields: Fields, age: bytes | None) -> Reply:
    """All of ``entry``, with ``fields`` as its own."""
    return Reply(entry.status, _aged(fields, age), entry.body)


def reply_fetched(entry: Entry, fields: Fields, age: bytes | None) -> Reply:
    """All of ``entry``, which came just now with ``fields``: they are the same object where their head came before."""
    shown = _shown_lately.of(fields) or _shown_lately.keep(fields, outward(fields))
    return Reply(entry.status, shown if age is None else shown.plus((b"age", age)), entry.body)


def may_stand_in(request: RequestHead, stored: Stored, rules: CacheRules, now: float) -> bool:
    """Whether ``stored`` may answer ``request`` in place of the origin's error (RFC 5861 §4): no part for the whole."""
    return (stored.status != 206 or covers(stored, request)) and may_serve_on_error(stored, rules, now)


def whole_seconds(age_s: float) -> bytes:
    """An Age field's value (RFC 9111 §5.1)."""
    return b"%d" % max(0, int(age_s))


def reply_through(head: ResponseHead, body: bytes | ReplyStream) -> Reply:
    """The origin's response as it goes on to the client."""
    return Reply(head.status, outward(head.fields), body)


def outward(fields: Fields) -> Fields:
    """Response fields less those of a hop, and those that were for this cache alone."""
    return response_fields(fields).without(STRIPPED)


def _aged(fields: Fields, age: bytes | None) -> Fields:
    shown = outward(fields)
    return shown if age is None else shown.plus((b"age", age))


_shown_lately: ByIdentity[Fields, Fields] = ByIdentity(256, attrgetter("is_long"))

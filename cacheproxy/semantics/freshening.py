"""Bringing a stored response up to date from a 304, a HEAD or a part (RFC 9111 §3.2, §4.3.4, §4.3.5)."""

from collections.abc import Sequence

from cacheproxy.semantics.cookies import SETTING_FIELDS, sets_own_cookie
from cacheproxy.semantics.dates import format_http_date
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.forwarding import HOP_BY_HOP, connection_fields
from cacheproxy.semantics.validators import strong_etag, weak_match

NEVER_UPDATED = frozenset({b"content-length", b"content-encoding", b"content-md5", b"content-range", b"etag"})
"""What describes the stored bytes, or names them: it stays as it came with them (RFC 9111 §3.2)."""

_NOT_TAKEN = HOP_BY_HOP | NEVER_UPDATED


def freshen(stored: Fields, arrived: Fields) -> Fields:
    """``stored`` with every field that ``arrived`` names replaced by what it says there (RFC 9111 §3.2).

    Its Age is among them, so that ``assess`` counts it, and drops it, once more.
    """
    dropped = _NOT_TAKEN | connection_fields(arrived)
    taken = [pair for pair in arrived.pairs if pair[0] not in dropped]
    return Fields((*stored.without({name for name, _ in taken}), *taken))


def dated(arrived: Fields, received_at: float) -> Fields:
    """``arrived`` with a Date, of when it came if it had none (RFC 9110 §6.6.1): what is kept is dated by it."""
    return arrived if b"date" in arrived else arrived.plus((b"date", format_http_date(received_at)))


def without_cookies(arrived: Fields, shared: frozenset[bytes] = frozenset()) -> Fields:
    """The fields of a 304 or HEAD that may be kept: cookies it sets are for who asked, unless all are in ``shared``."""
    return arrived.without(SETTING_FIELDS) if sets_own_cookie(arrived, shared) else arrived


def validated(variants: Sequence[Fields], not_modified: Fields) -> list[int]:
    """Indices of the stored responses (newest first) that a 304 validates (RFC 9111 §4.3.4).

    Those with its strong entity tag; or with its weak one, or its Last-Modified, the newest only; or, where it has no
    validator, the only one there is. §4.3.4 forbids to use a 304 whose strong entity tag none of them has. Where only
    one was offered in the request, "not modified" can mean no other, so that one is validated all the same.
    """
    etag = strong_etag(not_modified)
    if etag is not None:
        same = [index for index, fields in enumerate(variants) if fields.get(b"etag") == etag]
    else:
        same = _newest_with_same(variants, not_modified)
    return same or ([0] if len(variants) == 1 else [])


def head_agrees(stored: Fields, stored_bytes: int, head: Fields) -> bool:
    """Whether a 200 to HEAD describes what is stored: same validators, same length (RFC 9111 §4.3.5)."""
    length = head.get(b"content-length")
    if length is not None and length != b"%d" % stored_bytes:
        return False
    return all(head.get(name) in (None, stored.get(name)) for name in (b"etag", b"last-modified"))


def _newest_with_same(variants: Sequence[Fields], not_modified: Fields) -> list[int]:
    etag = not_modified.get(b"etag")
    modified = not_modified.get(b"last-modified")
    for index, fields in enumerate(variants):
        if etag is not None:
            if weak_match(etag, fields.get(b"etag") or b""):
                return [index]
        elif modified is not None and fields.get(b"last-modified") == modified:
            return [index]
    return []

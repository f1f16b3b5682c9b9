"""What a response's head says to this cache, whoever asked and whenever it came: read once for each head.

An origin gives the same few heads over and over, and whoever reads them gives the same object for the same bytes.
"""

from dataclasses import dataclass
from operator import attrgetter

from cacheproxy.semantics.cache_control import CacheControl
from cacheproxy.semantics.coding import is_coded
from cacheproxy.semantics.cookies import SETTING_FIELDS
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.forwarding import connection_fields
from cacheproxy.semantics.freshness import date_of, told_age
from cacheproxy.semantics.head import ResponseHead
from cacheproxy.semantics.memo import ByIdentity
from cacheproxy.semantics.validators import has_validator
from cacheproxy.semantics.vary import vary_names

NEVER_STORED_FIELDS = frozenset({
    # RFC 9111 §3.1, RFC 9110 §7.6.1: meant for one connection, or one proxy.
    b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade",
    b"proxy-authenticate", b"proxy-authentication-info", b"proxy-authorization",
    # Made anew for every answer (RFC 9111 §5.1).
    b"age",
})  # fmt: skip

NEVER_STORED_PREFIXES = (b"ratelimit", b"x-ratelimit-")
"""The quota of the client that was first: it means nothing to the next."""

LONGEST_BYTES = 1 << 63
"""Stands for any length that is longer."""
_MOST_DIGITS = 18

MAX_READ = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What of a response's head does not hang on its request, on the policy or on time."""

    control: CacheControl
    names: tuple[bytes, ...] | None
    """The request fields that it was chosen by, whether or not its Vary says so; None for ``*``."""
    names_if_http: tuple[bytes, ...] | None
    """The same, where the request came without TLS."""
    kept: Fields
    """What of its fields may be stored."""
    dated_at: float | None
    age_s: float
    """As its Age says."""
    has_validator: bool
    sets_cookies: bool
    content_length: int | None
    """As declared, ``LONGEST_BYTES`` at most; None where that is no number."""


def reading_of(response: ResponseHead) -> Reading:
    """What ``response`` says, read now if it was not lately."""
    return _lately.of(response) or _lately.keep(response, _read(response))


def stored_fields(fields: Fields, control: CacheControl | None = None) -> Fields:
    """What of a response's fields may be kept: not those of a connection or a client, nor those ``control`` names."""
    control = CacheControl.effective(fields) if control is None else control
    named = connection_fields(fields) | control.no_cache_fields | control.private_fields
    dropped = NEVER_STORED_FIELDS | named if named else NEVER_STORED_FIELDS
    return Fields(
        [pair for pair in fields.pairs if pair[0] not in dropped and not pair[0].startswith(NEVER_STORED_PREFIXES)]
    )


def _read(response: ResponseHead) -> Reading:
    fields = response.fields
    control = CacheControl.effective(fields)
    return Reading(
        control=control,
        names=_varies_on(fields, is_http=False),
        names_if_http=_varies_on(fields, is_http=True),
        kept=stored_fields(fields, control),
        dated_at=date_of(fields),
        age_s=told_age(fields),
        has_validator=has_validator(fields),
        sets_cookies=not fields.names().isdisjoint(SETTING_FIELDS),
        content_length=_content_length(fields),
    )


def _varies_on(fields: Fields, *, is_http: bool) -> tuple[bytes, ...] | None:
    names = vary_names(fields)
    if names is None:
        return None
    unsaid = set()
    if fields.get(b"access-control-allow-origin") not in {None, b"*"}:
        unsaid.add(b"origin")  # it names the origin that asked
    if is_coded(fields):
        unsaid.add(b"accept-encoding")  # who asked takes this coding, and others may not (RFC 9110 §12.5.3)
    if is_http and (fields.get(b"location") or b"")[:6].lower() == b"https:":
        unsaid.add(b"upgrade-insecure-requests")  # a browser asked for that; who did not may be unable to follow
    return tuple(sorted({*names, *unsaid})) if unsaid else names


def _content_length(fields: Fields) -> int | None:
    length = fields.get(b"content-length") or b""
    if not length.isdigit():
        return None
    return int(length) if len(length) <= _MOST_DIGITS else LONGEST_BYTES


_lately: ByIdentity[ResponseHead, Reading] = ByIdentity(MAX_READ, attrgetter("fields.is_long"))

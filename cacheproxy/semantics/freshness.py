"""How long a response is fresh, and how old it is (RFC 9111 §4.2). All in seconds."""

import math
import re

from cacheproxy.semantics.cache_control import MAX_DELTA_S, CacheControl, delta_seconds
from cacheproxy.semantics.dates import parse_http_date
from cacheproxy.semantics.fields import Fields

HEURISTICALLY_CACHEABLE = frozenset({200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501})
"""Status codes that may be kept without a word from the origin (RFC 9110 §15.1)."""

HEURISTIC_FRACTION = 0.1
HEURISTIC_MAX_S = 86_400.0
CLOCK_SKEW_S = 10.0
"""By how much the clocks of replicas may differ. By so much longer a response may count as fresh."""

_AGES = re.compile(rb"([0-9]+)(?:,[0-9]+)*")


def initial_age(dated_at: float | None, told_s: float, *, requested_at: float, received_at: float) -> float:
    """Corrected initial age: how old a response was when it arrived, by its Date and its Age (RFC 9111 §4.2.3)."""
    apparent_s = 0.0 if dated_at is None else max(0.0, math.floor(received_at) - dated_at)
    delay_s = max(0.0, received_at - requested_at)
    return min(max(apparent_s, told_s + delay_s), float(MAX_DELTA_S))


def current_age(initial_age_s: float, received_at: float, now: float) -> float:
    """How old it is at ``now`` (RFC 9111 §4.2.3).

    Clocks of replicas differ by a little, which adds nothing. What was received long after ``now`` was received before
    a clock went back, nobody knows how long ago: it is older than any lifetime.
    """
    resident_s = now - received_at
    if resident_s < -CLOCK_SKEW_S:
        return float(MAX_DELTA_S)
    return initial_age_s + max(0.0, resident_s)


def explicit_lifetime(control: CacheControl, fields: Fields, received_at: float) -> float | None:
    """The lifetime the origin gave by s-maxage, max-age or Expires, in this order; None if it gave none (§4.2.1)."""
    if control.s_maxage_s is not None:
        return float(control.s_maxage_s)
    if control.max_age_s is not None:
        return float(control.max_age_s)
    return None if control.targeted else _until_expires(fields, received_at)


def heuristic_lifetime(control: CacheControl, status: int, fields: Fields, received_at: float) -> float | None:
    """A tenth of the time since it was last modified, at most a day; None where no guess is allowed (§4.2.2)."""
    if status not in HEURISTICALLY_CACHEABLE and not control.public:
        return None
    modified_at = parse_http_date(fields.get(b"last-modified") or b"")
    if modified_at is None or _pragma_no_cache(control, fields):
        return None
    dated_at = date_of(fields)
    since_s = (received_at if dated_at is None else dated_at) - modified_at
    return min(max(0.0, since_s * HEURISTIC_FRACTION), HEURISTIC_MAX_S)


def date_of(fields: Fields) -> float | None:
    """The Date of a message in epoch seconds, or None if it has no valid one."""
    value = fields.get(b"date")
    return None if value is None else parse_http_date(value)


def _until_expires(fields: Fields, received_at: float) -> float | None:
    lines = set(fields.all(b"expires"))
    if not lines:
        return None
    expires_at = parse_http_date(lines.pop())
    if expires_at is None or lines:
        return 0.0
    dated_at = date_of(fields)
    lifetime_s = expires_at - (received_at if dated_at is None else dated_at)
    return min(max(0.0, lifetime_s), float(MAX_DELTA_S))


def told_age(fields: Fields) -> float:
    """The Age field. The first of a bare list counts (RFC 9111 §5.1); what is malformed is older than any lifetime.

    §5.1 would have a malformed Age ignored (SHOULD). Somebody on the way says that the response is old but not how
    old, so the safer reading is stale; lines repeated by several hops ("0, 0") are such a case.
    """
    value = fields.combined(b"age")
    if value is None:
        return 0.0
    match = _AGES.fullmatch(value.strip(b" \t"))
    age_s = delta_seconds(match[1]) if match else None
    return float(MAX_DELTA_S if age_s is None else age_s)


def _pragma_no_cache(control: CacheControl, fields: Fields) -> bool:
    """Pragma has no meaning in a response (RFC 9111 §5.4), but it is reason enough not to guess."""
    return not control.targeted and b"no-cache" in (fields.get(b"pragma") or b"").lower()

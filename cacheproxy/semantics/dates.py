"""HTTP dates: the three forms read, the one form written (RFC 9110 §5.6.7). No local time zone, no clock."""

import re
from calendar import timegm
from datetime import UTC, datetime
from functools import lru_cache

from cacheproxy.semantics.memo import memoised

_DAYS = (b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun")
_MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")
_MONTH_OF = {name.lower(): number for number, name in enumerate(_MONTHS, start=1)}
_LONGEST_BYTES = 40

_TIME = rb"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
_DAY = rb"(?:mon|tue|wed|thu|fri|sat|sun)"
_LONG_DAY = rb"(?:mon|tues|wednes|thurs|fri|satur|sun)day"
_ZONE = rb"(?:gmt|utc)"
_FORMS = tuple(
    re.compile(form, re.IGNORECASE)
    for form in (
        rb"%b, (?P<day>\d\d) (?P<month>[a-z]{3}) (?P<year>\d{4}) %b %b" % (_DAY, _TIME, _ZONE),
        rb"%b, (?P<day>\d\d)-(?P<month>[a-z]{3})-(?P<year>\d\d) %b %b" % (_LONG_DAY, _TIME, _ZONE),
        rb"%b (?P<month>[a-z]{3}) (?P<day>[ \d]\d) %b (?P<year>\d{4})" % (_DAY, _TIME),
    )
)


@memoised(maxsize=1024)
def parse_http_date(value: bytes) -> float | None:
    """Epoch seconds of an IMF-fixdate, RFC 850 or asctime date, in any case of letters; None if it is none of them.

    A two-digit year is taken as 1970 to 2069, which keeps to the fifty years of RFC 9110 §5.6.7 or errs to the past.
    """
    value = value.strip(b" \t")
    if len(value) > _LONGEST_BYTES:
        return None
    for form in _FORMS:
        match = form.fullmatch(value)
        if match:
            return _epoch(match)
    return None


def _epoch(match: re.Match[bytes]) -> float | None:
    month = _MONTH_OF.get(match["month"].lower())
    year, day = int(match["year"]), int(match["day"])
    hour, minute, second = int(match["hour"]), int(match["minute"]), int(match["second"])
    if month is None or hour > 23 or minute > 59 or second > 60:
        return None
    if len(match["year"]) == 2:
        year += 2000 if year < 70 else 1900
    try:
        datetime(year, month, day, tzinfo=UTC)
    except ValueError:
        return None
    return float(timegm((year, month, day, hour, minute, second)))


def format_http_date(at: float) -> bytes:
    """The IMF-fixdate of ``at`` (epoch seconds, cut to whole ones; years 1 to 9999)."""
    return _formatted(int(at))


@lru_cache(maxsize=64)
def _formatted(second: int) -> bytes:
    at = datetime.fromtimestamp(min(max(second, -62_135_596_800), 253_402_300_799), UTC)
    day, month = _DAYS[at.weekday()], _MONTHS[at.month - 1]
    return b"%b, %02d %b %04d %02d:%02d:%02d GMT" % (day, at.day, month, at.year, at.hour, at.minute, at.second)

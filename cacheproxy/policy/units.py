"""Durations, sizes and rates as people write them."""

import json
import re

DURATION_PATTERN = r"^[0-9]+(\.[0-9]+)?(ms|s|m|h|d)$"
SIZE_PATTERN = r"^[0-9]+(\.[0-9]+)?(B|kB|KB|MB|GB|KiB|MiB|GiB)$"
RATE_PATTERN = r"^[0-9]+ *(/|per) *(s|sec|second|m|min|minute|h|hour|d|day|[0-9]+(\.[0-9]+)?(ms|s|m|h|d))$"

_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)(ms|s|m|h|d)")
_SIZE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)(B|kB|KB|MB|GB|KiB|MiB|GiB)")
_RATE = re.compile(r"([0-9]{1,9}) *(?:/|per) *([a-z0-9. ]+)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_PERIODS = {"sec": 1.0, "second": 1.0, "min": 60.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0}
LONGEST_S = 10 * 365 * 86400.0
"""Ten years: beyond it a duration is a mistake."""


def duration_s(text: object) -> float:
    """Seconds in ``250ms``, ``10s``, ``5m``, ``1h`` or ``1d``. ValueError says what was meant."""
    if isinstance(text, int | float) and not isinstance(text, bool):
        raise ValueError(f"{text} has no unit; write `{text}s` if seconds are meant")  # noqa: TRY004 (pydantic's way)
    found = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError(f"{shown(text)} is not a duration; write `10s`, `5m`, `1h` or `250ms`")
    seconds = float(found[1]) * _SECONDS[found[2]]
    if seconds > LONGEST_S:
        raise ValueError(f"{shown(text)} is more than ten years")
    return seconds


def size_bytes(text: object) -> int:
    """Bytes in ``64KiB``, ``1MiB`` or ``10MB``. ValueError says what was meant."""
    if isinstance(text, int | float) and not isinstance(text, bool):
        raise ValueError(f"{text} has no unit; write `{text}B` if bytes are meant")  # noqa: TRY004 (pydantic's way)
    found = _SIZE.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError(f"{shown(text)} is not a size; write `64KiB` or `1MiB`")
    return int(float(found[1]) * _BYTES[found[2]])


def rate(text: object) -> tuple[int, float]:
    """Requests, and the seconds they are for: ``100/minute``, ``100 per 60s``. ValueError says what was meant."""
    found = _RATE.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError(f"{shown(text)} is not a rate; write `100/minute`, `10/s` or `100 per 60s`")
    period_s = _period_s(found[2].strip())
    requests = int(found[1])
    if period_s is None or period_s <= 0:
        raise ValueError(f"{shown(text)} is not a rate: `{found[2]}` is no period; write `minute` or `60s`")
    if requests == 0:
        raise ValueError(f"{shown(text)} would let nobody in")
    return requests, period_s


def shown(value: object) -> str:
    """``value`` as a message quotes it: as YAML has it, cut where it is long."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=repr)
    return f"`{text[:60]}{'...' if len(text) > 60 else ''}`"


def _period_s(text: str) -> float | None:
    if text in _PERIODS:
        return _PERIODS[text]
    if text in _SECONDS:
        return _SECONDS[text]
    found = _DURATION.fullmatch(text)
    return float(found[1]) * _SECONDS[found[2]] if found else None

"""A session as it lies in Redis: a JSON object, which may name its own end. Standard library only."""

import json
import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime

MAX_SESSION_BYTES = 64 * 1024
"""A larger value is no session: it would be parsed on every request."""

_ID = re.compile(r"[A-Za-z0-9._~+/=-]{1,200}")


def new_session_id() -> str:
    """Nearly 256 random bits, in characters that a cookie and the sidecars accept."""
    session_id = secrets.token_urlsafe(32)
    # With a dash in front a shell's commands would take it for an option.
    return new_session_id() if session_id.startswith("-") else session_id


def is_session_id(text: str) -> bool:
    """Whether ``text`` may name a session: nothing that has a meaning in keys, tags or cookies, and not too long."""
    return _ID.fullmatch(text) is not None


def parse_session(packed: bytes) -> dict[str, object] | None:
    """The session's fields, or None where ``packed`` is not a JSON object in UTF-8."""
    if len(packed) > MAX_SESSION_BYTES:
        return None
    try:
        fields = json.loads(packed.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None


def pack_session(fields: Mapping[str, object]) -> bytes:
    """What ``parse_session`` reads. ValueError or TypeError where ``fields`` cannot be JSON, or are too large."""
    packed = json.dumps(fields, allow_nan=False, separators=(",", ":")).encode()
    if len(packed) > MAX_SESSION_BYTES:
        raise ValueError(f"the session has {len(packed)} bytes, over {MAX_SESSION_BYTES}")
    return packed


def expired(fields: Mapping[str, object], now: float) -> bool:
    """Whether ``expires_at`` has come. One that cannot be read has: a session of unknown end is none."""
    if fields.get("expires_at") is None:
        return False
    expires_at = _epoch_s(fields["expires_at"])
    return expires_at is None or not expires_at > now


def _epoch_s(value: object) -> int | float | None:
    """``value`` as epoch seconds: a number of them, or a date and time in ISO 8601 (UTC where it names no zone)."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None

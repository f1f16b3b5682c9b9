"""Sessions as the services keep them in Redis: JSON objects under ``session:{id}``."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime

from cacheproxy.clock import Clock
from cacheproxy.policy.route import SessionRules
from cacheproxy.redis_link.contract import Budget, Link
from cacheproxy.redis_link.scripts import load_script
from cacheproxy.sessions.contract import Session

MAX_SESSION_BYTES = 64 * 1024
"""A larger value is no session: it would be parsed on every request."""

_LOAD = load_script("cacheproxy.sessions", "load")


class RedisSessions:
    """Reads and touches a session in one trip."""

    def __init__(self, link: Link, rules: SessionRules, clock: Clock) -> None:
        """Look under ``rules.key``; ``clock`` tells when a session's own ``expires_at`` has come."""
        self._link = link
        self._rules = rules
        self._clock = clock

    async def load(self, session_id: str, budget: Budget | None = None) -> Session | None:
        """The session, or None where it is unknown, expired or malformed. StateError if Redis did not say."""
        ttl_ms = round(self._rules.ttl_s * 1000) if self._rules.sliding else 0
        packed = await self._link.run(_LOAD, [self._rules.key.replace("{id}", session_id)], [ttl_ms], budget)
        fields = None if packed is None else parse_session(packed)
        if fields is None or expired(fields, self._clock.now()):
            return None
        return Session(session_id, fields)


def parse_session(packed: bytes) -> Mapping[str, object] | None:
    """The session's fields, or None where ``packed`` is not a JSON object in UTF-8."""
    if len(packed) > MAX_SESSION_BYTES:
        return None
    try:
        fields = json.loads(packed.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None


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

"""Sessions as the services keep them in Redis: JSON objects under ``session:{id}``."""

from cacheproxy.client.session_json import expired, parse_session
from cacheproxy.clock import Clock
from cacheproxy.policy.identity import SessionRules
from cacheproxy.redis_link.contract import Budget, Link
from cacheproxy.redis_link.scripts import load_script
from cacheproxy.sessions.contract import Session

_LOAD = load_script("cacheproxy.sessions", "load")


class RedisSessions:
    """Reads and touches a session in one trip."""

    def __init__(self, link: Link, rules: SessionRules, clock: Clock) -> None:
        """Look under ``rules.key``; ``clock`` tells when a session's own ``expires_at`` has come."""
        self._link = link
        self._rules = rules
        self._clock = clock

    def peek(self, session_id: str) -> Session | None:  # noqa: ARG002
        """None: only Redis knows."""
        return None

    async def load(self, session_id: str, budget: Budget | None = None) -> Session | None:
        """The session, or None where it is unknown, expired or malformed. StateError if Redis did not say."""
        ttl_ms = round(self._rules.ttl_s * 1000) if self._rules.sliding else 0
        packed = await self._link.run(_LOAD, [self._rules.key.replace("{id}", session_id)], [ttl_ms], budget)
        fields = None if packed is None else parse_session(packed)
        if fields is None or expired(fields, self._clock.now()):
            return None
        return Session(session_id, fields)

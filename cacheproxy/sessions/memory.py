"""Sessions remembered for a second, as long as the bus says who has logged out meanwhile."""

from dataclasses import dataclass
from math import inf
from typing import Protocol

from cacheproxy.client.session_json import expired
from cacheproxy.clock import Clock
from cacheproxy.policy.identity import SessionRules
from cacheproxy.policy.lookup import scalar_at
from cacheproxy.policy.tags import EVERYTHING, bounded
from cacheproxy.redis_link.contract import Budget
from cacheproxy.sessions.contract import Session, Sessions

_OURS = ("session:", "user:", "@long/")
"""How tags begin that may name a session (see ``policy.tags.bounded``)."""


class Purged(Protocol):
    """As much of ``invalidation.contract.Applied`` as matters here."""

    @property
    def tags(self) -> tuple[str, ...]:
        """What was purged."""
        ...


@dataclass(frozen=True, slots=True)
class _Kept:
    session: Session
    until: float
    tags: tuple[str, ...]


class SessionMemory:
    """Answers from memory while trusted, and asks ``inner`` otherwise. An ``invalidation.contract.Mirror``.

    A purge of ``session:{id}`` or ``user:{id}`` forgets a session at once, even one that is being loaded.
    """

    def __init__(self, inner: Sessions, rules: SessionRules, clock: Clock, *, max_sessions: int = 10_000) -> None:
        """Keep at most ``max_sessions`` for ``rules.memory_s`` each; not trusted before it is told so."""
        self._inner = inner
        self._rules = rules
        self._clock = clock
        self._max_sessions = max_sessions
        self._kept: dict[str, _Kept] = {}
        self._ids: dict[str, set[str]] = {}
        self._forgotten = 0
        self._trusted_until = -inf

    def peek(self, session_id: str) -> Session | None:
        """The session if it is at hand and may be trusted: the same object as long as it is not looked up anew."""
        now = self._clock.monotonic()
        kept = self._kept.get(session_id) if now < self._trusted_until else None
        if kept is None or kept.until <= now or expired(kept.session.fields, self._clock.now()):
            return None
        return kept.session

    async def load(self, session_id: str, budget: Budget | None = None) -> Session | None:
        """The session, or None where it is unknown, expired or malformed. StateError if it could not be told."""
        known = self.peek(session_id)
        if known is not None:
            return known
        forgotten, began = self._forgotten, self._clock.monotonic()
        session = await self._inner.load(session_id, budget)
        self._drop(session_id)
        if session is not None and forgotten == self._forgotten and began < self._trusted_until:
            self._keep(session, began + self._rules.memory_s)
        return session

    def apply(self, purge: Purged) -> None:
        """Forget the sessions that ``purge`` names, and what is being loaded now if it might name that."""
        for tag in purge.tags:
            if tag == EVERYTHING:
                self.clear()
            elif tag.startswith(_OURS):
                self._forgotten += 1
                for session_id in tuple(self._ids.get(tag, ())):
                    self._drop(session_id)

    def trust(self, trusted: bool, *, epoch: str = "", base_us: int = 0, until: float = inf) -> None:  # noqa: ARG002, FBT001
        """Answer from memory until ``until`` (monotonic), or not at all. What was kept while deaf is forgotten."""
        if not trusted or self._clock.monotonic() >= self._trusted_until:
            self.clear()
        self._trusted_until = until if trusted else -inf

    def clear(self) -> None:
        """Forget every session."""
        self._forgotten += 1
        self._kept.clear()
        self._ids.clear()

    def __len__(self) -> int:
        """How many sessions are kept."""
        return len(self._kept)

    def _keep(self, session: Session, until: float) -> None:
        user = scalar_at(session.fields, self._rules.user_field)
        tags = (bounded(f"session:{session.id}"), *(() if user is None else (bounded(f"user:{user}"),)))
        self._kept[session.id] = _Kept(session, until, tags)
        for tag in tags:
            self._ids.setdefault(tag, set()).add(session.id)
        if len(self._kept) > self._max_sessions:
            self._drop(next(iter(self._kept)))

    def _drop(self, session_id: str) -> None:
        kept = self._kept.pop(session_id, None)
        for tag in kept.tags if kept else ():
            ids = self._ids[tag]
            ids.discard(session_id)
            if not ids:
                del self._ids[tag]

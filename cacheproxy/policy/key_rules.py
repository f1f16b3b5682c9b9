"""Which of a request counts for its cache key, and what takes it past the cache."""

from dataclasses import dataclass

from cacheproxy.policy.conditions import Condition


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryRules:
    """Which query parameters a key tells apart: all, or those in ``allow``, or all but those in ``ignore`` (globs)."""

    allow: tuple[str, ...] | None = None
    ignore: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BypassRules:
    """Query parameters, request fields (lower-case) and cookies whose presence takes a request past the cache."""

    query: tuple[str, ...] = ()
    headers: tuple[bytes, ...] = ()
    cookies: tuple[str, ...] = ()
    when: Condition | None = None
    """What does so, too."""

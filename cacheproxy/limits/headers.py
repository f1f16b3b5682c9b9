"""What a response says about rate limits. Pure.

RateLimit and RateLimit-Policy are structured fields (draft-ietf-httpapi-ratelimit-headers-11); X-RateLimit-* is what
most clients read today, with the reset in seconds from now. Retry-After is in whole seconds, rounded up, so that who
keeps to it is admitted.
"""

import json
from collections.abc import Sequence
from functools import lru_cache
from math import ceil

from cacheproxy.limits.contract import Limited, LimitState
from cacheproxy.policy.route import LimitHeaders, LimitMode
from cacheproxy.semantics.fields import Fields, Pair

PROBLEM_TYPE = "https://iana.org/assignments/http-problem-types#quota-exceeded"

_PROBLEM: tuple[Pair, ...] = ((b"content-type", b"application/problem+json"), (b"cache-control", b"no-store"))


def limit_fields(states: Sequence[LimitState], style: LimitHeaders = LimitHeaders.BOTH) -> tuple[Pair, ...]:
    """The fields of an admitted response. Rules in shadow are not the client's business."""
    shown = [state for state in states if state.rule.mode is LimitMode.ENFORCE]
    if not shown or style is LimitHeaders.NONE:
        return ()
    standard = () if style is LimitHeaders.LEGACY else _standard(shown, shown)
    return standard if style is LimitHeaders.STANDARD else (*standard, *_legacy(shown))


def limit_lines(states: Sequence[LimitState], style: LimitHeaders) -> bytes:
    """``limit_fields`` as they are sent, each behind a line end."""
    shown = [state for state in states if state.rule.mode is LimitMode.ENFORCE]
    if not shown or style is LimitHeaders.NONE:
        return b""
    lines = b""
    if style is not LimitHeaders.LEGACY:
        lines = b"\r\nratelimit-policy: %s\r\nratelimit: %s" % (_policies(shown), _quotas(shown))
    if style is not LimitHeaders.STANDARD:
        lines += b"\r\nx-ratelimit-limit: %d\r\nx-ratelimit-remaining: %d\r\nx-ratelimit-reset: %d" % _nearest(shown)
    return lines


def limited_fields(limited: Limited, style: LimitHeaders = LimitHeaders.BOTH) -> Fields:
    """The fields of a 429: Retry-After in every style, and the quotas that it is over.

    Those come back as late as Retry-After says: it should not point before the ``t`` of the quotas told of (§7.4).
    """
    return Fields((*_PROBLEM, *_refusal(limited, style), (b"retry-after", b"%d" % retry_after_s(limited))))


def limited_problem(limited: Limited) -> bytes:
    """The ``application/problem+json`` body of a 429 (RFC 9457; the draft's problem type ``quota-exceeded``)."""
    violated = limited.violated or (limited.rule,)
    problem = {
        "type": PROBLEM_TYPE,
        "title": "Request cannot be satisfied as assigned quota has been exceeded",
        "status": 429,
        "reason": "rate-limited",
        "violated-policies": [rule.name for rule in violated],
        "retry-after": retry_after_s(limited),
    }
    return json.dumps(problem).encode()


def retry_after_s(limited: Limited) -> int:
    """Whole seconds after which the client is admitted; at least 1."""
    return max(1, ceil(limited.retry_after_s))


def _refusal(limited: Limited, style: LimitHeaders) -> tuple[Pair, ...]:
    violated = [
        LimitState(rule=state.rule, remaining=0, reset_s=limited.retry_after_s)
        for state in limited.states
        if state.rule in (limited.violated or (limited.rule,))
    ]
    if not violated or style is LimitHeaders.NONE:
        return ()
    enforced = [state for state in limited.states if state.rule.mode is LimitMode.ENFORCE]
    standard = () if style is LimitHeaders.LEGACY else _standard(enforced, violated)
    return standard if style is LimitHeaders.STANDARD else (*standard, *_legacy(violated))


def _standard(policies: Sequence[LimitState], quotas: Sequence[LimitState]) -> tuple[Pair, ...]:
    return (b"ratelimit-policy", _policies(policies)), (b"ratelimit", _quotas(quotas))


def _policies(states: Sequence[LimitState]) -> bytes:
    return b", ".join([_policy(s.rule.name, s.rule.limit, s.rule.period_s) for s in states])


def _quotas(states: Sequence[LimitState]) -> bytes:
    return b", ".join([b"%s;r=%d;t=%d" % (_string(s.rule.name), s.remaining, ceil(s.reset_s)) for s in states])


@lru_cache(maxsize=1024)
def _policy(name: str, limit: int, period_s: float) -> bytes:
    return b"%s;q=%d;w=%d" % (_string(name), limit, max(1, ceil(period_s)))


def _legacy(states: Sequence[LimitState]) -> tuple[Pair, ...]:
    limit, remaining, reset_s = _nearest(states)
    return (
        (b"x-ratelimit-limit", b"%d" % limit),
        (b"x-ratelimit-remaining", b"%d" % remaining),
        (b"x-ratelimit-reset", b"%d" % reset_s),
    )


def _nearest(states: Sequence[LimitState]) -> tuple[int, int, int]:
    """The limit, what remains and the seconds until it is back, of the limit that is nearest to refusing."""
    nearest = states[0] if len(states) == 1 else min(states, key=lambda state: (state.remaining, -state.reset_s))
    return nearest.rule.burst or nearest.rule.limit, nearest.remaining, ceil(nearest.reset_s)


@lru_cache(maxsize=1024)
def _string(name: str) -> bytes:
    """``name`` as a structured field's string (RFC 9651 §3.3.3): printable ASCII, quotes and backslashes escaped."""
    plain = name.encode("ascii", "replace").decode()
    escaped = "".join("\\" + c if c in '"\\' else c if c.isprintable() else "?" for c in plain)
    return f'"{escaped}"'.encode()

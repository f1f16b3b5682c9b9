"""Step 4: whether the request is within its limits."""

from cacheproxy.engine.degrade import Degrade, Role
from cacheproxy.engine.exchange import Exchange
from cacheproxy.engine.recorder import Event, Recorder
from cacheproxy.engine.reply import Reply
from cacheproxy.limits.contract import Admitted, Check, Limited, Limiter
from cacheproxy.limits.headers import limited_fields, limited_problem
from cacheproxy.limits.subjects import subject_of
from cacheproxy.policy.route import Count


class Admission:
    """Asks the limiter about a route's rules."""

    def __init__(self, limiter: Limiter, degrade: Degrade, recorder: Recorder) -> None:
        """Ask ``limiter``."""
        self._limiter = limiter
        self._degrade = degrade
        self._recorder = recorder

    async def admit(self, exchange: Exchange, count: Count) -> Reply | None:
        """None where the request may go on, counted against its rules of ``count``; else the 429 (RFC 6585 §4)."""
        if not exchange.route.limits:
            return None
        checks = _checks(exchange, count)
        if not checks:
            return None
        exchange.asked_elsewhere = True
        asked = self._limiter.admit(checks, exchange.budget)
        verdict = await self._degrade.instead(Role.LIMITS, asked, Admitted())
        over = verdict.violated if isinstance(verdict, Limited) else verdict.shadowed
        for check in checks:
            self._recorder.event(Event.RATE_LIMIT, check.rule.name, "deny" if check.rule in over else "allow")
        if isinstance(verdict, Limited):
            exchange.error = "rate-limited"
            exchange.limit_states = ()  # the 429 tells of its own
            return Reply(429, limited_fields(verdict), limited_problem(verdict))
        exchange.limit_states += verdict.states
        return None


def _checks(exchange: Exchange, count: Count) -> list[Check]:
    checks = []
    for rule in exchange.route.limits:
        if rule.count is count:
            subject = subject_of(rule, exchange.route, exchange.request, exchange.params, exchange.identity)
            if subject is not None:
                checks.append(Check(rule, subject, rule.cost))
    return checks

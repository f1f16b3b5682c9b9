"""Step 4: whether the request is within its limits. Where its cost depends on how it is answered: after step 7."""

from collections.abc import Sequence

from cacheproxy.engine.degrade import Degrade
from cacheproxy.engine.exchange import Exchange
from cacheproxy.engine.recorder import Event, Recorder
from cacheproxy.limits.contract import Admitted, Check, Limited, Limiter
from cacheproxy.limits.in_flight import InFlight
from cacheproxy.limits.subjects import subject_of
from cacheproxy.policy.route import LimitRule, OnLimit, Served
from cacheproxy.redis_link.contract import Budget, Role


class Admission:
    """Asks about a route's rules: how often, and how many at once."""

    def __init__(
        self, limiter: Limiter, degrade: Degrade, recorder: Recorder, in_flight: InFlight | None = None
    ) -> None:
        """Ask ``limiter`` for rates and ``in_flight`` for the rest; without it this process counts for all."""
        self._limiter = limiter
        self._in_flight = InFlight(lambda: 1) if in_flight is None else in_flight
        self._degrade = degrade
        self._recorder = recorder

    async def admit(self, exchange: Exchange, served: Served | None = None) -> Limited | None:
        """None where the request may go on, counted; else what it is over.

        Without ``served`` the rules are asked for which that makes no difference, with it the others.
        """
        checks = checks_of(exchange, served)
        if not checks:
            return None
        crowded = self._enter(exchange, checks)
        if crowded is not None:
            return crowded
        rates = tuple(check for check in checks if check.rule.limit)
        if not rates:
            return None
        exchange.asked_elsewhere |= bool(exchange.checks)  # asked twice, and so not to be repeated at once
        exchange.checks = rates
        asked = exchange.asked
        verdict = asked.verdict if asked and asked.checks == rates else await self.ask(rates, exchange.budget)
        self.note(rates, verdict)
        if isinstance(verdict, Limited):
            exchange.leave()
            return verdict
        exchange.limit_states += verdict.states
        if verdict.delayed_s:
            exchange.budget = Budget(exchange.budget.deadline + verdict.delayed_s)
        return None

    async def ask(self, rates: Sequence[Check], budget: Budget) -> Admitted | Limited:
        """Count a request against all of ``rates``, or none. What cannot be asked about is admitted."""
        return await self._degrade.instead(Role.LIMITS, self._limiter.admit(rates, budget), Admitted())

    def admit_now(self, rates: Sequence[Check]) -> Admitted | None:
        """Admitted, counted and noted, where that needs no waiting; else None."""
        admitted = self._limiter.admit_now(rates)
        if admitted is not None:
            self.note(rates, admitted)
        return admitted

    def refusal_now(self, rates: Sequence[Check]) -> Limited | None:
        """The refusal, noted, where it is certain without waiting; else None."""
        limited = self._limiter.refusal_now(rates)
        if limited is not None:
            self.note(rates, limited)
        return limited

    def note(self, checks: Sequence[Check], verdict: Admitted | Limited) -> None:
        """Count what became of a request under each rule."""
        for check in checks:
            self._recorder.event(Event.RATE_LIMIT, check.rule.name, _decision(check.rule, verdict))

    def _enter(self, exchange: Exchange, checks: Sequence[Check]) -> Limited | None:
        """Take the request's places among those in flight; ``exchange.leave`` gives them back."""
        bounded = [check for check in checks if check.rule.concurrency]
        if not bounded:
            return None
        exchange.asked_elsewhere = True
        entered = self._in_flight.enter(bounded)
        if isinstance(entered, Limited):
            self.note(bounded, entered)
            return entered
        permits, admitted = entered
        exchange.permits += (permits,)
        self.note([check for check in bounded if not check.rule.limit], admitted)
        return None


def _decision(rule: LimitRule, verdict: Admitted | Limited) -> str:
    """What became of a request under ``rule``, for the metrics."""
    if isinstance(verdict, Limited):
        return "deny" if rule in verdict.violated else "allow"
    if verdict.shadowed and rule in verdict.shadowed:
        return "shadow_deny"
    if rule.limit and not any(state.rule is rule for state in verdict.states):
        return "unknown"
    return "delay" if verdict.delayed_s and rule.on_limit is OnLimit.DELAY else "allow"


def checks_of(exchange: Exchange, served: Served | None) -> list[Check]:
    """What is to be asked about a request: before it is known how it will be ``served``, or then."""
    checks = []
    for rule in exchange.route.limits:
        if rule.waits_for_plan is (served is None):
            continue
        cost = rule.cost if served is None else rule.cost_of(served)
        if not cost:
            continue
        subject = subject_of(rule, exchange.route, exchange.request, exchange.params, exchange.identity)
        if subject is not None:
            checks.append(Check(rule, subject, cost))
    return checks

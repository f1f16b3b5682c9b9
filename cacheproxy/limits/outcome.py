"""From what each check came to, to what the request is told. Pure."""

from collections.abc import Sequence

from cacheproxy.limits.contract import Admitted, Check, Limited, LimitState
from cacheproxy.policy.route import LimitMode

Standing = tuple[int, int, int]
"""One check's wait (0: admitted) in microseconds, what remains, and the microseconds until all is back."""


def outcome_of(checks: Sequence[Check], standings: Sequence[Standing]) -> Admitted | Limited:
    """Admitted unless an enforced rule makes it wait; then Limited by the one that does so the longest."""
    states = []
    waits = []
    for check, (wait_us, remaining, reset_us) in zip(checks, standings, strict=True):
        states.append(LimitState(rule=check.rule, remaining=remaining, reset_s=reset_us / 1e6))
        if wait_us:
            waits.append((wait_us, check.rule))
    if not waits:
        return Admitted(tuple(states))
    refusing = [(wait_us, rule) for wait_us, rule in waits if rule.mode is LimitMode.ENFORCE]
    if not refusing:
        return Admitted(tuple(states), tuple(rule for _, rule in waits))
    wait_us, rule = max(refusing, key=lambda entry: entry[0])
    return Limited(
        rule=rule, retry_after_s=wait_us / 1e6, states=tuple(states), violated=tuple(rule for _, rule in refusing)
    )

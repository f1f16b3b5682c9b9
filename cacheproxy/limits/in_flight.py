"""Requests in flight: counted in this process, each rule's ``concurrency`` divided among the replicas.

Here and not in Redis: a permit that lies elsewhere outlives a process that is killed, and has to be kept alive under
every long response. Here it cannot, and costs nothing.
"""

from collections.abc import Callable, Sequence

from cacheproxy.limits.contract import Admitted, Check, Limited
from cacheproxy.policy.route import LimitMode, LimitRule

RETRY_S = 1.0
"""When to try again: nobody knows when one of those in flight will end."""

Key = tuple[str, str]


class Permits:
    """One request's places among those in flight."""

    __slots__ = ("_in_flight", "_keys")

    def __init__(self, in_flight: "InFlight", keys: Sequence[Key]) -> None:
        """``keys`` were counted by ``in_flight``."""
        self._in_flight = in_flight
        self._keys = keys

    def release(self) -> None:
        """Give them back. Idempotent."""
        self._in_flight.leave(self._keys)
        self._keys = ()


class InFlight:
    """Counts requests in flight against each rule's share of its ``concurrency``: at least 1 a replica."""

    def __init__(self, replicas: Callable[[], int]) -> None:
        """``replicas`` gives their last known number."""
        self._replicas = replicas
        self._counts: dict[Key, int] = {}

    def enter(self, checks: Sequence[Check]) -> tuple[Permits, Admitted] | Limited:
        """Places under all of ``checks``, or none: a Limited says which rules are full. Each has a ``concurrency``."""
        full = tuple(check.rule for check in checks if self._counts.get(_key(check), 0) >= self._share(check.rule))
        enforced = tuple(rule for rule in full if rule.mode is LimitMode.ENFORCE)
        if enforced:
            return Limited(rule=enforced[0], retry_after_s=RETRY_S, violated=enforced)
        keys = [_key(check) for check in checks]
        for key in keys:
            self._counts[key] = self._counts.get(key, 0) + 1
        return Permits(self, keys), Admitted(shadowed=full)

    def leave(self, keys: Sequence[Key]) -> None:
        """One request of each of ``keys`` has ended."""
        for key in keys:
            left = self._counts[key] - 1
            if left:
                self._counts[key] = left
            else:
                del self._counts[key]

    def __len__(self) -> int:
        """How many subjects have requests in flight."""
        return len(self._counts)

    def _share(self, rule: LimitRule) -> int:
        return max(1, rule.concurrency // max(1, self._replicas()))


def _key(check: Check) -> Key:
    return check.rule.name, check.subject

"""What was used most of late, by all replicas together: kept in Redis, so that a restart does not forget it."""

from collections.abc import Iterable

from cacheproxy.clock import Clock
from cacheproxy.redis_link.contract import Budget, Command, Link

PERIOD_S = 6 * 3600
"""Uses are counted by periods, and those of the current and the one before it matter: 6 to 12 hours."""
MAX_MEMBERS = 20_000
"""Of one period."""


class Usage:
    """Uses of members (any text), summed over replicas."""

    def __init__(self, link: Link, prefix: str, clock: Clock) -> None:
        """Count in Redis under ``prefix``."""
        self._link = link
        self._prefix = prefix
        self._clock = clock

    async def add(self, uses: Iterable[tuple[str, int]], budget: Budget | None = None) -> None:
        """Count ``uses`` of each member more. StateError if that is not certain."""
        key = self._key(0)
        counted: list[Command] = [("ZINCRBY", key, count, member) for member, count in uses]
        if counted:
            bounded: list[Command] = [
                ("ZREMRANGEBYRANK", key, 0, -1 - MAX_MEMBERS),
                ("EXPIRE", key, 2 * PERIOD_S),
            ]
            await self._link.batch([*counted, *bounded], budget)

    async def most(self, count: int, budget: Budget | None = None) -> list[bytes]:
        """The ``count`` most used members, the most used first. StateError."""
        ranked = [("ZRANGE", self._key(ago), 0, count - 1, "REV", "WITHSCORES") for ago in (0, 1)]
        sums: dict[bytes, float] = {}
        for period in await self._link.batch(ranked, budget):
            for member, score in period:
                sums[member] = sums.get(member, 0.0) + float(score)
        return sorted(sums, key=lambda member: -sums[member])[:count]

    def _key(self, periods_ago: int) -> str:
        return f"{{{self._prefix}}}:used:{int(self._clock.now() // PERIOD_S) - periods_ago}"

"""Limits counted in Redis by its clock, for all replicas: one script call a request, whatever its mixture of limits."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache
from itertools import chain
from pathlib import Path

from cacheproxy.limits.arithmetic import quota_of
from cacheproxy.limits.contract import Admitted, Check, Limited
from cacheproxy.limits.outcome import Standing, outcome_of
from cacheproxy.policy.route import Algorithm, LimitMode
from cacheproxy.redis_link.contract import Arg, Budget, Link, Script
from cacheproxy.redis_link.scripts import script

_LUA = Path(__file__).parent / "lua"
MAX_KNOWN = 1024
_Prepared = tuple[Script, list[str], list[Arg]]
_KIND = {algorithm: algorithm.value for algorithm in Algorithm} | {Algorithm.TOKEN_BUCKET: Algorithm.GCRA.value}


class RedisLimiter:
    """Counts in Redis. One script call admits or refuses all checks of a request together.

    In a Cluster a script's keys must share a slot, and what shares a slot here is what is of one subject. Checks of
    several subjects then take a second trip: all are looked at, and only if none refuses are they counted. Requests
    racing in between may be counted and yet refused; never are more admitted than the limit.
    """

    def __init__(
        self, link: Link, prefix: str, *, cluster: bool = False, time_us: Callable[[], int] | None = None
    ) -> None:
        """Keep keys under ``prefix``. ``time_us`` stands in for the server's clock in tests."""
        self._link = link
        self._prefix = prefix
        self._cluster = cluster
        self._time_us = time_us
        self._known: dict[int, tuple[Sequence[Check], _Prepared]] = {}

    async def admit(self, checks: Sequence[Check], budget: Budget | None = None) -> Admitted | Limited:
        """Count one request against all of ``checks`` in one step, or none. StateError if Redis did not answer."""
        if not checks:
            return Admitted()
        groups = _by_subject(checks) if self._cluster else []
        if len(groups) <= 1:
            return outcome_of(checks, await self._run(checks, budget, count=True))
        seen = await self._ask(groups, budget, count=False)
        if isinstance(seen, Limited):
            return seen
        return await self._ask([[replace(check, owed=0) for check in group] for group in groups], budget, count=True)

    def admit_now(self, checks: Sequence[Check]) -> Admitted | None:
        """None unless there is nothing to ask: only Redis knows."""
        return None if checks else Admitted()

    def refusal_now(self, checks: Sequence[Check]) -> Limited | None:  # noqa: ARG002
        """None: only Redis knows."""
        return None

    async def _ask(self, groups: list[list[Check]], budget: Budget | None, *, count: bool) -> Admitted | Limited:
        standings = await asyncio.gather(*(self._run(group, budget, count=count) for group in groups))
        return outcome_of(list(chain.from_iterable(groups)), list(chain.from_iterable(standings)))

    async def _run(self, checks: Sequence[Check], budget: Budget | None, *, count: bool) -> list[Standing]:
        script, keys, args = self._prepared(checks)
        now = "" if self._time_us is None else self._time_us()
        reply = await self._link.run(script, keys, [now, int(count), *args], budget)
        return list(zip(reply[0::3], reply[1::3], reply[2::3], strict=True))

    def _prepared(self, checks: Sequence[Check]) -> _Prepared:
        """The script, its keys and its arguments. Checks that came before, as those of a repeated hit, are found."""
        known = self._known.get(id(checks))
        if known is not None and known[0] is checks:
            return known[1]
        prepared = (
            _script(frozenset(_KIND[c.rule.algorithm] for c in checks)),
            [
                f"{self._prefix}:limits:{{{c.subject}}}:{c.rule.name}:{c.rule.algorithm}:{c.rule.period_s:g}"
                for c in checks
            ],
            list(chain.from_iterable(map(_args, checks))),
        )
        if isinstance(checks, tuple):
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known[id(checks)] = checks, prepared
        return prepared


def _by_subject(checks: Sequence[Check]) -> list[list[Check]]:
    groups: dict[str, list[Check]] = {}
    for check in checks:
        groups.setdefault(check.subject, []).append(check)
    return list(groups.values())


def _args(check: Check) -> Iterable[Arg]:
    quota = quota_of(check.rule)
    enforced = int(check.rule.mode is LimitMode.ENFORCE)
    kind = _KIND[quota.algorithm]
    return kind, check.cost, check.owed, quota.capacity, quota.span, quota.tick_us, enforced


@cache
def _script(kinds: frozenset[str]) -> Script:
    """The script for requests whose limits are of ``kinds``: small where there is one, which is nearly always."""
    parts = ["prelude", *sorted(kinds), "admit"]
    return script(f"limits-{'-'.join(sorted(kinds))}", "\n".join((_LUA / f"{part}.lua").read_text() for part in parts))

"""What limits cost: a check in Lua on the server, a check in process, and a refusal from memory.

    python benchmarks/micro_limits.py

Starts a private Valkey. The server's own time for a script comes from INFO commandstats, so neither the network nor
Python is in it.
"""

import asyncio
import time
from dataclasses import replace

from cacheproxy.clock import SystemClock
from cacheproxy.limits.contract import Check, Limiter
from cacheproxy.limits.leased import LeasedLimiter
from cacheproxy.limits.memory import MemoryLimiter
from cacheproxy.limits.redis import RedisLimiter
from cacheproxy.limits.refusals import RefusalMemory
from cacheproxy.policy.route import Algorithm, LimitRule, Precision
from cacheproxy.redis_link.connect import Tuning, connect
from cacheproxy.redis_link.contract import Link
from cacheproxy.redis_link.embedded import start_embedded

REQUESTS = 20_000
AT_ONCE = 64
SUBJECTS = 1_000


def rule(algorithm: Algorithm, limit: int = 100) -> LimitRule:
    """``limit`` an hour, so that nothing comes back while this runs."""
    return LimitRule(name=f"bench-{algorithm}-{limit}", limit=limit, period_s=3600, algorithm=algorithm)


async def spend(limiter: Limiter, rules: list[LimitRule]) -> float:
    """Requests a second through ``limiter``, ``AT_ONCE`` in flight, over many subjects."""

    async def worker(first: int) -> None:
        for number in range(first, REQUESTS, AT_ONCE):
            await limiter.admit([Check(rule, f"client-{number % SUBJECTS}") for rule in rules])

    began = time.perf_counter()
    await asyncio.gather(*(worker(first) for first in range(AT_ONCE)))
    return REQUESTS / (time.perf_counter() - began)


async def script_us(link: Link) -> float:
    """Microseconds that the server spent in each script call since the last reset."""
    stats = (await link.call("INFO", "commandstats")).decode()
    line = next(line for line in stats.splitlines() if line.startswith("cmdstat_evalsha:"))
    return float(dict(part.split("=") for part in line.partition(":")[2].split(","))["usec_per_call"])


async def in_redis(link: Link) -> None:
    """A row for each algorithm alone, and for mixtures."""
    limiter = RedisLimiter(link, "bench")
    rows = {algorithm.value: [rule(algorithm)] for algorithm in Algorithm}
    rows["gcra x 3"] = [rule(Algorithm.GCRA, limit) for limit in (101, 102, 103)]
    rows["log, limit 10,000"] = [rule(Algorithm.SLIDING_LOG, 10_000)]
    rows["all five"] = [rule(algorithm, 104) for algorithm in Algorithm]
    for name, rules in rows.items():
        await spend(limiter, rules)
        await link.call("CONFIG", "RESETSTAT")
        per_second = await spend(limiter, rules)
        print(f"redis    {name:20} {await script_us(link):6.1f} us in Lua   {per_second:9,.0f} requests/s")


async def leased(link: Link) -> None:
    """Permits taken in batches, for one busy subject as behind one route."""
    limiter = LeasedLimiter(RedisLimiter(link, "bench"), SystemClock())
    busy = replace(rule(Algorithm.GCRA, 10_000_000), precision=Precision.LEASED)

    async def worker() -> None:
        for _ in range(REQUESTS // AT_ONCE):
            await limiter.admit([Check(busy, "all")])

    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    per_second = REQUESTS / (time.perf_counter() - began)
    print(f"leased   {'gcra':20} {1e6 / per_second:6.1f} us          {per_second:9,.0f} requests/s")


async def in_process() -> None:
    """The same checks without Redis, and refusals of a client that is over its limit."""
    clock = SystemClock()
    for algorithm in Algorithm:
        per_second = await spend(MemoryLimiter(clock), [rule(algorithm)])
        print(f"memory   {algorithm.value:20} {1e6 / per_second:6.1f} us          {per_second:9,.0f} requests/s")
    remembering, blocked = RefusalMemory(MemoryLimiter(clock), clock), [rule(Algorithm.GCRA, 1)]
    await spend(remembering, blocked)
    per_second = await spend(remembering, blocked)
    print(f"refusals {'from memory':20} {1e6 / per_second:6.1f} us          {per_second:9,.0f} requests/s")


async def main() -> None:
    """Print a table."""
    server = start_embedded()
    roles = connect(server.url, Tuning(limit_s=10.0))
    try:
        await in_redis(roles.limits)
        await leased(roles.limits)
        await in_process()
    finally:
        await roles.aclose()
        server.close()


if __name__ == "__main__":
    asyncio.run(main())

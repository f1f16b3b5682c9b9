"""What a purge costs: until it is in force in the last memory, and however many entries carry the tag."""

import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from coherence_site import LAYOUT, PURGE_SCRIPT, REPLICAS, Row, Site, keys, patient

from cacheproxy.client.wire import clock_args, purge_args
from cacheproxy.invalidation.contract import Applied, PurgeMode
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.tag_clock import Stamp
from cacheproxy.storage.contract import Entry
from cacheproxy.storage.memory import MemoryStore
from cacheproxy.storage.redis import RedisStore


async def purge(site: Site) -> list[Row]:
    """Milliseconds from asking Redis for a purge to the last replica's word that its memory has followed."""
    subscription = await site.roles.subscriber().subscribe([LAYOUT.bus])
    took_ms = []
    for number in range(500):
        waiter, began = f"bench-{number}", time.perf_counter()
        args = purge_args(LAYOUT, [f"thing:{number}"], "hard", waiter=waiter)
        asking = asyncio.ensure_future(site.roles.bus.run(PURGE_SCRIPT, keys(), args, patient()))
        acknowledged: set[str] = set()
        while len(acknowledged) < REPLICAS:
            message = await subscription.next(5.0)
            assert message is not None, f"only {acknowledged} have answered"
            said = json.loads(message.payload)
            if said["kind"] == "ack" and said["waiter"] == waiter:
                acknowledged.add(said["replica"])
        took_ms.append((time.perf_counter() - began) * 1000)
        await asking
        await asyncio.sleep(0.005)
    await subscription.aclose()
    median, p99 = statistics.median(took_ms), statistics.quantiles(took_ms, n=100)[98]
    return [
        Row("purge to the last replica's memory and its word for that, median", f"{median:.2f} ms", "2 ms", median < 2),
        Row("... p99", f"{p99:.2f} ms", "10 ms", p99 < 10),
    ]


async def tag(site: Site) -> list[Row]:
    """Commands in Redis and microseconds there, and microseconds in memory, of a purge of few and of many entries."""
    few, many = [await _tagged(site, count) for count in (10, 100_000)]
    return [
        Row(
            f"purge of a tag of {cost.entries:,} entries",
            f"{cost.commands} commands, {cost.redis_us:.0f} us in Redis, {cost.memory_us:.1f} us in memory",
            "the same",
            few.commands == many.commands and cost.redis_us < 2 * few.redis_us and cost.memory_us < 2 * few.memory_us,
        )
        for cost in (few, many)
    ]


@dataclass(frozen=True, slots=True)
class _Cost:
    entries: int
    commands: int
    redis_us: float
    memory_us: float


async def _tagged(site: Site, count: int) -> _Cost:
    epoch = (await site.roles.cache.call("HGET", LAYOUT.clock, "epoch")).decode()
    store, memory = RedisStore(site.roles.cache, prefix=LAYOUT.prefix), MemoryStore(1 << 30)
    memory.trust(trusted=True, epoch=epoch)
    name = f"crowd:{count}"
    for begin in range(0, count, 500):
        entries = [_entry(number, epoch, name) for number in range(begin, min(count, begin + 500))]
        for entry in entries:
            memory.keep(entry)
        await asyncio.gather(*(store.write(entry, patient()) for entry in entries))
    args = purge_args(LAYOUT, [name], "hard")
    await site.roles.bus.run(PURGE_SCRIPT, keys(), args, patient())
    times = 200
    commands = await _commands_of(site, lambda: site.roles.bus.run(PURGE_SCRIPT, keys(), args, patient()))
    before = await _script_us(site)
    for _ in range(times):
        await site.roles.bus.run(PURGE_SCRIPT, keys(), (*clock_args(), *args[2:]), patient())
    redis_us = (await _script_us(site) - before) / times
    applied = [Applied(epoch=epoch, at_us=n, tags=(name,), mode=PurgeMode.HARD) for n in range(times)]
    began = time.perf_counter()
    for purged in applied:
        memory.apply(purged)
    memory_us = (time.perf_counter() - began) / times * 1e6
    return _Cost(count, commands, redis_us, memory_us)


def _entry(number: int, epoch: str, name: str) -> Entry:
    now = time.time()
    return Entry(
        key=f"cacheproxy:tenant-global:{name}:{number}:v1",
        status=200,
        fields=Fields.of(("content-type", "text/plain")),
        body=b"x" * 100,
        requested_at=now,
        received_at=now,
        lifetime_s=3600.0,
        keep_until=now + 3600.0,
        stamp=Stamp(epoch, int(now * 1e6)),
        tags=("*", name, f"thing:{number}"),
    )


async def _commands_of(site: Site, step: Callable[[], Awaitable[object]]) -> int:
    """Commands that ``step`` costs, those of its script among them: the fewest of several looks, for beats count in."""
    counts = []
    for _ in range(5):
        before = await _calls(site)
        await step()
        counts.append(sum((await _calls(site)).values()) - sum(before.values()) - 1)
    return min(counts)


async def _calls(site: Site) -> dict[str, int]:
    text = (await site.roles.bus.call("INFO", "commandstats", budget=patient())).decode()
    lines = [line.partition(":") for line in text.splitlines() if line.startswith("cmdstat_")]
    return {name: int(rest.partition("calls=")[2].partition(",")[0]) for name, _, rest in lines}


async def _script_us(site: Site) -> float:
    text = (await site.roles.bus.call("INFO", "commandstats", budget=patient())).decode()
    return sum(
        float(line.partition("usec=")[2].partition(",")[0])
        for line in text.splitlines()
        if line.startswith("cmdstat_evalsha")
    )

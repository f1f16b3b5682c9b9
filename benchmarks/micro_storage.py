"""What storage costs: memory for each entry in L1, microseconds for each step, and round trips to Redis.

``python benchmarks/micro_storage.py [memory|steps|redis]``
"""

import asyncio
import gc
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import uvloop

from cacheproxy.redis_link.connect import Tuning, connect
from cacheproxy.redis_link.embedded import start_embedded
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.tag_clock import Stamp
from cacheproxy.storage.codec import pack, unpack
from cacheproxy.storage.contract import Entry
from cacheproxy.storage.memory import MemoryStore
from cacheproxy.storage.redis import RedisStore

NOW = time.time()
BODY = b'{"id":%08d,"title":"' + b"x" * 270 + b'"}'


def entry(n: int, body_bytes: int = 300) -> Entry:
    """A realistic JSON response: what a FastAPI service and a policy make of ``GET /articles/{n}``."""
    fields = Fields.of(
        ("date", f"Fri, 20 Nov 2026 12:00:{n % 60:02d} GMT"),
        ("server", "uvicorn"),
        ("content-length", str(body_bytes)),
        ("content-type", "application/json"),
        ("cache-control", "public, max-age=300"),
        ("etag", f'"{n:032x}"'),
    )
    key = f"cacheproxy:tenant-global:articles:{n}:v1"
    return Entry(
        key=key,
        status=200,
        fields=fields,
        body=(BODY % n + bytes(body_bytes))[:body_bytes],
        requested_at=NOW + n * 1e-3,
        received_at=NOW + n * 1e-3 + 0.05,
        lifetime_s=300.0,
        swr_s=30.0,
        keep_until=NOW + 1e6 + n * 1e-3,
        stamp=Stamp("6f1c2b7a9d3e4f50", int(NOW * 1e6) + n),
        tags=("*", "route:article", "tenant:global", "articles:*", f"path:/articles/{n}", f"article:{n}"),
        route="article",
    )


def rss_bytes() -> int:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * 4096


def memory(count: int, body_bytes: int) -> None:
    """Fill L1 and compare its own account with what the process grew by."""
    store = MemoryStore(1 << 40)
    store.trust(True, epoch="6f1c2b7a9d3e4f50")  # noqa: FBT003 - as Mirror has it
    for n in range(2000):
        store.keep(entry(n, body_bytes))
    gc.collect()
    before_rss, before_used = rss_bytes(), store.used_bytes
    for n in range(2000, 2000 + count):
        store.keep(entry(n, body_bytes))
    gc.collect()
    grown, counted = rss_bytes() - before_rss, store.used_bytes - before_used
    print(
        f"{count:>9} entries of {body_bytes:>6} B: {grown / count - body_bytes:6.0f} B each over the body by RSS, "
        f"account {100 * counted / grown - 100:+5.1f} %"
    )


def each_us(step: Callable[[], object], times: int = 200_000) -> float:
    """Microseconds of one ``step``, the best of five runs."""
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        for _ in range(times // 5):
            step()
        best = min(best, (time.perf_counter() - started) / (times // 5))
    return best * 1e6


def steps() -> None:
    """Single steps, in this thread."""
    store = MemoryStore(1 << 30)
    store.trust(True, epoch="6f1c2b7a9d3e4f50")  # noqa: FBT003 - as Mirror has it
    one, request = entry(1), Fields.of(("accept", "*/*"), ("accept-language", "en"))
    varied = replace(one, key="v", vary=(b"accept-language",), variance=b"accept-language:en;q=1000")
    packed = pack(one)
    for kept in (one, varied):
        store.keep(kept)
    measured = {
        "find": lambda: store.find(one.key, request),
        "find, one variant": lambda: store.find("v", request),
        "peek (entry unfolded)": lambda: store.peek(one.key, request),
        "keep": lambda: store.keep(one),
        "pack": lambda: pack(one),
        "unpack": lambda: unpack(packed),
    }
    for name, step in measured.items():
        print(f"{name:<28}{each_us(step):8.2f} us")


async def redis() -> None:
    """L2 and the link, against a private Valkey."""
    server = start_embedded()
    roles = connect(server.url, Tuning(limit_s=5))
    link = roles.cache
    await link.call("HSET", "{b}:clock", "epoch", "6f1c2b7a9d3e4f50", "base", 0)
    store = RedisStore(link, prefix="b")
    for n in range(1000):
        await store.write(entry(n))
    key, tags = ENTRIES[1].key, ENTRIES[1].tags
    wanted = [
        ("GET", lambda _: link.call("GET", "absent")),
        ("L2 hit, tags known", lambda _: store.read(key, Fields(), None, tags)),
        ("L2 hit, two trips", lambda _: store.read(key, Fields())),
        ("L2 miss", lambda _: store.read("absent", Fields(), None, tags)),
        ("L2 write", lambda n: store.write(ENTRIES[n % 100])),
    ]
    for name, step in wanted:
        for callers in (1, 64):
            a_second, cpu_us = await rate(step, callers)
            print(f"{name:<22}{callers:>4} callers {a_second:>9.0f} a second, {cpu_us:5.1f} us of our CPU each")
    await roles.aclose()
    server.close()


ENTRIES = [entry(n) for n in range(100)]


async def rate(step: Callable[[int], Awaitable[object]], callers: int, seconds: float = 1.0) -> tuple[float, float]:
    """How many ``step`` finish in a second with so many callers, and the microseconds of CPU that each takes here."""
    until, done = time.perf_counter() + seconds, 0

    async def call() -> None:
        nonlocal done
        while time.perf_counter() < until:
            await step(done)
            done += 1

    started, busy = time.perf_counter(), time.process_time()
    await asyncio.gather(*(call() for _ in range(callers)))
    return done / (time.perf_counter() - started), (time.process_time() - busy) / done * 1e6


def main(what: str) -> None:
    """Run one part, or each: memory in a process of its own, so that nothing else is in its RSS."""
    match what.partition(":"):
        case ("memory", ":", size):
            count, body = size.split("x")
            memory(int(count), int(body))
        case ("memory", _, _):
            for size in ("100000x300", "10000x10000", "200x1000000"):
                subprocess.run([sys.executable, __file__, f"memory:{size}"], check=True)
        case ("steps", _, _):
            steps()
        case ("redis", _, _):
            uvloop.run(redis())
        case _:
            for part in ("memory", "steps", "redis"):
                main(part)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "all")

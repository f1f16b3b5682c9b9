"""How fast and how far a purge, a lease and an event go: three sidecars and one Valkey, as separate processes.

``python benchmarks/coherence.py [purge|tag|herd|events ...]``, or ``make bench-coherence`` for all of them.
"""

import asyncio
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import uvloop

from cacheproxy.client.wire import PURGE, Layout, clock_args, purge_args
from cacheproxy.invalidation.contract import Applied, PurgeMode
from cacheproxy.redis_link.connect import Roles, Tuning, connect
from cacheproxy.redis_link.contract import Budget
from cacheproxy.redis_link.embedded import start_embedded
from cacheproxy.redis_link.scripts import script
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.tag_clock import Stamp
from cacheproxy.storage.contract import Entry
from cacheproxy.storage.memory import MemoryStore
from cacheproxy.storage.redis import RedisStore

REPLICAS = 3
UPSTREAM_S = 0.2
POLICY = """
version: 1
routes:
  - {name: thing, match: "GET /things/{id}", cache: {ttl: 1h, key: "things:{id}", tags: ["thing:{id}"]}}
events:
  on_gap: keep
  on: {thing.changed: ["thing:{data.id}"]}
"""
LAYOUT = Layout()
_PURGE = script("purge", PURGE)


@dataclass(frozen=True, slots=True)
class Row:
    """One figure, what it is to be, and whether it is."""

    what: str
    figure: str
    aim: str
    met: bool


@dataclass(frozen=True, slots=True)
class Site:
    """Running sidecars, their origin and what they share."""

    ports: tuple[int, ...]
    admins: tuple[int, ...]
    roles: Roles
    origin: "Origin"


class Origin(asyncio.Protocol):
    """An origin that thinks for ``UPSTREAM_S`` and counts. Each request comes in one piece."""

    def __init__(self) -> None:
        """Nothing was asked for yet."""
        self.asked = 0

    def __call__(self) -> "_Connection":
        """A connection."""
        return _Connection(self)


class _Connection(asyncio.Protocol):
    def __init__(self, origin: Origin) -> None:
        self._origin = origin

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._origin.asked += data.startswith(b"GET")
        answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 300\r\n\r\n" + b"x" * 300
        asyncio.get_running_loop().call_later(UPSTREAM_S, self._transport.write, answer)


# --- a purge, until it is in force in the last memory


async def purge(site: Site) -> list[Row]:
    """Milliseconds from asking Redis for a purge to the last replica's word that its memory has followed."""
    subscription = await site.roles.subscriber().subscribe([LAYOUT.bus])
    took_ms = []
    for number in range(500):
        waiter, began = f"bench-{number}", time.perf_counter()
        args = purge_args(LAYOUT, [f"thing:{number}"], "hard", waiter=waiter)
        asking = asyncio.ensure_future(site.roles.bus.run(_PURGE, _keys(), args, _patient()))
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


# --- a purge, however many entries carry the tag


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
        await asyncio.gather(*(store.write(entry, _patient()) for entry in entries))
    args = purge_args(LAYOUT, [name], "hard")
    await site.roles.bus.run(_PURGE, _keys(), args, _patient())
    times = 200
    commands = await _commands_of(site, lambda: site.roles.bus.run(_PURGE, _keys(), args, _patient()))
    before = await _script_us(site)
    for _ in range(times):
        await site.roles.bus.run(_PURGE, _keys(), (*clock_args(), *args[2:]), _patient())
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
    text = (await site.roles.bus.call("INFO", "commandstats", budget=_patient())).decode()
    lines = [line.partition(":") for line in text.splitlines() if line.startswith("cmdstat_")]
    return {name: int(rest.partition("calls=")[2].partition(",")[0]) for name, _, rest in lines}


async def _script_us(site: Site) -> float:
    text = (await site.roles.bus.call("INFO", "commandstats", budget=_patient())).decode()
    return sum(
        float(line.partition("usec=")[2].partition(",")[0])
        for line in text.splitlines()
        if line.startswith("cmdstat_evalsha")
    )


# --- a herd of clients on one cold key


async def herd(site: Site) -> list[Row]:
    """Requests to the origin, and milliseconds to the last answer, of 1,000 clients that ask at once."""
    took_ms, asked, failed = [], [], 0
    for number in range(5):
        before = site.origin.asked
        answers = await _stampede(site, 1000, b"/things/cold-%d" % number)
        took_ms.append(max(answer.after_s for answer in answers) * 1000)
        asked.append(site.origin.asked - before)
        failed += sum(answer.status != 200 for answer in answers)
        await asyncio.sleep(0.5)
    last = statistics.median(took_ms)
    figure = f"{last:.0f} ms ({', '.join(f'{each:.0f}' for each in took_ms)})"
    return [
        Row("1,000 clients on one cold key: requests to the origin", str(max(asked)), "1", max(asked) == 1),
        Row("... not answered 200", str(failed), "0", failed == 0),
        Row("... the last answer, of which the origin takes 200 ms, median of 5", figure, "300 ms", last < 300),
    ]


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    after_s: float


class _Client(asyncio.Protocol):
    def __init__(self) -> None:
        self.answered: asyncio.Future[_Answer] = asyncio.get_running_loop().create_future()
        self._asked_at = 0.0
        self._got = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def ask(self, target: bytes) -> None:
        self._asked_at = time.perf_counter()
        self._transport.write(b"GET %s HTTP/1.1\r\nHost: bench\r\n\r\n" % target)

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, end, body = self._got.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0] or 0)
        if end and len(body) >= length:
            self._end(int(head[9:12]))
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio.Protocol's
        self._end(0)

    def _end(self, status: int) -> None:
        if not self.answered.done():
            self.answered.set_result(_Answer(status, time.perf_counter() - self._asked_at))


async def _stampede(site: Site, count: int, target: bytes) -> list[_Answer]:
    """The answers to ``count`` clients, connected before they ask."""
    loop = asyncio.get_running_loop()
    ports = [site.ports[number % REPLICAS] for number in range(count)]
    clients = [(await loop.create_connection(_Client, "127.0.0.1", port))[1] for port in ports]
    for client in clients:
        client.ask(target)
    return await asyncio.gather(*(client.answered for client in clients))


# --- a flood of plain events


async def events(site: Site) -> list[Row]:
    """Plain messages that were published and are in the tag clock afterwards, and what a hit took meanwhile."""
    seconds, each_s = 5, 20_000
    probing = asyncio.create_task(_probe_hits(site))
    began = time.perf_counter()
    for batch in range(seconds * 100):
        names = range(batch * each_s // 100, (batch + 1) * each_s // 100)
        messages = [json.dumps({"type": "thing.changed", "data": {"id": f"e{name}"}}) for name in names]
        await site.roles.bus.batch([("PUBLISH", "cacheproxy:events", message) for message in messages], _patient())
        await asyncio.sleep(max(0.0, began + (batch + 1) / 100 - time.perf_counter()))
    published_s = time.perf_counter() - began
    probing.cancel()
    with suppress(asyncio.CancelledError):
        await probing
    total = seconds * each_s
    recorded = await _recorded(site, total)
    behind_s = time.perf_counter() - began - published_s
    hits_ms = sorted(_hits_ms)
    p99 = hits_ms[int(len(hits_ms) * 0.99)]
    rate = f"{total / published_s:,.0f}/s"
    return [
        Row("plain events accepted", f"{recorded:,} of {total:,} at {rate}", "all, 20,000/s", recorded == total),
        Row("... in force everywhere after the last was published", f"{behind_s * 1000:.0f} ms", "", met=True),
        Row("... a hit meanwhile, p99", f"{p99:.1f} ms", "", met=True),
    ]


_hits_ms: list[float] = []


async def _probe_hits(site: Site) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.ports[0])
    while True:
        began = time.perf_counter()
        writer.write(b"GET /things/probe HTTP/1.1\r\nHost: bench\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(300)
        _hits_ms.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(0.002)


async def _recorded(site: Site, total: int) -> int:
    """How many of the events' tags are in the clock, once that grows no more."""
    count, since = -1, time.perf_counter()
    while count < total and time.perf_counter() - since < 5:
        fields = await site.roles.bus.call("HKEYS", LAYOUT.clock, budget=_patient())
        now = sum(field.startswith(b"t:thing:e") for field in fields)
        if now > count:
            count, since = now, time.perf_counter()
        await asyncio.sleep(0.05)
    return count


# --- all of it


def _keys() -> tuple[str, ...]:
    return LAYOUT.clock, LAYOUT.stream, LAYOUT.replicas


def _patient() -> Budget:
    return Budget(asyncio.get_running_loop().time() + 10.0)


@contextmanager
def _sidecars(redis: str, upstream: int, directory: Path) -> Iterator[list[tuple[int, int]]]:
    policy = directory / "policy.yaml"
    policy.write_text(POLICY, "utf-8")
    started, ports = [], []
    for number in range(REPLICAS):
        port, admin = _free_port(), _free_port()
        command = [sys.executable, "-m", "cacheproxy", "serve", "--config", str(policy), "--redis", redis]
        command += ["--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}"]
        command += ["--upstream", f"http://127.0.0.1:{upstream}"]
        with (directory / f"sidecar-{number}.log").open("wb") as log:
            started.append(subprocess.Popen(command, stdout=log, stderr=log))
        ports.append((port, admin))
    try:
        yield ports
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


async def _until_connected(admin: int) -> None:
    while True:
        with suppress(urllib.error.URLError, ConnectionError):
            ready = await asyncio.to_thread(urllib.request.urlopen, f"http://127.0.0.1:{admin}/readyz")
            if json.load(ready)["parts"]["bus"] == "connected":
                return
        await asyncio.sleep(0.05)


STEPS = {"purge": purge, "tag": tag, "herd": herd, "events": events}


async def _measure(redis: str, directory: Path, steps: list[str]) -> list[Row]:
    origin = Origin()
    listener = await asyncio.get_running_loop().create_server(origin, "127.0.0.1", 0)
    roles = connect(redis, Tuning(limit_s=10.0))
    rows = []
    with _sidecars(redis, listener.sockets[0].getsockname()[1], directory) as ports:
        for _, admin in ports:
            await asyncio.wait_for(_until_connected(admin), 30)
        site = Site(tuple(port for port, _ in ports), tuple(admin for _, admin in ports), roles, origin)
        for step in steps:
            rows += await STEPS[step](site)
    await roles.aclose()
    listener.close()
    return rows


def main() -> int:
    """Print each figure beside its aim. 0 if all are met."""
    steps = sys.argv[1:] or list(STEPS)
    server = start_embedded(maxmemory="2gb")
    try:
        with tempfile.TemporaryDirectory() as directory:
            rows = uvloop.run(_measure(server.url, Path(directory), steps))
    finally:
        server.close()
    for row in rows:
        print(f"{'  ' if row.met else '! '}{row.what:<82} {row.figure:<48} {row.aim and f'(aim: {row.aim})'}")
    return 0 if all(row.met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())

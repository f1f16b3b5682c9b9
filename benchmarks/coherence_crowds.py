"""What three sidecars stand: a herd of clients on one cold key, and a flood of plain events."""

import asyncio
import json
import statistics
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

from coherence_site import LAYOUT, REPLICAS, Row, Site, patient


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


async def events(site: Site) -> list[Row]:
    """Plain messages that were published and are in the tag clock afterwards, and what a hit took meanwhile."""
    seconds, each_s = 5, 20_000
    hits_ms: list[float] = []
    probing = asyncio.create_task(_probe_hits(site, hits_ms))
    began = time.perf_counter()
    for batch in range(seconds * 100):
        names = range(batch * each_s // 100, (batch + 1) * each_s // 100)
        messages = [json.dumps({"type": "thing.changed", "data": {"id": f"e{name}"}}) for name in names]
        await site.roles.bus.batch([("PUBLISH", "cacheproxy:events", message) for message in messages], patient())
        await asyncio.sleep(max(0.0, began + (batch + 1) / 100 - time.perf_counter()))
    published_s = time.perf_counter() - began
    probing.cancel()
    with suppress(asyncio.CancelledError):
        await probing
    total = seconds * each_s
    recorded = await _recorded(site, total)
    behind_s = time.perf_counter() - began - published_s
    p99 = sorted(hits_ms)[int(len(hits_ms) * 0.99)]
    rate = f"{total / published_s:,.0f}/s"
    return [
        Row("plain events accepted", f"{recorded:,} of {total:,} at {rate}", "all, 20,000/s", recorded == total),
        Row("... in force everywhere after the last was published", f"{behind_s * 1000:.0f} ms", "", met=True),
        Row("... a hit meanwhile, p99", f"{p99:.1f} ms", "", met=True),
    ]


async def _probe_hits(site: Site, took_ms: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.ports[0])
    while True:
        began = time.perf_counter()
        writer.write(b"GET /things/probe HTTP/1.1\r\nHost: bench\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(300)
        took_ms.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(0.002)


async def _recorded(site: Site, total: int) -> int:
    """How many of the events' tags are in the clock, once that grows no more."""
    count, since = -1, time.perf_counter()
    while count < total and time.perf_counter() - since < 5:
        fields = await site.roles.bus.call("HKEYS", LAYOUT.clock, budget=patient())
        now = sum(field.startswith(b"t:thing:e") for field in fields)
        if now > count:
            count, since = now, time.perf_counter()
        await asyncio.sleep(0.05)
    return count

"""How many requests a second the upstream client makes by itself, and what each costs.

A trivial httptools responder runs in a process of its own, pinned to another core. Run it as
``python benchmarks/micro_upstream.py``; ``--profile`` adds the costliest functions.
"""

import argparse
import asyncio
import cProfile
import multiprocessing
import os
import pstats
import resource
import statistics
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection as Pipe

import httptools
import uvloop

from cacheproxy.policy.route import UpstreamRules
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.head import RequestHead
from cacheproxy.upstream.bodies import BytesBody
from cacheproxy.upstream.origin import HttpOrigin

BODY = b"x" * 300
RESPONSE = (
    b"HTTP/1.1 200 OK\r\ndate: Thu, 20 Nov 2025 11:00:00 GMT\r\nserver: uvicorn\r\ncontent-length: 300\r\n"
    b'content-type: application/json\r\ncache-control: no-store\r\netag: "abc"\r\nvary: accept-encoding\r\n\r\n' + BODY
)
MIB = 1 << 20
STREAM_MIB = 256
STREAM = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (STREAM_MIB * MIB)
BROWSER = Fields.of(
    ("host", "shop.example"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"),
    ("accept-language", "en-GB,en;q=0.5"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("referer", "https://shop.example/articles"),
    ("cookie", "session_id=0123456789abcdef; theme=dark"),
    ("sec-fetch-dest", "document"),
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-site", "same-origin"),
    ("priority", "u=0, i"),
    ("x-forwarded-for", "192.0.2.7"),
    ("x-forwarded-proto", "https"),
    ("x-request-id", "01JD0000000000000000000000"),
    ("via", "1.1 cacheproxy"),
)
GET = RequestHead(method="GET", target=b"/articles?skip=0&limit=20", fields=BROWSER)
POST = RequestHead(method="POST", target=b"/articles", fields=BROWSER)


class Responder(asyncio.Protocol):
    """Answers every request with the same response, and ``/stream`` with a long body."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Keep the transport."""
        self._transport = transport
        self._target = b""
        self._room = asyncio.Event()
        self._room.set()
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        """Parse requests."""
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        """Note what is asked for."""
        self._target = url

    def on_message_complete(self) -> None:
        """Answer."""
        if self._target == b"/stream":
            self._streaming = asyncio.ensure_future(self._stream())
        else:
            self._transport.write(RESPONSE)

    def pause_writing(self) -> None:
        """Wait for room."""
        self._room.clear()

    def resume_writing(self) -> None:
        """Go on."""
        self._room.set()

    async def _stream(self) -> None:
        self._transport.write(STREAM)
        block = b"x" * 65536
        for _ in range(STREAM_MIB * 16):
            self._transport.write(block)
            await self._room.wait()


def respond(pipe: Pipe, core: int) -> None:
    """Serve on ``core`` for ever, after telling the port."""
    os.sched_setaffinity(0, {core})

    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(Responder, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(serve())


async def get(origin: HttpOrigin) -> None:
    """Make one GET."""
    _, body = await origin.send(GET)
    assert body.complete == BODY


async def post(origin: HttpOrigin) -> None:
    """Make one POST of a small body."""
    _, body = await origin.send(POST, BytesBody(BODY))
    assert body.complete == BODY


async def rate(
    origin: HttpOrigin, once: Callable[[HttpOrigin], Awaitable[None]], in_flight: int, count: int
) -> tuple[float, float]:
    """Requests a second with ``in_flight`` at a time, and microseconds of our own CPU for each."""

    async def worker() -> None:
        for _ in range(count // in_flight):
            await once(origin)

    began, cpu_began = time.perf_counter(), time.process_time()
    await asyncio.gather(*(worker() for _ in range(in_flight)))
    return count / (time.perf_counter() - began), (time.process_time() - cpu_began) / count * 1e6


async def stream(origin: HttpOrigin) -> tuple[float, int]:
    """MiB a second of a long body, and by how many KiB memory grew."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    _, body = await origin.send(RequestHead(method="GET", target=b"/stream"))
    size = 0
    async for chunk in body:
        size += len(chunk)
    assert size == STREAM_MIB * MIB
    took_s = time.perf_counter() - began
    return STREAM_MIB / took_s, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before


async def measure(port: int, rounds: int, count: int, *, profile: bool) -> None:
    """Print every figure: the median of ``rounds``."""
    origin = HttpOrigin(UpstreamRules(port=port))
    await rate(origin, get, 64, 2000)
    for name, once, in_flight in (("GET", get, 64), ("GET", get, 1), ("POST", post, 64)):
        samples = [await rate(origin, once, in_flight, count) for _ in range(rounds)]
        per_s, cpu_us = (statistics.median(column) for column in zip(*samples, strict=True))
        print(f"{name:5} {in_flight:3} in flight: {per_s:8,.0f} req/s, {cpu_us:5.1f} us of CPU each")
    mib_per_s, grown_kib = await stream(origin)
    print(f"stream of {STREAM_MIB} MiB: {mib_per_s:,.0f} MiB/s, peak RSS grew by {grown_kib} KiB")
    if profile:
        profiler = cProfile.Profile()
        profiler.enable()
        await rate(origin, get, 64, count)
        profiler.disable()
        pstats.Stats(profiler).sort_stats("tottime").print_stats(22)
    await origin.aclose()


def main() -> None:
    """Run the responder on one core and the client on another."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--count", type=int, default=32_000)
    options.add_argument("--profile", action="store_true")
    asked = options.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    ours, theirs = multiprocessing.Pipe()
    responder = multiprocessing.Process(target=respond, args=(theirs, cores[-1]), daemon=True)
    responder.start()
    os.sched_setaffinity(0, {cores[0]})
    try:
        uvloop.run(measure(ours.recv(), asked.rounds, asked.count, profile=asked.profile))
    finally:
        responder.terminate()
        responder.join()


if __name__ == "__main__":
    main()

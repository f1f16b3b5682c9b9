"""``make figures``: ours beside the figures of the reference. Writes ``docs/figures.md`` and ``docs/figures.svg``.

The sample service takes 180 ms for a list and 55 ms for an article. In front of it are two sidecars of the same policy,
one of which refreshes behind stale answers. Linux only: cores are pinned.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from figures_page import drawing, page
from machine import LOAD_CORE, SERVER_CORE, await_answer, description, fetch, free_port, running
from results_of_figures import Cold, Figures, Hits, Sample, Steady

from cacheproxy.redis_link.embedded import start_embedded

ROOT = Path(__file__).parents[1]
POLICY = Path(__file__).parent / "conf" / "figures.yaml"
RATE = 100
"""Requests a second for each sidecar while hit rates are measured."""
CLIENTS = 10
LIST, ARTICLE = "/articles", "/articles/1"
COLD = "/articles?skip=20"
TARGETS = tuple(target for number in range(1, 11) for target in (LIST, f"/articles/{number}"))
"""What is asked for, in turn: the list every other time, and ten articles."""


@dataclass(frozen=True, slots=True)
class Side:
    """A sidecar and its own copy of the service, by their ports."""

    port: int
    origin: int

    def asked(self) -> int:
        """How many requests the service got."""
        stats = fetch(self.origin, "/stats").partition(b"\r\n\r\n")[2]
        return int(json.loads(stats)["requests"])


def main() -> None:
    """Measure, print the table and write the page."""
    given = _arguments()
    os.sched_setaffinity(0, {LOAD_CORE})
    with tempfile.TemporaryDirectory(prefix="cacheproxy-figures-") as directory, ExitStack() as stack:
        redis = stack.enter_context(closing(start_embedded())).url
        sides = [
            stack.enter_context(_side(Path(directory), name, redis, f"{given.ttl}s", stale_s))
            for name, stale_s in (("refresh", "60s"), ("plain", "0s"))
        ]
        around = _around()
        figures = _measured(sides, given)
    text = page(figures, f"{description()}, {around}")
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "figures.md").write_text(text, "utf-8")
    (given.out / "figures.svg").write_text(drawing(figures), "utf-8")
    print(json.dumps(figures.summary(), indent=2) if given.json else text)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=120, help="how long hit rates are watched")
    parser.add_argument("--ttl", type=int, default=10, help="lifetime of responses, in seconds")
    parser.add_argument("--hits", type=int, default=20_000, help="requests for each latency")
    parser.add_argument("--out", type=Path, default=ROOT / "docs", help="where the page and the plot go")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    return parser.parse_args()


def _around() -> str:
    """What else the machine did, and whether we went first."""
    return f"load average {os.getloadavg()[0]:.1f} before we began, niceness {os.nice(0)}"


@contextmanager
def _side(directory: Path, name: str, redis: str, ttl: str, stale: str) -> Iterator[Side]:
    side, log = Side(free_port(), free_port()), directory / f"{name}.log"
    service = [sys.executable, "-m", "uvicorn", "--factory", "cacheproxy.demo.service:create_app"]
    service += ["--port", str(side.origin), "--log-level", "warning", "--no-access-log"]
    sidecar = [sys.executable, "-m", "cacheproxy", "serve", "--config", str(POLICY), "--redis", redis]
    sidecar += ["--listen", f"127.0.0.1:{side.port}", "--admin", f"127.0.0.1:{free_port()}"]
    sidecar += ["--upstream", f"http://127.0.0.1:{side.origin}"]
    environment = {"FIGURES_TTL": ttl, "FIGURES_REFRESH": stale, "CACHEPROXY_ACCESS_LOG": "off"}
    environment["CACHEPROXY_PREFIX"] = name
    with running(service, LOAD_CORE, log) as origin, running(sidecar, SERVER_CORE, log, environment) as proxy:
        await_answer(origin, side.origin, "/health", log)
        await_answer(proxy, side.port, LIST, log)
        yield side


def _measured(sides: Sequence[Side], given: argparse.Namespace) -> Figures:
    refreshing, plain = sides
    return Figures(
        ttl_s=given.ttl,
        bare=_bare(given.hits),
        rate=RATE,
        list_hits=_hits(refreshing, LIST, given.hits),
        article_hits=_hits(refreshing, ARTICLE, given.hits),
        cold=asyncio.run(_cold(refreshing)),
        steady=tuple(asyncio.run(_both(refreshing, plain, given.seconds))),
    )


def _hits(side: Side, target: str, number: int) -> Hits:
    """One client, one connection, one request after the other."""
    origin_s = statistics.median(_once_s(side.origin, target) for _ in range(5))
    _once_s(side.port, target)
    return Hits(origin_s, _latencies_s(side.port, target, number))


def _bare(number: int) -> Hits:
    """The same of a program on the sidecar's core that does nothing but answer: what the machine itself takes."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        program = multiprocessing.get_context("fork").Process(target=_answer_all, args=(listening,), daemon=True)
        program.start()
        try:
            return Hits(0.0, _latencies_s(listening.getsockname()[1], LIST, number))
        finally:
            program.terminate()
            program.join()


def _answer_all(listening: socket.socket) -> None:
    os.sched_setaffinity(0, {SERVER_CORE})
    connection, _ = listening.accept()
    while connection.recv(1 << 16):
        connection.sendall(b"HTTP/1.1 200 OK\r\nX-Cache: HIT\r\nContent-Length: 2000\r\n\r\n" + bytes(2000))


def _latencies_s(port: int, target: str, number: int) -> tuple[float, ...]:
    head, latencies_s = _head(target), list[float]()
    with closing(socket.create_connection(("127.0.0.1", port), 5)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while len(latencies_s) < number:
            began = time.perf_counter()
            connection.sendall(head)
            answer = _whole(connection)
            took_s = time.perf_counter() - began
            if _is_hit(answer.partition(b"\r\n\r\n")[0]):
                latencies_s.append(took_s)
    return tuple(latencies_s)


def _once_s(port: int, target: str) -> float:
    began = time.perf_counter()
    fetch(port, target)
    return time.perf_counter() - began


def _whole(connection: socket.socket) -> bytes:
    answer = connection.recv(1 << 16)
    head, _, body = answer.partition(b"\r\n\r\n")
    left = _length(head) - len(body)
    while left > 0:
        part = connection.recv(left)
        answer, left = answer + part, left - len(part)
    return answer


def _length(head: bytes) -> int:
    return int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])


def _is_hit(head: bytes) -> bool:
    """Whether nobody waited for the service. RuntimeError for what is not a good answer at all."""
    found = head.lower()
    if not found.startswith(b"http/1.1 200") or b"\r\nx-cache: " not in found:
        raise RuntimeError(f"this is no answer of a cache: {head!r}")
    return b"\r\nx-cache: hit" in found or b"\r\nx-cache: stale" in found


def _head(target: str) -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


async def _cold(side: Side) -> Cold:
    """``CLIENTS`` at once for what nobody has asked for, and once more for what is there now."""
    before = side.asked()
    clients = [_Client(side.port) for _ in range(CLIENTS)]
    took_s = []
    for _ in range(2):
        began = time.perf_counter()
        await asyncio.gather(*(client.ask(COLD) for client in clients))
        took_s.append(time.perf_counter() - began)
    for client in clients:
        client.close()
    return Cold(CLIENTS, side.asked() - before, *took_s)


async def _both(refreshing: Side, plain: Side, seconds: int) -> list[Steady]:
    return await asyncio.gather(_steady(refreshing, seconds), _steady(plain, seconds))


async def _steady(side: Side, seconds: int) -> Steady:
    """``RATE`` requests a second, sent when they are due however late the others' answers are."""
    idle: list[_Client] = []
    for target in sorted(set(TARGETS)):
        await asyncio.to_thread(fetch, side.port, target)
    before, asked, began = await asyncio.to_thread(side.asked), [], time.perf_counter()
    for number in range(seconds * RATE):
        due_s = number / RATE
        await asyncio.sleep(max(0.0, began + due_s - time.perf_counter()))
        asked.append(asyncio.create_task(_sample(side.port, idle, TARGETS[number % len(TARGETS)], due_s)))
    samples = await asyncio.gather(*asked)
    for client in idle:
        client.close()
    return Steady(seconds, tuple(samples), await asyncio.to_thread(side.asked) - before)


async def _sample(port: int, idle: "list[_Client]", target: str, due_s: float) -> Sample:
    client = idle.pop() if idle else _Client(port)
    began = time.perf_counter()
    head = await client.ask(target)
    took_s = time.perf_counter() - began
    idle.append(client)
    return Sample(due_s, took_s, hit=_is_hit(head))


class _Client:
    """A connection that is opened when it is first needed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, target: str) -> bytes:
        """The head of the answer, once its body is here."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(_head(target))
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(_length(head))
        return head

    def close(self) -> None:
        """Let go of the connection."""
        if self._streams is not None:
            self._streams[1].close()


if __name__ == "__main__":
    main()

"""One run of wrk against one server, and what came of it."""

import json
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from machine import LOAD_CORE, SERVER_CORE, core_busy_s
from servers import Origin, Server, binary

SCRIPT = Path(__file__).with_name("wrk.lua")
_NEVER = 1_000_000
"""Numbers that one run of ``each`` cannot reach."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is asked for, and how. ``kind`` is explained in wrk.lua."""

    target: str
    kind: str = "one"
    method: str = "GET"
    count: int = 0
    connections: int = 64
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one run measured. Latencies in microseconds, as the client saw them."""

    rate: float
    requests: int
    p50_us: int
    p99_us: int
    p999_us: int
    cpu_ms: float
    """The server's, for 1,000 requests."""
    rss_bytes: int
    errors: int
    origin_share: float
    """Requests that reached the origin, for each that was made."""
    foreign: float
    """The part of the server's core that something else took."""


class Generator:
    """Makes loads; keeps count of the numbers that were used, so that ``each`` never repeats one."""

    def __init__(self, origin: Origin) -> None:
        """Watch ``origin`` meanwhile."""
        self._origin = origin
        self._next = _NEVER

    def run(self, server: Server, load: Load, seconds: int) -> Run:
        """Put ``load`` on ``server`` for so long."""
        count = load.count
        if load.kind == "each" and not count:
            count, self._next = self._next, self._next + _NEVER
        asked, cpu_s, busy_s = self._origin.requests(), server.process.cpu_s(), core_busy_s(SERVER_CORE)
        began = time.perf_counter()
        made = _wrk(server.port, load, count, seconds)
        took_s = time.perf_counter() - began
        cpu_s, busy_s = server.process.cpu_s() - cpu_s, core_busy_s(SERVER_CORE) - busy_s
        asked = self._origin.requests() - asked - 1
        done = max(1, made["requests"])
        return Run(
            rate=done / made["duration_us"] * 1e6,
            requests=done,
            p50_us=made["p50_us"],
            p99_us=made["p99_us"],
            p999_us=made["p999_us"],
            cpu_ms=cpu_s / done * 1e6,
            rss_bytes=server.process.rss_bytes(),
            errors=made["errors"],
            origin_share=asked / done,
            foreign=max(0.0, busy_s - cpu_s) / took_s,
        )


def _wrk(port: int, load: Load, count: int, seconds: int) -> dict[str, int]:
    command = [
        *("taskset", "-c", str(LOAD_CORE), binary("wrk"), "-t1", f"-c{load.connections}", f"-d{seconds}s"),
        *("--timeout", "10s", "-s", str(SCRIPT), f"http://127.0.0.1:{port}", "--"),
        *(load.method, load.kind, load.target, str(count), *load.fields),
    ]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode or "{" not in made.stdout:
        raise RuntimeError(f"wrk failed: {made.stdout}{made.stderr}")
    found: dict[str, int] = json.loads(made.stdout.splitlines()[-1])
    return found


def median_run(runs: Iterable[Run]) -> Run:
    """The median of each figure; errors are summed."""
    runs = list(runs)

    def middle(name: str) -> float:
        ordered = sorted(getattr(run, name) for run in runs)
        return float(ordered[len(ordered) // 2] + ordered[(len(ordered) - 1) // 2]) / 2

    return Run(
        rate=middle("rate"),
        requests=sum(run.requests for run in runs),
        p50_us=round(middle("p50_us")),
        p99_us=round(middle("p99_us")),
        p999_us=round(middle("p999_us")),
        cpu_ms=middle("cpu_ms"),
        rss_bytes=max(run.rss_bytes for run in runs),
        errors=sum(run.errors for run in runs),
        origin_share=middle("origin_share"),
        foreign=middle("foreign"),
    )

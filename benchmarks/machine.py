"""Processes pinned to cores, what they cost, and what machine this is."""

import os
import platform
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

READY_S = 60.0
CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE = CORES[0]
"""For the server that is measured, and nothing else of ours."""
LOAD_CORE = CORES[-1]
"""For the load generator, the origin and Valkey."""
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@dataclass(frozen=True, slots=True)
class Process:
    """A running process and its descendants."""

    popen: "subprocess.Popen[bytes]"

    def pids(self) -> list[int]:
        """Its process ids, its own first."""
        found = [self.popen.pid]
        for pid in found:
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                found += map(int, children.read_text("ascii").split())
        return found

    def cpu_s(self) -> float:
        """The CPU time used so far, in seconds: of all threads that still run."""
        return (
            sum(
                int(path.read_text("ascii").split()[0])
                for pid in self.pids()
                for path in Path(f"/proc/{pid}/task").glob("*/schedstat")
            )
            / 1e9
        )

    def rss_bytes(self) -> int:
        """Resident memory, summed over the processes."""
        return sum(_status_kib(pid, "VmRSS") for pid in self.pids()) << 10


def _status_kib(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text("ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    return 0


@contextmanager
def running(command: list[str], core: int, log: Path, environment: dict[str, str] | None = None) -> Iterator[Process]:
    """``command`` as a process on ``core``, ended with this context."""
    with log.open("ab") as output:
        popen = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),  # noqa: PLW1509 - no thread of ours runs yet
        )
    try:
        yield Process(popen)
    finally:
        popen.terminate()
        try:
            popen.wait(5)
        except subprocess.TimeoutExpired:
            popen.kill()
            popen.wait()


def await_answer(
    process: Process, port: int, path: str, log: Path, status: bytes = b"200", wait_s: float = 0.02
) -> None:
    """Wait until GET ``path`` is answered with ``status``. RuntimeError with the end of ``log`` where it never is."""
    give_up_at = time.perf_counter() + READY_S
    while _status(port, path) != status:
        if time.perf_counter() > give_up_at or process.popen.poll() is not None:
            raise RuntimeError(f"port {port} does not answer: {log.read_text('utf-8', 'replace')[-2000:]}")
        time.sleep(wait_s)


def _status(port: int, path: str) -> bytes:
    try:
        return fetch(port, path)[9:12]
    except OSError:
        return b""


def fetch(port: int, path: str, fields: str = "", method: str = "GET") -> bytes:
    """The whole answer to one request on a connection of its own."""
    with closing(socket.create_connection(("127.0.0.1", port), 5)) as connection:
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n{fields}\r\n"
        connection.sendall(head.encode())
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def core_busy_s(core: int) -> float:
    """How long ``core`` has been busy since the machine started, with whatever."""
    for line in Path("/proc/stat").read_text("ascii").splitlines():
        if line.startswith(f"cpu{core} "):
            ticks = [int(part) for part in line.split()[1:9]]
            return (sum(ticks) - ticks[3] - ticks[4]) * _TICK_S
    return 0.0


def description() -> str:
    """The machine in a line."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text("ascii").splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    return f"{model}, {os.cpu_count()} cores, Linux {platform.release().split('-')[0]}"

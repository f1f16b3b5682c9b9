"""Worker processes that share a port: started on a leash, replaced when they die, drained together."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from cacheproxy.errors import CacheproxyError
from cacheproxy.server.listen import bind

log = structlog.get_logger()

MISUSED = 2
"""The exit status of a worker that cannot do what it was told: another one could not either."""


class CrewError(CacheproxyError):
    """A worker cannot be started; it has said why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackOff:
    """How soon a dead worker is replaced, in seconds. It doubles until one lives for ``steady_s``."""

    first_s: float = 0.1
    longest_s: float = 5.0
    steady_s: float = 10.0


@dataclass(slots=True)
class Worker:
    """One place in the crew, and the process that fills it."""

    number: int
    admin: Path
    """The unix socket of its admin port."""
    listener: socket.socket
    """That socket: held here, so that whoever asks a worker that is being replaced waits for the next one."""
    process: asyncio.subprocess.Process | None = None
    starts: int = 0


@dataclass(slots=True, kw_only=True)
class Crew:
    """Keeps ``count`` workers alive. ``command`` starts one; what ``job`` says of it is the first line it reads."""

    command: Sequence[str]
    job: Callable[[Worker], bytes]
    directory: Path
    count: int
    back_off: BackOff = field(default_factory=BackOff)
    workers: list[Worker] = field(default_factory=list)
    draining: bool = False
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _keepers: list[asyncio.Task[None]] = field(default_factory=list)

    def start(self) -> None:
        """Start them all. They listen some time later."""
        self.workers = [self._place(number) for number in range(self.count)]
        self._keepers = [asyncio.create_task(self._keep(worker)) for worker in self.workers]

    async def failed(self) -> None:
        """CrewError as soon as it is clear that the workers cannot do their work; never returns otherwise."""
        await asyncio.gather(*self._keepers)

    def send(self, number: signal.Signals) -> None:
        """Pass a signal on to every worker."""
        for worker in self.workers:
            if worker.process is not None:
                with contextlib.suppress(ProcessLookupError):
                    worker.process.send_signal(number)

    async def drain(self, timeout_s: float) -> None:
        """Let every worker finish what it has begun, and end those that have not after ``timeout_s``."""
        self.draining = True
        self._stop.set()
        self.send(signal.SIGTERM)
        await asyncio.wait(self._keepers, timeout=timeout_s)
        self.send(signal.SIGKILL)
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for worker in self.workers:
            worker.listener.close()

    def _place(self, number: int) -> Worker:
        path = self.directory / f"w{number}.sock"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen(128)
        return Worker(number, path, listener)

    async def _keep(self, worker: Worker) -> None:
        """Start the worker, and start it again whenever it dies, until the crew drains."""
        loop, delay_s = asyncio.get_running_loop(), self.back_off.first_s
        while not self.draining:
            began = loop.time()
            status = await self._live(worker)
            if self.draining:
                return
            if status == MISUSED and worker.starts == 1:
                raise CrewError(f"worker {worker.number} cannot start; what it says is above")
            if loop.time() - began >= self.back_off.steady_s:
                delay_s = self.back_off.first_s
            log.warning("worker_died", worker=worker.number, status=status, replaced_in_s=delay_s)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), delay_s)
            delay_s = min(2 * delay_s, self.back_off.longest_s)

    async def _live(self, worker: Worker) -> int:
        """One process's life; its exit status, negative where a signal ended it."""
        process = await asyncio.create_subprocess_exec(
            *self.command,
            stdin=asyncio.subprocess.PIPE,
            pass_fds=[worker.listener.fileno()],
            start_new_session=True,  # Ctrl-C is for the supervisor alone, which ends the others in order
        )
        worker.process = process
        worker.starts += 1
        log.info("worker_started", worker=worker.number, pid=process.pid, starts=worker.starts)
        if self.draining:
            process.terminate()
        assert process.stdin is not None
        with contextlib.suppress(ConnectionError):
            process.stdin.write(self.job(worker) + b"\n")
            await process.stdin.drain()
        status = await process.wait()
        worker.process = None
        return status


def vacant(host: str, port: int) -> tuple[str, int]:
    """``host`` and ``port`` (a free one for 0), which nobody listens on now. ListenError where somebody does.

    Workers share their port with whoever may listen on it, so a second supervisor would take half of the requests.
    """
    with bind(host, port) as probe:
        return host, int(probe.getsockname()[1])

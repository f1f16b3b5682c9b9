"""Several workers as one sidecar: one port for clients, one for the operator, one embedded Valkey."""

import asyncio
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import structlog
import uvicorn

from cacheproxy import __version__
from cacheproxy.admin.fleet import Fleet, fleet_app
from cacheproxy.admin.members import Member, Members
from cacheproxy.redis_link.embedded import start_embedded
from cacheproxy.server.listen import admin_server, bind
from cacheproxy.server.workers import Crew, Worker, vacant
from cacheproxy.settings import Settings
from cacheproxy.wiring.worker import Job, told

log = structlog.get_logger()

COMMAND = (sys.executable, "-m", "cacheproxy.cli.worker")
LINGER_S = 10.0
"""What a worker may take beside its drain: closing connections to the origin and to Redis."""


async def supervise(settings: Settings, policy: str, command: Sequence[str] = COMMAND) -> None:
    """Run ``settings.workers`` workers on the ``policy``, which was found right, until SIGTERM or SIGINT.

    ListenError where an address is taken, CrewError where no worker can start, PolicyError for a missing server.
    """
    stop = _on_signals()
    async with AsyncExitStack() as stack:
        sock = bind(*settings.admin)
        stack.callback(sock.close)
        host, port = vacant(*settings.listen)
        settings = settings.model_copy(update={"listen": (host, port)})
        url = _embedded(settings, stack)
        directory = Path(
            stack.enter_context(TemporaryDirectory(prefix="cacheproxy-workers-", ignore_cleanup_errors=True))
        )
        crew = Crew(
            command=command,
            job=lambda worker: _job(settings, policy, directory, worker, url).line(),
            directory=directory,
            count=settings.workers,
        )
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, crew.send, signal.SIGHUP)
        crew.start()
        members = Members([_member(worker) for worker in crew.workers])
        stack.push_async_callback(members.aclose)
        fleet = Fleet(name=settings.instance_id, members=members, draining=lambda: crew.draining)
        log.info(
            "supervising",
            version=__version__,
            listen=f"{host}:{port}",
            admin="{}:{}".format(*settings.admin),
            workers=settings.workers,
        )
        if settings.redis_urls() == "none":
            log.warning("workers_without_redis", limits="counted by each worker", fills="made by each worker")
        await _until_stopped(crew, admin_server(fleet_app(fleet)), sock, stop, settings)


def _on_signals() -> asyncio.Event:
    """Set by SIGTERM and SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def _embedded(settings: Settings, stack: AsyncExitStack) -> str | None:
    """The URL of the server that all workers share, if it is for us to start one."""
    if settings.redis_urls() != "embedded":
        return None
    server = start_embedded()
    stack.callback(server.close)
    return server.url


def _job(settings: Settings, policy: str, directory: Path, worker: Worker, redis: str | None) -> Job:
    own: dict[str, object] = {"instance_id": f"{settings.instance_id}-w{worker.number}", "workers": 1}
    if redis is not None:
        own |= dict.fromkeys(("redis", "redis_sessions", "redis_limits", "redis_bus"), redis)
    return Job(
        number=worker.number,
        workers=settings.workers,
        settings=told(settings) | own,
        policy=policy,
        admin=worker.listener.fileno(),
        directory=str(directory),
    )


def _member(worker: Worker) -> Member:
    return Member(
        name=f"worker-{worker.number}",
        socket=worker.admin,
        alive=lambda: worker.process is not None,
        starts=lambda: worker.starts,
    )


async def _until_stopped(
    crew: Crew, admin: uvicorn.Server, sock: socket.socket, stop: asyncio.Event, settings: Settings
) -> None:
    """Serve the operator until told to stop, or CrewError; drain the workers first, and then stop serving him."""
    serving = asyncio.create_task(admin.serve(sockets=[sock]))
    failing = asyncio.create_task(crew.failed())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((serving, failing, stopping), return_when=asyncio.FIRST_COMPLETED)
    log.info("draining", delay_s=settings.drain_delay, timeout_s=settings.drain_timeout)
    await crew.drain(settings.drain_delay + settings.drain_timeout + LINGER_S)
    admin.should_exit = True
    stopping.cancel()
    await serving
    await failing

"""One worker: what its supervisor tells it to be, and its life."""

import json
import os
import socket
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog
from pydantic import SecretStr

from cacheproxy.engine.record import WriteLine
from cacheproxy.engine.recorder import Event
from cacheproxy.errors import PolicyError
from cacheproxy.invalidation.siblings import Doors
from cacheproxy.policy.load import load_policy
from cacheproxy.policy.route import Policy
from cacheproxy.policy.router import Router
from cacheproxy.server.listen import bind
from cacheproxy.settings import Settings
from cacheproxy.wiring.application import Sockets, assemble
from cacheproxy.wiring.policy_file import policy_text

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a worker is told, on a pipe that nobody else reads: the settings may hold secrets."""

    number: int
    workers: int
    settings: Mapping[str, object]
    policy: str
    """The last policy that was right, for a worker that starts while the file is wrong."""
    admin: int
    """The file descriptor of its admin socket, which listens."""
    directory: str
    """Where the workers' sockets are."""

    def line(self) -> bytes:
        """The job without a line feed, to be read by ``of``."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def of(cls, line: bytes) -> "Job":
        """The job that ``line`` holds."""
        return cls(**json.loads(line))


def told(settings: Settings) -> dict[str, object]:
    """``settings`` as JSON can carry them, secrets and all, for ``Settings.load``."""
    return {name: _plain(getattr(settings, name)) for name in Settings.model_fields}


def _plain(value: object) -> object:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return str(value) if isinstance(value, Path) else value


async def work(
    job: Job, settings: Settings, lines_dropped: Callable[[], int], write_line: WriteLine | None = None
) -> None:
    """Serve until SIGTERM, on a port that the other workers serve, too. ListenError, PolicyError.

    ``lines_dropped`` says how many lines the log has lost; ``write_line`` takes the access log's.
    """
    policy, router = _policy(job, settings)
    paths = [Path(job.directory, f"w{number}.purge") for number in range(job.workers)]
    own = paths.pop(job.number)
    async with AsyncExitStack() as stack:
        doors = Doors(own, tuple(paths))
        application = await assemble(settings, policy, router, stack, doors=doors, write_line=write_line)
        application.metrics.watch_total(Event.LOG_DROPPED, lines_dropped)
        sockets = Sockets(bind(*settings.listen, reuse_port=True), socket.socket(fileno=job.admin))
        await application.serve(sockets)


def _policy(job: Job, settings: Settings) -> tuple[Policy, Router]:
    """The policy in the file, or else the last one that was right."""
    source = str(settings.config)
    try:
        return load_policy(policy_text(settings.config), source, os.environ, upstream_url=settings.upstream)
    except PolicyError as error:
        faults = error.lines()
    log.error("policy_refused", faults=faults)
    return load_policy(job.policy, source, os.environ, upstream_url=settings.upstream)

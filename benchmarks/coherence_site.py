"""Three sidecars, an origin that thinks, and the Valkey that they share: what coherence is measured on."""

import asyncio
import json
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from cacheproxy.client.wire import PURGE, Layout
from cacheproxy.redis_link.connect import Roles, Tuning, connect
from cacheproxy.redis_link.contract import Budget
from cacheproxy.redis_link.scripts import script

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
PURGE_SCRIPT = script("purge", PURGE)


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


def keys() -> tuple[str, ...]:
    """The Redis keys of a purge."""
    return LAYOUT.clock, LAYOUT.stream, LAYOUT.replicas


def patient() -> Budget:
    """A budget that nothing here exceeds."""
    return Budget(asyncio.get_running_loop().time() + 10.0)


@asynccontextmanager
async def running(redis: str, directory: Path) -> AsyncIterator[Site]:
    """A site on the Valkey at ``redis``, whose sidecars hear the bus; their logs go into ``directory``."""
    origin = Origin()
    listener = await asyncio.get_running_loop().create_server(origin, "127.0.0.1", 0)
    roles = connect(redis, Tuning(limit_s=10.0))
    try:
        with _sidecars(redis, listener.sockets[0].getsockname()[1], directory) as ports:
            for _, admin in ports:
                await asyncio.wait_for(_until_connected(admin), 30)
            yield Site(tuple(port for port, _ in ports), roles, origin)
    finally:
        await roles.aclose()
        listener.close()


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

"""Real processes: an origin on uvicorn, sidecars, and Valkey."""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from .wire import RawOrigin, Wire

READY_S = 20.0

POLICY = """
version: 1
trusted_proxies: [127.0.0.1/32]
session:
  cookie: session_id
  key: "session:{id}"
  ttl: 1h
  identity: {X-User-Id: user_id}
limits:
  few: {rate: 3/minute, by: [client_ip]}
routes:
  - {name: item, match: "GET /items/{id}", cache: {ttl: 60s, key: "items:{id}", tags: [items, "item:{id}"]}}
  - {name: item-write, match: ["PUT /items/{id}", "DELETE /items/{id}"], purge: [items, "item:{id}"]}
  - {name: mine, match: "GET /mine/{id}", session: required, cache: {ttl: 60s, key: "mine:{id}", scope: user}}
  - {name: limited, match: "GET /limited/{id}", limits: [few]}
  - {name: cookie, match: "GET /cookie/{id}", cache: {ttl: 60s, key: "cookie:{id}"}}
  - {name: stale, match: "GET /stale/{id}", cache: {ttl: 0s, key: "stale:{id}", stale_if_error: 1h}}
events:
  channel: cacheproxy:events
  on:
    item.updated: ["item:{data.id}"]
    user.logged_out: ["session:{data.session_id}"]
"""


def free_port() -> int:
    """A loopback port that nobody listens on, below those that outgoing connections are given."""
    while True:
        port = random.randrange(15_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@dataclass
class Process:
    """A process that is ended with its test."""

    args: list[str]
    log: Path
    environment: dict[str, str] = field(default_factory=dict)
    popen: "subprocess.Popen[bytes] | None" = None
    output: int | None = None
    """Where it writes instead of to ``log``."""

    def start(self) -> None:
        """Start it."""
        with self.log.open("ab") as log:
            env = {**os.environ, **self.environment}
            output = log if self.output is None else self.output
            self.popen = subprocess.Popen(self.args, stdout=output, stderr=subprocess.STDOUT, env=env)

    def send(self, number: int) -> None:
        """Send it a signal."""
        assert self.popen is not None
        self.popen.send_signal(number)

    def end(self, number: int = signal.SIGTERM, timeout_s: float = 10) -> int:
        """End it; its exit status."""
        if self.popen is None:
            return 0
        self.popen.send_signal(number)
        try:
            status = self.popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            status = self.popen.wait()
        self.popen = None
        return status


def await_answer(process: Process, url: str) -> None:
    """Wait until ``url`` answers 200."""
    give_up_at = time.monotonic() + READY_S
    while time.monotonic() < give_up_at:
        assert process.popen is None or process.popen.poll() is None, process.log.read_text()
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url, trust_env=False).status_code == 200:
                return
        time.sleep(0.02)
    raise AssertionError(f"{url} does not answer: {process.log.read_text()}")


@dataclass
class Origin(Process):
    """The origin, and what it counted."""

    port: int = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def count(self, path: str) -> int:
        """How often ``path`` was asked for."""
        return int(httpx.get(self.url + "/count", trust_env=False).json().get(path, 0))


@dataclass
class Sidecar(Process):
    """One replica."""

    url: str = ""
    admin: str = ""

    def ready(self) -> "Sidecar":
        """Wait until it serves."""
        await_answer(self, self.admin + "/readyz")
        return self

    def parts(self) -> dict[str, str]:
        """What readiness says of its parts."""
        return dict(httpx.get(self.admin + "/readyz", trust_env=False).json()["parts"])

    def await_part(self, name: str, state: str) -> None:
        """Wait until the part ``name`` is in ``state``."""
        give_up_at = time.monotonic() + READY_S
        while self.parts()[name] != state:
            assert time.monotonic() < give_up_at, f"{name} is {self.parts()[name]}: {self.log.read_text()[-2000:]}"
            time.sleep(0.02)

    def purge(self, **what: object) -> dict[str, object]:
        """The receipt of a purge through its admin port."""
        answer = httpx.post(self.admin + "/api/v1/purge", json=what, trust_env=False, timeout=15)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


@pytest.fixture(scope="session")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Origin]:
    """The origin; tests use paths of their own."""
    port = free_port()
    directory = tmp_path_factory.mktemp("origin")
    args = [sys.executable, "-m", "uvicorn", "--app-dir", str(Path(__file__).parent), "origin_app:app"]
    process = Origin([*args, "--port", str(port), "--log-level", "warning"], directory / "log", port=port)
    process.start()
    await_answer(process, process.url + "/count")
    yield process
    process.end()


StartSidecars = Callable[..., list[Sidecar]]


@contextlib.contextmanager
def _starting(origin_url: str, directory: Path) -> Iterator[StartSidecars]:
    started: list[Sidecar] = []

    def start(
        number: int,
        redis: str,
        *,
        policy: str = POLICY,
        upstream: str | None = None,
        wait: bool = True,
        log_to: int | None = None,
        **env: str,
    ) -> list[Sidecar]:
        file = directory / f"policy-{len(started)}.yaml"
        file.write_text(policy)
        new = []
        for _ in range(number):
            port, admin = free_port(), free_port()
            args = [sys.executable, "-m", "cacheproxy", "serve", "--config", str(file), "--redis", redis]
            args += ["--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}"]
            args += ["--upstream", upstream or origin_url]
            log = directory / f"sidecar-{port}.log"
            sidecar = Sidecar(args, log, env, url=f"http://127.0.0.1:{port}", admin=f"http://127.0.0.1:{admin}")
            sidecar.output = log_to
            sidecar.start()
            new.append(sidecar)
        started.extend(new)
        for sidecar in new:
            sidecar.ready()
            if wait and redis != "none":
                sidecar.await_part("bus", "connected")
        return new

    try:
        yield start
    finally:
        for sidecar in started:
            sidecar.end(signal.SIGKILL)


@pytest.fixture
def sidecars(origin: Origin, tmp_path: Path) -> Iterator[StartSidecars]:
    """Starts so many sidecars with a policy on a Redis URL, ready and their bus connected."""
    with _starting(origin.url, tmp_path) as start:
        yield start


@pytest.fixture(scope="module")
def raw_origin() -> Iterator[RawOrigin]:
    """An origin that answers by script, byte by byte, and keeps every byte that it got."""
    raw = RawOrigin().start()
    yield raw
    raw.stop()


@pytest.fixture(scope="module")
def raw_sidecars(raw_origin: RawOrigin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartSidecars]:
    """``sidecars`` in front of ``raw_origin``, for all tests of one file."""
    with _starting(raw_origin.url, tmp_path_factory.mktemp("sidecars")) as start:
        yield start


Connect = Callable[[Sidecar], Wire]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Opens connections to a sidecar, and closes them after the test."""
    opened: list[Wire] = []

    def open_one(sidecar: Sidecar) -> Wire:
        wire = Wire(socket.create_connection(("127.0.0.1", int(sidecar.url.rpartition(":")[2])), 5))
        opened.append(wire)
        return wire

    yield open_one
    for wire in opened:
        wire.close()


def dump(value: object) -> str:
    """JSON as services write it."""
    return json.dumps(value)

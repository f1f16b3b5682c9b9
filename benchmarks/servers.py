"""The servers that are measured beside each other, each tuned for these loads; what is not installed is skipped."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from string import Template

from machine import LOAD_CORE, SERVER_CORE, Process, await_answer, fetch, free_port, running

HERE = Path(__file__).parent
CONF = HERE / "conf"
ITEM = '{"id":1,"title":"' + "a" * 281 + '"}'
PAGE = '{"id":1,"text":"' + "b" * 1982 + '"}'
LARGE_BYTES = 100_000
STREAM_BYTES = 100 << 20
L1_BYTES = 512 << 20
"""For everybody: what responses may take."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server that can be asked."""

    name: str
    port: int
    process: Process


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the benchmark's files are, and the ports of its origins."""

    directory: Path
    origin: int
    slow: int = 9

    def apart(self, name: str) -> "Place":
        """The same origins, with files apart from those of servers that run already."""
        directory = self.directory / name
        directory.mkdir()
        return replace(self, directory=directory)

    def render(self, name: str, port: int) -> Path:
        """``conf/{name}`` with ports and directory filled in."""
        text = Template((CONF / name).read_text("utf-8")).substitute(
            dir=self.directory, origin=self.origin, slow=self.slow, port=port, item=ITEM, page=PAGE
        )
        file = self.directory / name
        file.write_text(text, "utf-8")
        return file


@dataclass(frozen=True, slots=True)
class Origin:
    """The origin, and how many requests it got."""

    port: int
    process: Process

    def requests(self) -> int:
        """So many so far, this question included."""
        found = re.search(rb"\n +\d+ +\d+ +(\d+)", fetch(self.port, "/status"))
        assert found
        return int(found[1])


@contextmanager
def origin(place: Place) -> Iterator[Origin]:
    """Start the origin on the load's core."""
    (place.directory / "large.bin").write_bytes(b"x" * LARGE_BYTES)
    with (place.directory / "stream.bin").open("wb") as stream:
        stream.truncate(STREAM_BYTES)
    config, log = place.render("origin.conf", 0), place.directory / "origin.log"
    with running([binary("nginx"), "-p", str(place.directory), "-c", str(config)], LOAD_CORE, log) as process:
        await_answer(process, place.origin, "/items/1", log)
        yield Origin(place.origin, process)


def binary(name: str) -> str:
    """Where ``name`` is installed, or empty."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin") or ""


def _nginx(place: Place, port: int) -> list[str]:
    return [binary("nginx"), "-p", str(place.directory), "-c", str(place.render("nginx.conf", port))]


def _haproxy(place: Place, port: int) -> list[str]:
    return [binary("haproxy"), "-f", str(place.render("haproxy.cfg", port))]


def _varnish(place: Place, port: int) -> list[str]:
    options = ["thread_pools=1", "thread_pool_min=100", "thread_pool_max=2000", "timeout_idle=60"]
    return [
        *(binary("varnishd"), "-F", "-j", "none", "-n", str(place.directory / "varnish")),
        *("-a", f"127.0.0.1:{port}", "-T", "none", "-f", str(place.render("varnish.vcl", port))),
        *("-s", f"malloc,{L1_BYTES >> 20}m"),
        *(part for option in options for part in ("-p", option)),
    ]


def _fastapi(_place: Place, port: int) -> list[str]:
    options = [
        "--port",
        str(port),
        "--loop",
        "uvloop",
        "--http",
        "httptools",
        "--no-access-log",
        "--log-level",
        "error",
    ]
    return [sys.executable, "-m", "uvicorn", "--app-dir", str(HERE), "fastapi_app:app", *options]


PEERS: dict[str, tuple[str, Callable[[Place, int], list[str]]]] = {
    "nginx": ("nginx", _nginx),
    "Varnish": ("varnishd", _varnish),
    "HAProxy": ("haproxy", _haproxy),
}


@contextmanager
def peer(name: str, place: Place) -> Iterator[Server]:
    """Start the peer ``name``."""
    port = free_port()
    yield from _served(name, PEERS[name][1](place, port), port, place)


@contextmanager
def fastapi(place: Place) -> Iterator[Server]:
    """Start a FastAPI service without a cache."""
    port = free_port()
    yield from _served("FastAPI", _fastapi(place, port), port, place)


@contextmanager
def sidecar(
    place: Place,
    name: str = "cacheproxy",
    *,
    redis: str = "none",
    l1_bytes: int = L1_BYTES,
    upstream: int = 0,
    policy: Path = CONF / "sidecar.yaml",
    answers: bytes = b"200",
) -> Iterator[Server]:
    """Start a sidecar, in front of the port ``upstream`` instead of the origin if given; wait until it ``answers``."""
    port = free_port()
    environment = {"CACHEPROXY_ACCESS_LOG": "off", "CACHEPROXY_L1_BYTES": str(l1_bytes), "CACHEPROXY_REDIS": redis}
    command = _sidecar(place, port, policy, upstream)
    yield from _served(name, command, port, place, environment, answers)


def _sidecar(place: Place, port: int, policy: Path = CONF / "sidecar.yaml", upstream: int = 0) -> list[str]:
    return [
        *(sys.executable, "-m", "cacheproxy", "serve", "--config", str(policy), "--listen", f"127.0.0.1:{port}"),
        *("--admin", f"127.0.0.1:{free_port()}", "--upstream", f"http://127.0.0.1:{upstream or place.origin}"),
    ]


def _served(
    name: str,
    command: list[str],
    port: int,
    place: Place,
    environment: dict[str, str] | None = None,
    answers: bytes = b"200",
) -> Iterator[Server]:
    log = place.directory / f"{name.replace(' ', '-')}.log"
    with running(command, SERVER_CORE, log, environment) as process:
        await_answer(process, port, "/items/1", log, answers)
        yield Server(name, port, process)


def start_peers(place: Place, stack: ExitStack) -> list[Server]:
    """Start every peer that is installed."""
    return [stack.enter_context(peer(name, place)) for name in installed()]


def installed() -> list[str]:
    """The peers that are here."""
    return [name for name, (program, _) in PEERS.items() if binary(program)]


def many_routes(place: Place, routes: int) -> Path:
    """A policy of so many routes, the last of which forwards ``/last/{id}``."""
    others = (
        f'  - {{name: r{n}, match: "GET /r{n}/{{id}}", cache: {{ttl: 60s, key: "r{n}:{{id}}"}}}}'
        for n in range(routes - 1)
    )
    file = place.directory / f"routes-{routes}.yaml"
    lines = ["version: 1", "routes:", *others, '  - {name: last, match: "/last/{id}"}']
    file.write_text("\n".join(lines) + "\n", "utf-8")
    return file


def starters(place: Place) -> list[tuple[str, Callable[[int], list[str]], str]]:
    """Name, command for a port, and what state a sidecar is to use (``CACHEPROXY_REDIS``), for each server."""
    ours = partial(_sidecar, place)
    return [
        ("cacheproxy", ours, "none"),
        ("cacheproxy, embedded Valkey", ours, "embedded"),
        ("cacheproxy, 1,000 routes", partial(_sidecar, place, policy=many_routes(place, 1_000)), "none"),
        *((name, partial(PEERS[name][1], place), "") for name in installed()),
        ("FastAPI", partial(_fastapi, place), ""),
    ]


def versions() -> dict[str, str]:
    """The version of everything that takes part."""
    asked = {
        "Python": [sys.executable, "--version"],
        "nginx": [binary("nginx"), "-v"],
        "Varnish": [binary("varnishd"), "-V"],
        "HAProxy": [binary("haproxy"), "-v"],
        "wrk": [binary("wrk"), "-v"],
    }
    found = {}
    for name, command in asked.items():
        if command[0]:
            made = subprocess.run(command, capture_output=True, text=True, check=False)
            number = re.search(r"\d+\.\d+[\w.+-]*", made.stdout + made.stderr)
            found[name] = number[0] if number else "?"
    return found

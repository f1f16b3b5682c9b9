"""What a server takes before anybody asks it anything: time to start, and memory."""

import compileall
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from machine import SERVER_CORE, await_answer, free_port, running
from servers import Place, starters

import cacheproxy


@dataclass(frozen=True, slots=True)
class Footprint:
    """Of one server."""

    server: str
    start_s: float
    """From the command to the first answer that came from the origin."""
    idle_bytes: int
    """Resident memory after that answer, of all its processes."""


def footprints(place: Place, repeats: int) -> list[Footprint]:
    """The medians of ``repeats`` starts of each server."""
    apart = place.apart("footprint")
    compileall.compile_dir(Path(cacheproxy.__file__).parent, quiet=1)  # as an installation is
    return [_footprint(apart, name, command, redis, repeats) for name, command, redis in starters(apart)]


def _footprint(place: Place, name: str, command: Callable[[int], list[str]], redis: str, repeats: int) -> Footprint:
    starts = [_start(place, command, redis) for _ in range(repeats)]
    seconds, resident = zip(*starts, strict=True)
    return Footprint(name, statistics.median(seconds), round(statistics.median(resident)))


def _start(place: Place, command: Callable[[int], list[str]], redis: str) -> tuple[float, int]:
    port, log = free_port(), place.directory / "start.log"
    arguments, environment = command(port), {"CACHEPROXY_REDIS": redis, "CACHEPROXY_ACCESS_LOG": "off"}
    began = time.perf_counter()
    with running(arguments, SERVER_CORE, log, environment) as process:
        await_answer(process, port, "/items/1", log, wait_s=0.001)
        return time.perf_counter() - began, process.rss_bytes()

"""``make bench``: the sidecar beside nginx, Varnish, HAProxy and a bare FastAPI. Writes ``docs/benchmarks.md``.

Linux only: cores are pinned and costs read from /proc. ``--quick`` takes about two minutes and writes no page.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from string import Template

import redis
from footprint import footprints
from growth import by_keys, by_routes
from load import Generator, median_run
from machine import LOAD_CORE, SERVER_CORE, description, free_port
from report import page, summary
from results import OURS, Results
from scenarios import SCENARIOS, Measured, Scenario, WrongAnswerError, measure
from servers import PEERS, Place, Server, binary, fastapi, origin, sidecar, start_peers, versions
from stampede import stampedes
from stream import streams

from cacheproxy import __version__
from cacheproxy.redis_link.embedded import start_embedded

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
SETTING = Path(__file__).with_name("setting.md")
PROBES = ("stampede", "stream", "footprint", "routes", "keys")


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much time is taken."""

    rounds: int
    seconds: int
    starts: int
    attempts: int
    routes: Sequence[int]
    keys: Sequence[int]


FULL = Effort(
    rounds=5, seconds=2, starts=5, attempts=3, routes=(1, 10, 100, 1_000), keys=(1_000, 10_000, 100_000, 1_000_000)
)
QUICK = Effort(rounds=2, seconds=1, starts=2, attempts=1, routes=(1, 1_000), keys=(1_000, 20_000))


def main() -> int:
    """Measure what the arguments name. 0, or 1 where a server did something else than what is measured."""
    arguments = _arguments()
    effort = QUICK if arguments.quick else FULL
    if not binary("nginx") or not binary("wrk"):
        print(
            "the benchmarks need nginx (as the origin) and wrk; on Debian: apt install nginx-light wrk", file=sys.stderr
        )
        return 1
    os.sched_setaffinity(0, {LOAD_CORE})
    began = time.perf_counter()
    with ExitStack() as stack:
        results, failures = _measure(stack, effort, arguments.only)
    print(summary(results))
    text = page(results, _setting(results, effort, time.perf_counter() - began))
    if arguments.page:
        arguments.page.write_text(text, "utf-8")
        print(f"written: {arguments.page}")
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


def _arguments() -> argparse.Namespace:
    names = [scenario.name for scenario in SCENARIOS]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two short rounds, to see that nothing broke")
    parser.add_argument("--only", action="append", choices=[*names, *PROBES], help="repeatable")
    parser.add_argument(
        "--page", type=Path, help="where to write the page (default: docs/benchmarks.md, if all was run)"
    )
    given = parser.parse_args()
    if given.page is None and not given.quick and not given.only:
        given.page = PAGE
    return given


def _measure(stack: ExitStack, effort: Effort, only: Sequence[str] | None) -> tuple[Results, list[str]]:
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cacheproxy-bench-", dir="/dev/shm")))
    directory.chmod(0o755)  # nginx's workers are another user where root starts it
    place = Place(directory=directory, origin=free_port())
    source = stack.enter_context(origin(place))
    generator = Generator(source)
    servers = [*_start(place, stack), Server("origin", source.port, source.process)]
    wanted = [scenario for scenario in SCENARIOS if not only or scenario.name in only]
    probes = frozenset(probe for probe in PROBES if not only or probe in only)
    measured, failures = _scenarios(wanted, servers, generator, effort)
    proxies = [server for server in servers if server.name in {OURS, *PEERS}]
    results = Results(
        measured=measured,
        streams=streams(proxies) if "stream" in probes else (),
        stampedes=stampedes(place) if "stampede" in probes else (),
        footprints=footprints(place, effort.starts) if "footprint" in probes else (),
        routes=by_routes(place, generator, effort.routes, effort.rounds, effort.seconds) if "routes" in probes else (),
        keys=by_keys(place, generator, effort.keys, effort.rounds, effort.seconds) if "keys" in probes else (),
    )
    return results, failures


def _start(place: Place, stack: ExitStack) -> list[Server]:
    """Every server of every scenario; a line on each peer that is not installed."""
    for name, (program, _) in PEERS.items():
        if not binary(program):
            print(f"skipped: {name} ({program} is not installed)")
    valkey = start_embedded()
    stack.callback(valkey.close)
    with redis.Redis.from_url(valkey.url) as sessions:
        sessions.set("session:bench", '{"user_id": "u1"}')
    return [
        stack.enter_context(sidecar(place)),
        stack.enter_context(sidecar(place, "cacheproxy, Redis", redis=valkey.url)),
        stack.enter_context(sidecar(place, "cacheproxy, L1 off", redis=valkey.url, l1_bytes=0)),
        *start_peers(place, stack),
        stack.enter_context(fastapi(place)),
    ]


def _scenarios(
    wanted: Sequence[Scenario], servers: Sequence[Server], generator: Generator, effort: Effort
) -> tuple[dict[str, Measured], list[str]]:
    """What was measured, and what could not be because a server did something else."""
    measured, failures = {}, []
    for scenario in wanted:
        try:
            found = measure(scenario, servers, generator, effort.rounds, effort.seconds, effort.attempts)
        except WrongAnswerError as error:
            failures.append(str(error))
            continue
        measured[scenario.name] = found
        rates = (f"{name} {median_run(runs).rate:,.0f}" for name, runs in found.runs.items())
        print(f"{scenario.name}: {', '.join(rates)}", flush=True)
    return measured, failures


def _setting(results: Results, effort: Effort, took_s: float) -> str:
    """Where and how it was measured, and how to repeat it."""
    programs = ", ".join(f"{name} {number}" for name, number in versions().items())
    packages = ", ".join(f"{name} {version(name)}" for name in ("uvicorn", "uvloop", "httptools", "fastapi"))
    runs = [run for found in results.measured.values() for each in found.runs.values() for run in each]
    foreign = f"{100 * statistics.median(run.foreign for run in runs):.0f} %" if runs else "nothing measured"
    return Template(SETTING.read_text("utf-8")).substitute(
        machine=description(),
        ours=__version__,
        programs=programs,
        packages=packages,
        server_core=SERVER_CORE,
        load_core=LOAD_CORE,
        rounds=effort.rounds,
        seconds=effort.seconds,
        minutes=f"{took_s / 60:.0f}",
        foreign=foreign,
    )


if __name__ == "__main__":
    sys.exit(main())

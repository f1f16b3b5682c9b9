"""What is measured side by side, with wrk."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from load import Generator, Load, Run, median_run
from machine import fetch
from servers import Server

DISTURBED = 0.05
"""The part of the server's core from which on a run says little, if something else took it."""
CACHES = ("cacheproxy", "nginx", "Varnish", "HAProxy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A load, who can bear it, and what must be true of the answers."""

    name: str
    says: str
    load: Load
    on: tuple[str, ...] = CACHES
    status: int = 200
    origin_share: float | None = 0.0
    """Requests that must reach the origin for each that is made; None where it hangs on the server."""
    fill: int = 0
    """So many numbered targets are asked for once beforehand."""


SCENARIOS = (
    Scenario(
        name="hit-small",
        says="hit, 300 B of JSON",
        load=Load(target="/items/1"),
        on=(*CACHES, "FastAPI"),
    ),
    Scenario(
        name="hit-zipf",
        says="hit, 10,000 keys of 2 KB, zipf",
        load=Load(target="/pages/", kind="zipf", count=10_000),
        fill=10_000,
    ),
    Scenario(
        name="hit-clients",
        says="the same, asked for by 1,000 browsers with fields of their own",
        load=Load(target="/pages/", kind="clients", count=10_000),
        fill=10_000,
    ),
    Scenario(name="hit-100KB", says="hit, 100 KB", load=Load(target="/large/1"), on=(*CACHES, "FastAPI")),
    Scenario(
        name="not-modified",
        says="hit, 304",
        load=Load(target="/items/1", fields=('If-None-Match:"v1"',)),
        status=304,
    ),
    Scenario(
        name="one connection",
        says="hit, 300 B, one connection",
        load=Load(target="/items/1", connections=1),
        on=(*CACHES, "FastAPI"),
    ),
    Scenario(
        name="hit-512",
        says="hit, 300 B, 512 connections",
        load=Load(target="/items/1", connections=512),
        on=(*CACHES, "FastAPI"),
    ),
    Scenario(name="forward", says="forwarded, uncacheable", load=Load(target="/pass"), origin_share=1.0),
    Scenario(name="POST", says="forwarded POST", load=Load(target="/pass", method="POST"), origin_share=1.0),
    Scenario(
        name="forward, one connection",
        says="forwarded, one connection",
        load=Load(target="/pass", connections=1),
        on=(*CACHES, "origin"),
        origin_share=1.0,
    ),
    Scenario(
        name="hot uncacheable",
        says="one hot URL of a cached route, whose answers are `no-store`",
        load=Load(target="/hot/1"),
        origin_share=None,
    ),
    Scenario(
        name="miss-fill",
        says="miss: fetched and stored, each key once",
        load=Load(target="/items/", kind="each"),
        origin_share=1.0,
    ),
    Scenario(
        name="miss-fill, Redis",
        says="the same, stored in Redis too",
        load=Load(target="/items/", kind="each"),
        on=("cacheproxy, Redis",),
        origin_share=1.0,
    ),
    Scenario(
        name="L2 hit",
        says="hit in Redis, L1 off, 1,000 keys",
        load=Load(target="/items/", kind="zipf", count=1_000),
        on=("cacheproxy, L1 off",),
        fill=1_000,
    ),
    Scenario(
        name="session+limit",
        says="hit for one user: session resolved, request counted in Redis",
        load=Load(target="/mine/1", fields=("Cookie:_ga=GA1.1.1; theme=dark; session_id=bench",)),
        on=("cacheproxy, Redis",),
    ),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """A scenario's runs, by server, round by round."""

    scenario: Scenario
    runs: dict[str, list[Run]] = field(default_factory=dict)

    def median(self, server: str) -> Run | None:
        """The medians of ``server``, or None where it was not there."""
        return median_run(self.runs[server]) if server in self.runs else None

    def ratio(self, server: str, other: str, figure: str = "rate") -> float | None:
        """The median over the rounds of ``server``'s figure by ``other``'s; None where one was not there."""
        if server not in self.runs or other not in self.runs:
            return None
        pairs = zip(self.runs[server], self.runs[other], strict=True)
        ratios = [float(getattr(ours, figure)) / float(getattr(theirs, figure)) for ours, theirs in pairs]
        return statistics.median(ratios)


class WrongAnswerError(Exception):
    """A server did something else than what is measured."""


def measure(
    scenario: Scenario, servers: Sequence[Server], generator: Generator, rounds: int, seconds: int, attempts: int = 1
) -> Measured:
    """Run ``scenario`` on all ``servers`` that it is for, in turn, ``rounds`` times. WrongAnswerError.

    A run that was disturbed is repeated, ``attempts`` in all.
    """
    measured = Measured(scenario)
    taking_part = [server for server in servers if server.name in scenario.on]
    for server in taking_part:
        _prepare(scenario, server)
    for turn in range(rounds):
        first = turn % len(taking_part)
        for server in taking_part[first:] + taking_part[:first]:
            run = _undisturbed(scenario, server, generator, seconds, attempts)
            _check(scenario, server, run)
            measured.runs.setdefault(server.name, []).append(run)
    return measured


def _undisturbed(scenario: Scenario, server: Server, generator: Generator, seconds: int, attempts: int) -> Run:
    """The first run that had the core to itself, or else the one that had most of it."""
    runs = []
    for _ in range(attempts):
        runs.append(generator.run(server, scenario.load, seconds))
        if runs[-1].foreign < DISTURBED:
            break
    return min(runs, key=lambda run: run.foreign)


def _prepare(scenario: Scenario, server: Server) -> None:
    load = scenario.load
    for number in range(1, scenario.fill + 1):
        fetch(server.port, f"{load.target}{number}")
    target = load.target + ("1" if load.kind != "one" else "")
    fields = "".join(f"{field}\r\n" for field in load.fields)
    for _ in range(2):  # the first may fill, the second must be what is measured
        answer = fetch(server.port, target, fields, load.method)
    status = int(answer.split(b" ", 2)[1])
    if status != scenario.status:
        raise WrongAnswerError(f"{scenario.name}: {server.name} answers {status} instead of {scenario.status}")


def _check(scenario: Scenario, server: Server, run: Run) -> None:
    wanted = scenario.origin_share
    if wanted is None or server.name in {"FastAPI", "origin"}:
        return
    begun = scenario.load.connections / run.requests  # the origin counts those that wrk did not wait for
    if abs(run.origin_share - wanted) > 0.02 + begun:
        share = f"{run.origin_share:.2f} requests reached the origin for each one made, not {wanted:.0f}"
        raise WrongAnswerError(f"{scenario.name}: {server.name}: {share}")

"""Whether a request costs the same however many routes and keys there are, and what each key takes."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from load import Generator, Load, Run, median_run
from servers import Place, Server, many_routes, sidecar

ASKED_KEYS = 1_000
BODY_BYTES = 300
_SETTLED = 500


@dataclass(frozen=True, slots=True)
class Cost:
    """What 1,000 requests cost of CPU, where there are so many of something."""

    many: int
    cpu_ms: float
    rate: float
    rss_bytes: int


def by_routes(place: Place, generator: Generator, sizes: Sequence[int], rounds: int, seconds: int) -> list[Cost]:
    """Requests for ever new targets of the last of so many routes, forwarded."""
    with ExitStack() as stack:
        servers = [
            stack.enter_context(sidecar(place, f"cacheproxy, {size} routes", policy=many_routes(place, size)))
            for size in sizes
        ]
        load = Load(target="/last/", kind="each")
        for server in servers:
            _settle(server, generator, load)
        runs = [[generator.run(server, load, seconds) for server in servers] for _ in range(rounds)]
    return [_cost(size, column) for size, column in zip(sizes, zip(*runs, strict=True), strict=True)]


def _settle(server: Server, generator: Generator, load: Load) -> None:
    """Wait until it answers as fast as it will: after a start the policy is read once more, in case it has changed."""
    while generator.run(server, load, 1).requests < _SETTLED:
        pass


def by_keys(place: Place, generator: Generator, sizes: Sequence[int], rounds: int, seconds: int) -> list[Cost]:
    """Hits on the same 1,000 keys, while so many are stored."""
    hits = Load(target="/items/", kind="zipf", count=ASKED_KEYS)
    with ExitStack() as stack:
        servers = [stack.enter_context(sidecar(place, f"cacheproxy, {size} keys", l1_bytes=4 << 30)) for size in sizes]
        stored = [_store(server, generator, 1, size) for server, size in zip(servers, sizes, strict=True)]
        for server in servers:
            generator.run(server, hits, seconds)  # each head is read once, however many keys there are
        runs = [[generator.run(server, hits, seconds) for server in servers] for _ in range(rounds)]
    return [_cost(many, column) for many, column in zip(stored, zip(*runs, strict=True), strict=True)]


def _store(server: Server, generator: Generator, stored: int, size: int) -> int:
    """Ask for numbers from ``stored`` on until ``size`` are; how many are now."""
    while stored < size:
        load = Load(target="/items/", kind="each", count=stored)
        stored += generator.run(server, load, min(10, 1 + (size - stored) // 20_000)).requests
    return stored


def key_overhead_bytes(costs: Sequence[Cost]) -> float:
    """What a stored response of ``BODY_BYTES`` takes beside its body, by the growth of resident memory."""
    few, many = costs[0], costs[-1]
    return (many.rss_bytes - few.rss_bytes) / (many.many - few.many) - BODY_BYTES


def _cost(many: int, runs: Sequence[Run]) -> Cost:
    middle = median_run(runs)
    if middle.errors > middle.requests / 1000:
        raise RuntimeError(f"{middle.errors} of {middle.requests} requests failed")
    return Cost(many, middle.cpu_ms, middle.rate, middle.rss_bytes)

"""What was found, as a page in Markdown."""

from collections.abc import Callable, Iterable, Sequence

from aims import AIMS
from growth import ASKED_KEYS, BODY_BYTES, Cost, key_overhead_bytes
from load import Run
from results import OURS, Results
from scenarios import CACHES, Measured
from servers import STREAM_BYTES
from stampede import CLIENTS, SLOW_S, Stampede
from stream import Stream

COLUMNS = (*CACHES, "FastAPI", "origin")
RATES = "Medians of the rounds; in brackets our rate by the peer's, the median of each round's ratio."
LATENCY = "p50 / p99 / p99.9 in microseconds, as the clients saw them with the server at its limit."
CPU = "Milliseconds of CPU for 1,000 requests: the figure that suffers least from what else the machine does."
MEMORY = """Resident, in MB, of all the server's processes, after each scenario in this order. Everybody may keep
512 MiB of responses; HAProxy takes them at once, and nginx keeps them in files on `/dev/shm`, which are not counted."""
_OTHERS = ("cacheproxy, Redis", "cacheproxy, L1 off")


def page(results: Results, setting: str) -> str:
    """The whole page; ``setting`` says where and how it was measured."""
    cpu = _by_server(results, lambda measured, server: _of(measured, server, lambda run: f"{run.cpu_ms:.1f}"))
    memory = _by_server(
        results, lambda measured, server: _of(measured, server, lambda run: f"{run.rss_bytes / 1e6:.0f}")
    )
    latency = _by_server(results, lambda measured, server: _of(measured, server, _latency))
    parts = (
        "<!-- Written by `make bench` (benchmarks/report.py): change that. -->\n# Benchmarks",
        setting.strip(),
        f"## What we aim at\n\n{_aims(results)}",
        f"## Requests a second\n\n{RATES}\n\n{_by_server(results, _rates)}",
        f"## Latency\n\n{LATENCY}\n\n{latency}",
        f"## CPU\n\n{CPU}\n\n{cpu}",
        f"## Memory\n\n{MEMORY}\n\n{memory}",
        *_probes(results),
    )
    return "\n\n".join(parts) + "\n"


def summary(results: Results) -> str:
    """The aims alone, for the terminal."""
    return _aims(results)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _aims(results: Results) -> str:
    rows = []
    for aim in AIMS:
        figure = aim.figure(results)
        if figure is not None:
            verdict = "reached" if aim.reached(figure) else "**falls short**"
            rows.append((aim.what, aim.wanted(), aim.form.format(figure), verdict))
    return _table(("figure", "aim", "measured", ""), rows)


def _by_server(results: Results, cell: Callable[[Measured, str], str]) -> str:
    rows = []
    for measured in results.measured.values():
        others = [f"{name.partition(', ')[2]}: {cell(measured, name)}" for name in _OTHERS if name in measured.runs]
        cells = [cell(measured, server) for server in COLUMNS]
        if others:
            cells[0] = ", ".join(others)
        rows.append((measured.scenario.says, *cells))
    return _table(("", *COLUMNS), rows)


def _rates(measured: Measured, server: str) -> str:
    run = measured.median(server)
    if run is None:
        return ""
    ratio = measured.ratio(OURS, server)
    flaw = f", {run.errors} errors" if run.errors else ""
    return f"{run.rate:,.0f}" + (f" ({ratio:.2f}x)" if ratio is not None and server != OURS else "") + flaw


def _of(measured: Measured, server: str, shown: Callable[[Run], str]) -> str:
    run = measured.median(server)
    return "" if run is None else shown(run)


def _latency(run: Run) -> str:
    return f"{run.p50_us:,} / {run.p99_us:,} / {run.p999_us:,}"


def _probes(results: Results) -> Iterable[str]:
    if results.stampedes:
        text = f"{CLIENTS} clients at once for one key that nobody has; the origin takes {SLOW_S * 1000:.0f} ms."
        yield f"## Stampede\n\n{text}\n\n{_stampedes(results.stampedes)}"
    if results.streams:
        text = "Growth is the most by which resident memory rose; *paused*: while the client did not read for a second."
        yield f"## A stream of 100 MB\n\n{text}\n\n{_streams(results.streams)}"
    if results.footprints:
        rows = [(one.server, f"{one.start_s:.2f}", f"{one.idle_bytes / 1e6:.0f}") for one in results.footprints]
        yield f"## Start and idle\n\n{_table(('', 'command to first answer, s', 'idle memory, MB'), rows)}"
    if results.routes:
        text = "Forwarded requests, each for a target never seen before, of the policy's last route."
        yield f"## Cost against routes\n\n{text}\n\n{_costs('routes', results.routes)}"
    if results.keys:
        yield f"## Cost against keys\n\n{_keys_text(results.keys)}\n\n{_costs('keys', results.keys)}"


def _keys_text(costs: Sequence[Cost]) -> str:
    overhead = key_overhead_bytes(costs)
    return (
        f"Hits on the same {ASKED_KEYS:,} keys while so many are stored. A stored response of {BODY_BYTES} bytes takes "
        f"{overhead:,.0f} bytes of resident memory beside its body."
    )


def _stampedes(found: Sequence[Stampede]) -> str:
    rows = [(one.server, f"{one.origin_requests:,}", f"{one.took_s * 1000:,.0f}", str(one.failed)) for one in found]
    return _table(("", "requests to the origin", "last client answered after, ms", "failed"), rows)


def _streams(found: Sequence[Stream]) -> str:
    rows = [
        (
            one.server,
            f"{one.first_byte_ms:.1f}",
            f"{STREAM_BYTES / one.took_s / 1e6:,.0f}",
            f"{one.grown_bytes / (1 << 20):.1f}",
            f"{one.grown_paused_bytes / (1 << 20):.1f}",
        )
        for one in found
    ]
    return _table(("", "first byte, ms", "MB/s", "growth, MiB", "growth, paused, MiB"), rows)


def _costs(what: str, costs: Sequence[Cost]) -> str:
    rows = [(f"{one.many:,}", f"{one.cpu_ms:.1f}", f"{one.rate:,.0f}", f"{one.rss_bytes / 1e6:.0f}") for one in costs]
    return _table((what, "CPU ms for 1,000 requests", "requests a second", "resident MB"), rows)

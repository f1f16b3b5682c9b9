"""What ``figures.py`` found, as a page in Markdown and as a plot."""

from plot import Line, Panel, svg
from results_of_figures import ROUNDS, Figures, Hits, Steady


def page(figures: Figures, machine: str) -> str:
    """The whole page."""
    seconds = figures.steady[0].seconds
    return f"""<!-- Written by `make figures` (benchmarks/figures_page.py): change that. -->
# The figures of the reference, and ours

The sample service of `cacheproxy demo` takes 180 ms for a list of articles and 55 ms for one. Clients and services
share a core, the sidecars another one; all of it over loopback, on {machine}.
`make figures` measures and writes this anew.

{_table(figures)}

The latency of a hit is what one client sees on one connection, from its first byte to the answer's last, in {ROUNDS}
rounds, and their median. The echo is a program in the sidecar's place that does nothing but answer with 2 kB: what it
takes at p99 is what the machine and its other work take. The steady load is {figures.rate} requests
a second for {seconds} s, half of them for the list, half for ten articles; what is stored lives {figures.ttl_s} s.
A hit is an answer that did not wait for the service. With refresh (`stale_while_revalidate: 60s`) the first request
after the end of a lifetime gets the stale answer, and the service is asked behind it. Without, it waits, and so does
whoever asks for the same meanwhile: they share its query, and are counted as misses. Latencies under the steady load
include the client's own event loop.

![Hit rate and latency over time, with refresh and without](figures.svg)
"""


def drawing(figures: Figures) -> str:
    """Hit rate and latency over time."""
    names = ("with refresh", "without refresh")
    rates = [
        Line(name, [rate * 100 for rate in steady.rates()]) for name, steady in zip(names, figures.steady, strict=True)
    ]
    latencies = [
        Line(name, [took_s * 1e3 for took_s in steady.latencies_s()])
        for name, steady in zip(names, figures.steady, strict=True)
    ]
    return svg(
        [
            Panel(f"Hit rate of each second, in % ({figures.ttl_s} s lifetime)", 100, rates),
            Panel("Latency of each second, 99th percentile in ms", 200, latencies),
        ]
    )


def _table(figures: Figures) -> str:
    refreshed, plain = figures.steady
    cold = figures.cold
    rows = [
        ("case", "reference", "to show", "ours"),
        ("---", "---", "---", "---"),
        ("list of articles, a hit", "12 ms", "under 1 ms at p99", _hits(figures.list_hits)),
        ("one article, a hit", "8 ms", "under 1 ms at p99", _hits(figures.article_hits)),
        ("an echo, for comparison", "", "", _latency(figures.bare)),
        ("hit rate, steady load", "87 to 89 %, dips to 0", "over 99 %, no dip", _rate(refreshed)),
        ("the same without refresh", "87 to 89 %, dips to 0", "", _rate(plain)),
        (
            f"{cold.clients} at once on a cold key",
            f"{cold.clients} queries; 0.12 s when warm",
            "1 query",
            f"{_queries(cold.queries)}, {cold.cold_s:.3f} s; {cold.warm_s:.4f} s when warm",
        ),
        ("load that the service is spared", "", "", _saved(refreshed)),
        ("the same without refresh", "", "", _saved(plain)),
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _queries(number: int) -> str:
    return "1 query" if number == 1 else f"{number} queries"


def _hits(hits: Hits) -> str:
    return f"{_latency(hits)} (the service: {hits.origin_s * 1e3:.0f} ms)"


def _latency(hits: Hits) -> str:
    return ", ".join(f"p{percent} {hits.percentile_s(percent) * 1e3:.2f} ms" for percent in (50, 90, 99))


def _rate(steady: Steady) -> str:
    took = f"{steady.percentile_s(99) * 1e3:.1f} ms at p99"
    return f"{steady.hit_rate * 100:.2f} %, lowest second {min(steady.rates()) * 100:.0f} %; {took}"


def _saved(steady: Steady) -> str:
    return f"{steady.saved * 100:.1f} % ({_queries(steady.queries)} for {len(steady.samples)} requests)"

"""What we want to reach, and whether we do."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from growth import Cost, key_overhead_bytes
from results import Results

Figure = Callable[[Results], float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """One figure, and the least (or, with ``at_most``, the most) that we want it to be."""

    what: str
    figure: Figure
    bound: float
    at_most: bool = False
    form: str = "{:.2f}"

    def reached(self, figure: float) -> bool:
        """Whether ``figure`` will do."""
        return figure <= self.bound if self.at_most else figure >= self.bound

    def wanted(self) -> str:
        """The bound as text."""
        return ("at most " if self.at_most else "at least ") + self.form.format(self.bound)


def _against(scenario: str, peer: str, figure: str = "rate") -> Figure:
    return lambda results: results.ratio(scenario, peer, figure)


def _rate(scenario: str, server: str) -> Figure:
    def figure(results: Results) -> float | None:
        run = results.run(scenario, server)
        return None if run is None else run.rate

    return figure


def _beside(scenario: str, other: str) -> Figure:
    """Our rate in ``scenario`` by our own in ``other``."""

    def figure(results: Results) -> float | None:
        run, base = results.run(scenario), results.run(other)
        return None if run is None or base is None else run.rate / base.rate

    return figure


def _added_us(results: Results) -> float | None:
    run, direct = results.run("forward, one connection"), results.run("forward, one connection", "origin")
    return None if run is None or direct is None else run.p50_us - direct.p50_us


def _stream_mib(results: Results) -> float | None:
    stream = results.stream()
    return None if stream is None else max(stream.grown_bytes, stream.grown_paused_bytes) / (1 << 20)


def _first_byte_ms(results: Results) -> float | None:
    stream = results.stream()
    return None if stream is None else stream.first_byte_ms


def _growth(costs: Sequence[Cost]) -> float | None:
    return max(cost.cpu_ms for cost in costs) / costs[0].cpu_ms if costs else None


def _idle_mb(results: Results) -> float | None:
    found = results.footprint()
    return None if found is None else found.idle_bytes / 1e6


def _start_s(results: Results) -> float | None:
    found = results.footprint()
    return None if found is None else found.start_s


def _origin_requests(results: Results) -> float | None:
    return next((float(one.origin_requests) for one in results.stampedes if one.server == "cacheproxy"), None)


AIMS = (
    Aim(what="hit-small, by nginx", figure=_against("hit-small", "nginx"), bound=1.05),
    Aim(what="hit-small, by Varnish", figure=_against("hit-small", "Varnish"), bound=1.6),
    Aim(what="hit-clients, by nginx", figure=_against("hit-clients", "nginx"), bound=1.0),
    Aim(what="hit-zipf, by nginx", figure=_against("hit-zipf", "nginx"), bound=1.0),
    Aim(what="hit-zipf, by Varnish", figure=_against("hit-zipf", "Varnish"), bound=1.5),
    Aim(what="not-modified, by nginx", figure=_against("not-modified", "nginx"), bound=0.85),
    Aim(what="not-modified, by Varnish", figure=_against("not-modified", "Varnish"), bound=1.7),
    Aim(what="hit-100KB, by HAProxy", figure=_against("hit-100KB", "HAProxy"), bound=0.75),
    Aim(
        what="one connection, median latency by nginx's",
        figure=_against("one connection", "nginx", "p50_us"),
        bound=1.2,
        at_most=True,
    ),
    Aim(what="forward, by nginx", figure=_against("forward", "nginx"), bound=0.5),
    Aim(what="forward, by Varnish", figure=_against("forward", "Varnish"), bound=1.0),
    Aim(what="POST, by nginx", figure=_against("POST", "nginx"), bound=0.5),
    Aim(what="POST, by Varnish", figure=_against("POST", "Varnish"), bound=1.0),
    Aim(what="latency added when forwarding, us", figure=_added_us, bound=150, at_most=True, form="{:.0f}"),
    Aim(what="one hot uncacheable URL, by our own forward", figure=_beside("hot uncacheable", "forward"), bound=0.95),
    Aim(what="L2 hits a second", figure=_rate("L2 hit", "cacheproxy, L1 off"), bound=20_000, form="{:,.0f}"),
    Aim(what="fills a second", figure=_rate("miss-fill", "cacheproxy"), bound=10_000, form="{:,.0f}"),
    Aim(what="512 connections, by 64", figure=_beside("hit-512", "hit-small"), bound=0.9),
    Aim(
        what="512 connections, p99 by nginx's",
        figure=_against("hit-512", "nginx", "p99_us"),
        bound=1.0,
        at_most=True,
    ),
    Aim(what="origin requests in a stampede", figure=_origin_requests, bound=1, at_most=True, form="{:.0f}"),
    Aim(what="growth during a stream of 100 MB, MiB", figure=_stream_mib, bound=4, at_most=True, form="{:.1f}"),
    Aim(what="its first byte, ms", figure=_first_byte_ms, bound=10, at_most=True, form="{:.1f}"),
    Aim(what="cost with 1,000 routes by 1", figure=lambda found: _growth(found.routes), bound=1.1, at_most=True),
    Aim(what="cost with most keys by 1,000", figure=lambda found: _growth(found.keys), bound=1.1, at_most=True),
    Aim(what="idle memory, MB", figure=_idle_mb, bound=60, at_most=True, form="{:.0f}"),
    Aim(
        what="memory of a stored response over its body, B",
        figure=lambda found: key_overhead_bytes(found.keys) if found.keys else None,
        bound=1200,
        at_most=True,
        form="{:,.0f}",
    ),
    Aim(what="start to first answer, s", figure=_start_s, bound=0.5, at_most=True),
)

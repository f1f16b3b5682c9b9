"""All that a run of the benchmarks found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from footprint import Footprint
from growth import Cost
from load import Run
from scenarios import Measured
from stampede import Stampede
from stream import Stream

OURS = "cacheproxy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """By scenario, and what the probes found."""

    measured: Mapping[str, Measured]
    stampedes: Sequence[Stampede] = ()
    streams: Sequence[Stream] = ()
    footprints: Sequence[Footprint] = ()
    routes: Sequence[Cost] = ()
    keys: Sequence[Cost] = ()

    def run(self, scenario: str, server: str = OURS) -> Run | None:
        """The medians, or None where that was not measured."""
        found = self.measured.get(scenario)
        return None if found is None else found.median(server)

    def ratio(self, scenario: str, other: str, figure: str = "rate") -> float | None:
        """Our ``figure`` by ``other``'s, or None where that was not measured."""
        found = self.measured.get(scenario)
        return None if found is None else found.ratio(OURS, other, figure)

    def footprint(self, server: str = OURS) -> Footprint | None:
        """Of ``server``, or None."""
        return next((one for one in self.footprints if one.server == server), None)

    def stream(self, server: str = OURS) -> Stream | None:
        """Through ``server``, or None."""
        return next((one for one in self.streams if one.server == server), None)

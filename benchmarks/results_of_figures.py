"""What ``figures.py`` found."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

ROUNDS = 20
"""Into which hits are divided: one that the machine interrupted says nothing of the rest."""


@dataclass(frozen=True, slots=True)
class Hits:
    """The latencies of hits, and that of the same request to the service itself."""

    origin_s: float
    latencies_s: Sequence[float]

    def percentile_s(self, percent: int) -> float:
        """Seconds within which ``percent`` of the hits were answered: of all rounds the median."""
        size = -(-len(self.latencies_s) // ROUNDS)
        rounds = [self.latencies_s[at : at + size] for at in range(0, len(self.latencies_s), size)]
        return statistics.median(percentile(each, percent) for each in rounds)


@dataclass(frozen=True, slots=True)
class Cold:
    """Clients at once on one key: what the service was asked, and how long it took, cold and then warm."""

    clients: int
    queries: int
    cold_s: float
    warm_s: float


@dataclass(frozen=True, slots=True)
class Sample:
    """One request: when it was sent, in seconds since the beginning, and how it was answered."""

    at_s: float
    took_s: float
    hit: bool


@dataclass(frozen=True, slots=True)
class Steady:
    """A steady load, and how many of its requests the service got."""

    seconds: int
    samples: Sequence[Sample]
    queries: int

    @property
    def hit_rate(self) -> float:
        """From 0 to 1."""
        return statistics.fmean(sample.hit for sample in self.samples)

    @property
    def saved(self) -> float:
        """The share of the requests that the service did not see, from 0 to 1."""
        return 1 - self.queries / len(self.samples)

    def rates(self) -> list[float]:
        """The hit rate of each second."""
        return [statistics.fmean(sample.hit for sample in second) for second in self._by_second()]

    def latencies_s(self) -> list[float]:
        """Of each second, the time within which 99 % were answered."""
        return [percentile([sample.took_s for sample in second], 99) for second in self._by_second()]

    def percentile_s(self, percent: int) -> float:
        """Seconds within which ``percent`` of all requests were answered."""
        return percentile([sample.took_s for sample in self.samples], percent)

    def _by_second(self) -> list[list[Sample]]:
        seconds: list[list[Sample]] = [[] for _ in range(self.seconds)]
        for sample in self.samples:
            seconds[int(sample.at_s)].append(sample)
        return seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """All of it; ``steady`` with refresh behind stale answers, and without."""

    ttl_s: int
    rate: int
    bare: Hits
    """Of a program that only answers, in the sidecar's place."""
    list_hits: Hits
    article_hits: Hits
    cold: Cold
    steady: Sequence[Steady]

    def summary(self) -> dict[str, float]:
        """The figures by name, in milliseconds and shares."""
        refreshed, plain = self.steady
        return {
            "list_hit_p50_ms": self.list_hits.percentile_s(50) * 1e3,
            "list_hit_p99_ms": self.list_hits.percentile_s(99) * 1e3,
            "article_hit_p50_ms": self.article_hits.percentile_s(50) * 1e3,
            "article_hit_p99_ms": self.article_hits.percentile_s(99) * 1e3,
            "hit_rate": refreshed.hit_rate,
            "lowest_second": min(refreshed.rates()),
            "hit_rate_without_refresh": plain.hit_rate,
            "lowest_second_without_refresh": min(plain.rates()),
            "cold_queries": self.cold.queries,
            "upstream_saved": refreshed.saved,
        }


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest of ``values`` that ``percent`` of them do not exceed."""
    return sorted(values)[-(-len(values) * percent // 100) - 1]

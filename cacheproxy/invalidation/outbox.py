"""Purges that Redis has not taken yet. Bounded: past the limit they become one purge of everything."""

from cacheproxy.invalidation.contract import Purge, PurgeMode

EVERYTHING = Purge(tags=("*",))


class Outbox:
    """Tags to be purged, each once, by mode. Never more than ``limit`` tags."""

    def __init__(self, limit: int = 10_000) -> None:
        """Empty at first."""
        self._limit = limit
        self._tags: dict[PurgeMode, dict[str, None]] = {}

    def __len__(self) -> int:
        """The number of tags kept."""
        return sum(map(len, self._tags.values()))

    def put(self, purge: Purge) -> None:
        """Keep ``purge``; where there are too many, purge everything instead."""
        self._tags.setdefault(purge.mode, {}).update(dict.fromkeys(purge.tags))
        if len(self) > self._limit:
            self._tags = {EVERYTHING.mode: dict.fromkeys(EVERYTHING.tags)}

    def take(self) -> list[Purge]:
        """All that is kept, merged; the outbox is empty afterwards."""
        taken = [Purge(tags=tuple(tags), mode=mode) for mode, tags in self._tags.items()]
        self._tags = {}
        return taken

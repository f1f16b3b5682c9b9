"""Which keys gave no response that may be shared: waiting for one another would only put their requests in a row."""

from collections import OrderedDict

from cacheproxy.clock import Clock


class HitForMiss:
    """Remembers keys for a time. Bounded: the oldest is forgotten first."""

    def __init__(self, clock: Clock, ttl_s: float = 60.0, max_keys: int = 10_000) -> None:
        """Remember at most ``max_keys`` for ``ttl_s`` each."""
        self._clock = clock
        self._ttl_s = ttl_s
        self._max_keys = max_keys
        self._until: OrderedDict[str, float] = OrderedDict()

    def remember(self, key: str) -> None:
        """What came for ``key`` may not be shared."""
        self._until[key] = self._clock.monotonic() + self._ttl_s
        self._until.move_to_end(key)
        if len(self._until) > self._max_keys:
            self._until.popitem(last=False)

    def remembers(self, key: str) -> bool:
        """Whether requests for ``key`` should go to the origin side by side."""
        until = self._until.get(key)
        if until is None:
            return False
        if self._clock.monotonic() < until:
            return True
        del self._until[key]
        return False

    def forget(self, key: str) -> None:
        """What came for ``key`` may be shared after all."""
        self._until.pop(key, None)

    def __len__(self) -> int:
        """How many keys are remembered."""
        return len(self._until)

"""All that one replica keeps in process, kept true together."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from cacheproxy.invalidation.contract import Applied, Mirror


@dataclass(frozen=True, slots=True)
class _Trust:
    epoch: str
    base_us: int
    until: float


class Mirrors:
    """Several mirrors as one, which may also be held: then none answers, whatever the bus says."""

    def __init__(self, mirrors: Sequence[Mirror]) -> None:
        """Not trusted until told so."""
        self._mirrors = tuple(mirrors)
        self._held = False
        self._trust: _Trust | None = None

    def apply(self, purge: Applied) -> None:
        """Forget, or mark stale, what ``purge`` names."""
        for mirror in self._mirrors:
            mirror.apply(purge)

    def trust(self, trusted: bool, *, epoch: str = "", base_us: int = 0, until: float = inf) -> None:  # noqa: FBT001 - Mirror's
        """Pass on what the bus says. While held, mirrors learn the epoch (to follow its purges) and do not answer."""
        self._trust = _Trust(epoch, base_us, until) if trusted else None
        for mirror in self._mirrors:
            if trusted:
                mirror.trust(trusted=True, epoch=epoch, base_us=base_us, until=until)
            if self._held or not trusted:
                mirror.trust(trusted=False)

    def clear(self) -> None:
        """Forget everything."""
        for mirror in self._mirrors:
            mirror.clear()

    def hold(self) -> None:
        """Answer nothing: a purge is known here that the tag clock does not know yet."""
        self._held = True
        for mirror in self._mirrors:
            mirror.trust(trusted=False)

    def let_go(self) -> None:
        """Answer again, if the bus says so."""
        self._held = False
        if self._trust is not None:
            self.trust(trusted=True, epoch=self._trust.epoch, base_us=self._trust.base_us, until=self._trust.until)

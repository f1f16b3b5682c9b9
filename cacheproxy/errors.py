"""Errors, one class for each party who must act. Expected answers are values, not errors."""

from dataclasses import dataclass


class CacheproxyError(Exception):
    """The root of every error this program raises on purpose."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One mistake in a policy file: where it is (1-based; 0 where it has no place) and what was meant."""

    message: str
    path: str = ""
    line: int = 0
    column: int = 0

    def line_in(self, source: str) -> str:
        """``file:line:column: path: message``, or less where it has no place."""
        place = f"{source}:{self.line}:{self.column}" if self.line else source
        return f"{place}: {self.path + ': ' if self.path else ''}{self.message}"


class PolicyError(CacheproxyError):
    """The operator must act: the policy (or the environment) is wrong. Carries every fault at once."""

    def __init__(self, source: str, faults: list[Fault]) -> None:
        """Gather ``faults`` found in ``source`` (a file name)."""
        self.source = source
        self.faults = faults
        super().__init__("\n".join(self.lines()))

    def lines(self) -> list[str]:
        """One line a fault: ``file:line:column: path: message``."""
        return [fault.line_in(self.source) for fault in self.faults]


class ClientError(CacheproxyError):
    """The client must act: its request is answered with ``status`` and the machine-readable ``reason``."""

    def __init__(self, status: int, reason: str, detail: str = "") -> None:
        """``status`` is a 4xx; ``reason`` a lower-case code such as ``ambiguous-path``."""
        self.status = status
        self.reason = reason
        self.detail = detail or reason
        super().__init__(f"{status} {reason}: {self.detail}")


class UpstreamError(CacheproxyError):
    """The origin must act: no usable response came. Becomes stale-if-error, else ``status`` (502, 503 or 504).

    ``sent`` says whether the origin may have begun to act on the request, so that it must not be sent again.
    """

    def __init__(self, status: int, reason: str, *, sent: bool, detail: str = "") -> None:
        """``reason`` is a lower-case code such as ``connect-refused``, the same in body, log and metric."""
        self.status = status
        self.reason = reason
        self.sent = sent
        self.detail = detail or reason
        super().__init__(f"{status} {reason}: {self.detail}")


class StateError(CacheproxyError):
    """Nobody must act now: shared state (Redis) did not answer. Caught in ``engine/degrade.py`` alone."""

    def __init__(self, reason: str, detail: str = "") -> None:
        """``reason`` is one of ``refused, timeout, lost, readonly, loading, error, open`` (breaker open)."""
        self.reason = reason
        self.detail = detail or reason
        super().__init__(f"{reason}: {self.detail}")

"""A clock for tests of every room."""


class FakeClock:
    """Time stands still until a test moves it. Wall clock and monotonic clock are the same."""

    def __init__(self, at: float = 1_700_000_000.0) -> None:
        """Stand at ``at``, epoch seconds."""
        self.at = at

    def now(self) -> float:
        """Epoch seconds."""
        return self.at

    def monotonic(self) -> float:
        """The same."""
        return self.at

    def pass_s(self, seconds: float) -> None:
        """Let seconds pass."""
        self.at += seconds

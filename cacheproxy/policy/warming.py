"""What is asked for before clients ask."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmRules:
    """Which requests are made ahead of clients, and when beside the start."""

    requests: tuple[str, ...] = ()
    """Lines such as ``GET api.example.com/articles?page=2``."""
    most_used: int = 0
    """How many of the requests that clients make most often; 0 for none, and then nobody counts them."""
    after_purge: bool = False
    """Whether it is done again when something was purged."""

"""Keys that a policy may come to hold, but whose behaviour does not exist yet: refused, never accepted and ignored.

``*`` stands for one step. A row is taken out as its feature lands.
"""

from fnmatch import fnmatchcase

from cacheproxy.policy.yaml import Path

NOT_YET_SUPPORTED: frozenset[str] = frozenset(
    {
        "encryption",
        "leak_guard",
        "redis",
        "faults",
        "mode",
        "defaults.unmatched",
        "defaults.limits",
        "defaults.session",
        "defaults.timeouts",
        "upstream.retries",
        "upstream.client_cert",
        "routes.*.mode",
        "routes.*.tenant",
        "routes.*.timeouts",
        "routes.*.upstream",
        "routes.*.cache.leak_guard",
        "routes.*.cache.methods",
        "routes.*.cache.warm",
        "events.dedupe",
        "events.stream",
    }
)


def is_unsupported(path: Path) -> bool:
    """Whether the key at ``path`` is one of those."""
    steps = [str(step) for step in path]
    return any(_matches(row.split("."), steps) for row in NOT_YET_SUPPORTED)


def _matches(row: list[str], steps: list[str]) -> bool:
    return len(row) == len(steps) and all(fnmatchcase(step, want) for want, step in zip(row, steps, strict=True))

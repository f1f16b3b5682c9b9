"""What is dangerous in giving out responses compressed."""

from collections.abc import Iterator

from cacheproxy.policy.model_cache import merged
from cacheproxy.policy.models import PolicyModel
from cacheproxy.policy.yaml import Path

_BREACH = (
    "compressed beside what a client sent, a secret shows in the length (BREACH, docs/security.md); "
    "write `encode: false` unless these responses hold none"
)


def encode_cautions(policy: PolicyModel) -> Iterator[tuple[Path, str]]:
    """Routes that encode what is for one user or session: that is where secrets are."""
    for at, route in enumerate(policy.routes):
        cache = merged(route.cache, policy.defaults.cache)
        if cache is not None and cache.encode is not None and cache.scope in {"user", "session"}:
            yield ("routes", at, "cache", "scope"), f"`scope: {cache.scope}` with `encode`: {_BREACH}"

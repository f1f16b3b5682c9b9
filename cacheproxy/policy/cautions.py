"""What a policy may say, and is rarely meant: told at start and by ``check``, and in force all the same."""

from collections.abc import Iterator

from cacheproxy.policy.check_batch import batch_cautions
from cacheproxy.policy.check_coding import encode_cautions
from cacheproxy.policy.check_conditions import condition_cautions
from cacheproxy.policy.check_limits import limit_cautions
from cacheproxy.policy.check_methods import method_cautions
from cacheproxy.policy.check_paths import path_cautions
from cacheproxy.policy.check_tags import tag_cautions
from cacheproxy.policy.models import PolicyModel
from cacheproxy.policy.yaml import Path

_CHECKS = (
    condition_cautions,
    encode_cautions,
    batch_cautions,
    method_cautions,
    path_cautions,
    limit_cautions,
    tag_cautions,
)


def cautions(policy: PolicyModel) -> Iterator[tuple[Path, str]]:
    """Every caution about ``policy``, with its path."""
    for check in _CHECKS:
        yield from check(policy)

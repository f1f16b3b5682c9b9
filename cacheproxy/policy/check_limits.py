"""What is wrong with a policy's limits, each by itself."""

from collections.abc import Iterator

from cacheproxy.policy.model_limits import LimitModel
from cacheproxy.policy.models import PolicyModel
from cacheproxy.policy.yaml import Path


def limit_complaints(policy: PolicyModel) -> Iterator[tuple[Path, str]]:
    """Limits that could not count what they say, or contradict themselves."""
    for name, limit in policy.limits.items():
        faults = (*_subject_faults(limit, policy), *_rate_faults(limit), *_concurrency_faults(limit), *_exempt(limit))
        yield from ((("limits", name, key), message) for key, message in faults)


def limit_cautions(policy: PolicyModel) -> Iterator[tuple[Path, str]]:
    """Limits that no route has."""
    used = {name for route in policy.routes for name in route.limits}
    for name in policy.limits:
        if name not in used:
            yield ("limits", name), f"no route has this limit, so it counts nothing; add `limits: [{name}]` to a route"


def _subject_faults(limit: LimitModel, policy: PolicyModel) -> Iterator[tuple[str, str]]:
    """What a limit counts by that there is not; like the others, each with the key that says it."""
    if policy.session is None and any(subject.startswith("session.") for subject in limit.by):
        yield "by", "counts by the session, but there is no `session:`"
    if policy.tenant is None and "tenant" in limit.by:
        yield "by", "counts by the tenant, but there is no `tenant:`"


def _rate_faults(limit: LimitModel) -> Iterator[tuple[str, str]]:
    """What a limit says of its rate that cannot be."""
    if limit.burst and limit.algorithm not in {"gcra", "token_bucket"}:
        yield "burst", f"`{limit.algorithm}` has no burst; `gcra` and `token_bucket` have"
    costs = limit.cost
    if limit.count == "miss" and (costs.hit or costs.stale) and len({costs.hit, costs.stale, costs.miss}) > 1:
        yield "cost", "`count: miss` means that hits cost nothing; give one of the two"
    if not (costs.hit or costs.stale or costs.miss):
        yield "cost", "nothing would ever count"
    if limit.max_delay is not None and limit.on_limit != "delay":
        yield "max_delay", "nothing is held back; `on_limit: delay` does that"


def _concurrency_faults(limit: LimitModel) -> Iterator[tuple[str, str]]:
    """What a limit without a rate says of one."""
    if limit.rated:
        return
    for key in ("algorithm", "burst", "cost", "precision", "on_redis_down"):
        if key in limit.model_fields_set:
            yield key, "this limit has no `rate` that it could speak of"
    if limit.on_limit == "delay":
        yield "on_limit", "a request is held back until its `rate` allows it, and there is none"


def _exempt(limit: LimitModel) -> Iterator[tuple[str, str]]:
    exempt = limit.exempt
    if exempt is not None and (exempt.header is None) != (exempt.secret is None):
        yield "exempt", "`header` and `secret` go together: the field, and what must stand in it"

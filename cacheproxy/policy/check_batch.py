"""Batches: the routes whose single entries they are made of, and what is wrong where there is none."""

from collections.abc import Iterator

from cacheproxy.policy.batch_rules import Absent, BatchRules
from cacheproxy.policy.complaints import meant
from cacheproxy.policy.model_cache import merged
from cacheproxy.policy.models import BatchModel, PolicyModel, RouteModel
from cacheproxy.policy.paths import Kind, PathPattern
from cacheproxy.policy.yaml import Path

Complaint = tuple[Path, str]


def batch_complaints(policy: PolicyModel) -> Iterator[Complaint]:
    """Batches that could never be taken apart."""
    for at, route in enumerate(policy.routes):
        if route.batch is not None:
            yield from ((("routes", at, "batch", key), message) for key, message in _faults(route, route.batch, policy))


def batch_cautions(policy: PolicyModel) -> Iterator[Complaint]:
    """Batches by which clients get around the limits of single requests."""
    for at, route in enumerate(policy.routes):
        single = None if route.batch is None else _single(route.batch, policy)
        missing = [name for name in single.limits if name not in route.limits] if single is not None else []
        if single is not None and missing:
            yield ("routes", at, "batch"), _way_around(missing[0], single.name)


def batch_rules(route: RouteModel, policy: PolicyModel) -> BatchRules | None:
    """How ``route`` takes requests apart; None where it does not. Its checks have passed."""
    batch = route.batch
    single = None if batch is None else _single(batch, policy)
    if batch is None or single is None:
        return None
    path = _fetched(single)[0]
    (id_name,) = _unbound(path, route)
    return BatchRules(
        param=batch.param,
        route=single.name,
        own=tuple(_fetched(route)),
        path=path,
        id_name=id_name,
        resource=batch.item.text.partition(":")[0],
        id_field=batch.id_field,
        absent=Absent(batch.absent),
        max_ids=batch.max_ids,
    )


def _faults(route: RouteModel, batch: BatchModel, policy: PolicyModel) -> Iterator[tuple[str, str]]:
    single = _single(batch, policy)
    if not _fetched(route):
        yield "param", "only GET is taken apart, and this route does not match it"
        return
    if single is None:
        keys = [key for other in policy.routes if (key := _key(other, policy))]
        yield "item", f"no cached route has the key `{batch.item.text}`{meant(batch.item.text, keys)}"
        return
    if single.session != route.session:
        yield "item", f"the route `{single.name}` has `session: {single.session}`, and this one `{route.session}`"
    for path in _fetched(single)[:1]:
        left = _unbound(path, route)
        if len(left) != 1:
            named = ", ".join(f"`{{{name}}}`" for name in left) or "none"
            yield "item", f"of `{path.text}` one name must be left for the ids, and left are: {named}"
        elif any(segment.name == left[0] and segment.kind is Kind.PATH for segment in path.segments):
            yield "item", f"`{{{left[0]}:path}}` may stand for several segments; an id is one"


def _way_around(limit: str, route: str) -> str:
    return (
        f"requests for many do not count against the limit `{limit}` of the route `{route}`: add it to their `limits`"
    )


def _single(batch: BatchModel, policy: PolicyModel) -> RouteModel | None:
    return next((route for route in policy.routes if _key(route, policy) == batch.item.text), None)


def _key(route: RouteModel, policy: PolicyModel) -> str | None:
    cache = merged(route.cache, policy.defaults.cache)
    return cache.key.text if cache is not None and cache.key is not None and _fetched(route) else None


def _fetched(route: RouteModel) -> list[PathPattern]:
    return [rule.path for rule in route.match if not rule.methods or "GET" in rule.methods]


def _unbound(path: PathPattern, route: RouteModel) -> list[str]:
    """The names of ``path`` that not every path of ``route`` binds."""
    return [name for name in path.names if not all(name in other.names for other in _fetched(route))]

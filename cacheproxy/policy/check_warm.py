"""Requests to warm with that leave nothing in the cache."""

from collections.abc import Iterator

from cacheproxy.errors import ClientError
from cacheproxy.policy.route import Policy, Route
from cacheproxy.policy.router import Router
from cacheproxy.policy.yaml import Path

_ANY_HOST = b"localhost"


def warm_cautions(policy: Policy, router: Router, at: Path) -> Iterator[tuple[Path, str]]:
    """Requests, listed ``at`` that place, which ask the origin for what no route keeps."""
    for nth, line in enumerate(policy.warm.requests):
        route = _route_of(line, router)
        if route is None:
            yield (*at, nth), "no route matches this request, so its answer is not kept"
        elif route.cache is None and route.batch is None:
            yield (*at, nth), f"the route `{route.name}` has no `cache:`, so its answer is not kept"


def _route_of(line: str, router: Router) -> Route | None:
    method, place = line.split()
    host, _, target = place.partition("/")
    path = b"/" + target.partition("?")[0].encode("latin-1")
    try:
        match = router.match(method, path, host.encode("latin-1") or _ANY_HOST)
    except ClientError:
        return None
    return None if match is None else match.route

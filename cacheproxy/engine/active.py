"""The policy in force, compiled."""

from cacheproxy.engine.exchange import Exchange
from cacheproxy.errors import ClientError
from cacheproxy.policy.route import Policy
from cacheproxy.policy.router import Match, Router
from cacheproxy.semantics.forwarding import has_passed
from cacheproxy.semantics.memo import LONGEST_BYTES, recurring


class Active:
    """The policy in force. A reload replaces it whole; a request keeps the one it began with."""

    __slots__ = ("_match_lately", "policy", "router")

    def __init__(self, policy: Policy, router: Router) -> None:
        """Route by ``router``, remembering the latest."""
        self.policy = policy
        self.router = router
        self._match_lately = recurring(router.match, 2048)

    def match(self, method: str, path: bytes, host: bytes) -> Match | None:
        """As ``Router.match``: a pure function, and most requests are for few targets. Long ones are not remembered."""
        find = self._match_lately if len(path) + len(host) <= LONGEST_BYTES else self.router.match
        return find(method, path, host)


def route(exchange: Exchange, active: Active, loop_id: bytes) -> None:
    """Step 2. ClientError for a path that two readers would route differently, or a body where none is taken.

    Also for a request that bears our ``loop_id``: joined to the fill that sent it on, it would wait for itself.
    """
    request = exchange.request
    if has_passed(request, loop_id):
        raise ClientError(508, "loop-detected", "the request came by this sidecar before: it is its own origin")
    match = active.match(request.method, request.path, request.authority) or Match(active.policy.fallback)
    exchange.route, exchange.params = match.route, match.params
    if match.route.refuse_body and exchange.body is not None:
        raise ClientError(413, "body-refused", "this route takes no request body")

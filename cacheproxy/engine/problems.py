"""The proxy's own answers to what went wrong."""

from cacheproxy.engine.exchange import Exchange
from cacheproxy.engine.reply import Reply, problem
from cacheproxy.errors import ClientError, UpstreamError
from cacheproxy.semantics.fields import Fields
from cacheproxy.sessions.login import login_location

SESSION_REQUIRED = "session-required"
_RETRY_SOON = (b"retry-after", b"1")


def refused(error: ClientError, exchange: Exchange) -> Reply:
    """The answer to a request that its client must mend; to readers who must log in, the way there if there is one."""
    place, request = exchange.route.session_redirect, exchange.request
    reads = request.method in {"GET", "HEAD"} and b"upgrade" not in request.fields
    if error.reason != SESSION_REQUIRED or not place or not reads:
        return problem(error.status, error.reason, error.detail)
    location = login_location(place, request.target)
    return Reply(303, Fields(((b"location", location), (b"cache-control", b"no-store"))))


def unavailable(error: UpstreamError) -> Reply:
    """The answer where the origin gave none (502, 503 or 504)."""
    extra = (_RETRY_SOON,) if error.status == 503 else ()
    return problem(error.status, error.reason, error.detail, *extra)

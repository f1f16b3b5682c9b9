"""The proxy's own answers to what went wrong."""

from cacheproxy.engine.exchange import Exchange
from cacheproxy.engine.reply import Reply, problem
from cacheproxy.errors import ClientError, UpstreamError
from cacheproxy.semantics.fields import Fields
from cacheproxy.sessions.login import login_location

SESSION_REQUIRED = "session-required"
WEBSOCKET_VERSION = "websocket-version"
_RETRY_SOON = (b"retry-after", b"1")
_WEBSOCKET_13 = ((b"upgrade", b"websocket"), (b"sec-websocket-version", b"13"))
"""What a client is told that speaks another version (RFC 9110 §15.5.22, RFC 6455 §4.4)."""


def refused(error: ClientError, exchange: Exchange) -> Reply:
    """The answer to a request that its client must mend; to readers who must log in, the way there if there is one."""
    place, request = exchange.route.session_redirect, exchange.request
    reads = request.method in {"GET", "HEAD"} and b"upgrade" not in request.fields
    if error.reason != SESSION_REQUIRED or not place or not reads:
        return problem(error.status, error.reason, error.detail)
    location = login_location(place, request.target)
    return Reply(303, Fields(((b"location", location), (b"cache-control", b"no-store"))))


def unread(error: ClientError) -> Reply:
    """The answer to a request whose head or framing is wrong, so that nothing else can be said of it."""
    extra = _WEBSOCKET_13 if error.reason == WEBSOCKET_VERSION else ()
    return problem(error.status, error.reason, error.detail, *extra)


def unavailable(error: UpstreamError) -> Reply:
    """The answer where the origin gave none (502, 503 or 504). Hosts and addresses are for the log alone."""
    extra = (_RETRY_SOON,) if error.status == 503 else ()
    return problem(error.status, error.reason, "the service behind this gave no answer that could be used", *extra)

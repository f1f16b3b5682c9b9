"""The proxy's own answers to what went wrong."""

from cacheproxy.engine.reply import Reply, problem
from cacheproxy.errors import ClientError, UpstreamError

_RETRY_SOON = (b"retry-after", b"1")


def refused(error: ClientError) -> Reply:
    """The answer to a request that its client must mend."""
    return problem(error.status, error.reason, error.detail)


def unavailable(error: UpstreamError) -> Reply:
    """The answer where the origin gave none (502, 503 or 504)."""
    extra = (_RETRY_SOON,) if error.status == 503 else ()
    return problem(error.status, error.reason, error.detail, *extra)

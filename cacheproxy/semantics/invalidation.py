"""What an answer to an unsafe method makes untrue (RFC 9111 §4.4)."""

from cacheproxy.semantics.head import RequestHead, ResponseHead
from cacheproxy.semantics.uris import resolve

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "REPORT", "SEARCH", "QUERY"})
"""Methods that change nothing (RFC 9110 §9.2.1 and the IANA registry). Any other may."""


def invalidated(request: RequestHead, response: ResponseHead) -> list[bytes]:
    """The targets (path and query) whose stored responses no longer hold, each once: the request's own first.

    Then those that Location and Content-Location name on the same origin. None for a safe method or an error (§4.4).
    """
    if not changes_something(request, response):
        return []
    references = [
        value for name in (b"location", b"content-location") if (value := response.fields.get(name)) is not None
    ]
    named = [resolve(reference, request) for reference in references]
    return list(dict.fromkeys([request.target, *(target for target in named if target is not None)]))


def changes_something(request: RequestHead, response: ResponseHead) -> bool:
    """Whether the method is unsafe and the answer no error (2xx or 3xx)."""
    return request.method not in SAFE_METHODS and 200 <= response.status < 400


def names_target(reference: bytes, request: RequestHead) -> bool:
    """Whether ``reference`` (a Content-Location) is the request's own target."""
    return resolve(reference, request) == request.target

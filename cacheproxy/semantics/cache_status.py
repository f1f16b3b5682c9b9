"""The Cache-Status of an answer: what this cache did and why (RFC 9211)."""

from enum import StrEnum

from cacheproxy.semantics.plan import Forward

CACHE_NAME = b"cacheproxy"

_LARGEST = 999_999_999_999_999
"""The largest Structured Fields integer (RFC 8941 §3.3.1)."""


class Detail(StrEnum):
    """The closed set of ``detail`` codes. Each has its row in docs/cache-status.md."""

    # Why it is not stored (``storing.PassReason``).
    METHOD = "method"
    STATUS = "status"
    NOT_UNDERSTOOD = "not-understood"
    REQUEST_NO_STORE = "request-no-store"
    NO_STORE = "no-store"
    PRIVATE = "private"
    AUTHORIZATION = "authorization"
    SET_COOKIE = "set-cookie"
    SENSITIVE = "sensitive"
    VARY_STAR = "vary-star"
    PARTIAL_CONTENT = "partial-content"
    NO_LIFETIME = "no-lifetime"
    NOT_REUSABLE = "not-reusable"
    TOO_LARGE = "too-large"
    PRECONDITION = "precondition"
    PERSONALISED = "personalised"
    TAGS_REFUSED = "tags-refused"
    STORE_WHEN = "store-when"
    # Why the cache has no part in it (``policy.keys.NoKeyReason``).
    BYPASS_ASKED = "bypass-asked"
    BYPASS_WHEN = "bypass-when"
    NO_SESSION = "no-session"
    NO_USER = "no-user"
    NO_TENANT = "no-tenant"
    KEY_INCOMPLETE = "key-incomplete"
    NO_ROUTE = "no-route"
    NO_CACHE_POLICY = "no-cache-policy"
    # Why a request for many is not answered from single entries.
    BATCH_WHOLE = "batch-whole"
    BATCH_UNUSABLE = "batch-unusable"
    # Why the origin is asked, whatever is stored.
    LOOKUP_WHEN = "lookup-when"
    # How it was answered without the origin, or in spite of it.
    STALE_WHILE_REVALIDATE = "stale-while-revalidate"
    STALE_IF_ERROR = "stale-if-error"
    MAX_STALE = "max-stale"
    LIMITED = "limited"
    ONLY_IF_CACHED = "only-if-cached"
    UPSTREAM_ERROR = "upstream-error"


def cache_status(
    *,
    hit: bool = False,
    fwd: Forward | None = None,
    fwd_status: int | None = None,
    ttl: int | None = None,
    stored: bool = False,
    collapsed: bool = False,
    key: str | None = None,
    detail: str | None = None,
) -> bytes:
    """Our member of the list. ``hit`` and ``fwd`` exclude each other; ``ttl`` (seconds) is negative where it was stale.

    ``detail`` is a ``Detail`` or a ``PassReason``, which all are. ``key`` is for debugging only: what is not printable
    ASCII in it is sent as ``?``.
    """
    parts = [CACHE_NAME]
    if hit:
        parts.append(b"hit")
    elif fwd is not None:
        parts.append(b"fwd=" + fwd.encode("ascii"))
        if fwd_status is not None:
            parts.append(b"fwd-status=%d" % fwd_status)
    if ttl is not None:
        parts.append(b"ttl=%d" % max(-_LARGEST, min(ttl, _LARGEST)))
    if stored:
        parts.append(b"stored")
    if collapsed:
        parts.append(b"collapsed")
    if key is not None:
        parts.append(b"key=" + _sf_string(key))
    if detail is not None:
        parts.append(b"detail=" + detail.encode("ascii"))
    return b"; ".join(parts)


def _sf_string(text: str) -> bytes:
    printable = "".join(char if " " <= char <= "~" else "?" for char in text)
    return b'"' + printable.replace("\\", "\\\\").replace('"', '\\"').encode("ascii") + b'"'

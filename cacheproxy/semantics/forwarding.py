"""What of a message goes on to the next hop (RFC 9110 §7.6, §6.5.1).

Connection may nominate further fields to be dropped. Whoever can send it could so strip what others rely on: the
Cookie that the cache key was made of, the Cache-Control of a private response, a forwarded address. RFC 9110 §7.6.1
forbids to nominate fields meant for every recipient, so such a nomination is ignored, and the field stays.
"""

from collections.abc import Collection

from cacheproxy.semantics.cache_control import OWN_FIELD, SURROGATE_TARGET
from cacheproxy.semantics.fields import Fields, Pair
from cacheproxy.semantics.head import RequestHead
from cacheproxy.semantics.memo import memoised

PSEUDONYM = b"cacheproxy"

HOP_BY_HOP = frozenset({
    b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authentication-info", b"proxy-authorization",
    b"proxy-connection", b"te", b"transfer-encoding", b"upgrade",
})  # fmt: skip

NOT_NOMINABLE = frozenset({
    # Framing and routing.
    b"host", b"content-length", b"content-type", b"content-encoding", b"content-language", b"content-range",
    b"content-location", b"location", b"expect", b"max-forwards", b"via", b"cdn-loop", b"date",
    # Who asks, and from where.
    b"authorization", b"cookie", b"set-cookie", b"www-authenticate", b"origin", b"referer", b"forwarded", b"x-real-ip",
    b"x-request-id", b"traceparent", b"tracestate",
    # What caches and browsers decide by.
    b"age", b"cache-control", b"cdn-cache-control", b"surrogate-control", OWN_FIELD, b"cache-groups",
    b"cache-group-invalidation", b"cache-tag", b"etag", b"expires", b"last-modified", b"pragma", b"vary", b"range",
    b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since", b"if-range",
    b"content-security-policy", b"strict-transport-security", b"x-content-type-options", b"x-frame-options",
})  # fmt: skip

_FORWARDED_PREFIX = b"x-forwarded-"
_FOR_US = frozenset({OWN_FIELD, b"surrogate-control"})
TRACES = frozenset({b"via", b"cdn-loop"})
"""What each hop adds to."""
_NOT_ASKED = HOP_BY_HOP | TRACES
_NOT_ANSWERED = HOP_BY_HOP | _FOR_US


def connection_fields(fields: Fields) -> frozenset[bytes]:
    """The field names that Connection nominates, lower-case, less those it may not."""
    value = fields.combined(b"connection")
    return frozenset() if value is None else _nominated(value)


@memoised(maxsize=256)
def _nominated(value: bytes) -> frozenset[bytes]:
    names = {name.strip(b" \t").lower() for name in value.split(b",")}
    return frozenset(name for name in names - NOT_NOMINABLE if name and not name.startswith(_FORWARDED_PREFIX))


def request_fields(
    request: RequestHead, *, loop_id: bytes = PSEUDONYM, protected: Collection[bytes] = (), surrogate: bool = False
) -> Fields:
    """The fields that ``request`` goes on to the origin with: end-to-end ones, Via, and CDN-Loop with ``loop_id``.

    No TE goes on: trailers end here (RFC 9110 §10.1.4). ``protected`` names further fields that Connection cannot drop
    (identity). ``surrogate`` declares to the origin that Surrogate-Control is understood. Max-Forwards is counted down
    for TRACE and OPTIONS (RFC 9110 §7.6.2).
    """
    nominated = connection_fields(request.fields) - frozenset(protected)
    dropped = _NOT_ASKED | nominated if nominated else _NOT_ASKED
    kept = [pair for pair in request.fields.pairs if pair[0] not in dropped]
    forwards = remaining_forwards(request)
    if forwards is not None:
        kept = [pair for pair in kept if pair[0] != b"max-forwards"]
        kept.append((b"max-forwards", b"%d" % max(0, forwards - 1)))
    kept.extend(traces(request, loop_id))
    if surrogate:
        kept.append((b"surrogate-capability", SURROGATE_TARGET + b'="Surrogate/1.0"'))
    return Fields(kept)


def response_fields(fields: Fields) -> Fields:
    """The fields that a response goes on to the client with: end-to-end ones, less orders meant for this cache."""
    nominated = connection_fields(fields)
    return fields.without(_NOT_ANSWERED | nominated if nominated else _NOT_ANSWERED)


def remaining_forwards(request: RequestHead) -> int | None:
    """How often a TRACE or OPTIONS may still be forwarded; 0: answer it here. None: no limit (RFC 9110 §7.6.2)."""
    if request.method not in ("TRACE", "OPTIONS"):
        return None
    value = request.fields.get(b"max-forwards") or b""
    return int(value) if value.isdigit() and len(value) <= 9 else None


def traces(request: RequestHead, loop_id: bytes) -> tuple[Pair, Pair]:
    """What shows the next hops that ``request`` has come by here: Via (RFC 9110 §7.6.3), CDN-Loop (RFC 8586 §2)."""
    hop = request.http_version.encode("latin-1", "replace") + b" " + PSEUDONYM
    return _appended(request, b"via", hop), _appended(request, b"cdn-loop", loop_id)


def has_passed(request: RequestHead, loop_id: bytes) -> bool:
    """Whether ``request`` has come by whoever is ``loop_id`` before (RFC 8586 §2)."""
    by = request.fields.combined(b"cdn-loop")
    return by is not None and any(each.partition(b";")[0].strip(b" \t") == loop_id for each in by.split(b","))


def _appended(request: RequestHead, name: bytes, member: bytes) -> Pair:
    before = request.fields.combined(name)
    return name, member if before is None else before + b", " + member

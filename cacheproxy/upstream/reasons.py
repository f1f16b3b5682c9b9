"""Why no usable response came from the origin: the codes seen in the answer's body, in the log and in metrics."""

from enum import StrEnum

from cacheproxy.errors import UpstreamError


class Reason(StrEnum):
    """Every way in which an exchange with the origin fails."""

    POOL_EXHAUSTED = "pool-exhausted"
    """All connections stayed busy for as long as a request may wait for one."""
    GAVE_WAY = "gave-way"
    """The client took the body too slowly to hold a connection that others were waiting for."""
    RESOLVE_FAILED = "resolve-failed"
    CONNECT_TIMEOUT = "connect-timeout"
    CONNECT_REFUSED = "connect-refused"
    CONNECT_FAILED = "connect-failed"
    """No route, no such socket, no permission, too many open files."""
    TLS_FAILED = "tls-failed"
    WRITE_TIMEOUT = "write-timeout"
    """The origin stopped taking the request in."""
    FIRST_BYTE_TIMEOUT = "first-byte-timeout"
    """The request was sent, and no final response head came."""
    IDLE_TIMEOUT = "idle-timeout"
    """The body fell silent before its end."""
    CLOSED_EARLY = "closed-early"
    """The connection was closed or reset before a response head came."""
    BODY_TRUNCATED = "body-truncated"
    """The connection was closed or reset before the body's end."""
    MALFORMED_RESPONSE = "malformed-response"
    HEAD_TOO_LARGE = "head-too-large"
    TOO_MANY_FIELDS = "too-many-fields"
    TOO_MANY_INTERIM = "too-many-interim"
    UNASKED_UPGRADE = "unasked-upgrade"
    """A 101 to a request that did not ask for it."""
    SHUT_DOWN = "shut-down"
    """We closed our own connections while the request was under way."""


STATUS = {
    Reason.POOL_EXHAUSTED: 503,
    Reason.GAVE_WAY: 503,
    Reason.SHUT_DOWN: 503,
    Reason.CONNECT_TIMEOUT: 504,
    Reason.WRITE_TIMEOUT: 504,
    Reason.FIRST_BYTE_TIMEOUT: 504,
    Reason.IDLE_TIMEOUT: 504,
}
"""What the client is told; 502 where a reason is not listed (RFC 9110 §15.6.3)."""

BEFORE_SENDING = frozenset(
    {
        Reason.POOL_EXHAUSTED,
        Reason.RESOLVE_FAILED,
        Reason.CONNECT_TIMEOUT,
        Reason.CONNECT_REFUSED,
        Reason.CONNECT_FAILED,
        Reason.TLS_FAILED,
    }
)


def failure(reason: Reason, detail: str = "") -> UpstreamError:
    """Make the error that ``reason`` means to the client and to whoever thinks of sending the request again."""
    sent = reason not in BEFORE_SENDING
    return UpstreamError(STATUS.get(reason, 502), reason.value, sent=sent, detail=detail)

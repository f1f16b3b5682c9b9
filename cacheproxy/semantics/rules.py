"""What a route's policy says to the caching rules, already checked and compiled."""

from dataclasses import dataclass
from enum import StrEnum


class Mode(StrEnum):
    """Who decides on storing: the origin (its silence filled by the policy), or the policy."""

    HONOR = "honor"
    OVERRIDE = "override"


class ClientControl(StrEnum):
    """Whether a client's own Cache-Control (and Pragma) is obeyed: a lever against the origin where it is."""

    HONOR = "honor"
    IGNORE = "ignore"


class Coding(StrEnum):
    """Content codings (RFC 9110 §8.4.1, RFC 7932, RFC 8878), by their registered names."""

    ZSTD = "zstd"
    BR = "br"
    GZIP = "gzip"
    DEFLATE = "deflate"


@dataclass(frozen=True, slots=True, kw_only=True)
class CompressRules:
    """Which bodies are compressed in Redis, and how."""

    above_bytes: int = 16 << 10
    """Smaller ones are kept as they are."""
    coding: Coding = Coding.DEFLATE


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodeRules:
    """Which stored responses are given out compressed, and how."""

    above_bytes: int = 1 << 10
    """Smaller bodies are given out as they are."""
    codings: tuple[Coding, ...] = (Coding.ZSTD, Coding.BR, Coding.GZIP)
    """Content codings to offer, ours best first."""
    types: frozenset[bytes] = frozenset()
    """Media types (lower-case, ``text/*`` for a whole tree); empty: those that are known to shrink."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheRules:
    """How one route is cached. Times in seconds, sizes in bytes; None means that the policy is silent."""

    mode: Mode = Mode.HONOR
    ttl_s: float | None = None
    ttl_by_status: tuple[tuple[int, float], ...] = ()
    """Lifetimes for single status codes: they win over ``ttl_s``. Negative caching is a row here."""
    stale_while_revalidate_s: float | None = None
    """None: only what the origin's own Cache-Control grants."""
    stale_if_error_s: float | None = None
    max_body_bytes: int = 1 << 20
    methods: frozenset[str] = frozenset({"GET", "HEAD"})
    client_cache_control: ClientControl = ClientControl.IGNORE
    allow_authorization: bool = False
    """Whether a request with Authorization may be answered from (and stored in) the shared cache without the
    origin's leave (RFC 9111 §3.5). True where the key carries the identity."""
    keep_stale_s: float = 60.0
    """How long a response with a validator is kept beyond its use, so that it can be revalidated."""
    max_variants: int = 32
    early_beta: float = 0.0
    """How early a hot response is refreshed, in multiples of the time it takes to fetch (XFetch); 0: not before it is
    stale."""
    shared_cookies: frozenset[bytes] = frozenset()
    """Names of cookies that mean the same for everybody: a response that sets no other may be stored with them. ``*``
    stands for all. Empty, as it should be almost everywhere: a response with Set-Cookie is never stored nor shared."""
    compress: CompressRules | None = None
    """Which bodies are compressed in Redis; None: none is."""
    encode: EncodeRules | None = None
    """Which responses clients get compressed; None: as the origin sent them."""
    encrypt: bool = False
    """Whether responses are encrypted in Redis."""
    sensitive_types: frozenset[bytes] = frozenset()
    """Media types (lower-case, ``text/*`` for a whole tree) of responses that are never stored."""
    sensitive_fields: frozenset[bytes] = frozenset()
    """Names of response fields that keep a response from being stored."""

"""Who is asking, as far as the policy may look, and the rules by which that is found."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The client's address (canonical text), its session's fields if it has one, and its tenant if known."""

    client_ip: str = ""
    session_id: str | None = None
    session: Mapping[str, object] = field(default_factory=dict)
    tenant: str | None = None


class SessionScheme(StrEnum):
    """What the cookie holds: the id itself, or the id signed by itsdangerous' TimestampSigner, as Starlette signs."""

    PLAIN = "plain"
    SIGNED = "signed"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRules:
    """Where sessions are, and what of them the upstream is told."""

    cookie: str = "session_id"
    key: str = "session:{id}"
    ttl_s: float = 3600.0
    sliding: bool = True
    identity: tuple[tuple[bytes, str], ...] = ()
    """Request field set for the upstream (lower-case), and the session field it carries."""
    namespace: tuple[bytes, ...] = ()
    """Prefixes of field names (lower-case) that clients may never send, beside those in ``identity``."""
    user_field: str = "user_id"
    """The session field that names the user: ``user:{...}`` purges the session from memory."""
    memory_s: float = 1.0
    """How long a session may be answered from memory while the bus is alive; 0 for never."""
    scheme: SessionScheme = SessionScheme.PLAIN
    secret: str = field(default="", repr=False)
    """Key of SIGNED ids."""
    signed_max_age_s: float | None = 14 * 86400.0
    """Age beyond which a SIGNED id is refused (Starlette's default); None for never."""
    seal_secret: str = field(default="", repr=False)
    """Key of the HMAC over the identity fields; empty for none."""


class TenantSource(StrEnum):
    """Where a request's tenant is read from."""

    SESSION = "session"
    HEADER = "header"
    HOST = "host"


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantRules:
    """``source`` and the session field or (lower-case) header ``name`` in it."""

    source: TenantSource
    name: str = ""
    enforce: bool = False
    status: int = 400
    """The answer to a request without a tenant where ``enforce`` is set."""

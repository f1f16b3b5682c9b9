"""Who may use the admin port. Off loopback: who holds the token. On loopback: who is not a web page from elsewhere."""

import hmac
from dataclasses import dataclass
from ipaddress import ip_address

from starlette.datastructures import Headers

from cacheproxy.errors import Fault, PolicyError

OPEN_PATHS = frozenset({"/", "/livez", "/readyz", "/healthz"})
"""No secret is in them: probes have no token, and the dashboard's page asks for one before it reads anything."""

SAFE_METHODS = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class Denied:
    """The request is refused with ``status`` for ``reason``."""

    status: int
    reason: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """The rule for one listener. ``token`` empty: none is asked for, which only a loopback listener may do."""

    loopback: bool
    token: str = ""

    @classmethod
    def for_listener(cls, host: str, token: str = "") -> "Access":
        """The rule for listening on ``host``. PolicyError where it is not loopback and there is no token."""
        loopback = is_loopback(host)
        if not loopback and not token:
            message = (
                f"the admin port on {host!r} is open to others: set CACHEPROXY_ADMIN_TOKEN, or listen on 127.0.0.1"
            )
            raise PolicyError("environment", [Fault(message, path="admin")])
        return cls(loopback=loopback, token=token)

    def check(self, method: str, path: str, headers: Headers) -> Denied | None:
        """Why the request is refused, or None if it may pass."""
        if self.loopback and not is_loopback(_hostname(headers.get("host", ""))):
            return Denied(421, "foreign-host", "the Host field names no loopback address")
        if method not in SAFE_METHODS and _is_cross_origin(headers):
            return Denied(403, "cross-origin", "a page of another origin may not do this")
        if self.token and path not in OPEN_PATHS and not self._has_token(headers):
            return Denied(401, "token-required", "send the admin token: Authorization: Bearer ...")
        return None

    def _has_token(self, headers: Headers) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        # Compared as bytes: compare_digest refuses text beyond ASCII.
        same = hmac.compare_digest(given.strip().encode(), self.token.encode())
        return same and scheme.lower() == "bearer"


def is_loopback(host: str) -> bool:
    """Whether ``host`` (a name or an address, brackets allowed) can only be this machine."""
    name = host.strip("[]").lower()
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def _hostname(authority: str) -> str:
    """The host of ``host[:port]``. A page that rebinds its name to 127.0.0.1 still sends its own name here."""
    if authority.startswith("["):
        return authority.partition("]")[0]
    return authority.partition(":")[0]


def _is_cross_origin(headers: Headers) -> bool:
    """Whether a browser says that another site's page sent this (Fetch Metadata, else Origin)."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2] != headers.get("host")

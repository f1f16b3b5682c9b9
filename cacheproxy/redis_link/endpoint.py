"""A Redis URL, read: where the servers are and how to enter. Its password is in no repr, no str and no error."""

import ssl
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import SplitResult, parse_qs, unquote, urlencode, urlsplit

from cacheproxy.errors import Fault, PolicyError

Address = tuple[str, int]


class Kind(StrEnum):
    """How the server for a command is found."""

    SINGLE = "single"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


_SCHEMES = {
    "redis": (Kind.SINGLE, 6379),
    "rediss": (Kind.SINGLE, 6379),
    "unix": (Kind.SINGLE, 0),
    "redis+sentinel": (Kind.SENTINEL, 26379),
    "rediss+sentinel": (Kind.SENTINEL, 26379),
    "redis+cluster": (Kind.CLUSTER, 6379),
    "rediss+cluster": (Kind.CLUSTER, 6379),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a Redis is, and how to enter it."""

    kind: Kind = Kind.SINGLE
    addresses: tuple[Address, ...] = ()
    socket: str = ""
    """Path of a unix socket, or empty."""
    service: str = ""
    """The name that Sentinel knows the master by."""
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(cls, url: str) -> "Endpoint":
        """Read ``url``; PolicyError where it is none. Options in its query are redis-py's (``ssl_ca_certs=...``)."""
        try:
            return _read(url)
        except (ValueError, OSError) as error:
            raise PolicyError("Redis URL", [Fault(f"{_shown(url)}: {error}")]) from None

    @property
    def credentials(self) -> tuple[str, str] | None:
        """User name and password for AUTH, or None where the server asks for none."""
        return None if self.password is None else (self.username or "default", self.password)

    def at(self, address: Address) -> "Endpoint":
        """The single server at ``address``, entered in the same way."""
        return Endpoint(addresses=(address,), db=self.db, username=self.username, password=self.password, tls=self.tls)

    def __str__(self) -> str:
        """The URL without what is secret."""
        if self.socket:
            return f"unix://{self.socket}?db={self.db}"
        scheme = ("rediss" if self.tls else "redis") + ("" if self.kind is Kind.SINGLE else f"+{self.kind}")
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.addresses)
        path = f"/{self.service}/{self.db}" if self.service else f"/{self.db}"
        return f"{scheme}://{hosts}{path}"


def _read(url: str) -> Endpoint:
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES:
        raise ValueError(f"the scheme must be one of {', '.join(_SCHEMES)}")
    kind, port = _SCHEMES[parts.scheme]
    service, path = _service_and_path(parts, kind)
    options = {name: values[0] for name, values in parse_qs(parts.query).items()}
    is_unix = parts.scheme == "unix"
    return Endpoint(
        kind=kind,
        addresses=() if is_unix else tuple(_address(each, port) for each in _hosts(parts).split(",")),
        socket=unquote(path) if is_unix else "",
        service=service,
        db=int(options.pop("db", None) or ("" if is_unix else _db(path)) or 0),
        username=unquote(parts.username or "") or options.pop("username", None),
        password=unquote(parts.password or "") or options.pop("password", None),
        sentinel_username=options.pop("sentinel_username", None),
        sentinel_password=options.pop("sentinel_password", None),
        tls=_tls(options, wanted=parts.scheme.startswith("rediss")),
    )


def _hosts(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2]


def _db(path: str) -> str:
    """The database that a path names; what is no number names none."""
    named = unquote(path).replace("/", "")
    return named if named.isdecimal() else ""


def _service_and_path(parts: SplitResult, kind: Kind) -> tuple[str, str]:
    if kind is not Kind.SENTINEL:
        return "", parts.path
    service, _, db = parts.path.strip("/").partition("/")
    if not service:
        raise ValueError("a Sentinel URL names the master: redis+sentinel://host1,host2/mymaster/0")
    return service, f"/{db}"


def _address(text: str, default_port: int) -> Address:
    parts = urlsplit(f"//{text}")
    return parts.hostname or "localhost", parts.port or default_port


def _tls(options: dict[str, str], *, wanted: bool) -> ssl.SSLContext | None:
    unknown = [name for name in options if not (wanted and name.startswith("ssl_"))]
    if unknown:
        raise ValueError(f"unknown option: {', '.join(unknown)}")
    return _context(options) if wanted else None


def _context(options: dict[str, str]) -> ssl.SSLContext:
    """What redis-py makes of ``options``. ValueError."""
    # redis-py is 6 MB of memory, and nothing else in the proxy asks for it
    from redis.asyncio.connection import SSLConnection, parse_url  # noqa: PLC0415
    from redis.exceptions import RedisError  # noqa: PLC0415

    typed: dict[str, Any] = dict(parse_url(f"redis://?{urlencode(options)}"))
    try:
        return SSLConnection(**typed).ssl_context.get()
    except (TypeError, RedisError) as error:
        raise ValueError(str(error)) from None


def _shown(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"

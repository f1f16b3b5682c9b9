"""What the environment and the command line say; everything about requests is in the policy file.

Each setting is an environment variable with the prefix ``CACHEPROXY_``; Redis's have their customary names. A secret
may be given as a file instead (``..._FILE``), as Docker and Kubernetes mount them.
"""

import os
import re
import secrets
import socket
from base64 import b64decode
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from pydantic import AliasChoices, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from cacheproxy.errors import Fault, PolicyError
from cacheproxy.policy.units import duration_s

_PREFIX = "CACHEPROXY_"
_FIELDS = {
    "CACHEPROXY_ADMIN_TOKEN": "admin_token",
    "CACHEPROXY_ENCRYPTION_KEYS": "encryption_keys",
    "REDIS_URL": "CACHEPROXY_REDIS",
}
_SECRET_FILES = ("CACHEPROXY_ADMIN_TOKEN", "CACHEPROXY_ENCRYPTION_KEYS", "REDIS_PASSWORD", "REDIS_URL")
_NEARLY_THE_SAME = 0.8
_OF_KUBERNETES = "tcp://"
"""What Kubernetes puts into variables that it names after services: ``CACHEPROXY_REDIS_PORT`` for cacheproxy-redis."""
_KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def _listen(text: object) -> object:
    if not isinstance(text, str):
        return text
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or not 0 <= int(port) <= 65535:
        raise ValueError("write HOST:PORT, such as 127.0.0.1:8080")
    return host.removeprefix("[").removesuffix("]") or "0.0.0.0", int(port)  # noqa: S104 (":8080" means everywhere)


def _redis_url(text: object) -> object:
    if isinstance(text, SecretStr):
        text = text.get_secret_value()
    if isinstance(text, str) and text not in {"embedded", "none"} and "://" not in text:
        raise ValueError("write a URL such as redis://host:6379/0, or `embedded`, or `none`")
    return text


def _encryption_keys(text: object) -> object:
    if isinstance(text, SecretStr):
        text = text.get_secret_value()
    if isinstance(text, str):
        keys_of(text)
    return text


def keys_of(text: str) -> list[tuple[str, bytes]]:
    """The ids and AES keys in ``id:base64,id2:base64``. ValueError says which one is wrong, and shows none."""
    keys: dict[str, bytes] = {}
    for number, part in enumerate(text.split(","), start=1):
        name, colon, coded = part.strip().partition(":")
        if not colon or not _KEY_ID.fullmatch(name):
            raise ValueError(f"key {number} is not ID:BASE64; ids are up to 64 letters, digits and `._-`")
        if name in keys:
            raise ValueError(f"keys {list(keys).index(name) + 1} and {number} have the same id")
        keys[name] = _aes_key(number, coded)
    return list(keys.items())


def _aes_key(number: int, coded: str) -> bytes:
    try:
        key = b64decode(coded, validate=True)
    except ValueError:
        raise ValueError(f"key {number} is not base64") from None
    if len(key) not in {16, 24, 32}:
        raise ValueError(f"key {number} has {len(key)} bytes, not 16, 24 or 32; `openssl rand -base64 32` makes one")
    return key


Address = Annotated[tuple[str, int], NoDecode, BeforeValidator(_listen)]
Seconds = Annotated[float, BeforeValidator(lambda given: given if isinstance(given, float) else duration_s(given))]
RedisUrl = Annotated[SecretStr, BeforeValidator(_redis_url)]
EncryptionKeys = Annotated[SecretStr, BeforeValidator(_encryption_keys)]


def _port(given: object) -> object:
    # Kubernetes gives every pod REDIS_PORT=tcp://10.0.0.1:6379 where there is a service by the name of redis.
    return 6379 if isinstance(given, str) and given.startswith("tcp://") else given


def _replica_name() -> str:
    return f"{socket.gethostname()}-{secrets.token_hex(3)}"


def _loop_id() -> str:
    return f"cacheproxy-{secrets.token_hex(4)}"


def _variable(*names: str) -> AliasChoices:
    return AliasChoices(*names)


class Settings(BaseSettings):
    """How this process runs."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        populate_by_name=True,
    )

    config: Path = Field(default=Path("cacheproxy.yaml"), description="The policy file.")
    listen: Address = Field(default=("0.0.0.0", 8080), description="Where clients connect.")  # noqa: S104
    admin: Address = Field(default=("127.0.0.1", 9090), description="Where health, metrics and purges are.")
    upstream: str | None = Field(default=None, description="In place of the policy's upstream.url.")
    workers: int = Field(default=1, ge=1, le=256)
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    instance_id: str = Field(
        default_factory=_replica_name, pattern=r"^[!-~]{1,128}$", description="This replica's name."
    )
    loop_id: str = Field(
        default_factory=_loop_id,
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
        description="What marks requests sent on, in CDN-Loop; replicas that could be each other's origin share one.",
    )
    admin_token: SecretStr | None = Field(default=None, description="Needed where admin is not on loopback.")
    encryption_keys: EncryptionKeys | None = Field(
        default=None, description="ID:BASE64 of AES keys, by commas: the first encrypts, all of them decrypt."
    )
    prefix: str = Field(
        default="cacheproxy", pattern=r"^[A-Za-z0-9._-]{1,64}$", description="What Redis keys begin with."
    )
    redis_budget: Seconds = Field(default=0.05, description="All that one request may wait for Redis.")
    l1_bytes: int = Field(default=64 << 20, ge=0, description="What stored responses may take of this process.")
    websocket_bytes: int = Field(
        default=1 << 20, ge=125, description="The longest WebSocket message that a client may send."
    )
    access_log: Literal["all", "sampled", "off"] = Field(
        default="sampled", description="Which requests get a log line: all, all but 99 of 100 hits, or none."
    )
    drain_delay: Seconds = Field(default=0.0, description="Time between unready and closing, for balancers to notice.")
    drain_timeout: Seconds = Field(default=25.0, description="Time for requests in flight to end.")

    redis: RedisUrl | None = Field(default=None, validation_alias=_variable("CACHEPROXY_REDIS", "REDIS_URL"))
    redis_sessions: RedisUrl | None = Field(default=None, description="Sessions' own server.")
    redis_limits: RedisUrl | None = Field(default=None, description="Limits' own server.")
    redis_bus: RedisUrl | None = Field(default=None, description="The event bus's own server.")
    redis_host: str | None = Field(default=None, validation_alias=_variable("REDIS_HOST"))
    redis_port: Annotated[int, BeforeValidator(_port)] = Field(
        default=6379, ge=1, le=65535, validation_alias=_variable("REDIS_PORT")
    )
    redis_username: str | None = Field(default=None, validation_alias=_variable("REDIS_USERNAME"))
    redis_password: SecretStr | None = Field(default=None, validation_alias=_variable("REDIS_PASSWORD"))
    redis_db: int = Field(default=0, ge=0, validation_alias=_variable("REDIS_DB", "REDIS_CACHE_DB"))
    redis_session_db: int | None = Field(default=None, ge=0, validation_alias=_variable("REDIS_SESSION_DB"))
    redis_tls: bool = Field(default=False, validation_alias=_variable("REDIS_TLS"))
    redis_max_connections: int = Field(
        default=4, ge=1, le=1024, validation_alias=_variable("REDIS_MAX_CONNECTIONS"), description="For each server."
    )

    @classmethod
    def load(cls, **given: Any) -> "Settings":
        """The settings of the environment, with what the command line gives (not None) in their place.

        PolicyError names every option or variable that is wrong and what to write; no message holds what may be secret.
        """
        values = _from_files(os.environ)
        given = {name: value for name, value in given.items() if value is not None}
        values |= {_source(name): value for name, value in given.items()}
        options = {_source(name): f"--{name}" for name in given}
        try:
            return cls(**values)
        except ValidationError as error:
            raise PolicyError("settings", [_fault(detail, options) for detail in error.errors()]) from None

    def redis_urls(self) -> dict[str, str] | Literal["embedded", "none"]:
        """The URL of each role (cache, sessions, limits, bus), or that one server is to be started, or none used."""
        cache = self._cache_url()
        if cache == "embedded":
            return "embedded"
        if cache == "none":
            return "none"
        session_db = None if self.redis_session_db is None else self._pieces_url(self.redis_session_db)
        return {
            "cache": cache,
            "sessions": _revealed(self.redis_sessions) or session_db or cache,
            "limits": _revealed(self.redis_limits) or cache,
            "bus": _revealed(self.redis_bus) or cache,
        }

    def _cache_url(self) -> str:
        return _revealed(self.redis) or (self._pieces_url(self.redis_db) if self.redis_host else "embedded")

    def _pieces_url(self, db: int) -> str:
        login = quote(self.redis_username or "", safe="")
        if self.redis_password is not None:
            login += ":" + quote(self.redis_password.get_secret_value(), safe="")
        scheme = "rediss" if self.redis_tls else "redis"
        host = f"[{self.redis_host}]" if self.redis_host and ":" in self.redis_host else self.redis_host
        return f"{scheme}://{login + '@' if login else ''}{host}:{self.redis_port}/{db}"


def misspelt(environ: Mapping[str, str]) -> Iterator[Fault]:
    """A caution for each variable that is nearly a setting, and so is read by nobody."""
    known = variables()
    stems = {name.removeprefix(_PREFIX): name for name in known}
    for name, value in environ.items():
        if not name.startswith(_PREFIX) or name in known or value.startswith(_OF_KUBERNETES):
            continue
        close = get_close_matches(name.removeprefix(_PREFIX), stems, n=1, cutoff=_NEARLY_THE_SAME)
        if close:
            yield Fault(f"this is no setting, and changes nothing; did you mean `{stems[close[0]]}`?", name)


def variables_of(field: str) -> tuple[str, ...]:
    """The names under which the environment may give the setting ``field``."""
    alias = Settings.model_fields[field].validation_alias
    return tuple(map(str, alias.choices)) if isinstance(alias, AliasChoices) else (_PREFIX + field.upper(),)


def variables() -> frozenset[str]:
    """Every name under which the environment may give a setting, or the file that holds it."""
    files = (f"{name}_FILE" for name in _SECRET_FILES)
    return frozenset(files).union(*map(variables_of, Settings.model_fields))


def _from_files(environ: Mapping[str, str]) -> dict[str, Any]:
    """The secrets that the environment names as files. PolicyError where one cannot be read, or is given twice."""
    values, faults = {}, []
    for name in _SECRET_FILES:
        file = environ.get(f"{name}_FILE")
        if not file:
            continue
        if environ.get(name):
            faults.append(Fault(f"both `{name}` and `{name}_FILE` are set; keep one", f"{name}_FILE"))
            continue
        try:
            values[_FIELDS.get(name, name)] = Path(file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            faults.append(Fault(f"cannot be read: {error}", f"{name}_FILE"))
    if faults:
        raise PolicyError("settings", faults)
    return values


def _source(field: str) -> str:
    """The name under which the environment, too, would give ``field``, so that the command line replaces it."""
    alias = Settings.model_fields[field].validation_alias
    return str(alias.choices[0]) if isinstance(alias, AliasChoices) else field


def _fault(detail: ErrorDetails, options: Mapping[str, str]) -> Fault:
    name = str(detail["loc"][0]) if detail["loc"] else ""
    message = str(detail["msg"]).removeprefix("Value error, ").replace("Input should", "it should")
    variable = name if name.isupper() else _PREFIX + name.upper()
    return Fault(message, options.get(name, variable))


def _revealed(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()

"""The policy file as a pydantic model: what may be written, and its JSON Schema."""

import re
from typing import Annotated, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from cacheproxy.policy.model_cache import CacheDefaults, CacheModel
from cacheproxy.policy.model_limits import LimitModel
from cacheproxy.policy.model_types import (
    Cidr,
    Duration,
    Identifier,
    KeyText,
    Matches,
    Model,
    PositiveDuration,
    Secret,
    TagTemplates,
    Token,
    Tokens,
    Words,
)
from cacheproxy.policy.model_warm import Warming, WarmModel
from cacheproxy.policy.units import shown

_NEVER_IDENTITY = re.compile(
    "host|cookie|authorization|connection|content-.*|transfer-encoding|te|trailer|upgrade|keep-alive|expect|forwarded"
    "|via|x-forwarded-.*|range|if-.*|cache-control",
    re.IGNORECASE,
)
"""Fields that mean something to HTTP itself."""


def _url(url: str) -> str:
    parts = urlsplit(url)
    if parts.username is not None or parts.password is not None:
        raise ValueError("the URL holds a user name or password; the origin is asked without")
    if parts.scheme == "unix":
        if parts.netloc or not parts.path:
            raise ValueError("a unix socket is written as `unix:///run/app.sock`")
        return url
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"{shown(url)} is not the URL of an origin; write `http://127.0.0.1:8000`")
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError(f"{shown(url)} has a path or query; targets are sent to the origin as they are received")
    if not _port_is_usable(parts):
        raise ValueError(f"{shown(url)} has no usable port; ports are 1 to 65535")
    return url


def _port_is_usable(parts: SplitResult) -> bool:
    try:
        return parts.port != 0
    except ValueError:
        return False


def _session_key(key: str) -> str:
    if key.count("{id}") != 1 or key.count("{") != 1:
        raise ValueError(f"{shown(key)} must hold `{{id}}` once, and no other name: `session:{{id}}`")
    return key


def _identity(fields: dict[str, str]) -> dict[str, str]:
    for name in fields:
        if _NEVER_IDENTITY.fullmatch(name):
            raise ValueError(f"`{name}` has a meaning of its own and cannot carry identity; write `X-User-Id`")
    return fields


def _login(place: str) -> str:
    path, _, query = place.partition("?")
    parts = urlsplit(path)
    absolute = parts.scheme in {"http", "https"} and bool(parts.hostname)
    if not absolute and not (path.startswith("/") and not path.startswith(("//", "/\\"))):
        raise ValueError(f"{shown(place)} is not a place to log in; write `/login?next={{target}}`, or a whole URL")
    if not re.fullmatch(r"[!-~]+", place):
        raise ValueError(f"{shown(place)} holds what a URL cannot; write it percent-encoded")
    if "{" in path or "}" in path or re.search(r"[{}]", query.replace("{target}", "")) or query.count("{target}") > 1:
        raise ValueError(f"{shown(place)} may hold `{{target}}` once, in its query, and no other name")
    return place


def _tenant_source(source: str) -> str:
    kind, _, name = source.partition("." if source.startswith("session.") else ":")
    if source == "host" or (kind in {"session", "header"} and name):
        return source
    raise ValueError(
        f"{shown(source)} is not where a tenant is found; write `session.org_id`, `header:X-Org-Id` or `host`"
    )


class TimeoutsModel(Model):
    """How long the origin may take."""

    connect: PositiveDuration = Field(default=1.0, description="To accept a connection.")
    first_byte: PositiveDuration = Field(default=30.0, description="To begin its answer.")
    idle: PositiveDuration = Field(default=60.0, description="Between two pieces of an answer.")


class PoolModel(Model):
    """Connections to the origin."""

    max_connections: int = Field(default=256, ge=1, le=65535, description="To the origin, of each worker.")
    keepalive: Duration = Field(default=2.0, description="An idle connection's life; keep it under the origin's own.")
    wait: PositiveDuration = Field(default=5.0, description="How long a request waits for a free connection.")


class HealthModel(Model):
    """How the origin's health is probed."""

    path: Annotated[str, Field(pattern="^/")] = Field(default="/health", description="A status below 400 is well.")
    interval: PositiveDuration = Field(default=5.0, description="Between two probes.")


class UpstreamModel(Model):
    """The service behind."""

    url: Annotated[str, AfterValidator(_url)] = Field(
        default="http://127.0.0.1:8000", description="http, https, or unix:///path/to/socket."
    )
    timeouts: TimeoutsModel = Field(default_factory=TimeoutsModel, description="How long the origin may take.")
    pool: PoolModel = Field(default_factory=PoolModel, description="Connections to the origin.")
    health: HealthModel | None = Field(default=None, description="Ask for the origin's health, to tell it.")
    ca_file: str | None = Field(default=None, description="Certificates that an https origin is checked against.")


class SessionModel(Model):
    """Where sessions are found, and what of them the origin is told."""

    cookie: Token = Field(default="session_id", description="The cookie with the id.")
    key: Annotated[str, AfterValidator(_session_key)] = Field(default="session:{id}", description="Its key in Redis.")
    ttl: PositiveDuration = Field(default=3600.0, description="How long a session lasts.")
    sliding: bool = Field(default=True, description="Whether use prolongs a session.")
    user_field: str = Field(default="user_id", min_length=1, description="The session field that names the user.")
    scheme: Literal["plain", "signed"] = Field(
        default="plain",
        description="What the cookie holds: the id, or the id signed by itsdangerous (as Starlette does).",
    )
    secret: Secret | None = Field(default=None, repr=False, description="The key of signed ids.")
    signed_max_age: Duration | None = Field(default=14 * 86400.0, description="Age at which a signed id is refused.")
    memory: Duration = Field(default=1.0, description="How long a replica may know a session by heart; 0s: never.")
    namespace: Tokens = Field(default=[], description="Beginnings of field names that clients may never send.")
    seal_secret: Secret | None = Field(
        default=None, repr=False, description="The key of a seal over the identity fields, which the service can check."
    )
    identity: Annotated[dict[Token, str], AfterValidator(_identity)] = Field(
        default={}, description="Request field to session field. Always removed from what the client sent."
    )


class TenantModel(Model):
    """Whose data a request is about."""

    from_: Annotated[str, AfterValidator(_tenant_source)] = Field(
        alias="from", description="`session.FIELD`, `header:NAME` or `host`."
    )
    enforce: bool = Field(default=False, description="Refuse requests without a tenant.")
    status: int = Field(default=400, ge=400, le=499, description="The answer to those.")


class DefaultsModel(Model):
    """What routes share."""

    cache: CacheDefaults = Field(default_factory=CacheDefaults, description="What a route's `cache` does not say.")


def _null_in_words(value: object) -> object:
    return "null" if value is None else value


class BatchModel(Model):
    """How a request for many ids is answered from single entries."""

    param: str = Field(min_length=1, description="The query parameter with the ids: `?ids=1,2,3` or `?ids=1&ids=2`.")
    item: KeyText = Field(description="The key of the route for one of them, as it stands there: `users:{id}`.")
    merge: Literal["json_array"] = Field(default="json_array", description="What the origin answers with.")
    id_field: str = Field(default="id", min_length=1, description="Where an element has its id: `id`, `meta.id`.")
    absent: Annotated[
        Literal["omit", "null"], BeforeValidator(_null_in_words), WithJsonSchema({"enum": ["omit", "null", None]})
    ] = Field(default="omit", description="What stands for an id that the origin does not know: nothing, or `null`.")
    max_ids: int = Field(default=100, ge=1, le=1000, description="Requests for more are forwarded as they are.")


class RouteModel(Model):
    """What is done with requests that match."""

    name: Identifier = Field(description="In logs, metrics and purges.")
    match: Matches = Field(description="`GET /articles/{id:int}`, `GET|PUT api.example.com/x`, a mapping, or a list.")
    session: Literal["required", "optional", "ignore"] = Field(
        default="optional", description="required: 401 without one. ignore: it is not looked up."
    )
    cache: CacheModel | None = Field(default=None, description="How it is cached; without it nothing is.")
    batch: BatchModel | None = Field(default=None, description="Answer requests for many ids from single entries.")
    limits: Words = Field(default=[], description="Names of the limits that apply.")
    purge: TagTemplates = Field(default=[], description="Tags purged once the origin has answered with success.")
    session_redirect: Annotated[str, AfterValidator(_login)] | None = Field(
        default=None,
        description="Where readers without a required session are sent: `/login?next={target}`; else they get 401.",
    )
    refuse_body: bool = Field(default=False, description="Answer requests that have a body with 413.")


class EventsModel(Model):
    """Events that purge."""

    channel: Words = Field(
        default=["cacheproxy:events"], description="Redis channels; a glob (`users:*`) is a pattern."
    )
    on: dict[str, TagTemplates] = Field(default={}, description="Event type to tags it purges: `article:{data.id}`.")
    on_gap: Literal["clear", "soft", "keep"] = Field(
        default="clear",
        description="When nobody listened for a while, plain messages may be lost: purge everything, softly, or not.",
    )
    refill_concurrency: int = Field(
        default=32, ge=1, le=10_000, description="Refreshes in the background that one replica runs at a time."
    )


class PolicyModel(Model):
    """A policy of cacheproxy."""

    version: Literal[1] = Field(description="Of this format.")
    upstream: UpstreamModel = Field(default_factory=UpstreamModel, description="The service behind.")
    trusted_proxies: list[Cidr] = Field(default=[], description="Whose word on the client address counts.")
    session: SessionModel | None = Field(default=None, description="Where sessions are found.")
    tenant: TenantModel | None = Field(default=None, description="Whose data a request is about.")
    limits: dict[Identifier, LimitModel] = Field(default={}, description="Limits by name.")
    limit_headers: Literal["standard", "legacy", "both", "none"] = Field(
        default="both", description="What responses say of limits: RateLimit and RateLimit-Policy, X-RateLimit-*, both."
    )
    defaults: DefaultsModel = Field(default_factory=DefaultsModel, description="What routes share.")
    routes: list[RouteModel] = Field(default=[], description="The first that matches wins.")
    events: EventsModel = Field(default_factory=EventsModel, description="Events that purge.")
    warm: Warming = Field(
        default=WarmModel(),
        description="Requests made before the sidecar is ready: `[GET /articles, GET api.example.com/tags?page=2]`.",
    )

"""The ``cache`` mapping of a route, and of the defaults."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PlainValidator, WithJsonSchema

from cacheproxy.policy.model_coding import Compress, Encode, switched
from cacheproxy.policy.model_conditions import When
from cacheproxy.policy.model_types import (
    Duration,
    KeyText,
    MediaTypes,
    Model,
    Size,
    TagTemplates,
    Tokens,
    Version,
    Words,
    text_schema,
)
from cacheproxy.policy.units import DURATION_PATTERN, duration_s, shown

DEFAULT_TTL_S = 300.0


def _ttl(value: object) -> float | None:
    return None if value == "origin" else duration_s(value)


def _status(value: object) -> int:
    if not isinstance(value, int) or not 200 <= value <= 599:
        raise ValueError(f"{shown(value)} is not a final status code; write `404: 10s`")
    return value


Ttl = Annotated[
    float | None,
    PlainValidator(_ttl),
    WithJsonSchema({"anyOf": [{"const": "origin"}, text_schema(DURATION_PATTERN)]}),
]
Status = Annotated[int, BeforeValidator(_status), WithJsonSchema({"type": "integer"})]


class QueryModel(Model):
    """Which query parameters tell responses apart. Globs are allowed: ``utm_*``."""

    allow: Words | None = Field(default=None, description="Only these are part of the key.")
    ignore: Words = Field(default=[], description="All but these are part of the key.")


class BypassModel(Model):
    """What takes a request past the cache: by its mere presence, or ``when`` a condition holds."""

    query: Words = Field(default=[], description="Query parameters.")
    header: Tokens = Field(default=[], description="Request fields.")
    cookie: Tokens = Field(default=[], description="Cookies.")
    when: When | None = Field(default=None, description="A condition: `header.x-debug: [1, true]`.")


class EarlyRefreshModel(Model):
    """When a response that is asked for often is refreshed before it goes stale."""

    beta: float = Field(default=1.0, gt=0, le=100, description="Above 1 refreshes earlier, below 1 later.")


class SensitiveModel(Model):
    """Which responses are never stored, whatever the origin says."""

    content_types: MediaTypes = Field(default=[], description="Media types: `application/pdf`, `image/*`.")
    fields: Tokens = Field(default=[], description="Response fields whose presence is enough.")


EarlyRefresh = Annotated[
    EarlyRefreshModel | None,
    BeforeValidator(switched),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "boolean"},
                {
                    "type": "object",
                    "properties": {"beta": {"type": "number", "exclusiveMinimum": 0, "maximum": 100}},
                    "additionalProperties": False,
                },
            ],
            "description": "Refresh what is asked for often before it goes stale (XFetch): `true`, or `{beta: 2}`.",
        }
    ),
]


class CacheDefaults(Model):
    """What a route's ``cache`` and ``defaults.cache`` have in common."""

    ttl: Ttl = Field(
        default=DEFAULT_TTL_S,
        description="Freshness lifetime where the origin is silent (with mode override: always). "
        "`origin`: what the origin says, and nothing else.",
    )
    ttl_by_status: dict[Status, Duration] = Field(default={}, description="Lifetimes of single status codes.")
    mode: Literal["honor", "override"] = Field(default="honor", description="Whose word on freshness wins.")
    stale_while_revalidate: Duration | None = Field(
        default=None, description="Served stale this long during a refresh."
    )
    stale_if_error: Duration | None = Field(default=None, description="Served stale this long while the origin fails.")
    early_refresh: EarlyRefresh = None
    max_body: Size = Field(default=1 << 20, description="Larger responses are forwarded, not stored.")
    compress: Compress = None
    encode: Encode = None
    encrypt: bool = Field(default=False, description="Encrypt in Redis, with CACHEPROXY_ENCRYPTION_KEYS.")
    sensitive: SensitiveModel = Field(default_factory=SensitiveModel, description="Responses that are never stored.")
    max_variants: int = Field(default=32, ge=1, le=1024, description="Responses kept per key, by what Vary names.")
    keep_stale: Duration = Field(default=60.0, description="Kept this long beyond its use, for revalidation.")
    client_cache_control: Literal["honor", "ignore"] = Field(
        default="ignore", description="Whether clients may force a refresh by Cache-Control and Pragma."
    )
    allow_authorization: bool = Field(
        default=False, description="Share responses to requests with Authorization without the origin's leave."
    )
    shared_cookies: Tokens = Field(
        default=[], description="Cookies that mean the same for everybody, so that responses which set them are stored."
    )
    allow_shared: bool = Field(
        default=False, description="Confirms that a route which requires a session answers all of them alike."
    )
    scope: Literal["public", "tenant", "user", "session"] = Field(default="public", description="Who shares one.")
    version: Version = Field(default="v1", description="Change it to retire all that was stored under another.")
    key_host: bool = Field(default=True, description="Whether the request's host is part of the key.")
    query: QueryModel = Field(default_factory=QueryModel, description="Which parameters are part of the key.")
    bypass: BypassModel = Field(default_factory=BypassModel, description="What takes a request past the cache.")
    lookup_when: When | None = Field(
        default=None, description="Else the origin is asked, whatever is stored, and its answer may replace that."
    )
    store_when: When | None = Field(
        default=None, description="Else what comes is not stored, and shared with nobody; what is stored may be used."
    )


class CacheModel(CacheDefaults):
    """How a route is cached."""

    key: KeyText | None = Field(default=None, description="Key template. Without one, the path and query as received.")
    suffix: KeyText | None = Field(default=None, description="A variation to end the key with: `{header.x-market=}`.")
    tags: TagTemplates = Field(default=[], description="Tags by which responses are purged.")


def merged(cache: CacheModel | None, defaults: CacheDefaults) -> CacheModel | None:
    """``cache`` with every key that it does not give taken from ``defaults``; None stays None."""
    if cache is None:
        return None
    given = {name: getattr(defaults, name) for name in defaults.model_fields_set}
    given |= {name: getattr(cache, name) for name in cache.model_fields_set}
    return CacheModel.model_construct(set(given), **given)

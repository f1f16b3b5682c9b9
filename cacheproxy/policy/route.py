"""A policy as the program reads it: checked, compiled, immutable. ``policy/compile.py`` makes it from YAML."""

from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network

from cacheproxy.errors import Fault
from cacheproxy.policy.batch_rules import BatchRules
from cacheproxy.policy.conditions import Condition
from cacheproxy.policy.identity import SessionRules, TenantRules
from cacheproxy.policy.key_rules import BypassRules, QueryRules
from cacheproxy.policy.paths import MatchRule, PathPattern
from cacheproxy.policy.templates import KeyTemplate, Template
from cacheproxy.policy.warming import WarmRules
from cacheproxy.semantics.rules import CacheRules

Network = IPv4Network | IPv6Network


class Scope(StrEnum):
    """Whose a cached response is: what of the identity goes into its key."""

    PUBLIC = "public"
    TENANT = "tenant"
    USER = "user"
    SESSION = "session"


class SessionUse(StrEnum):
    """Whether a route needs, wants or ignores the session."""

    REQUIRED = "required"
    OPTIONAL = "optional"
    IGNORE = "ignore"


class Algorithm(StrEnum):
    """How a rate limit counts."""

    GCRA = "gcra"
    SLIDING_WINDOW = "sliding_window"
    SLIDING_LOG = "sliding_log"
    FIXED_WINDOW = "fixed_window"
    TOKEN_BUCKET = "token_bucket"  # noqa: S105 (not a password)


class Count(StrEnum):
    """Which requests a limit counts."""

    ALL = "all"
    MISS = "miss"


class Served(StrEnum):
    """How a request is answered, as far as its cost goes: from the cache, from there though stale, by the origin."""

    HIT = "hit"
    STALE = "stale"
    MISS = "miss"


class WithoutRedis(StrEnum):
    """What a limit does while Redis does not answer."""

    ALLOW = "allow"
    DENY = "deny"
    LOCAL = "local"


class LimitMode(StrEnum):
    """Whether a limit refuses, or only says in the metrics what it would have refused."""

    ENFORCE = "enforce"
    SHADOW = "shadow"


class OnLimit(StrEnum):
    """What becomes of a request over its limit."""

    REJECT = "reject"
    STALE_ELSE_REJECT = "stale_else_reject"
    DELAY = "delay"


class Precision(StrEnum):
    """Whether each request is counted in Redis, or permits are taken from there in small batches."""

    EXACT = "exact"
    LEASED = "leased"


class LimitHeaders(StrEnum):
    """Which rate limit fields responses carry: RateLimit and RateLimit-Policy, X-RateLimit-*, both or none."""

    STANDARD = "standard"
    LEGACY = "legacy"
    BOTH = "both"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exemption:
    """Who a limit does not apply to: clients in ``networks``, and requests with ``secret`` in the field ``header``."""

    networks: tuple[Network, ...] = ()
    header: bytes = b""
    secret: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRule:
    """``limit`` requests per ``period_s``, and ``concurrency`` in flight at once, for each value of ``by``."""

    name: str
    limit: int
    """0: any number, and only ``concurrency`` bounds them."""
    period_s: float
    concurrency: int = 0
    """Among all replicas; 0 for any number."""
    burst: int = 0
    """What may come at once (GCRA, token bucket); 0 means ``limit``."""
    by: tuple[str, ...] = ("client_ip",)
    """Subjects: client_ip, path, route, tenant, header.NAME, query.NAME, param.NAME, session.FIELD, cookie.NAME."""
    algorithm: Algorithm = Algorithm.GCRA
    count: Count = Count.ALL
    without_redis: WithoutRedis = WithoutRedis.ALLOW
    mode: LimitMode = LimitMode.ENFORCE
    on_limit: OnLimit = OnLimit.REJECT
    max_delay_s: float = 1.0
    """How long DELAY may hold a request back; one that would wait longer is rejected."""
    cost: int = 1
    """What one request counts; more than the burst takes all of it."""
    cost_hit: int | None = None
    """What one counts that is a hit; None: as any other."""
    cost_stale: int | None = None
    """What one counts that is answered stale; None: as any other."""
    exempt: Exemption | None = None
    precision: Precision = Precision.EXACT

    @property
    def waits_for_plan(self) -> bool:
        """Whether what a request counts is known only when it is known how it will be answered (step 7)."""
        return self.count is Count.MISS or {self.cost_hit, self.cost_stale} - {None, self.cost} != set()

    def cost_of(self, served: Served) -> int:
        """What a request counts that is answered so."""
        if served is Served.MISS:
            return self.cost
        if self.count is Count.MISS:
            return 0
        given = self.cost_hit if served is Served.HIT else self.cost_stale
        return self.cost if given is None else given


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long the origin may take, in seconds."""

    connect_s: float = 1.0
    first_byte_s: float = 30.0
    idle_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamRules:
    """The origin: ``scheme`` http or https, and a ``host`` and ``port`` or a unix ``socket`` path."""

    scheme: str = "http"
    host: str = "127.0.0.1"
    port: int = 8000
    socket: str | None = None
    timeouts: Timeouts = field(default_factory=Timeouts)
    max_connections: int = 256
    keepalive_s: float = 2.0
    pool_wait_s: float = 5.0
    ca_file: str | None = None
    health_path: str | None = None
    health_interval_s: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """What is done with the requests that match: all of it decided here, none of it looked up later."""

    name: str
    cache: CacheRules | None = None
    key: KeyTemplate | None = None
    tags: tuple[Template, ...] = ()
    scope: Scope = Scope.PUBLIC
    user_field: str = "user_id"
    """The session field that names the user (``SessionRules.user_field``)."""
    session: SessionUse = SessionUse.OPTIONAL
    session_redirect: str = ""
    """Where readers without a required session are sent; empty: they are answered 401."""
    limits: tuple[LimitRule, ...] = ()
    limit_headers: LimitHeaders = LimitHeaders.BOTH
    """What responses say of limits."""
    purge: tuple[Template, ...] = ()
    refuse_body: bool = False
    match: tuple[MatchRule, ...] = ()
    path: PathPattern | None = None
    """The one path that ``key`` speaks of; None without a key."""
    version: str = "v1"
    """Retires what was stored under another."""
    suffix: KeyTemplate | None = None
    """A variation of the operator's own, at the end of the key."""
    key_host: bool = True
    """Whether the request's host is part of the key."""
    query: QueryRules = field(default_factory=QueryRules)
    bypass: BypassRules = field(default_factory=BypassRules)
    lookup_when: Condition | None = None
    """Whose stored responses may be used; None: everybody's."""
    store_when: Condition | None = None
    """Whose responses may be stored."""
    batch: BatchRules | None = None
    """How its requests for many are answered from single entries."""
    tenant_required: bool = False
    """Without a tenant there is no cache (``tenant.enforce``)."""
    key_names: frozenset[str] = field(init=False)
    """The names in its key and suffix."""
    key_parameters: tuple[str, ...] = field(init=False)
    """Those of them that are the query's."""
    is_open: bool = field(init=False)
    """Whether whatever it caches is for anybody who asks: nothing in a request takes it past the cache."""

    def __post_init__(self) -> None:
        """Decide what is the same for all its requests."""
        names = [name for template in (self.key, self.suffix) if template is not None for name in template.names]
        parameters = tuple(name.removeprefix("query.") for name in names if name.startswith("query."))
        object.__setattr__(self, "key_names", frozenset(names))
        object.__setattr__(self, "key_parameters", parameters)
        is_open = self.scope is Scope.PUBLIC and not self.tenant_required and self.bypass == BypassRules()
        object.__setattr__(self, "is_open", is_open)

    @property
    def names_client(self) -> bool:
        """Whether its keys hang on the client's address, which is not in the request's own bytes."""
        return "client_ip" in self.key_names


class OnGap(StrEnum):
    """What is done where plain messages may have been published while no replica listened."""

    CLEAR = "clear"
    """Purge everything."""
    SOFT = "soft"
    """Purge everything softly."""
    KEEP = "keep"
    """Take the risk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRules:
    """Which channels are listened to, the tags that each event type purges, and how what was purged is refilled."""

    channels: tuple[str, ...] = ("cacheproxy:events",)
    patterns: tuple[str, ...] = ()
    on: tuple[tuple[str, tuple[Template, ...]], ...] = ()
    on_gap: OnGap = OnGap.CLEAR
    refill_concurrency: int = 32
    """How many refreshes in the background one replica runs at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A whole policy file. ``digest`` names its content. Routes with their matches are in ``policy.router.Router``."""

    upstream: UpstreamRules
    trusted_proxies: tuple[Network, ...] = ()
    session: SessionRules | None = None
    tenant: TenantRules | None = None
    routes: tuple[Route, ...] = ()
    fallback: Route
    """For requests that no route matches: forwarded, nothing cached."""
    events: EventRules = field(default_factory=EventRules)
    warm: WarmRules = field(default_factory=WarmRules)
    digest: str = ""
    mentioned: frozenset[str] | None = None
    """What the file says of request fields, anywhere (``policy.unread``); None where there was no file."""
    cautions: tuple[Fault, ...] = ()
    """What is not wrong in it, but dangerous."""

    @property
    def cache_rules(self) -> dict[str, CacheRules]:
        """The rules of its cached routes, by name."""
        return {route.name: route.cache for route in self.routes if route.cache is not None}

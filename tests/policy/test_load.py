"""Policies from text: what is right compiles, what is wrong is said, all of it at once."""

from pathlib import Path

import pytest

from cacheproxy.errors import PolicyError
from cacheproxy.policy.identity import SessionScheme, TenantSource
from cacheproxy.policy.load import load_policy
from cacheproxy.policy.route import Algorithm, Count, LimitMode, OnGap, Scope, SessionUse, WithoutRedis
from cacheproxy.policy.unsupported import NOT_YET_SUPPORTED
from cacheproxy.semantics.rules import ClientControl, Coding, CompressRules, EncodeRules, Mode

BAD = sorted((Path(__file__).parent / "bad").glob("*.yaml"))
SAMPLE = Path(__file__).parents[2] / "config" / "cacheproxy.yaml"


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
def test_a_bad_policy_says_what_was_meant_and_where(file: Path) -> None:
    """One mistake, one fault, on the line that is marked, in the words that the file expects."""
    text = file.read_text(encoding="utf-8")
    first, *lines = text.splitlines()
    marked = next(at for at, line in enumerate(lines, 2) if line.endswith("# <- here"))
    with pytest.raises(PolicyError) as caught:
        load_policy(text, file.name, {})
    faults = [(fault.message, fault.line) for fault in caught.value.faults]
    assert faults == [(first.removeprefix("# expect: "), marked)]
    assert caught.value.faults[0].column > 0


def test_there_are_many_bad_policies() -> None:
    """The directory was found."""
    assert len(BAD) >= 30


def test_all_faults_are_told_at_once_in_the_order_of_the_file() -> None:
    """Duplicate and unknown keys, wrong values, unsupported keys and dead references come in one error."""
    text = """version: 1
upstream: {url: ftp://x}
limits:
  a: {rate: 1/s, rat: 2/s}
routes:
  - name: one
    match: GET /one
    cache: {ttl: 60, ttl: 1s, leak_guard: {}}
  - name: two
    match: GET /one
    limits: [b]
"""
    with pytest.raises(PolicyError) as caught:
        load_policy(text, "p.yaml", {"CACHE_TTL_ON": "5"})
    assert caught.value.lines() == [
        "p.yaml: CACHE_TTL_ON: no cached route has this name; did you mean `CACHE_TTL_ONE`?",
        "p.yaml:2:17: upstream.url: `ftp://x` is not the URL of an origin; write `http://127.0.0.1:8000`",
        "p.yaml:4:18: limits.a.rat: unknown key `rat`; did you mean `rate`?",
        "p.yaml:8:18: routes[0].cache.ttl: 60 has no unit; write `60s` if seconds are meant",
        "p.yaml:8:22: routes[0].cache.ttl: `ttl` is given twice; first on line 8",
        "p.yaml:8:31: routes[0].cache.leak_guard: `leak_guard` is not yet supported",
        "p.yaml:10:12: routes[1].match[0]: never reached: the earlier route `one` takes all that it matches",
        "p.yaml:11:14: routes[1].limits[0]: there is no limit `b`; there is `a`",
    ]


def test_a_faulty_key_does_not_make_its_neighbours_look_wrong() -> None:
    """A misspelled scope is one fault: the route is not also accused of the leak that the scope was to prevent."""
    text = """version: 1
session: {}
routes:
  - name: me
    match: GET /me
    session: required
    cache: {scope: usr}
"""
    with pytest.raises(PolicyError) as caught:
        load_policy(text, "p.yaml", {})
    assert [fault.path for fault in caught.value.faults] == ["routes[0].cache.scope"]


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n"])
def test_an_empty_file_is_told_how_to_begin(text: str) -> None:
    """It points to ``cacheproxy init``."""
    with pytest.raises(PolicyError, match="cacheproxy init"):
        load_policy(text, "p.yaml", {})


def test_the_sample_policy_compiles() -> None:
    """``config/cacheproxy.yaml`` with its lifetimes of 60, 300, 600 and 300 seconds."""
    policy, router = load_policy(SAMPLE.read_text(encoding="utf-8"), "sample", {})
    ttls = {route.name: route.cache.ttl_s for route in policy.routes if route.cache}
    assert ttls == {"article-list": 60, "article": 300, "user": 600, "tags": 300}
    match = router.match("GET", b"/articles/7", b"localhost")
    assert match is not None
    assert match.route.name == "article"


@pytest.mark.parametrize("file", sorted(SAMPLE.parent.glob("examples/*.yaml")), ids=lambda file: file.stem)
def test_the_examples_are_good(file: Path) -> None:
    """Without a fault, and without a warning."""
    policy, _ = load_policy(file.read_text(encoding="utf-8"), file.name, {})
    assert policy.routes
    assert policy.cautions == ()


def test_the_sample_policy_follows_the_environment() -> None:
    """The origin comes from UPSTREAM_URL."""
    policy, _ = load_policy(SAMPLE.read_text(encoding="utf-8"), "sample", {"UPSTREAM_URL": "https://api:8443"})
    assert (policy.upstream.scheme, policy.upstream.host, policy.upstream.port) == ("https", "api", 8443)


def test_what_is_left_out_has_the_documented_defaults(load) -> None:
    """The smallest policy forwards everything to port 8000 of this machine."""
    policy, router = load("")
    assert policy.upstream.host == "127.0.0.1"
    assert policy.upstream.port == 8000
    assert policy.upstream.timeouts.connect_s == 1.0
    assert policy.upstream.keepalive_s == 2.0
    assert policy.session is None
    assert policy.fallback.cache is None
    assert policy.events.channels == ("cacheproxy:events",)
    assert router.match("GET", b"/", b"h") is None


def test_every_key_of_a_cache_is_compiled(load) -> None:
    """Nothing that a policy says is dropped on the way."""
    policy, _ = load(
        """
routes:
  - name: a
    match: GET /a
    refuse_body: true
    cache:
      ttl: 10s
      ttl_by_status: {404: 1s, 503: 0s}
      mode: override
      key: "a:{query.q=}"
      tags: "a"
      suffix: "{header.x-market=}"
      version: 7
      key_host: false
      stale_while_revalidate: 30s
      stale_if_error: 5m
      max_body: 2KiB
      max_variants: 3
      shared_cookies: [lang]
      keep_stale: 9s
      client_cache_control: honor
      allow_authorization: true
      query: {ignore: [utm_*]}
      bypass: {query: no_cache, header: X-Bypass, cookie: [preview]}
"""
    )
    (route,) = policy.routes
    rules = route.cache
    assert rules is not None
    assert (rules.mode, rules.ttl_s, rules.ttl_by_status) == (Mode.OVERRIDE, 10, ((404, 1), (503, 0)))
    assert (rules.stale_while_revalidate_s, rules.stale_if_error_s, rules.keep_stale_s) == (30, 300, 9)
    assert (rules.max_body_bytes, rules.max_variants) == (2048, 3)
    assert rules.client_cache_control is ClientControl.HONOR
    assert rules.allow_authorization
    assert rules.shared_cookies == {b"lang"}
    assert route.key is not None
    assert route.suffix is not None
    assert (route.key.text, route.suffix.text, route.version, route.key_host) == (
        "a:{query.q=}",
        "{header.x-market=}",
        "7",
        False,
    )
    assert [tag.text for tag in route.tags] == ["a"]
    assert route.query.ignore == ("utm_*",)
    assert (route.bypass.query, route.bypass.headers, route.bypass.cookies) == (
        ("no_cache",),
        (b"x-bypass",),
        ("preview",),
    )
    assert route.refuse_body


def test_defaults_fill_what_a_route_leaves_open(load) -> None:
    """``defaults.cache`` is merged key by key; the route's own word wins; a route without ``cache`` stays without."""
    policy, _ = load(
        """
defaults: {cache: {ttl: 7s, stale_if_error: 1m, max_body: 5B}}
routes:
  - {name: a, match: GET /a, cache: {max_body: 6B}}
  - {name: b, match: GET /b, cache: {ttl: 8s}}
  - {name: c, match: GET /c}
"""
    )
    one, two, three = (route.cache for route in policy.routes)
    assert one is not None
    assert two is not None
    assert (one.ttl_s, one.stale_if_error_s, one.max_body_bytes) == (7, 60, 6)
    assert (two.ttl_s, two.stale_if_error_s, two.max_body_bytes) == (8, 60, 5)
    assert three is None


def test_a_cached_route_has_a_ttl_unless_the_origin_is_to_decide(load) -> None:
    """300 s where nothing is said; ``origin`` leaves freshness to the origin alone."""
    policy, _ = load("routes:\n  - {name: a, match: /a, cache: {}}\n  - {name: b, match: /b, cache: {ttl: origin}}\n")
    assert [route.cache and route.cache.ttl_s for route in policy.routes] == [300, None]


@pytest.mark.parametrize(
    ("environ", "ttl_s"),
    [
        ({"CACHE_TTL_ARTICLES_LIST": "60"}, 60),
        ({"CACHE_TTL_ARTICLES_LIST": "1.5"}, 1.5),
        ({"CACHE_TTL_ARTICLES_LIST": "5m"}, 300),
        ({"CACHE_TTL_ARTICLES_LIST": " 10s "}, 10),
        ({"OTHER": "1"}, 42),
    ],
)
def test_the_environment_overrides_a_ttl(load, environ: dict[str, str], ttl_s: float) -> None:
    """``CACHE_TTL_ARTICLES_LIST`` is the ttl of ``articles-list``, in seconds or as a duration."""
    policy, _ = load("routes:\n  - {name: articles-list, match: /a, cache: {ttl: 42s}}\n", **environ)
    assert policy.routes[0].cache is not None
    assert policy.routes[0].cache.ttl_s == ttl_s


@pytest.mark.parametrize(
    "environ",
    [{"CACHE_TTL_A": "soon"}, {"CACHE_TTL_A": ""}, {"CACHE_TTL_A": "-1"}, {"CACHE_TTL_B": "1"}, {"CACHE_TTL_": "1"}],
)
def test_a_wrong_ttl_in_the_environment_is_a_fault(load, environ: dict[str, str]) -> None:
    """It is checked at start, and names the variable."""
    with pytest.raises(PolicyError) as caught:
        load("routes:\n  - {name: a, match: /a, cache: {}}\n  - {name: b, match: /b}\n", **environ)
    assert [fault.path for fault in caught.value.faults] == list(environ)


def test_limits_are_compiled(load) -> None:
    """GCRA unless another is named; 100 a minute unless another rate is."""
    policy, _ = load(
        """
session: {}
limits:
  plain: {}
  full: {rate: 5 per 10s, by: [session.user_id, path], algorithm: sliding_log, count: miss, on_redis_down: deny}
  bucket: {rate: 5/s, algorithm: token_bucket, burst: 9}
routes:
  - {name: a, match: /a, limits: [plain, full, bucket]}
"""
    )
    plain, full, bucket = policy.routes[0].limits
    assert (plain.limit, plain.period_s, plain.by, plain.algorithm) == (100, 60, ("client_ip",), Algorithm.GCRA)
    assert (full.limit, full.period_s, full.by) == (5, 10, ("session.user_id", "path"))
    assert (full.algorithm, full.count, full.without_redis) == (Algorithm.SLIDING_LOG, Count.MISS, WithoutRedis.DENY)
    assert (bucket.name, bucket.burst) == ("bucket", 9)


def test_exemptions_costs_and_shadows_are_compiled(load) -> None:
    """Who a limit leaves alone, what a request counts, and whether it refuses at all."""
    policy, _ = load(
        """
limits:
  x:
    cost: 3
    mode: shadow
    exempt: {networks: [10.0.0.0/8], header: X-Probe, secret: "${PROBE_SECRET}"}
routes:
  - {name: a, match: /a, limits: [x]}
""",
        PROBE_SECRET="0123456789abcdef",
    )
    (rule,) = policy.routes[0].limits
    assert (rule.cost, rule.mode) == (3, LimitMode.SHADOW)
    assert rule.exempt is not None
    assert ([str(n) for n in rule.exempt.networks], rule.exempt.header) == (["10.0.0.0/8"], b"x-probe")
    assert rule.exempt.secret == "0123456789abcdef"
    assert "0123456789abcdef" not in repr(policy)


def test_signed_sessions_are_compiled_and_their_keys_are_not_shown(load) -> None:
    """The scheme, its age, the seal, the namespace; no secret in any repr."""
    policy, _ = load(
        """
session:
  scheme: signed
  secret: "${KEY}"
  signed_max_age: 1h
  seal_secret: "${KEY}"
  memory: 0s
  namespace: [X-Auth-]
""",
        KEY="correct horse battery staple",
    )
    rules = policy.session
    assert rules is not None
    assert (rules.scheme, rules.signed_max_age_s, rules.memory_s) == (SessionScheme.SIGNED, 3600, 0)
    assert rules.namespace == (b"x-auth-",)
    assert rules.secret == rules.seal_secret == "correct horse battery staple"
    assert "horse" not in repr(policy)


def test_the_command_line_may_name_another_origin(load) -> None:
    """``--upstream`` stands in for ``upstream.url``, and is checked as that is."""
    policy, _ = load_policy("version: 1\nupstream: {pool: {max_connections: 3}}\n", "p", {}, upstream_url="http://b:81")
    assert (policy.upstream.host, policy.upstream.port, policy.upstream.max_connections) == ("b", 81, 3)
    with pytest.raises(PolicyError, match=r"ftp"):
        load_policy("version: 1\n", "p", {}, upstream_url="ftp://x")


@pytest.mark.parametrize(
    ("text", "source", "name"),
    [
        ("session.org_id", TenantSource.SESSION, "org_id"),
        ("header:X-Org-Id", TenantSource.HEADER, "x-org-id"),
        ("host", TenantSource.HOST, ""),
    ],
)
def test_tenants_are_compiled(load, text: str, source: TenantSource, name: str) -> None:
    """Enforcement reaches every route, the fallback too."""
    policy, _ = load(f"session: {{}}\ntenant: {{from: {text}, enforce: true}}\nroutes:\n  - {{name: a, match: /a}}\n")
    assert policy.tenant is not None
    assert (policy.tenant.source, policy.tenant.name, policy.tenant.enforce) == (source, name, True)
    assert policy.routes[0].tenant_required
    assert policy.fallback.tenant_required


def test_sessions_and_scopes_are_compiled(load) -> None:
    """A key that carries the user's identity may serve requests with Authorization."""
    policy, _ = load(
        """
session: {cookie: sid, key: "s:{id}", ttl: 10m, sliding: false, user_field: sub, identity: {X-User-Id: sub}}
routes:
  - {name: a, match: /a, session: required, cache: {scope: user}}
  - {name: b, match: /b, session: required, cache: {allow_shared: true}}
  - {name: c, match: /c, session: required, cache: {key: "c:{session.org}"}}
"""
    )
    assert policy.session is not None
    assert (policy.session.cookie, policy.session.key, policy.session.ttl_s) == ("sid", "s:{id}", 600)
    assert (policy.session.sliding, policy.session.identity) == (False, ((b"x-user-id", "sub"),))
    user, shared, _ = policy.routes
    assert (user.scope, user.session, user.user_field) == (Scope.USER, SessionUse.REQUIRED, "sub")
    assert user.cache is not None
    assert shared.cache is not None
    assert (user.cache.allow_authorization, shared.cache.allow_authorization) == (True, False)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://10.0.0.1", ("http", "10.0.0.1", 80, None)),
        ("https://api.example.com/", ("https", "api.example.com", 443, None)),
        ("http://[::1]:81", ("http", "::1", 81, None)),
        ("unix:///run/app.sock", ("http", "localhost", 80, "/run/app.sock")),
    ],
)
def test_origins_are_compiled(load, url: str, expected: tuple[str, str, int, str | None]) -> None:
    """http, https, and unix sockets."""
    policy, _ = load(f"upstream: {{url: '{url}', health: {{}}, ca_file: /ca.pem, pool: {{wait: 3s}}}}\n")
    upstream = policy.upstream
    assert (upstream.scheme, upstream.host, upstream.port, upstream.socket) == expected
    assert (upstream.health_path, upstream.ca_file, upstream.pool_wait_s) == ("/health", "/ca.pem", 3)


def test_channels_with_globs_are_patterns(load) -> None:
    """``users:*`` is subscribed to as a pattern."""
    policy, _ = load("events: {channel: [a, 'users:*'], on: {x: 'a:{data.id}'}, on_gap: soft, refill_concurrency: 8}\n")
    assert (policy.events.channels, policy.events.patterns) == (("a",), ("users:*",))
    assert policy.events.on[0][0] == "x"
    assert (policy.events.on_gap, policy.events.refill_concurrency) == (OnGap.SOFT, 8)


@pytest.mark.parametrize(("written", "beta"), [("true", 1.0), ("false", 0.0), ("{}", 1.0), ("{beta: 2}", 2.0)])
def test_early_refresh_is_a_switch_or_how_early(load, written, beta) -> None:
    """In a route, or for all of them."""
    routes = f"routes: [{{name: a, match: GET /a, cache: {{early_refresh: {written}}}}}]\n"
    shared = f"defaults: {{cache: {{early_refresh: {written}}}}}\nroutes: [{{name: a, match: GET /a, cache: {{}}}}]\n"
    assert [load(text)[0].routes[0].cache.early_beta for text in (routes, shared)] == [beta, beta]


@pytest.mark.parametrize(
    "line",
    [
        "GET /a",
        "[GET /a, POST /a]",
        "GET|POST /a",
        "{path: /a}",
        "{path: /a, methods: [GET], host: Example.com}",
        "GET example.com/a",
        "/a",
    ],
)
def test_ways_to_write_a_match(load, line: str) -> None:
    """As a line, a list, or a mapping."""
    _, router = load(f"routes:\n  - {{name: a, match: {line}}}\n")
    match = router.match("GET", b"/a", b"example.com")
    assert match is not None


@pytest.mark.parametrize(
    "value", ["7", "x", "[x]", "{}", "{methods: [GET]}", "{path: /a, verb: x}", "{path: /a, methods: GET}"]
)
def test_other_ways_are_refused(load, value: str) -> None:
    """Each with one fault at the match."""
    with pytest.raises(PolicyError) as caught:
        load(f"routes:\n  - {{name: a, match: {value}}}\n")
    assert all(fault.path.startswith("routes[0].match") for fault in caught.value.faults)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("GET /a/{x:int}", "GET /b"),
        ("GET /a", "GET /b/{x:int}"),
    ],
)
def test_keys_that_can_never_be_equal_may_begin_alike(load, one: str, other: str) -> None:
    """``k:{x}`` of a number and ``k:list`` are told apart by what they hold."""

    def key(line: str) -> str:
        return "k:{x}" if "{x" in line else "k:list"

    policy, _ = load(
        f"routes:\n  - {{name: a, match: '{one}', cache: {{key: '{key(one)}'}}}}\n"
        f"  - {{name: b, match: '{other}', cache: {{key: '{key(other)}'}}}}\n"
    )
    assert len(policy.routes) == 2


def test_a_digest_names_the_content(load) -> None:
    """Comments do not change it; a value or the environment does."""
    text = "routes:\n  - {name: a, match: /a, cache: {ttl: 5s}}\n"
    digests = [load(text)[0].digest, load("# x\n" + text)[0].digest]
    digests += [load(text.replace("5s", "6s"))[0].digest, load(text, CACHE_TTL_A="6")[0].digest]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


@pytest.mark.parametrize("row", sorted(NOT_YET_SUPPORTED))
def test_what_is_not_yet_supported_is_refused_by_name(row: str) -> None:
    """Never accepted and ignored, and never called unknown."""
    steps = [
        "0" if step == "*" and at == 1 and row.startswith("routes") else step for at, step in enumerate(row.split("."))
    ]
    value = "x"
    for step in reversed(["n" if step == "*" else step for step in steps]):
        value = f"[{value}]" if step == "0" else f"{{{step}: {value}}}"
    text = f"{{version: 1, {value[1:]}"
    with pytest.raises(PolicyError) as caught:
        load_policy(text, "p.yaml", {})
    assert f"`{row.rsplit('.', 1)[-1]}` is not yet supported" in [fault.message for fault in caught.value.faults]


ENCRYPTED = """version: 1
defaults: {cache: {encrypt: true, compress: true}}
routes:
  - {name: one, match: GET /one, cache: {}}
  - {name: two, match: GET /two, cache: {encrypt: false, compress: {above: 1MiB, coding: zstd}}}
  - {name: three, match: GET /three, cache: {encrypt: true, compress: false}}
"""


@pytest.mark.parametrize("variable", ["CACHEPROXY_ENCRYPTION_KEYS", "CACHEPROXY_ENCRYPTION_KEYS_FILE"])
def test_what_is_kept_in_redis_is_compressed_and_encrypted_by_route(variable: str) -> None:
    """As the route says, else the defaults; compression begins at 16 KiB unless a size is given."""
    policy, _ = load_policy(ENCRYPTED, "p.yaml", {variable: "given"})
    rules = {name: (each.encrypt, each.compress) for name, each in policy.cache_rules.items()}
    assert rules == {
        "one": (True, CompressRules(above_bytes=16 << 10)),
        "two": (False, CompressRules(above_bytes=1 << 20, coding=Coding.ZSTD)),
        "three": (True, None),
    }


ENCODED = """version: 1
defaults: {cache: {encode: true}}
routes:
  - {name: one, match: GET /one, cache: {}}
  - {name: two, match: GET /two, cache: {encode: {above: 4KiB, codings: [br, gzip, br], types: [TEXT/*]}}}
  - {name: three, match: GET /three, cache: {encode: false}}
"""


def test_what_clients_get_compressed_is_said_by_route() -> None:
    """As the route says, else the defaults: zstd, br or gzip, whichever the client likes best, above 1 KiB."""
    policy, _ = load_policy(ENCODED, "p.yaml", {})
    assert {name: each.encode for name, each in policy.cache_rules.items()} == {
        "one": EncodeRules(above_bytes=1024, codings=(Coding.ZSTD, Coding.BR, Coding.GZIP)),
        "two": EncodeRules(above_bytes=4096, codings=(Coding.BR, Coding.GZIP), types=frozenset({b"text/*"})),
        "three": None,
    }


def test_nothing_is_encoded_unless_asked_for() -> None:
    """Compression beside secrets tells them by its length: it is off by default (docs/security.md)."""
    policy, _ = load_policy("version: 1\nroutes: [{name: one, match: GET /one, cache: {}}]\n", "p.yaml", {})
    assert policy.cache_rules["one"].encode is None


def test_encryption_without_keys_is_refused() -> None:
    """At start and reload, at each place that asks for it: never stored in the clear instead."""
    with pytest.raises(PolicyError) as caught:
        load_policy(ENCRYPTED, "p.yaml", {})
    assert [fault.path for fault in caught.value.faults] == ["defaults.cache.encrypt", "routes[2].cache.encrypt"]
    assert "set `CACHEPROXY_ENCRYPTION_KEYS`" in str(caught.value)


def test_sensitive_responses_are_named_by_type_and_field() -> None:
    """In any case of letters, one or several."""
    text = """version: 1
routes:
  - name: one
    match: GET /one
    cache: {sensitive: {content_types: [Application/PDF, image/*], fields: X-Account}}
"""
    policy, _ = load_policy(text, "p.yaml", {})
    rules = policy.cache_rules["one"]
    assert rules.sensitive_types == {b"application/pdf", b"image/*"}
    assert rules.sensitive_fields == {b"x-account"}

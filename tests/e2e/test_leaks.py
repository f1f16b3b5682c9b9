"""Leaks: what was made for one user, session, tenant or client is never seen by another, nor by who reads the logs."""

import json
import random
import socket
import subprocess
import threading
from itertools import product

import httpx
import pytest
import redis

from .wire import CLOSE, Seen, Wire, ok

pytestmark = pytest.mark.e2e

POLICY = """
version: 1
session:
  cookie: session_id
  identity: {X-User-Id: user_id, X-Org-Id: org_id}
tenant: {from: session.org_id}
limits:
  few: {rate: 3/hour, by: [path]}
routes:
  - {name: public, match: "GET /public/{id}", cache: {ttl: 60s, key: "public:{id}"}}
  - {name: user, match: "GET /user/{id}", session: required, cache: {ttl: 60s, key: "user:{id}", scope: user}}
  - {name: session, match: "GET /session/{id}", session: required, cache: {ttl: 60s, key: "ses:{id}", scope: session}}
  - {name: tenant, match: "GET /tenant/{id}", cache: {ttl: 60s, key: "ten:{id}", scope: tenant, tags: ["ten:{id}"]}}
  - {name: tenant-write, match: "PUT /tenant/{id}", purge: ["ten:{id}"]}
  - {name: plain, match: "GET /plain/{id}", session: required}
  - {name: limited, match: "GET /limited/{id}", limits: [few], cache: {ttl: 60s, key: "limited:{id}"}}
  - {name: by-address, match: "GET /by-address/{id}", cache: {ttl: 60s, key: "by-address:{id}:{client_ip}"}}
  - {name: by-cookie, match: "GET /by-cookie/{id}", cache: {ttl: 60s, key: "by-cookie:{id}:{cookie.flavour=none}"}}
"""
TENANT_BY_FIELD = """
version: 1
trusted_proxies: [127.0.0.2/32]
tenant: {from: "header:X-Tenant"}
routes:
  - {name: tenant, match: "GET /tenant/{id}", cache: {ttl: 60s, key: "tenant:{id}", scope: tenant}}
  - {name: public, match: "GET /public/{id}", cache: {ttl: 60s, key: "public:{id}"}}
"""
TENANT_BY_HOST = """
version: 1
tenant: {from: host}
routes:
  - {name: public, match: "GET /public/{id}", cache: {ttl: 60s, key: "public:{id}", key_host: false}}
"""

SESSIONS = {
    "ann": {"user_id": "1", "org_id": "acme", "email": "ann@example.org"},
    "ann-too": {"user_id": "1", "org_id": "acme"},
    "bob": {"user_id": "2", "org_id": "acme"},
    "one-elsewhere": {"user_id": "1", "org_id": "other"},
    "number": {"user_id": 3, "org_id": "acme"},
    "without-user": {"org_id": "acme"},
    "without-tenant": {"user_id": "9"},
    "global": {"user_id": "1", "org_id": "global"},
    "odd": {"user_id": "1:acme", "org_id": "a:b"},
}


@pytest.fixture(scope="module")
def store(module_valkeys):
    """A server with everybody's session."""
    server = module_valkeys()
    with server.client() as client:
        for name, fields in SESSIONS.items():
            client.set(f"session:{name}", json.dumps(fields), ex=3600)
    return server


@pytest.fixture(scope="module")
def replicas(raw_sidecars, store):
    """Two replicas that share it."""
    return raw_sidecars(2, store.url, policy=POLICY)


def get(path: bytes, *lines: bytes, method: bytes = b"GET", host: bytes = b"a.example") -> bytes:
    """A request."""
    return b"%b %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (method, path, host, b"".join(line + b"\r\n" for line in lines))


def as_(name: str) -> bytes:
    """The cookie of a session."""
    return b"Cookie: session_id=" + name.encode()


def personal(seen: Seen) -> bytes:
    """An origin that answers each user, session and tenant with what is theirs."""
    fields = [b",".join(seen.all(name)) or b"-" for name in ("x-user-id", "x-org-id", "cookie", "x-tenant", "host")]
    return ok(b"|".join(fields))


def whose(answer) -> list[str]:
    """User, tenant, cookie, tenant field and host that the origin saw."""
    assert 200 == answer.status, answer.body
    return answer.body.decode().split("|")


@pytest.mark.parametrize("kind", ["user", "session", "tenant"])
def test_everybody_gets_what_is_theirs(replicas, raw_origin, connect, kind) -> None:
    """600 requests in random order, by all sessions and none, over two replicas: no answer is another's."""
    shuffled = random.Random(7)
    paths = [raw_origin.path(f"/{kind}") for _ in range(3)]
    for path in paths:
        raw_origin.on(path, personal)
    wires = [connect(replica) for replica in replicas]
    for _ in range(600):
        name = shuffled.choice([*SESSIONS, ""])
        answer = shuffled.choice(wires).ask(get(shuffled.choice(paths), *([as_(name)] if name else [])))
        if not name and kind != "tenant":
            assert 401 == answer.status
            continue
        user, tenant, cookie, *_ = whose(answer)
        fields = SESSIONS.get(name, {})
        assert fields.get("org_id", "-") == tenant
        if kind != "tenant":
            assert str(fields.get("user_id", "-")) == user
        if kind == "session":
            assert f"session_id={name}" == cookie


@pytest.mark.parametrize("kind", ["user", "session", "tenant"])
def test_everybody_gets_what_is_theirs_when_all_come_at_once(replicas, raw_origin, connect, kind) -> None:
    """Collapsing, in a replica and between them, stays within a user, a session, a tenant."""
    path, gate = raw_origin.path(f"/{kind}"), threading.Event()
    raw_origin.on(path, gate, personal)
    names = [name for name in SESSIONS if name not in {"without-user", "without-tenant"}] * 4
    wires = [connect(replicas[at % 2]).send(get(path, as_(name))) for at, name in enumerate(names)]
    gate.set()
    for name, wire in zip(names, wires, strict=True):
        user, tenant, cookie, *_ = whose(wire.answer())
        assert SESSIONS[name]["org_id"] == tenant
        if kind != "tenant":
            assert str(SESSIONS[name]["user_id"]) == user
        if kind == "session":
            assert f"session_id={name}" == cookie


NOT_SHARED = [
    b"set-cookie: session=$", b"cache-control: private", b"cache-control: no-store", b"vary: *", b"vary: cookie",
    b"vary: x-request-id",
    b"cache-control: private, max-age=60", b'cache-control: no-cache="set-cookie"\r\nset-cookie: session=$',
]  # fmt: skip


@pytest.mark.parametrize("lines", NOT_SHARED, ids=lambda lines: lines.decode().replace("\r\n", " "))
def test_a_follower_is_not_given_what_is_the_leaders(replicas, raw_origin, connect, lines) -> None:
    """What may not be stored is not handed over through a flight or a lease either (unjs/ocache#68)."""
    path, gate = raw_origin.path("/public"), threading.Event()
    raw_origin.on(path, gate, lambda seen: ok(seen.get("x-request-id"), lines.replace(b"$", seen.get("x-request-id"))))
    ids = [b"id-%d" % number for number in range(12)]
    wires = [
        connect(replicas[at % 2]).send(get(path, b"X-Request-ID: " + id_, b"Cookie: c=" + id_))
        for at, id_ in enumerate(ids)
    ]
    gate.set()
    assert ids == [wire.answer().body for wire in wires]


@pytest.mark.parametrize("name", ["ann", "bob"])
def test_a_public_route_is_not_told_who_asks(replicas, raw_origin, connect, name) -> None:
    """What is in no key cannot shape what everybody gets: on a public cached route no identity reaches the origin."""
    path = raw_origin.path("/public")
    raw_origin.on(path, personal)
    for replica in replicas:
        wire = connect(replica)
        wire.ask(get(path, as_(name)))
        assert "-" == whose(wire.ask(get(path)))[0]
        assert "-" == whose(wire.ask(get(path, as_("one-elsewhere"))))[0]


def test_a_response_that_names_its_caller_is_not_shared(replicas, raw_origin, connect) -> None:
    """An origin that personalises by the cookie behind a public route gives nobody another's e-mail address."""
    path = raw_origin.path("/public")
    raw_origin.on(path, lambda seen: ok(b"ann@example.org" if b"=ann" in (seen.get("cookie") or b"") else b"nobody"))
    for replica in replicas:
        wire = connect(replica)
        wire.ask(get(path, as_("ann")))
        for line in ((), (as_("bob"),), (as_("nobody"),)):
            assert b"nobody" == wire.ask(get(path, *line)).body


@pytest.mark.parametrize("wall", [b"302 Found", b"401 Unauthorized", b"403 Forbidden", b"200 OK"])
def test_a_page_behind_a_login_is_each_ones_own(replicas, raw_origin, connect, wall) -> None:
    """An origin that answers the nameless with a log-in page and others with theirs, behind a public route, at once."""
    path, gate = raw_origin.path("/public"), threading.Event()

    def page(seen: Seen) -> bytes:
        cookie = seen.get("cookie")
        return ok(cookie) if cookie else ok(b"log in", b"cache-control: no-store", status=wall)

    raw_origin.on(path, gate, page)
    names = ["ann", "bob", "nobody", "ann-too"] * 3
    wires = [connect(replicas[at % 2]).send(get(path, as_(name))) for at, name in enumerate(names)]
    gate.set()
    assert [f"session_id={name}".encode() for name in names] == [wire.answer().body for wire in wires]
    assert b"log in" == connect(replicas[0]).ask(get(path)).body


@pytest.mark.parametrize("first", [True, False], ids=["with-first", "without-first"])
def test_authorization_is_not_shared(replicas, raw_origin, connect, first) -> None:
    """RFC 9111 §3.5: neither is an authorized answer stored, nor an authorized request answered from the store."""
    path = raw_origin.path("/public")
    raw_origin.on(path, lambda seen: ok(seen.get("authorization") or b"anybody"))
    for _ in range(2):
        for replica in replicas:
            wire = connect(replica)
            asked = [(get(path, b"Authorization: Bearer secret"), b"Bearer secret"), (get(path), b"anybody")]
            for raw, body in asked if first else reversed(asked):
                assert body == wire.ask(raw).body


def test_an_authorized_request_joins_nobodys_flight(replicas, raw_origin, connect) -> None:
    """Who comes with Authorization while another fetches gets the answer to their own request."""
    path, gate = raw_origin.path("/public"), threading.Event()
    raw_origin.on(path, gate, lambda seen: ok(seen.get("authorization") or b"anybody"))
    lines = [(), (b"Authorization: Bearer a",), (), (b"Authorization: Bearer b",)] * 3
    wires = [connect(replicas[at % 2]).send(get(path, *line)) for at, line in enumerate(lines)]
    gate.set()
    expected = [line[0].partition(b": ")[2] if line else b"anybody" for line in lines]
    assert expected == [wire.answer().body for wire in wires]


@pytest.mark.parametrize("kind", ["user", "session"])
def test_a_304_tells_nothing_of_another(replicas, raw_origin, connect, kind) -> None:
    """A guessed validator of another's response is not confirmed."""
    path = raw_origin.path(f"/{kind}")
    raw_origin.on(path, lambda seen: ok(seen.get("cookie"), b'etag: "%b"' % seen.get("cookie")[-3:]))
    for replica in replicas:
        wire = connect(replica)
        wire.ask(get(path, as_("ann")))
        assert 304 == wire.ask(get(path, as_("ann"), b'If-None-Match: "ann"')).status
        answer = wire.ask(get(path, as_("bob"), b'If-None-Match: "ann"'))
        assert (200, b"session_id=bob") == (answer.status, answer.body)


def test_a_revalidation_is_each_ones_own(replicas, raw_origin, connect) -> None:
    """A 304 that renews an entry brings no Set-Cookie of who asked to the next client."""
    path = raw_origin.path("/public")
    raw_origin.on(path, ok(b"body", b'etag: "1"', b"cache-control: max-age=0"))
    renewal = b'HTTP/1.1 304 Not Modified\r\netag: "1"\r\nset-cookie: visit=ann\r\ncache-control: max-age=60\r\n\r\n'
    raw_origin.on(path, renewal)
    connect(replicas[0]).ask(get(path, as_("ann-too")))
    assert "REVALIDATED" == connect(replicas[0]).ask(get(path, as_("ann"))).get("x-cache")
    for replica in replicas:
        answer = connect(replica).ask(get(path, as_("bob")))
        assert (200, b"body", None) == (answer.status, answer.body, answer.get("set-cookie"))


def test_an_error_is_each_ones_own(replicas, raw_origin, connect) -> None:
    """An error page that one client provoked, with what it says of them, goes to nobody who waited."""
    path, gate = raw_origin.path("/public"), threading.Event()
    raw_origin.on(path, gate, lambda seen: ok(b"no, " + seen.get("x-who"), status=b"403 Forbidden"))
    names = [b"n%d" % number for number in range(8)]
    wires = [connect(replicas[at % 2]).send(get(path, b"X-Who: " + name)) for at, name in enumerate(names)]
    gate.set()
    assert [b"no, " + name for name in names] == [wire.answer().body for wire in wires]


COOKIES = [
    b"session_id=ann; session_id=bob", b"session_id=", b"session_id", b"session_id=nobody", b"Session_Id=ann",
    b"session_id=*",
    b'session_id="ann', b"session_id=ann%00", b"session_id=../session:ann", b"session_id=ann:x", b"session_id= x",
    b"x=session_id=ann",
    b"session_id=" + b"a" * 5000, b"session_id=\xff\xfe", b"session_id={ann}", b"session_id=ann\tbob",
]  # fmt: skip


@pytest.mark.parametrize("kind", ["user", "session", "plain"])
@pytest.mark.parametrize("cookie", COOKIES, ids=lambda cookie: cookie[:24].decode("latin-1"))
def test_an_odd_cookie_is_no_session(replicas, raw_origin, connect, kind, cookie) -> None:
    """Whatever two readers could take for different sessions is none: 401, before anything is looked up."""
    path = raw_origin.path(f"/{kind}")
    connect(replicas[0]).ask(get(path, as_("ann")))
    assert 401 == connect(replicas[0]).ask(get(path, b"Cookie: " + cookie)).status
    assert 1 == len(raw_origin.seen(path))


GUARDED = [
    "/user/$", "/user//$", "//user/$", "/%75ser/$", "/user/$/", "/user/$//", "/user;x/$", "/user/$;x", "/user/$%00",
    "/./user/$", "/user/./$", "/x/../user/$", "/user%2f$", "/user\\$", "/user/$?x", "/user/%2e/$", "/user/$/.",
    "/user/$%2f",
    "/user/$%3fx", "/user/$%23", "/user%00/$", "/user/x/../$", "/%2e/user/$", "/user/..;/user/$", "/;/user/$",
    "/%2fuser/$",
    "/user%c0%af$", "/%252e/user/$", "/static%2f..%2fuser/$",
]  # fmt: skip


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"get"])
def test_no_spelling_gets_around_a_guard(replicas, raw_origin, connect, method) -> None:
    """What an origin might read as the path of a route that requires a session never reaches it without one."""
    name = raw_origin.path("")[1:].decode()
    for target in GUARDED:
        raw = target.replace("$", name).encode()
        status = connect(replicas[0]).ask(get(raw, method=method), method.decode()).status
        assert status in {400, 401, 501}, target
    assert name.encode() not in b" ".join(raw_origin.lines())


def test_a_purge_stays_within_its_tenant(raw_sidecars, raw_origin, connect, store) -> None:
    """Where tenants are enforced, a write by one purges nothing of another's."""
    [sidecar] = raw_sidecars(1, store.url, policy=POLICY.replace("session.org_id}", "session.org_id, enforce: true}"))
    path = raw_origin.path("/tenant")
    wire = connect(sidecar)
    for name in ("ann", "one-elsewhere"):
        wire.ask(get(path, as_(name)))
    wire.ask(get(path, as_("ann"), b"Content-Length: 0", method=b"PUT"))
    assert "MISS" == wire.ask(get(path, as_("ann"))).get("x-cache")
    assert "HIT" == wire.ask(get(path, as_("one-elsewhere"))).get("x-cache")
    assert 400 == wire.ask(get(path)).status


def test_a_tenant_field_is_believed_from_a_proxy_alone(raw_sidecars, raw_origin, store) -> None:
    """A client's own tenant is neither in the key nor told to the origin; a proxy's is both."""
    [sidecar] = raw_sidecars(1, store.url, policy=TENANT_BY_FIELD)
    port = int(sidecar.url.rpartition(":")[2])
    for kind in ("/public", "/tenant"):
        path = raw_origin.path(kind)
        raw_origin.on(path, personal)
        with (
            socket.create_connection(("127.0.0.1", port), 5, ("127.0.0.1", 0)) as client,
            socket.create_connection(("127.0.0.1", port), 5, ("127.0.0.2", 0)) as proxy,
        ):
            by_client, by_proxy = Wire(client), Wire(proxy)
            assert "-" == whose(by_client.ask(get(path, b"X-Tenant: acme", b"X_Tenant: acme")))[3]
            assert "-" == whose(by_client.ask(get(path)))[3]
            for tenant in ("acme", "other", "acme"):
                raw = get(path, b"X-Tenant: " + tenant.encode(), b"X_Tenant: evil")
                assert tenant == whose(by_proxy.ask(raw))[3]
            assert all(not seen.all("x_tenant") for seen in raw_origin.seen(path))


def test_a_host_is_its_own_tenant(raw_sidecars, raw_origin, connect) -> None:
    """Two hosts share nothing where the host is the tenant, though it is not otherwise in the key."""
    [sidecar] = raw_sidecars(1, "none", policy=TENANT_BY_HOST)
    path = raw_origin.path("/public")
    raw_origin.on(path, personal)
    wire = connect(sidecar)
    for host in (b"acme.example", b"acme.attacker.example", b"other.example", b"acme.example"):
        assert host.decode() == whose(wire.ask(get(path, host=host)))[4]


def test_an_address_in_the_key_is_each_clients_own(replicas, raw_origin) -> None:
    """Equal bytes from another address are another request, also on the express lane."""
    path = raw_origin.path("/by-address")
    raw_origin.on(path, lambda seen: ok(seen.get("x-real-ip")))
    port = int(replicas[0].url.rpartition(":")[2])
    for _ in range(4):
        for address in ("127.0.0.1", "127.0.0.3"):
            with socket.create_connection(("127.0.0.1", port), 5, (address, 0)) as sock:
                assert address.encode() == Wire(sock).ask(get(path)).body


def test_a_cookie_in_the_key_is_the_origins_too(replicas, raw_origin, connect) -> None:
    """A cookie that is named in the key and comes twice is not two different things to sidecar and origin."""
    path = raw_origin.path("/by-cookie")
    raw_origin.on(path, lambda seen: ok(seen.get("cookie") or b"-"))
    wire = connect(replicas[0])
    wire.ask(get(path, b"Cookie: flavour=evil; flavour=plain"))
    assert b"evil" not in wire.ask(get(path, b"Cookie: flavour=plain")).body
    wire.ask(get(path, b"Cookie: flavour=plain; flavour=evil"))
    assert b"evil" not in wire.ask(get(path, b"Cookie: flavour=plain")).body


def test_a_repeated_hit_is_limited_all_the_same(replicas, raw_origin, connect) -> None:
    """A limit holds on every repetition of a request that is answered from memory."""
    path = raw_origin.path("/limited")
    wire = connect(replicas[0])
    assert [200, 200, 200, 429, 429] == [wire.ask(get(path)).status for _ in range(5)]


def test_a_session_that_ends_ends_its_hits(replicas, raw_origin, connect, store) -> None:
    """A hit that needs a session is refused as soon as the session is gone, though the response is fresh."""
    path = raw_origin.path("/user")
    with store.client() as client:
        client.set("session:brief", json.dumps({"user_id": "77"}), ex=100)
        wire = connect(replicas[0])
        assert ["MISS", "HIT", "HIT"] == [wire.ask(get(path, as_("brief"))).get("x-cache") for _ in range(3)]
        client.delete("session:brief")
    replicas[0].purge(tags=["session:brief"], wait="2s")
    assert 401 == wire.ask(get(path, as_("brief"))).status


# The operator's side


SECRETS = [
    "PaSsW0rd-of-redis",
    "SeSsIoN-secret",
    "BeArEr-secret",
    "QuErY-secret",
    "BoDy-secret",
    "FiElD-secret",
    "AdMiN-secret",
]


def test_no_secret_is_in_log_metrics_or_arguments(raw_sidecars, raw_origin, connect, module_valkeys) -> None:
    """Passwords, session ids, tokens, queries and bodies: none is written, whatever goes wrong."""
    password, session, bearer, query, body, field, token = SECRETS
    server = module_valkeys("--requirepass", password)
    url = server.url.replace("redis://", f"redis://:{password}@")
    environment = {"CACHEPROXY_ACCESS_LOG": "all", "CACHEPROXY_LOG_LEVEL": "debug", "CACHEPROXY_ADMIN_TOKEN": token}
    [sidecar] = raw_sidecars(1, "redis://127.0.0.1:1", policy=POLICY, wait=False, REDIS_URL=url, **environment)
    lines = [as_(session), b"Authorization: Bearer " + bearer.encode(), b"X-Secret: " + field.encode()]
    half = b"HTTP/1.1 200 OK\r\ncontent-length: 999999\r\n\r\n" + body.encode()
    for steps in [(ok(body.encode()),), (half, CLOSE), (CLOSE,), (b"nonsense\r\n\r\n",)]:
        path = raw_origin.path("/public")
        raw_origin.on(path, *steps)
        for suffix in (b"", b"?token=" + query.encode()):
            connect(sidecar).ask(get(path + suffix, *lines))
    connect(sidecar).ask(get(raw_origin.path("/user"), *lines))
    connect(sidecar).send(get(b"/bad path?" + query.encode(), *lines)).rest()
    allowed = {"authorization": f"Bearer {token}"}
    seen = [
        httpx.get(sidecar.admin + path, headers=allowed, trust_env=False).text
        for path in ("/metrics", "/readyz", "/api/v1/stats", "/api/v1/routes")
    ]
    wrong = httpx.get(sidecar.admin + "/metrics", headers={"authorization": f"Bearer {token}x"}, trust_env=False)
    assert 401 == wrong.status_code
    sidecar.end()
    written = "\n".join([*seen, wrong.text, sidecar.log.read_text()])
    assert [] == [secret for secret in SECRETS if secret.lower() in written.lower()]


def test_a_password_in_a_wrong_url_is_not_shown(tmp_path) -> None:
    """An error about a Redis URL says what is wrong with it, not the password in it."""
    (tmp_path / "policy.yaml").write_text(POLICY)
    for url in ("redis://:PaSsW0rd@host:port/0", "nonsense://:PaSsW0rd@host", "redis://:PaSsW0rd@[::1/0"):
        ended = serve(tmp_path, "--redis", url)
        assert 0 != ended.returncode
        assert "PaSsW0rd" not in ended.stdout + ended.stderr


def serve(directory, *args: str) -> "subprocess.CompletedProcess[str]":
    """A sidecar that must not start."""
    command = [subprocess.sys.executable, "-m", "cacheproxy", "serve", "--config", str(directory / "policy.yaml")]
    command += ["--listen", "127.0.0.1:0", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", ":0"])
def test_an_open_admin_port_needs_a_token(tmp_path, address) -> None:
    """Off loopback without a token the sidecar does not start, and says why."""
    (tmp_path / "policy.yaml").write_text(POLICY)
    ended = serve(tmp_path, "--redis", "none", "--admin", address)
    assert 0 != ended.returncode
    assert "CACHEPROXY_ADMIN_TOKEN" in ended.stdout + ended.stderr


ADMIN = [
    ("GET", "/metrics"), ("POST", "/api/v1/purge"), ("GET", "/api/v1/stats"), ("GET", "/api/v1/routes"),
    ("GET", "/api/v1/explain?target=/"), ("GET", "/api/v1/events"), ("POST", "/api/v1/events"), ("POST",
    "/api/v1/reload"),
    ("GET", "/api/v1/keys"), ("GET", "/api/v1/keys/x"), ("PUT", "/api/v1/keys/x"), ("DELETE", "/api/v1/keys/x"),
    ("POST", "/api/v1/sweep"), ("POST", "/api/v1/sessions"), ("GET", "/api/v1/sessions/ann"),
    ("PATCH", "/api/v1/sessions/ann"), ("DELETE", "/api/v1/sessions/ann"), ("GET", "/api/v1/none"), ("TRACE",
    "/metrics"),
    ("GET", "//metrics"), ("GET", "/livez/../metrics"), ("GET", "/livez%2f..%2fmetrics"), ("HEAD", "/metrics"),
]  # fmt: skip


def test_every_admin_path_needs_the_token(raw_sidecars, store) -> None:
    """Where a token is set, nothing but probes and the dashboard's empty page is to be had without it."""
    [sidecar] = raw_sidecars(1, store.url, policy=POLICY, wait=False, CACHEPROXY_ADMIN_TOKEN="t0ken")
    port = int(sidecar.admin.rpartition(":")[2])
    given = ("", "Authorization: Bearer wrong\r\n", "Authorization: Basic t0ken\r\n", "Authorization: t0ken\r\n")
    for (method, path), line in product(ADMIN, given):
        with socket.create_connection(("127.0.0.1", port), 5) as sock:
            raw = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{line}\r\n".encode()
            assert 401 == Wire(sock).ask(raw, method).status, (method, path, line)
    with httpx.Client(base_url=sidecar.admin, trust_env=False) as client:
        assert 200 == client.get("/metrics", headers={"authorization": "bearer t0ken"}).status_code
        assert {200} == {client.get(path).status_code for path in ("/livez", "/readyz", "/healthz", "/")}
        assert "t0ken" not in client.get("/").text


NONSENSE = [
    b"", b"null", b"[]", b'"all"', b"1", b"{", b"{}", b'{"tags": "x"}', b'{"tags": [1]}', b'{"tags": [null]}',
    b'{"all": "yes"}',
    b'{"paths": ["x"]}', b'{"paths": ["/../x"]}', b'{"tags": []}', b'{"wait": "for ever", "tags": ["x"]}',
    b'{"wait": -1, "tags": ["x"]}',
    b'{"mode": "x", "tags": ["x"]}', b'{"unknown": 1}', b'{"tags": ["x"], "tenant": 1}',
    b"[" * 100_000, b'{"a":' * 100_000,
    b"\xff\xfe", b'{"tags": ["\\ud800"]}', b'{"tags": ["' + b"x" * 100_000 + b'"]}', b'{"tags": ["a\\u0000b"]}',
    b"x" * (2 << 20),
    b'{"wait": "1e999s", "tags": ["x"]}', b'{"routes": ["none"]}', b'{"keys": ["*"]}',
    b'{"tags": ["*"], "all": true, "all": false}',
]  # fmt: skip


@pytest.mark.parametrize("path", ["purge", "events", "sweep", "sessions"])
def test_the_admin_port_takes_nonsense_calmly(replicas, path) -> None:
    """Malformed, huge, nested and wrong-typed bodies are the sender's mistake, never a 500."""
    with httpx.Client(base_url=replicas[0].admin, trust_env=False, timeout=10) as client:
        for body in NONSENSE:
            status = client.post(
                f"/api/v1/{path}", content=body, headers={"content-type": "application/json"}
            ).status_code
            assert status < 500, (status, body[:60])


FOREIGN = [
    {"host": "evil.example"}, {"host": "127.0.0.1.evil.example"}, {"host": "localhost.evil.example"}, {"host": ""},
    {"origin": "http://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"origin": "http://127.0.0.1:1"},
]  # fmt: skip


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_a_page_from_elsewhere_purges_nothing(replicas, raw_origin, connect, headers) -> None:
    """DNS rebinding and cross-origin requests of a browser on the same machine are refused."""
    path = raw_origin.path("/public")
    connect(replicas[0]).ask(get(path))
    answer = httpx.post(replicas[0].admin + "/api/v1/purge", json={"all": True}, headers=headers, trust_env=False)
    assert answer.status_code in {400, 403, 421}
    assert "HIT" == connect(replicas[0]).ask(get(path)).get("x-cache")


@pytest.mark.parametrize("path", [b"/metrics", b"/api/v1/purge", b"/livez", b"/api/v1/stats"])
def test_the_proxys_port_has_no_admin_paths(replicas, raw_origin, connect, path) -> None:
    """What clients reach is the origin's alone."""
    raw_origin.on(path, ok(b"the origin's"))
    assert b"the origin's" == connect(replicas[0]).ask(get(path)).body


def test_keys_in_redis_hold_no_session_id(replicas, raw_origin, connect, store) -> None:
    """Key names, which end up in monitoring, name sessions and users by digest."""
    connect(replicas[0]).ask(get(raw_origin.path("/session"), as_("one-elsewhere")))
    with store.client() as client:
        names = [name.decode() for name in client.keys("cacheproxy:*")]
    assert names
    assert not [name for name in names if "one-elsewhere" in name]


def test_the_wire_protocol_of_redis_is_not_a_clients(replicas, raw_origin, connect, store) -> None:
    """What looks like a command in a path, a query or a cookie stays a value."""
    evil = b"%0d%0aFLUSHALL%0d%0a"
    with store.client() as client:
        before = client.dbsize()
        connect(replicas[0]).ask(get(raw_origin.path("/public") + evil, b"Cookie: session_id=x\tFLUSHALL"))
        connect(replicas[0]).ask(get(raw_origin.path("/public") + b"?x=" + evil + b"*"))
        assert client.dbsize() >= before
        assert isinstance(client, redis.Redis)


OVERRIDES = [
    b"X-HTTP-Method-Override: GET", b"X_HTTP_Method_Override: GET", b"X-Method-Override: GET", b"X-HTTP-Method: GET",
    b"X-Original-URL: /user/1", b"X-Rewrite-URL: /user/1", b"X-User-Id: 1", b"X_User_Id: 1",
    b"X-Forwarded-Prefix: /user",
]  # fmt: skip


@pytest.mark.parametrize("method", [b"GET", b"POST", b"OPTIONS"])
@pytest.mark.parametrize("line", OVERRIDES, ids=lambda line: line.split(b":")[0].decode())
def test_no_field_gets_around_a_guard(replicas, raw_origin, connect, method, line) -> None:
    """What would make an origin answer another request than the one that was routed does not reach it."""
    path = raw_origin.path("/user")
    connect(replicas[0]).ask(get(path, line, b"Content-Length: 0", method=method))
    assert [] == [seen for seen in raw_origin.seen(path) if seen.all(line.split(b":")[0].decode())]


@pytest.mark.parametrize("status", [b"304 Not Modified", b"200 OK"])
@pytest.mark.parametrize("method", [b"HEAD", b"GET"])
def test_what_one_clients_revalidation_says_is_not_for_all(replicas, raw_origin, connect, method, status) -> None:
    """Fields that an origin sends to one user with a 304, or in answer to HEAD, freshen nothing that others see."""
    path = raw_origin.path("/public")
    raw_origin.only(path, ok(b"body", b'etag: "1"', b"cache-control: max-age=0"))
    connect(replicas[0]).ask(get(path, as_("ann-too")))

    def renewal(seen: Seen) -> bytes:
        who = seen.get("cookie") or b"nobody"
        head = b'HTTP/1.1 %b\r\netag: "1"\r\nx-who: %b\r\ncache-control: max-age=60\r\n' % (status, who)
        body = b"body" if seen.line.startswith(b"GET") and b"200" in status else b""
        return head + (b"content-length: 4\r\n\r\n" + body if b"200" in status else b"\r\n")

    raw_origin.only(path, renewal)
    connect(replicas[0]).ask(get(path, as_("ann"), method=method), method.decode())
    for replica in replicas:
        answer = connect(replica).ask(get(path, as_("bob")))
        assert b"body" == answer.body
        assert "=ann" not in (answer.get("x-who") or "")

"""Cache poisoning and cache deception: what one client sends never shapes what another is served."""

import threading
from urllib.parse import quote

import httpx
import pytest

from .wire import CLOSE, RESET, Seen, ok

pytestmark = pytest.mark.e2e

POLICY = """
version: 1
session:
  cookie: session_id
  identity: {X-User-Id: user_id}
  namespace: [X-Auth-]
tenant: {from: "header:X-Tenant"}
routes:
  - {name: cached, match: "GET /c/{id}", cache: {ttl: 60s, key: "c:{id}"}}
  - {name: override, match: "GET /o/{id}", cache: {ttl: 60s, mode: override, key: "o:{id}"}}
  - {name: two, match: "GET /k/{a}/{b}", cache: {ttl: 60s, key: "k:{a}:{b}"}}
  - {name: list, match: "GET /l/{id}", cache: {ttl: 60s, key: "l:{id}:{query.skip=0}:{query.limit=20}"}}
  - {name: ignoring, match: "GET /i/{id}", cache: {ttl: 60s, key: "i:{id}", query: {ignore: ["utm_*"]}}}
  - {name: allowing, match: "GET /a/{id}", cache: {ttl: 60s, key: "a:{id}", query: {allow: [page]}}}
  - {name: keyless, match: "GET /n/{rest:path}", cache: {ttl: 60s}}
  - {name: by-field, match: "GET /f/{id}", cache: {ttl: 60s, key: "f:{id}:{header.x-colour=none}"}}
  - {name: static, match: "GET /static/{rest:path}", cache: {ttl: 60s}}
  - {name: account, match: "GET /account", session: optional}
  - {name: account-parts, match: "GET /account/{part}", session: optional}
"""
TRUSTING = "trusted_proxies: [127.0.0.1/32]\n" + POLICY

ATTACKER, VICTIM = b"attacker.example", b"victim.example"


@pytest.fixture(scope="module")
def sidecar(raw_sidecars):
    """One that trusts no proxy."""
    return raw_sidecars(1, "none", policy=POLICY)[0]


@pytest.fixture(scope="module")
def trusting(raw_sidecars):
    """One that trusts loopback, as behind a balancer."""
    return raw_sidecars(1, "none", policy=TRUSTING)[0]


def get(target: bytes, *lines: bytes, host: bytes = VICTIM, method: bytes = b"GET", body: bytes = b"") -> bytes:
    """A request."""
    return b"%b %b HTTP/1.1\r\nHost: %b\r\n%b\r\n%b" % (
        method,
        target,
        host,
        b"".join(x + b"\r\n" for x in lines),
        body,
    )


ECHOED = (
    "host",
    "cookie",
    "authorization",
    "content-length",
    "x-tenant",
    "accept-language",
    "accept-encoding",
    "accept",
)


def mirror(seen: Seen) -> bytes:
    """An origin that answers with all that it could have been influenced by."""
    fields = [name + b"=" + value for name, value in seen.fields if name.decode() in ECHOED or name.startswith(b"x-")]
    own = [each for each in fields if not each.startswith((b"x-request-id", b"x-forwarded-for", b"x-real-ip"))]
    return ok(b"\n".join([seen.line, *sorted(own), seen.body]))


UNKEYED = [
    b"X-Forwarded-Host: evil", b"X-Forwarded-Proto: evil", b"X-Forwarded-Port: 666", b"X-Forwarded-Scheme: evil",
    b"X-Forwarded-Prefix: /evil", b"X-Forwarded-Server: evil", b"X-Forwarded-Path: /evil", b"X-Forwarded-Uri: /evil",
    b"X-Forwarded-Ssl: evil", b"X-Forwarded-Method: EVIL", b"X-Forwarded-Anything: evil", b"Forwarded: host=evil",
    b"X-Original-URL: /evil", b"X-Rewrite-URL: /evil", b"X-Original-Host: evil", b"X-Host: evil",
    b"X-HTTP-Method-Override: EVIL", b"X-HTTP-Method: EVIL", b"X-Method-Override: EVIL", b"Proxy: http://evil",
    b"X_Forwarded_Host: evil", b"X-Forwarded_Host: evil", b"x_original_url: /evil", b"X_Rewrite_URL: /evil",
    b"X-User-Id: evil", b"X_User_Id: evil", b"x-user_id: evil", b"X-Auth-Anything: evil", b"X_Auth_Role: evil",
    b"X_Tenant: evil", b"X-Identity-Seal: evil",
    b"Transfer_Encoding: evil", b"Content_Length: 666", b"X-Real-IP: evil", b"X_Real_IP: evil",
    b"x_identity_seal: evil", b"X-Forwarded: evil", b"Forwarded-For: evil", b"X-Scheme: evil", b"X-Url-Scheme: evil",
    b"X-Original-URI: /evil", b"X-Original-Path: /evil", b"X-Rewrite-URI: /evil", b"X-Override-URL: /evil",
    b"X-Backend-Host: evil", b"X-HTTP-Host-Override: evil", b"X-Script-Name: /evil", b"X-Forwarded-By: evil",
    b"X-Forwarded-For-Original: evil", b"X-Forwarded-Protocol: evil", b"X_HTTP_Host_Override: evil",
    b"Front_End_Https: evil", b"HTTP2-Settings: evil", b"Trailer: evil", b"Keep-Alive: evil", b"Upgrade: evil",
    b"Proxy-Connection: evil", b"Proxy-Authorization: evil", b"TE: evil",
]  # fmt: skip
"""Fields that frameworks read instead of the target, the host or the session, and that are in no key."""


@pytest.mark.parametrize("line", UNKEYED, ids=lambda line: line.split(b":")[0].decode())
def test_an_unkeyed_field_shapes_no_stored_response(sidecar, raw_origin, connect, line) -> None:
    """(Kettle, Practical Web Cache Poisoning, 2018) The origin never sees it, so the next client gets nothing of it."""
    path = raw_origin.path("/c")
    raw_origin.on(path, mirror)
    wire = connect(sidecar)
    first, second = wire.ask(get(path, line)), wire.ask(get(path))
    assert (200, 200) == (first.status, second.status)
    name = line.split(b":")[0].decode()
    told = [value for seen in raw_origin.seen(path) for value in seen.all(name)]
    assert not any(mark in value for value in told for mark in (b"evil", b"EVIL", b"666"))
    assert not any(mark in second.body for mark in (b"evil", b"EVIL", b"666"))


@pytest.mark.parametrize(
    "nominated",
    [
        "cookie", "authorization", "x-user-id", "cache-control", "x-forwarded-for", "x-forwarded-host", "host", "via",
        "accept-language", "accept-encoding", "x-colour", "content-type", "x-request-id", "origin", "if-none-match",
    ],
)  # fmt: skip
def test_a_nominated_field_is_gone_from_the_key_too_or_stays(sidecar, raw_origin, connect, nominated) -> None:
    """(hop-by-hop abuse) Connection cannot make the origin answer for less than what the key and Vary stand for."""
    path = raw_origin.path("/f")
    name = nominated.encode()
    raw_origin.on(path, lambda seen: ok(b"|".join(seen.all(nominated)), b"vary: " + name))
    value = b"victim.example" if nominated == "host" else b"real"
    line = () if nominated == "host" else (name + b": " + value,)
    wire = connect(sidecar)
    wire.ask(get(path, *line, b"Connection: " + name))
    honest = wire.ask(get(path, *line))
    told = raw_origin.seen(path)[-1].all(nominated)
    assert b"|".join(told) == honest.body
    if nominated not in {"x-user-id", "x-forwarded-for", "x-forwarded-host", "via", "x-request-id", "if-none-match"}:
        assert honest.body.endswith(value)


TARGETS = [
    "/c/$", "/c/$?", "/c/$??", "/c/$?a", "/c/$?a=", "/c/$?a=1", "/c/$?a=1&", "/c/$?&a=1", "/c/$?a=1&&b=2",
    "/c/$?a=1&b=2",
    "/c/$?b=2&a=1", "/c/$?a=1;b=2", "/c/$?a=1%26b=2", "/c/$?a=1%3Bb=2", "/c/$?a=1&a=2", "/c/$?a=2&a=1", "/c/$?a[]=1",
    "/c/$?A=1", "/c/$?%61=1", "/c/$?a=%31", "/c/$?a=1%00", "/c/$?a=+", "/c/$?a=%20", "/c/$?a=%2B", "/c/$?a=1#",
    "/c/$?a=1?b=2",
    "/c/$?a=1/../..", "/c/$?a==1", "/c/$?a=%C3%A4", "/c/$?a=%c3%a4", "/c/$?a=%E4", "/c/$?a=%25", "/c/$?a=%",
    "/c/$?a=%zz",
    "/c/%24$", "/c/$%20", "/c/$%2520", "/c/$;x", "/c/$;", "/c/$%3B", "/c/$%00", "/c/$/", "/c//$", "//c/$", "/c/./$",
    "/c/$/.",
    "/c/x/../$", "/c/%2e/$", "/c/x/%2e%2e/$", "/c/$%2f", "/c/$%2fx", "/c/$%5c", "/c/$\\", "/C/$", "/%63/$",
    "/c/$.css", "/c/$%0a",
    "/c/$%0d%0aX:y", "/c/$:v1", "/c/$~q=1", "/c/$%7Eq=1", "/c/$:~q=1", "/c/$*", "/c/$%2A", "/c/$@", "/c/%E2%84%AA$",
    "/c/$%C0%AF",
    "/k/$/x:y", "/k/$:x/y", "/k/$%3Ax/y", "/k/$/x%3Ay", "/k/$/x%2Fy", "/k/$%2Fx/y", "/k/$/%25", "/k/$/%2525",
    "/l/$?skip=0&limit=20", "/l/$?skip=0:20", "/l/$?skip=0%3A20",
    "/l/$?skip=0&skip=5", "/l/$?skip=5&skip=0", "/l/$?skip=00", "/l/$?skip=+0", "/l/$?skip=%30", "/l/$?%73kip=0",
    "/l/$?skip[]=0",
    "/l/$?skip=0&other=1", "/l/$?skip=0;limit=20", "/l/$?Skip=0", "/l/$?skip=", "/l/$?skip", "/l/$?skip=0&",
    "/l/$:0:20",
    "/n/$", "/n/$/", "/n/$//", "/n//$", "/n/$%2F", "/n/$/x", "/n/$%2Fx", "/n/$;a", "/n/$?x", "/n/$?~x", "/n/$~q=x",
]  # fmt: skip
"""Spellings of which an origin could tell any two apart."""


def test_no_two_spellings_share_a_response(sidecar, raw_origin, connect) -> None:
    """Keys are injective: asked for twice, in both orders, every spelling gets the answer to itself or a refusal."""
    unique = raw_origin.path("")[1:].decode()
    targets = [target.replace("$", unique).encode() for target in TARGETS]
    wire = connect(sidecar)
    for target in [*targets, *reversed(targets)]:
        answer = wire.ask(get(target))
        if answer.status == 400:
            assert answer.get("connection") == ("close" if b"#" in target else None)
            wire = connect(sidecar) if b"#" in target else wire
            continue
        assert (200, target) == (answer.status, answer.body.split(b" ")[1])


@pytest.mark.parametrize("prefix", ["/i", "/a"])
@pytest.mark.parametrize(
    "query",
    ["utm_x=1;id=5", "utm_x=1%3Bid=5;", "utm_x=;page=evil", "utm_content=1;jsonp=evil", "utm_x=1&page=2", "UTM_X=1",
    "utm%5Fx=1;y"],
)  # fmt: skip
def test_an_ignored_parameter_hides_no_other(sidecar, raw_origin, connect, prefix, query) -> None:
    """(parameter cloaking) What an origin that splits at ``;`` could see is in the key, though its name is ignored."""
    path = raw_origin.path(prefix)
    wire = connect(sidecar)
    wire.ask(get(path + b"?" + query.encode()))
    clean = wire.ask(get(path)).body.split(b" ")[1]
    assert clean in {path, path + b"?" + query.encode()}
    assert b";" not in clean
    assert b"page" not in clean


def test_ignored_and_named_parameters_share(sidecar, raw_origin, connect) -> None:
    """What the policy ignores is one response: the protection does not undo the policy."""
    path = raw_origin.path("/i")
    wire = connect(sidecar)
    wire.ask(get(path + b"?utm_source=x"))
    assert "HIT" == wire.ask(get(path + b"?utm_medium=y&utm_source=z")).get("x-cache")
    assert 1 == len(raw_origin.seen(path))


@pytest.mark.parametrize(
    ("attacker", "victim"),
    [
        pytest.param(get(b"$P", host=ATTACKER), get(b"$P"), id="host"),
        pytest.param(get(b"http://victim.example$P", host=ATTACKER), get(b"$P"), id="9112-3.2.2-absolute-form"),
        pytest.param(get(b"http://attacker.example$P"), get(b"$P"), id="absolute-form-other-way"),
        pytest.param(get(b"$P", host=b"victim.example:666"), get(b"$P"), id="host-port"),
        pytest.param(get(b"$P", host=b"victim.example:$O"), get(b"$P"), id="host-own-port"),
        pytest.param(get(b"$P", host=b"victim.example."), get(b"$P"), id="host-final-dot"),
        pytest.param(get(b"$P", host=b"victim.example:"), get(b"$P"), id="host-empty-port"),
        pytest.param(get(b"$P", host=b"%76ictim.example"), get(b"$P"), id="host-encoded"),
        pytest.param(b"GET $P HTTP/1.0\r\n\r\n", get(b"$P"), id="1.0-without-host"),
        pytest.param(get(b"$P", b"Content-Length: 4", body=b"evil"), get(b"$P"), id="fat-GET"),
        pytest.param(
            get(b"$P", b"Transfer-Encoding: chunked", body=b"4\r\nevil\r\n0\r\n\r\n"), get(b"$P"), id="fat-chunked"
        ),
        pytest.param(get(b"$P", b"Cookie: evil=1"), get(b"$P"), id="cookie-vary"),
        pytest.param(get(b"$P", b"Authorization: Bearer evil"), get(b"$P"), id="9111-3.5-authorization"),
        pytest.param(get(b"$P", b"Accept-Language: evil"), get(b"$P"), id="vary-language"),
        pytest.param(get(b"$P", b"X-Any: evil"), get(b"$P"), id="vary-any"),
        pytest.param(get(b"$P", b"X-Any: a", b"X-Any: evil"), get(b"$P", b"X-Any: a"), id="vary-second-line"),
        pytest.param(get(b"$P", b"X-Any:"), get(b"$P"), id="vary-empty-is-not-absent"),
        pytest.param(get(b"$P", method=b"POST"), get(b"$P"), id="POST"),
        pytest.param(get(b"$P", method=b"OPTIONS"), get(b"$P"), id="OPTIONS"),
        pytest.param(get(b"$P", method=b"PROPFIND"), get(b"$P"), id="PROPFIND"),
    ],
)
def test_the_attackers_answer_is_not_the_victims(sidecar, raw_origin, connect, attacker, victim) -> None:
    """The victim's answer is the origin's to the victim's own request, whatever was asked for before."""
    path = raw_origin.path("/c")
    vary = b"vary: cookie, accept-language, x-any"
    raw_origin.on(path, lambda seen: mirror(seen).replace(b"\r\n\r\n", b"\r\n" + vary + b"\r\n\r\n", 1))
    own_port = sidecar.url.rpartition(":")[2].encode()
    connect(sidecar).ask(attacker.replace(b"$P", path).replace(b"$O", own_port))
    honest = connect(sidecar).ask(victim.replace(b"$P", path))
    assert 200 == honest.status
    assert b"GET " + path + b" HTTP/1.1\n" == honest.body[: len(path) + 14]
    for mark in (b"evil", b"attacker", b"666", own_port, b"example.\n", b"x-any=\n", b"%76"):
        assert mark not in honest.body
    assert b"host=victim.example\n" in honest.body


@pytest.mark.parametrize(
    ("attacker", "victim", "mark"),
    [
        pytest.param([b"X-Forwarded-Proto: http"], [b"X-Forwarded-Proto: https"], b"proto=http\n", id="proto"),
        pytest.param([b"X-Forwarded-Host: evil"], [b"X-Forwarded-Host: victim.example"], b"evil", id="host"),
        pytest.param([b"X-Forwarded-Host: evil"], [], b"evil", id="host-absent"),
        pytest.param([b"X-Forwarded-Prefix: /evil"], [], b"evil", id="prefix"),
        pytest.param([b"X-Forwarded-Port: 666"], [], b"666", id="port"),
    ],
)
def test_what_a_balancer_vouches_for_is_in_the_key(trusting, raw_origin, connect, attacker, victim, mark) -> None:
    """What the origin is told of scheme, host and prefix tells stored responses apart (a redirect to https loops)."""
    path = raw_origin.path("/c")
    raw_origin.on(path, mirror)
    wire = connect(trusting)
    wire.ask(get(path, *attacker))
    assert mark not in wire.ask(get(path, *victim)).body


def test_a_forwarded_host_does_not_hide_the_real_one(trusting, raw_origin, connect) -> None:
    """An origin that goes by Host and not by X-Forwarded-Host is never asked for one and stored for another."""
    path = raw_origin.path("/c")
    raw_origin.on(path, mirror)
    wire = connect(trusting)
    wire.ask(get(path, b"X-Forwarded-Host: victim.example", host=ATTACKER))
    assert b"attacker" not in wire.ask(get(path, b"X-Forwarded-Host: victim.example")).body
    assert b"attacker" not in wire.ask(get(path)).body


ERRORS = [
    b"400 Bad Request", b"401 Unauthorized", b"403 Forbidden", b"405 Method Not Allowed", b"406 Not Acceptable",
    b"408 Request Timeout", b"413 Content Too Large", b"414 URI Too Long", b"415 Unsupported",
    b"417 Expectation Failed",
    b"421 Misdirected", b"425 Too Early", b"429 Too Many", b"431 Fields Too Large", b"500 Error",
    b"501 Not Implemented",
    b"502 Bad Gateway", b"503 Unavailable", b"504 Timeout", b"302 Found", b"307 Temporary", b"404 Not Found",
]  # fmt: skip


@pytest.mark.parametrize("prefix", ["/c", "/o"], ids=["honor", "override"])
@pytest.mark.parametrize("status", ERRORS, ids=lambda status: status[:3].decode())
def test_an_error_is_not_stored_by_the_plain_ttl(sidecar, raw_origin, connect, prefix, status) -> None:
    """(CPDoS, Nguyen et al., CCS 2019) An error that one request provoked is not the next one's answer."""
    path = raw_origin.path(prefix)
    raw_origin.on(path, ok(b"evil", b"location: /evil", status=status))
    raw_origin.on(path, ok(b"fine"))
    wire = connect(sidecar)
    assert int(status[:3]) == wire.ask(get(path, b"X-Oversized: " + b"x" * 20_000)).status
    assert (200, b"fine") == ((answer := wire.ask(get(path))).status, answer.body)


@pytest.mark.parametrize("line", [b"X: \x07", b"X: \x01", b"X: a\x0bb", b"X: \x7f", b"X\x08: y"])
def test_a_meta_character_goes_no_further(sidecar, raw_origin, connect, line) -> None:
    """(CPDoS HMC) A control character in a field is our own 400, stored by nobody."""
    path = raw_origin.path("/c")
    assert 400 == connect(sidecar).ask(get(path, line)).status
    assert 200 == connect(sidecar).ask(get(path)).status
    assert 1 == len(raw_origin.seen(path))


UNSHARED = [
    b"set-cookie: evil=1", b"set-cookie2: evil=1", b"cache-control: private", b"cache-control: no-store",
    b"cache-control: max-age=9, no-store", b"cache-control: public, private, max-age=60", b"CACHE-CONTROL: PRIVATE",
    b"cache-control: max-age=60\r\ncache-control: private", b'cache-control: private="x"\r\nset-cookie: evil=1',
    b"vary: *",
    b"cache-control: private\r\nconnection: cache-control", b"set-cookie: evil=1\r\nconnection: set-cookie",
    b"vary: accept\r\nvary: *", b"cache-control: private ,max-age=60",
]  # fmt: skip


@pytest.mark.parametrize("prefix", ["/c", "/o"], ids=["honor", "override"])
@pytest.mark.parametrize("lines", UNSHARED, ids=lambda lines: lines.decode().replace("\r\n", " "))
def test_what_is_for_one_client_is_not_stored(sidecar, raw_origin, connect, prefix, lines) -> None:
    """Set-Cookie, private, no-store and Vary: * are refused whatever the policy says."""
    path = raw_origin.path(prefix)
    raw_origin.on(path, ok(b"evil", lines))
    raw_origin.on(path, ok(b"fine"))
    wire = connect(sidecar)
    assert b"evil" == wire.ask(get(path)).body
    answer = wire.ask(get(path))
    assert (b"fine", None) == (answer.body, answer.get("set-cookie"))


DECEPTIONS = [
    "/static/..%2faccount", "/static/%2e%2e/account", "/static/../account", "/static/..;/account",
    "/static/x/..%2f../account",
    "/static/%2e%2e%2faccount", "/static/..%5caccount", "/static/..\\account", "/static/.%2e/account",
    "/static%2f..%2faccount",
    "/static/%252e%252e/account", "/account%2f..%2fstatic/x.css", "/account/..%2fstatic%2fx.css",
    "/account/../static/x.css",
    "/account%00/../static/x", "/account?/../static/x.css", "/account;/static/x.css", "/account%3f/../static/x.css",
    "/account%23/..%2fstatic/x.css", "/account.css", "/account/x.css", "/account;x.css", "/account%0ax.css",
    "/account%00x.css",
    "/account%3fx.css", "/account%23x.css", "/account/.css", "/account%2fx.css", "/account//x.css", "/account?x.css",
    "//account", "/./account", "/account/", "/account/.", "/Account", "/%61ccount", "/static//..//account",
    "/static/a/..", "/static/.",
    "/static/%c0%ae%c0%ae/account", "/static/..%c0%afaccount", "/static/..%00/account", "/static/...;/x",
]  # fmt: skip


@pytest.mark.parametrize("target", DECEPTIONS)
def test_a_page_that_looks_static_is_not_stored(sidecar, raw_origin, connect, target) -> None:
    """(Gil 2017; Mirheidari et al. 2020, 2022) What an origin may read as the account page is not cached."""
    raw = target.encode()
    path = raw.partition(b"?")[0]
    raw_origin.on(path, mirror)
    wire = connect(sidecar)
    wire.ask(get(raw, b"Cookie: session_id=victims-secret"))
    stolen = connect(sidecar).ask(get(raw))
    assert b"victims-secret" not in stolen.body
    assert 400 == stolen.status or "HIT" != stolen.get("x-cache")


def test_a_range_does_not_shorten_the_whole(sidecar, raw_origin, connect) -> None:
    """A part that one client asked for is never another's whole, whatever If-Range says."""
    path = raw_origin.path("/c")
    part = ok(b"01234", b"content-range: bytes 0-4/10", b'etag: "a"', status=b"206 Partial Content")
    rest = ok(b"56789", b"content-range: bytes 5-9/10", b'etag: "a"', status=b"206 Partial Content")
    whole = ok(b"0123456789", b'etag: "a"')
    raw_origin.on(path, lambda seen: {b"bytes=0-4": part, b"bytes=5-": rest}.get(seen.get("range"), whole))
    wire = connect(sidecar)
    assert b"01234" == wire.ask(get(path, b"Range: bytes=0-4")).body
    answer = wire.ask(get(path))
    assert (200, b"0123456789") == (answer.status, answer.body)
    answer = wire.ask(get(path, b"Range: bytes=2-3", b'If-Range: "other"'))
    assert (200, b"0123456789") == (answer.status, answer.body)
    answer = wire.ask(get(path, b"Range: bytes=2-3", b'If-Range: "a"'))
    assert (206, b"23") == (answer.status, answer.body)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(
            ok(b"01234", b"content-range: bytes 0-4/10", b'etag: "a"', status=b"206 Partial"), id="asked-or-not"
        ),
        pytest.param(ok(b"01234", b"content-range: bytes 5-9/10", status=b"206 Partial"), id="another-range"),
        pytest.param(ok(b"01234", b"content-range: bytes 0-4/*", status=b"206 Partial"), id="length-unknown"),
        pytest.param(ok(b"01", b"content-range: bytes 0-4/5", b'etag: "a"', status=b"206 Partial"), id="short"),
        pytest.param(ok(b"0123456789", b"content-range: bytes 0-4/5", b'etag: "a"', status=b"206 Partial"), id="long"),
        pytest.param(ok(b"x", b"content-range: bytes */10", status=b"416 No"), id="416"),
        pytest.param(ok(b"x", b"content-range: garbage", status=b"206 Partial"), id="garbage"),
    ],
)
def test_a_part_that_nobody_asked_for_is_not_kept(sidecar, raw_origin, connect, answer) -> None:
    """An origin's odd 206 reaches who provoked it, after few requests; the next client gets the whole."""
    path = raw_origin.path("/c")
    raw_origin.on(path, answer)
    wire = connect(sidecar)
    wire.ask(get(path, b"Range: bytes=0-4"))
    wire.ask(get(path))
    assert 4 >= len(raw_origin.seen(path))
    raw_origin.on(path, ok(b"0123456789", b'etag: "b"'))
    wire.ask(get(path))
    answer = wire.ask(get(path))
    assert (200, b"0123456789") == (answer.status, answer.body)


def test_a_long_rest_does_not_pass_for_the_whole(sidecar, raw_origin, connect) -> None:
    """What is missing of a stored part takes a while to come: the answer waits for it, and is the whole."""
    path, wire, whole = raw_origin.path("/c"), connect(sidecar), bytes(range(256)) * 800
    raw_origin.on(path, ok(whole[:1000], b"content-range: bytes 0-999/204800", b'etag: "a"', status=b"206 Part"))
    raw_origin.on(path, ok(whole[1000:], b"content-range: bytes 1000-204799/204800", b'etag: "a"', status=b"206 Part"))
    assert 206 == wire.ask(get(path, b"Range: bytes=0-999")).status
    answer = wire.ask(get(path))
    assert (200, True) == (answer.status, answer.body == whole)
    assert b"bytes=1000-" == raw_origin.seen(path)[1].get("range")


def test_range_by_range_nothing_grows_beyond_its_bound(sidecar, raw_origin, connect) -> None:
    """A client cannot have the cache put together what is too large to be stored, and then keep in its memory."""
    path, wire, step = raw_origin.path("/c"), connect(sidecar), 300_000

    def part(seen) -> bytes:
        first, last = map(int, seen.get("range")[6:].split(b"-"))
        line = b"content-range: bytes %d-%d/9000000" % (first, last)
        return ok(b"x" * (last - first + 1), line, b'etag: "a"', status=b"206 Part")

    raw_origin.on(path, part)
    for first in range(0, 10 * step, step):
        assert 206 == wire.ask(get(path, b"Range: bytes=%d-%d" % (first, first + step - 1))).status
    answer = wire.ask(get(path, b"Range: bytes=0-%d" % (5 * step - 1)))
    assert (206, 5 * step, "MISS") == (answer.status, len(answer.body), answer.get("x-cache"))


@pytest.mark.parametrize("before", [0, 4], ids=["first", "after-others"])
def test_a_part_does_not_pass_for_the_whole(sidecar, raw_origin, connect, before) -> None:
    """9110-15.3.7: who asked for everything is not given a part, also where nobody shares what comes."""
    path, wire = raw_origin.path("/c"), connect(sidecar)
    for _ in range(before):
        raw_origin.on(path, ok(b"mine", b"cache-control: private"))
    raw_origin.on(path, ok(b"01234", b"content-range: bytes 0-4/10", b'etag: "a"', status=b"206 Partial"))
    raw_origin.on(path, ok(b"0123456789", b'etag: "a"'))
    assert [200] * before + [502] == [wire.ask(get(path)).status for _ in range(before + 1)]
    assert b"0123456789" == wire.ask(get(path)).body


def test_a_head_does_not_empty_the_get(sidecar, raw_origin, connect) -> None:
    """HEAD stores nothing that answers a GET, and switches off no collapsing."""
    path, gate = raw_origin.path("/c"), threading.Event()
    raw_origin.on(path, b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n")
    raw_origin.on(path, gate, ok(b"body"))
    assert 200 == connect(sidecar).ask(get(path, method=b"HEAD"), "HEAD").status
    wires = [connect(sidecar).send(get(path)) for _ in range(8)]
    assert 200 == connect(sidecar).ask(get(raw_origin.path("/c"))).status
    gate.set()
    assert [b"body"] * 8 == [wire.answer().body for wire in wires]
    assert 2 == len(raw_origin.seen(path))


@pytest.mark.parametrize(
    "line", [b"Authorization: Bearer x", b"Range: bytes=0-0", b"If-Match: x", b"Cache-Control: no-store"]
)
def test_no_field_switches_off_collapsing_for_others(sidecar, raw_origin, connect, line) -> None:
    """(stampede by one request) What lay in one client's request does not send all others to the origin."""
    path, gate = raw_origin.path("/c"), threading.Event()
    raw_origin.on(path, ok(b"body"))
    raw_origin.on(path, gate, ok(b"body"))
    first = connect(sidecar).ask(get(path, line))
    assert first.status in {200, 206}
    before = len(raw_origin.seen(path))
    wires = [connect(sidecar).send(get(path)) for _ in range(8)]
    connect(sidecar).ask(get(raw_origin.path("/c")))
    gate.set()
    assert [b"body"] * 8 == [wire.answer().body for wire in wires]
    assert before + 1 >= len(raw_origin.seen(path))


@pytest.mark.parametrize(
    "failure", [RESET, CLOSE, b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n"], ids=["reset", "close", "malformed"]
)
def test_a_leaders_failure_is_not_its_followers(sidecar, raw_origin, connect, failure) -> None:
    """(CPDoS by collapsing) An origin that breaks off on one client's odd request still answers those who waited."""
    path, gate = raw_origin.path("/c"), threading.Event()
    raw_origin.on(path, gate, lambda seen: failure if seen.get("x-oversized") else ok(b"fine"))
    leader = connect(sidecar).send(get(path, b"X-Oversized: " + b"x" * 9000))
    await_seen(raw_origin, path, 1)
    followers = [connect(sidecar).send(get(path)) for _ in range(5)]
    connect(sidecar).ask(get(raw_origin.path("/c")))
    gate.set()
    assert 502 == leader.answer().status
    assert [b"fine"] * 5 == [wire.answer().body for wire in followers]
    assert 4 >= len(raw_origin.seen(path))


def test_a_follower_of_another_language_is_asked_for_itself(sidecar, raw_origin, connect) -> None:
    """Collapsed requests get the response that Vary gives them, not the leader's."""
    path, gate = raw_origin.path("/c"), threading.Event()
    raw_origin.on(path, gate, lambda seen: ok(seen.get("accept-language") or b"-", b"vary: accept-language"))
    leader = connect(sidecar).send(get(path, b"Accept-Language: de"))
    await_seen(raw_origin, path, 1)
    follower = connect(sidecar).send(get(path, b"Accept-Language: en"))
    connect(sidecar).ask(get(raw_origin.path("/c")))
    gate.set()
    assert (b"de", b"en") == (leader.answer().body, follower.answer().body)


def test_a_clients_tags_are_nobodys(sidecar, raw_origin, connect) -> None:
    """Only responses are tagged: a client cannot tie an entry to another's purge, nor purge."""
    path = raw_origin.path("/c")
    wire = connect(sidecar)
    lines = [b"Cache-Tag: evil", b"Surrogate-Key: evil", b"xkey: evil", b"Cache-Groups: evil", b"Cacheproxy-Purge: *"]
    wire.ask(get(path, *lines))
    sidecar.purge(tags=["evil"])
    assert "HIT" == wire.ask(get(path)).get("x-cache")
    wire.ask(get(raw_origin.path("/w"), b"Content-Length: 0", *lines, method=b"POST"))
    assert "HIT" == wire.ask(get(path)).get("x-cache")


def test_a_clients_cache_control_forces_nothing(sidecar, raw_origin, connect) -> None:
    """(cache busting) no-cache, max-age=0 and Pragma are no lever against the origin unless the policy says so."""
    path = raw_origin.path("/c")
    wire = connect(sidecar)
    wire.ask(get(path))
    for line in (
        b"Cache-Control: no-cache",
        b"Cache-Control: max-age=0",
        b"Pragma: no-cache",
        b"Cache-Control: no-store",
    ):
        assert "HIT" == wire.ask(get(path, line)).get("x-cache")
    assert 1 == len(raw_origin.seen(path))


def await_seen(raw_origin, path: bytes, number: int) -> None:
    """Wait until the origin has got ``number`` requests for ``path``."""
    waiting = threading.Event()
    for _ in range(2000):
        if len(raw_origin.seen(path)) >= number:
            return
        waiting.wait(0.005)
    raise AssertionError(f"{quote(path)} was not asked for")


def test_the_admin_port_reads_no_poisoned_host(sidecar) -> None:
    """(DNS rebinding) A page that rebinds its name to loopback reads nothing of the admin port."""
    answer = httpx.get(sidecar.admin + "/metrics", headers={"host": "evil.example"}, trust_env=False)
    assert 421 == answer.status_code


def test_a_reflected_origin_is_not_for_other_sites(sidecar, raw_origin, connect) -> None:
    """(CORS poisoning) Access-Control-Allow-Origin that names who asked is served to that site alone, Vary or not."""
    path = raw_origin.path("/c")
    raw_origin.on(path, lambda seen: ok(b"x", b"access-control-allow-origin: " + (seen.get("origin") or b"none")))
    wire = connect(sidecar)
    for origin in (b"http://evil.example", b"http://victim.example", b"http://evil.example"):
        assert origin.decode() == wire.ask(get(path, b"Origin: " + origin)).get("access-control-allow-origin")
    assert "none" == wire.ask(get(path)).get("access-control-allow-origin")


def test_a_way_out_to_https_is_not_for_who_did_not_ask_for_it(sidecar, raw_origin, connect) -> None:
    """A redirect that Upgrade-Insecure-Requests brought about is not kept for clients that do not send it."""
    path = raw_origin.path("/c")
    away = ok(b"", b"location: https://a.example" + path, status=b"301 Moved Permanently")
    raw_origin.on(path, lambda seen: away if seen.get("upgrade-insecure-requests") else ok(b"here"))
    wire = connect(sidecar)
    assert [301, 301] == [wire.ask(get(path, b"Upgrade-Insecure-Requests: 1")).status for _ in range(2)]
    assert [200, 200] == [wire.ask(get(path)).status for _ in range(2)]


def test_a_coded_body_is_not_for_who_cannot_read_it(sidecar, raw_origin, connect) -> None:
    """Content-Encoding without Vary: whoever takes only identity is not given the gzip of another."""
    path = raw_origin.path("/c")
    raw_origin.on(
        path,
        lambda seen: (
            ok(b"gzipped", b"content-encoding: gzip")
            if b"gzip" in (seen.get("accept-encoding") or b"")
            else ok(b"plain")
        ),
    )
    wire = connect(sidecar)
    assert b"gzipped" == wire.ask(get(path, b"Accept-Encoding: gzip")).body
    assert b"plain" == wire.ask(get(path, b"Accept-Encoding: identity")).body
    assert b"plain" == wire.ask(get(path, b"Accept-Encoding: br, gzip;q=0")).body

"""Sessions on real processes: who is believed, who must log in, and how soon a logout is known everywhere."""

import asyncio
import json
import sys
import threading
import time

import httpx
import itsdangerous
import pytest
import redis

from cacheproxy.client import Sessions, SyncSessions

from .wire import Seen, Wire, ok

pytestmark = pytest.mark.e2e

SECRET = "a secret of sixteen characters and more"
POLICY = """
version: 1
session:
  cookie: session_id
  identity: {X-User-Id: user_id, X-Org-Id: org_id}
  namespace: [X-Auth-]
routes:
  - {name: public, match: "GET /public/{id}", cache: {ttl: 60s, key: "public:{id}"}}
  - {name: optional, match: "/optional/{id}"}
  - name: required
    match: "GET /required/{id}"
    session: required
    cache: {ttl: 60s, key: "required:{id}", scope: user}
  - {name: required-write, match: "PUT /required/{id}", session: required}
  - {name: ignore, match: "GET /ignore/{id}", session: ignore, cache: {ttl: 60s, key: "ignore:{id}"}}
  - {name: page, match: "/page/{id}", session: required, session_redirect: "/login?next={target}"}
  - {name: socket, match: "GET /socket/{id}"}
  - {name: own-socket, match: "GET /own-socket/{id}", session: required}
"""
ANN = {"user_id": "ann", "org_id": "red"}


@pytest.fixture(scope="module")
def sidecar(raw_sidecars, valkey_url):
    """One in front of an origin that keeps every byte."""
    [sidecar] = raw_sidecars(1, valkey_url, policy=POLICY)
    return sidecar


@pytest.fixture
def ann(valkey) -> str:
    """The id of a session."""
    with redis.Redis.from_url(valkey) as store:
        return SyncSessions(store).create(ANN)


def head(method: str, path: bytes, *lines: bytes) -> bytes:
    """A request without a body."""
    return b"%b %b HTTP/1.1\r\nHost: a.example\r\n%b\r\n" % (
        method.encode(),
        path,
        b"".join(x + b"\r\n" for x in lines),
    )


# --- nobody can say who they are

UPGRADE = (
    b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)  # fmt: skip
KINDS = [
    pytest.param("GET", "/public", (), {None: [], "ann": []}, id="public"),
    pytest.param("GET", "/optional", (), {None: [], "ann": [b"ann"]}, id="optional"),
    pytest.param("POST", "/optional", (), {None: [], "ann": [b"ann"]}, id="write"),
    pytest.param("GET", "/required", (), {"ann": [b"ann"]}, id="required"),
    pytest.param("PUT", "/required", (), {"ann": [b"ann"]}, id="required-write"),
    pytest.param("GET", "/ignore", (), {None: [], "ann": []}, id="ignore"),
    pytest.param("GET", "/nowhere", (), {None: [], "ann": [b"ann"]}, id="no-route"),
    pytest.param("DELETE", "/public", (), {None: [], "ann": [b"ann"]}, id="another-method"),
    pytest.param("GET", "/socket", UPGRADE, {None: [], "ann": [b"ann"]}, id="websocket"),
    pytest.param("GET", "/own-socket", UPGRADE, {"ann": [b"ann"]}, id="websocket-required"),
]
FORGERIES = [
    pytest.param((b"X-User-Id: forged",), id="as-it-is"),
    pytest.param((b"x-user-id: forged",), id="lower-case"),
    pytest.param((b"X-USER-ID: forged",), id="upper-case"),
    pytest.param((b"X_User_Id: forged",), id="underscores"),
    pytest.param((b"x_user-id: forged", b"x-user_id: forged"), id="half-and-half"),
    pytest.param((b"X-User-Id: forged", b"X-User-Id: forged2"), id="twice"),
    pytest.param((b"X-User-Id: forged", b"x_user_id: forged", b"X-USER_ID:forged"), id="every-way-at-once"),
    pytest.param((b"X-User-Id: forged", b"Connection: X-User-Id"), id="nominated"),
    pytest.param((b"x_user_id: forged", b"Connection: keep-alive, x_user_id, X-User-Id"), id="nominated-both-ways"),
    pytest.param((b"X-Org-Id: forged", b"X_Org_Id: forged"), id="another-field"),
    pytest.param((b"X-Auth-Roles: forged", b"x_auth_roles: forged", b"X-AUTH-: forged"), id="the-namespace"),
    pytest.param((b"X-Identity-Seal: t=1,v1=forged", b"x_identity_seal: t=1,v1=forged"), id="the-seal"),
    pytest.param((b"X-User-Id: ", b"X-User-Id: forged"), id="empty-first"),
    pytest.param((b"Cookie: x-user-id=forged; X-User-Id: forged", b"X-User-Id:forged"), id="beside-a-cookie"),
]


@pytest.mark.parametrize(("method", "prefix", "more", "told"), KINDS)
@pytest.mark.parametrize("forged", FORGERIES)
def test_nobody_can_say_who_they_are(sidecar, raw_origin, connect, ann, method, prefix, more, told, forged) -> None:
    """On every kind of route the origin is told who asks by the sidecar alone; Connection cannot keep it from that."""
    for session, users in told.items():
        path = raw_origin.path(prefix)
        cookie = () if session is None else (b"Cookie: session_id=" + ann.encode(),)
        status = connect(sidecar).ask(head(method, path, *cookie, *_joined(more, forged))).status
        assert 200 == status
        [seen] = raw_origin.seen(path)
        assert users == seen.all("x-user-id")
        assert [b"red"] * len(users) == seen.all("x-org-id")
        assert not [field for field in seen.fields if b"forged" in field[1] and field[0].lower() != b"cookie"]


def _joined(more: tuple[bytes, ...], forged: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Both, their Connection fields as one: uvicorn's handshake reads a single line of it."""
    lines = [line for line in (*more, *forged) if not line.startswith(b"Connection:")]
    options = [line.partition(b":")[2].strip() for line in (*more, *forged) if line.startswith(b"Connection:")]
    return (*lines, b"Connection: " + b", ".join(options)) if options else tuple(lines)


@pytest.mark.parametrize(("prefix", "more"), [("/required", ()), ("/own-socket", UPGRADE)], ids=["http", "websocket"])
@pytest.mark.parametrize("forged", FORGERIES)
def test_a_claim_is_no_session(sidecar, raw_origin, connect, prefix, more, forged) -> None:
    """Where one is required, whoever only claims to be somebody hears 401, and the origin nothing."""
    path = raw_origin.path(prefix)
    assert 401 == connect(sidecar).ask(head("GET", path, *_joined(more, forged))).status
    assert [] == raw_origin.seen(path)


# --- whatever is wrong with a session, there is none


@pytest.mark.parametrize(
    "value",
    [
        b"unknown", b"", b'"', b'"unknown', b"a b", b"..", b"../session", b"{id}", b"x" * 201, b"x" * 8192, b"\xff\xfe",
        b"a:b", b"*", b"%00", b"a;session_id=b", b"a; session_id=a",
    ],
    ids=lambda value: repr(value[:20]),
)  # fmt: skip
def test_a_bad_id_is_the_same_as_none(sidecar, raw_origin, connect, value) -> None:
    """Malformed, oversized, doubled and unknown ids: 401 where one is required, nobody where it is optional."""
    required, optional = raw_origin.path("/required"), raw_origin.path("/optional")
    wire, cookie = connect(sidecar), b"Cookie: session_id=" + value
    assert 401 == wire.ask(head("GET", required, cookie)).status
    assert 200 == wire.ask(head("GET", optional, cookie)).status
    assert [[]] == [seen.all("x-user-id") for seen in raw_origin.seen(optional)]


@pytest.mark.parametrize(
    "stored",
    [
        b"[]", b"null", b"7", b'"ann"', b"", b"{", b"\xff\xfe{}", b'{"user_id": "ann"', b"\x80\x04K\x07.",
        b'{"user_id": "ann", "expires_at": 1}', b'{"user_id": "ann", "expires_at": "soon"}', b" " * 70_000,
    ],
    ids=lambda value: repr(value[:30]),
)  # fmt: skip
def test_a_bad_session_is_the_same_as_none(sidecar, raw_origin, connect, valkey, stored) -> None:
    """Not JSON, not an object, not UTF-8, too large, over: 401, and never a 500."""
    with redis.Redis.from_url(valkey) as store:
        store.set("session:bad", stored, ex=100)
    path = raw_origin.path("/required")
    assert 401 == connect(sidecar).ask(head("GET", path, b"Cookie: session_id=bad")).status


@pytest.mark.parametrize(
    "fields", [{}, {"user_id": None}, {"user_id": ["ann"]}, {"user_id": "a\nb"}, {"user_id": "Łuk"}]
)
def test_a_session_without_a_user_is_nobody(sidecar, raw_origin, connect, valkey, fields) -> None:
    """It is a session, but names no user that could be told: none is told, and no response is shared for it."""
    with redis.Redis.from_url(valkey) as store:
        session_id = SyncSessions(store).create(fields)
    path, wire = raw_origin.path("/required"), connect(sidecar)
    answers = [wire.ask(head("GET", path, b"Cookie: session_id=" + session_id.encode())) for _ in range(2)]
    assert [200, 200] == [answer.status for answer in answers]
    assert [[], []][: len(raw_origin.seen(path))] == [seen.all("x-user-id") for seen in raw_origin.seen(path)]


# --- logging in


@pytest.mark.parametrize(("method", "status"), [("GET", 303), ("HEAD", 303), ("POST", 401)])
def test_readers_are_sent_to_log_in(sidecar, raw_origin, connect, method, status) -> None:
    """With the way back as one value; who writes hears 401, as a redirect would lose what was written."""
    path = raw_origin.path("/page")
    answer = connect(sidecar).ask(head(method, path + b"?a=1&b=//evil.example"), method)
    assert (status, "no-store") == (answer.status, answer.get("cache-control"))
    place = "/login?next=%2Fpage%2F" + path.rpartition(b"/")[2].decode() + "%3Fa%3D1%26b%3D%2F%2Fevil.example"
    assert (place if status == 303 else None) == answer.get("location")
    assert [] == raw_origin.seen(path)


@pytest.mark.parametrize("target", [b"//evil.example/page/1", b"/\\evil.example", b"http://evil.example/page/1"])
def test_the_way_back_never_leads_to_another_host(sidecar, connect, target) -> None:
    """Whatever target is asked for, no Location names another host."""
    location = connect(sidecar).ask(head("GET", target)).get("location") or ""
    assert "evil" not in location.split("next=")[0]
    assert not location.partition("next=")[2].startswith(("%2F%2F", "%2F%5C", "http"))


# --- ids signed by itsdangerous


def test_ids_signed_by_itsdangerous_are_believed(raw_sidecars, raw_origin, connect, valkey) -> None:
    """As Starlette signs its cookie: the signed id is the session; a plain, altered, foreign or old one is none."""
    policy = POLICY.replace("cookie: session_id", f"cookie: session_id\n  scheme: signed\n  secret: {SECRET}", 1)
    [sidecar] = raw_sidecars(1, valkey, policy=policy)
    with redis.Redis.from_url(valkey) as store:
        session_id = SyncSessions(store).create(ANN)
    signed = itsdangerous.TimestampSigner(SECRET).sign(session_id)
    foreign = itsdangerous.TimestampSigner("another secret of such a length").sign(session_id)
    old = _Past(SECRET).sign(session_id)
    wire, values = connect(sidecar), (signed, session_id.encode(), foreign, old, signed[:-1], b"x" + signed)
    asked = [head("GET", raw_origin.path("/required"), b"Cookie: session_id=" + value) for value in values]
    statuses = [wire.ask(each).status for each in asked]
    assert [200, 401, 401, 401, 401, 401] == statuses


class _Past(itsdangerous.TimestampSigner):
    """Signs as if it were fifteen days ago."""

    def get_timestamp(self) -> int:
        """Fifteen days ago."""
        return int(time.time()) - 15 * 86_400


# --- the seal


def test_the_sample_service_believes_what_the_sidecar_sealed(tmp_path, sidecars, valkey) -> None:
    """Through the sidecar it knows its caller, and that there is none; around it nobody is believed."""
    from .conftest import Process, await_answer, free_port

    port = free_port()
    args = [sys.executable, "-m", "uvicorn", "--factory", "cacheproxy.demo.service:create_app", "--port", str(port)]
    service = Process(args, tmp_path / "service.log", {"REDIS_URL": valkey, "SEAL_SECRET": SECRET})
    service.start()
    try:
        url = f"http://127.0.0.1:{port}"
        await_answer(service, url + "/health")
        policy = POLICY.replace("session:", f"session:\n  seal_secret: {SECRET}", 1)
        [sidecar] = sidecars(1, valkey, policy=policy, upstream=url)
        with httpx.Client(base_url=sidecar.url, trust_env=False) as client:
            assert {"X-User-Id": None, "X-Org-Id": None} == client.get("/whoami").json()
            ada = client.post("/login", json={"user": "ada"}).json()
            assert {"X-User-Id": ada["id"], "X-Org-Id": ada["org_id"]} == client.get("/whoami?a=%20b").json()
            forged = {"x-user-id": "1", "x-identity-seal": "t=1,v1=" + "0" * 64}
            assert ada["id"] == client.get("/whoami", headers=forged).json()["X-User-Id"]
        for fields in ({}, {"x-user-id": "1"}, forged):
            assert 403 == httpx.get(url + "/whoami", headers=fields, trust_env=False).status_code
    finally:
        service.end()


# --- logging out


async def test_a_logout_is_known_everywhere_within_50_ms(raw_sidecars, raw_origin, connect, valkey) -> None:
    """Each replica knows the session by heart; 50 ms after its service deleted it none does, in 9 of 10 tries."""
    replicas = raw_sidecars(3, valkey, policy=POLICY)
    wires = [connect(sidecar) for sidecar in replicas]
    took_ms = []
    async with redis.asyncio.Redis.from_url(valkey) as store:
        sessions = Sessions(store)
        for _ in range(10):
            session_id = await sessions.create(ANN)
            asked = head("GET", raw_origin.path("/required"), b"Cookie: session_id=" + session_id.encode())
            assert [200] * 3 == [wire.ask(asked).status for wire in wires]
            began = time.perf_counter()
            await sessions.delete(session_id)
            await asyncio.gather(*(asyncio.to_thread(_ask_until, wire, asked, 401) for wire in wires))
            took_ms.append((time.perf_counter() - began) * 1000)
    assert sorted(took_ms)[8] < 50, took_ms


def _ask_until(wire: Wire, asked: bytes, status: int) -> None:
    give_up_at = time.monotonic() + 10
    while wire.ask(asked).status != status:
        assert time.monotonic() < give_up_at, "the session lives on"


def test_an_acknowledged_logout_holds_on_every_replica(raw_sidecars, raw_origin, connect, valkey) -> None:
    """Once a purge of ``user:{id}`` with ``wait`` is answered, no replica knows any session of that user."""
    replicas = raw_sidecars(3, valkey, policy=POLICY)
    path = raw_origin.path("/required")
    with redis.Redis.from_url(valkey) as store:
        ids = [SyncSessions(store).create(ANN) for _ in range(3)]
        asked = [head("GET", path, b"Cookie: session_id=" + each.encode()) for each in ids]
        for sidecar in replicas:
            assert {200} == {connect(sidecar).ask(each).status for each in asked}
        store.delete(*(f"session:{each}" for each in ids))
    receipt = replicas[1].purge(tags=["user:ann"], wait="5s")
    assert [] == receipt["silent"]
    assert {401} == {connect(sidecar).ask(each).status for sidecar in replicas for each in asked}


def test_a_revoked_session_is_never_revived(raw_sidecars, raw_origin, connect, valkey) -> None:
    """While two replicas look a session up as fast as they can and prolong it, its deletion is final."""
    replicas = raw_sidecars(2, valkey, policy=POLICY.replace("session:", "session:\n  memory: 0s", 1))
    path = raw_origin.path("/required")
    stop = threading.Event()

    def use(wire: Wire, asked: list[bytes]) -> None:
        while not stop.is_set():
            for each in asked:
                wire.ask(each)

    with redis.Redis.from_url(valkey) as store:
        sessions = SyncSessions(store)
        ids = [sessions.create(ANN) for _ in range(20)]
        for each in ids:
            store.pexpire(f"session:{each}", 3_000_000)  # Each use is to prolong it.
        asked = [head("GET", path, b"Cookie: session_id=" + each.encode()) for each in ids]
        users = [threading.Thread(target=use, args=(connect(sidecar), asked)) for sidecar in replicas]
        for user in users:
            user.start()
        for each in ids:
            sessions.delete(each)
            store.pexpire(f"session:{each}", 1_000)
        left = [store.exists(f"session:{each}") for each in ids]
        stop.set()
        for user in users:
            user.join(10)
        assert [0] * 20 == left
        assert [] == store.keys("session:*")
    assert {401} == {connect(sidecar).ask(each).status for sidecar in replicas for each in asked}


def test_sessions_last_while_they_are_used(sidecar, raw_origin, connect, valkey) -> None:
    """Use prolongs a session once a tenth of its time has passed, and never shortens it."""
    with redis.Redis.from_url(valkey) as store:
        for left_s, expected_s in ((3000, 3600), (3500, 3500), (90_000, 90_000)):
            session_id = SyncSessions(store).create(ANN)
            store.expire(f"session:{session_id}", left_s)
            asked = head("GET", raw_origin.path("/required"), b"Cookie: session_id=" + session_id.encode())
            assert 200 == connect(sidecar).ask(asked).status
            assert expected_s - 5 <= store.ttl(f"session:{session_id}") <= expected_s


def test_what_the_origin_is_told_of_is_what_the_service_wrote_last(sidecar, raw_origin, connect, valkey) -> None:
    """An update of a session is known at once: its helper tells every sidecar."""
    wire = connect(sidecar)
    with redis.Redis.from_url(valkey) as store:
        sessions = SyncSessions(store)
        session_id = sessions.create(ANN)
        for user in ("ann", "ann-maria"):
            sessions.update(session_id, {"user_id": user})
            path = raw_origin.path("/optional")
            raw_origin.on(path, _user)
            asked = head("GET", path, b"Cookie: session_id=" + session_id.encode())
            give_up_at = time.monotonic() + 5
            while wire.ask(asked).body != user.encode():
                assert time.monotonic() < give_up_at


def _user(seen: Seen) -> bytes:
    return ok(seen.get("x-user-id") or b"-")


def test_without_redis_nobody_is_let_in_on_trust(raw_sidecars, raw_origin, connect, fresh_valkey) -> None:
    """Where a session is required and cannot be looked up: 503, come back; where it is optional: nobody."""
    [sidecar] = raw_sidecars(1, fresh_valkey.url, policy=POLICY)
    fresh_valkey.kill()
    required, optional = raw_origin.path("/required"), raw_origin.path("/optional")
    wire, cookie = connect(sidecar), b"Cookie: session_id=abc"
    refused = wire.ask(head("GET", required, cookie))
    assert (503, "session-unavailable") == (refused.status, json.loads(refused.body)["reason"])
    assert 200 == wire.ask(head("GET", optional, cookie)).status
    assert [[]] == [seen.all("x-user-id") for seen in raw_origin.seen(optional)]

"""Tenants on real processes: the same ids and the same URLs, and nobody ever sees what is another's."""

import random
import threading
from collections import Counter

import httpx
import pytest
import redis

from cacheproxy.client import SyncSessions

from .wire import Seen, Wire, ok

pytestmark = pytest.mark.e2e

ROUTES = """
limits:
  few: {rate: 3/minute, by: [tenant]}
routes:
  - {name: item, match: "GET /items/{id}", cache: {ttl: 60s, key: "items:{id}", tags: [items, "item:{id}"]}}
  - {name: list, match: "GET /list", cache: {ttl: 60s, key: "list:{query.page=1}", scope: tenant}}
  - {name: plain-key, match: "GET /files/{rest:path}", cache: {ttl: 60s}}
  - {name: mine, match: "GET /mine/{id}", cache: {ttl: 60s, key: "mine:{id}", scope: user}}
  - {name: own, match: "GET /own/{id}", cache: {ttl: 60s, key: "own:{id}", scope: session}}
  - {name: varied, match: "GET /varied/{id}", cache: {ttl: 60s, key: "varied:{id}"}}
  - {name: short, match: "GET /short/{id}", cache: {ttl: 1s, key: "short:{id}", stale_while_revalidate: 30s}}
  - {name: limited, match: "GET /limited", limits: [few]}
"""
SESSION = """
session: {cookie: session_id, identity: {X-User-Id: user_id, X-Org-Id: org_id}}
"""
BY_SESSION = f"version: 1\n{SESSION}\ntenant: {{from: session.org_id, enforce: true}}\n{ROUTES}"
BY_HEADER = f"version: 1\ntrusted_proxies: [127.0.0.1/32]\n{SESSION}\ntenant: {{from: 'header:X-Org-Id'}}\n{ROUTES}"
BY_HOST = f"version: 1\n{SESSION}\ntenant: {{from: host}}\n{ROUTES}"
BY_HEADER = BY_HEADER.replace(", X-Org-Id: org_id", "")

TENANTS = ("red", "blue")
USERS = ("1", "2", "3")
PATIENT = {"CACHEPROXY_REDIS_BUDGET": "5s"}
"""A crowded machine must not pass for an outage of Redis."""
SEED = 5
REQUESTS = 10_000
CLIENTS = 4


def mirror(seen: Seen) -> bytes:
    """An origin that answers with whom it is told it serves. What it sends is for one tenant, one user, one session."""
    told = {name: seen.get(name) or b"-" for name in ("x-org-id", "x-user-id", "host", "accept-language")}
    return ok(b"|".join([seen.target, *told.values()]), b"vary: accept-language", b'etag: "%b"' % told["x-org-id"])


@pytest.fixture(scope="module", autouse=True)
def answers(raw_origin) -> None:
    """The mirror, wherever anybody looks."""
    for prefix in ("items", "mine", "own", "varied", "short", "files/a"):
        for number in range(6):
            raw_origin.on(f"/{prefix}/{number}".encode(), mirror)
    raw_origin.on(b"/list", mirror)


@pytest.fixture
def session_ids(valkey) -> dict[tuple[str, str], str]:
    """A session for each user of each tenant: the users' ids are the same."""
    with redis.Redis.from_url(valkey) as store:
        sessions = SyncSessions(store)
        return {(org, user): sessions.create({"org_id": org, "user_id": user}) for org in TENANTS for user in USERS}


class Asker:
    """A client of all tenants at once, on a few connections, that holds each answer against whom it asked for."""

    def __init__(self, wires: list[Wire], source: str, session_ids: dict[tuple[str, str], str], seed: int) -> None:
        self._wires = wires
        self._source = source
        self._session_ids = session_ids
        self._random = random.Random(seed)
        self.seen: Counter[str] = Counter()
        self.wrong: list[str] = []

    def ask(self, times: int) -> None:
        """Ask so often."""
        for _ in range(times):
            self._one()

    def _one(self) -> None:
        chance = self._random
        org, user = chance.choice(TENANTS), chance.choice(USERS)
        path = chance.choice(
            [f"/{kind}/{chance.randrange(6)}" for kind in ("items", "mine", "own", "varied", "short", "files/a")]
            + [f"/list?page={chance.randrange(3)}"]
        )
        method = chance.choices(["GET", "HEAD"], [9, 1])[0]
        lines = [
            f"Cookie: session_id={self._session_ids[org, user]}",
            f"Accept-Language: {chance.choice(['de', 'en'])}",
        ]
        lines += [f"X-Org-Id: {org}"] if self._source == "header" else [f"X-Org-Id: {chance.choice(TENANTS)}"]
        host = f"{org}.example" if self._source == "host" else "same.example"
        if chance.random() < 0.1:
            lines.append(f'If-None-Match: "{chance.choice(TENANTS)}"')
        if chance.random() < 0.05:
            lines.append("Range: bytes=0-200")
        raw = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n" + "".join(f"{line}\r\n" for line in lines) + "\r\n"
        answer = chance.choice(self._wires).ask(raw.encode(), method)
        self.seen[f"{answer.status} {answer.get('x-cache')}"] += 1
        self._hold(raw, org, user, host, answer)

    def _hold(self, raw: str, org: str, user: str, host: str, answer) -> None:
        tag = answer.get("etag")
        if answer.status not in {200, 206, 304} or (self._source != "host" and tag != f'"{org}"'):
            self.wrong.append(f"{answer.status} {tag} {raw}")
        if answer.body:
            _, told_org, told_user, told_host, _ = answer.body.decode().split("|")
            wrong_org = told_host != host if self._source == "host" else told_org != org
            personal = raw.split()[1].startswith(("/mine", "/own"))
            if wrong_org or (personal and told_user != user):
                self.wrong.append(f"{answer.body!r} {raw}")


@pytest.mark.parametrize(
    ("source", "policy"),
    [("session", BY_SESSION), ("header", BY_HEADER), ("host", BY_HOST)],
    ids=["session", "header", "host"],
)
def test_tenants_never_see_each_other(raw_sidecars, connect, valkey, session_ids, source, policy) -> None:
    """Ten thousand random requests through two replicas, and purges among them: each answer is its own tenant's."""
    replicas = raw_sidecars(2, valkey, policy=policy, **PATIENT)
    askers = [
        Asker([connect(sidecar) for sidecar in replicas], source, session_ids, SEED + number)
        for number in range(CLIENTS)
    ]
    threads = [threading.Thread(target=asker.ask, args=(REQUESTS // CLIENTS,)) for asker in askers]
    for thread in threads:
        thread.start()
    chance = random.Random(SEED)
    while any(thread.is_alive() for thread in threads):
        purge = {"tags": ["items"], "tenant": chance.choice(TENANTS), "mode": chance.choice(["hard", "soft"])}
        # On a crowded machine it may be too late for its budget: nothing here hangs on it.
        httpx.post(replicas[0].admin + "/api/v1/purge", json=purge, trust_env=False, timeout=15)
        threads[0].join(0.2)
    for thread in threads:
        thread.join()
    seen = sum((asker.seen for asker in askers), Counter())
    assert [] == [wrong for asker in askers for wrong in asker.wrong]
    assert REQUESTS == seen.total()
    assert seen["200 HIT"] > REQUESTS / 4, seen  # or it would prove nothing


def get(sidecar, path: str, session_id: str | None = None, **fields: str) -> httpx.Response:
    """One request."""
    cookie = {} if session_id is None else {"cookie": f"session_id={session_id}"}
    return httpx.get(sidecar.url + path, headers={**cookie, **fields}, trust_env=False, timeout=10)


@pytest.mark.parametrize("status", [400, 403])
def test_no_tenant_no_cache_and_the_configured_answer(raw_sidecars, raw_origin, valkey, session_ids, status) -> None:
    """Where a tenant is enforced, a request without one ends here, whatever is stored or claimed."""
    policy = BY_SESSION.replace("enforce: true", f"enforce: true, status: {status}")
    [sidecar] = raw_sidecars(1, valkey, policy=policy, **PATIENT)
    with redis.Redis.from_url(valkey) as store:
        nobodys = [
            SyncSessions(store).create({"user_id": "1", "org_id": org}) for org in (None, "", "global", "a b", 7.5)
        ]
    assert 200 == get(sidecar, "/items/1", session_ids["red", "1"]).status_code
    path = "/items/untouched"
    for session_id in (None, "unknown", *nobodys):
        for target in ("/items/1", path, "/nowhere"):
            answer = get(sidecar, target, session_id, **{"X-Org-Id": "red", "X-Tenant": "red"})
            assert (status, "tenant-required", "BYPASS") == (
                answer.status_code,
                answer.json()["reason"],
                answer.headers["x-cache"],
            )
    assert [] == raw_origin.seen(path.encode())


def test_without_a_tenant_data_of_one_is_not_shared(raw_sidecars, connect, valkey, session_ids) -> None:
    """Not enforced: who has none is served, but gets nothing that a tenant stored, nor stores anything for one."""
    [sidecar] = raw_sidecars(1, valkey, policy=BY_SESSION.replace(", enforce: true", ""), **PATIENT)
    assert "MISS" == get(sidecar, "/items/2", session_ids["red", "1"]).headers["x-cache"]
    nobody = get(sidecar, "/items/2")
    assert ("MISS", "-") == (nobody.headers["x-cache"], nobody.text.split("|")[1])
    assert "BYPASS" == get(sidecar, "/list").headers["x-cache"]
    assert "no-tenant" in get(sidecar, "/list").headers["cache-status"]
    hit = get(sidecar, "/items/2", session_ids["red", "2"])
    assert ("HIT", "red") == (hit.headers["x-cache"], hit.text.split("|")[1])


@pytest.mark.parametrize(
    "what", [{"tags": ["items"]}, {"keys": ["items:3"]}, {"paths": ["/items/3"]}, {"routes": ["item"]}, {"all": True}]
)
def test_a_purge_by_tenant_spares_the_others(raw_sidecars, valkey, session_ids, what) -> None:
    """However it is named: what is purged is the one tenant's, on every replica."""
    replicas = raw_sidecars(2, valkey, policy=BY_SESSION, **PATIENT)
    for sidecar in replicas:
        for org in TENANTS:
            get(sidecar, "/items/3", session_ids[org, "1"])
            assert "HIT" == get(sidecar, "/items/3", session_ids[org, "1"]).headers["x-cache"]
    replicas[0].purge(**what, tenant="red", wait="5s")
    for sidecar, word in zip(replicas, ("MISS", "HIT"), strict=True):
        assert "HIT" == get(sidecar, "/items/3", session_ids["blue", "1"]).headers["x-cache"]
        assert word == get(sidecar, "/items/3", session_ids["red", "1"]).headers["x-cache"]


def test_limits_by_tenant(raw_sidecars, valkey, session_ids) -> None:
    """All users of a tenant share its quota, on all replicas; another tenant has its own."""
    replicas = raw_sidecars(2, valkey, policy=BY_SESSION, **PATIENT)
    asked = [("red", "1"), ("red", "2"), ("red", "3"), ("red", "1"), ("blue", "1")]
    answers = [get(replicas[at % 2], "/limited", session_ids[who]) for at, who in enumerate(asked)]
    assert [200, 200, 200, 429, 200] == [answer.status_code for answer in answers]


def test_metrics_do_not_grow_with_tenants(raw_sidecars, valkey) -> None:
    """Three hundred tenants later the metrics have the same series, and name none of them."""
    [sidecar] = raw_sidecars(1, valkey, policy=BY_HEADER, **PATIENT)

    def series() -> list[str]:
        lines = httpx.get(sidecar.admin + "/metrics", trust_env=False).text.splitlines()
        return [line.rpartition(" ")[0] for line in lines if not line.startswith("#")]

    def visit(tenant: str) -> None:
        for path in ("/items/4", "/limited"):
            client.get(sidecar.url + path, headers={"x-org-id": tenant})

    with httpx.Client(trust_env=False, timeout=10) as client:
        for _ in range(4):
            visit("first")
        before = series()
        for number in range(300):
            visit(f"tenant{number}")
    assert set(before) == set(series())
    assert not [line for line in series() if "tenant1" in line or "first" in line]


def test_a_tenant_that_cannot_be_looked_up_is_nobodys_fault(raw_sidecars, fresh_valkey) -> None:
    """Without Redis nobody knows the tenant behind a session: 503, come back; who has no session has no tenant."""
    [sidecar] = raw_sidecars(1, fresh_valkey.url, policy=BY_SESSION)
    fresh_valkey.kill()
    statuses = [get(sidecar, "/items/1", session_id).status_code for session_id in ("abc", None)]
    assert [503, 400] == statuses

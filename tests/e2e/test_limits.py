"""Limits on real processes: three replicas, one Valkey, and clients that do not wait."""

import contextlib
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest
import websockets
import websockets.sync.client

from .wire import Wire

pytestmark = pytest.mark.e2e

LIMIT = 300
POLICY = f"""
version: 1
trusted_proxies: [127.0.0.1/32]
session: {{cookie: session_id}}
limits:
  gcra: {{rate: {LIMIT}/day, by: [query.run]}}
  sliding_log: {{rate: {LIMIT}/day, by: [query.run], algorithm: sliding_log}}
  token_bucket: {{rate: {LIMIT}/day, by: [query.run], algorithm: token_bucket}}
  sliding_window: {{rate: {LIMIT}/day, by: [query.run], algorithm: sliding_window}}
  fixed_window: {{rate: {LIMIT}/day, by: [query.run], algorithm: fixed_window}}
  leased: {{rate: {LIMIT}/day, by: [query.run], algorithm: sliding_log, precision: leased}}
  leased_bucket: {{rate: {LIMIT}/day, by: [query.run], precision: leased}}
  local: {{rate: {LIMIT}/day, by: [query.run], on_redis_down: local}}
  denied: {{rate: {LIMIT}/day, by: [query.run], on_redis_down: deny}}
  allowed: {{rate: {LIMIT}/day, by: [query.run]}}
  few: {{rate: 2/day, by: [query.run, client_ip]}}
  stale: {{rate: 1/day, by: [query.run], on_limit: stale_else_reject}}
  misses: {{rate: 2/day, by: [query.run], cost: {{hit: 0, stale: 0, miss: 1}}}}
  slowly: {{rate: 20/s, burst: 1, by: [query.run], on_limit: delay, max_delay: 2s}}
  alone: {{concurrency: 3, by: [query.run]}}
  shadow: {{rate: 1/day, by: [query.run], mode: shadow}}
routes:
  - {{name: gcra, match: "GET /gcra", limits: [gcra]}}
  - {{name: sliding_log, match: "GET /sliding_log", limits: [sliding_log]}}
  - {{name: token_bucket, match: "GET /token_bucket", limits: [token_bucket]}}
  - {{name: sliding_window, match: "GET /sliding_window", limits: [sliding_window]}}
  - {{name: fixed_window, match: "GET /fixed_window", limits: [fixed_window]}}
  - {{name: leased, match: "GET /leased", limits: [leased]}}
  - {{name: leased_bucket, match: "GET /leased_bucket", limits: [leased_bucket]}}
  - {{name: local, match: "GET /local", limits: [local]}}
  - {{name: denied, match: "GET /denied", limits: [denied]}}
  - {{name: allowed, match: "GET /allowed", limits: [allowed]}}
  - {{name: few, match: "GET /few/{{id}}", limits: [few]}}
  - {{name: hits, match: "GET /hits/{{id}}", limits: [few], cache: {{ttl: 60s, key: "hits:{{id}}"}}}}
  - name: stale
    match: "GET /stale/{{id}}"
    limits: [stale]
    cache: {{ttl: 1s, key: "stale:{{id}}", stale_if_error: 1h}}
  - {{name: misses, match: "GET /misses/{{id}}", limits: [misses], cache: {{ttl: 60s, key: "misses:{{id}}"}}}}
  - {{name: slowly, match: "GET /slowly", limits: [slowly]}}
  - {{name: alone, match: "GET /alone/{{id}}", limits: [alone]}}
  - {{name: shadow, match: "GET /shadow", limits: [shadow]}}
"""
PATIENT = {"CACHEPROXY_REDIS_BUDGET": "5s"}
"""A crowded machine must not pass for an outage of Redis."""


@pytest.fixture(scope="module")
def replicas(raw_sidecars, valkey_url):
    """Three, for all tests that leave Valkey alone."""
    return raw_sidecars(3, valkey_url, policy=POLICY, **PATIENT)


@pytest.fixture
def sidecar(replicas):
    """One of them."""
    return replicas[0]


_runs = itertools.count()


@pytest.fixture
def run() -> str:
    """What this test's requests have in common, and no others: each test is a subject of its own."""
    return f"?run={next(_runs)}"


def get(target: str, *lines: str) -> bytes:
    """A request."""
    return "".join(f"{line}\r\n" for line in (f"GET {target} HTTP/1.1", "Host: a.example", *lines, "")).encode()


def rush(wires: list[Wire], raw: bytes, each: int) -> Counter[int]:
    """The statuses of ``each`` requests on every connection, all connections at once."""
    statuses: list[int] = []

    def ask(wire: Wire) -> None:
        statuses.extend(wire.ask(raw).status for _ in range(each))

    threads = [threading.Thread(target=ask, args=(wire,)) for wire in wires]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Counter(statuses)


# --- how many pass


@pytest.mark.parametrize("algorithm", ["gcra", "sliding_log", "token_bucket"])
def test_three_replicas_admit_exactly_the_limit(replicas, connect, run, algorithm) -> None:
    """Of 1,800 requests at once on twelve connections, exactly the limit passes."""
    wires = [connect(sidecar) for sidecar in replicas for _ in range(4)]
    assert {200: LIMIT, 429: 1800 - LIMIT} == rush(wires, get(f"/{algorithm}{run}"), 150)


@pytest.mark.parametrize("algorithm", ["sliding_window", "fixed_window"])
def test_three_replicas_admit_the_limit_of_a_counter_within_one_per_cent(replicas, connect, run, algorithm) -> None:
    """A counter is exact, too, unless its window ends meanwhile."""
    wires = [connect(sidecar) for sidecar in replicas for _ in range(4)]
    assert rush(wires, get(f"/{algorithm}{run}"), 150)[200] == pytest.approx(LIMIT, rel=0.01)


@pytest.mark.parametrize("rule", ["leased", "leased_bucket"])
def test_three_replicas_with_batches_admit_no_more_than_the_limit(replicas, connect, run, rule) -> None:
    """Permits taken in batches are never more than the limit; those that lie unspent in a purse are the fewer part."""
    wires = [connect(sidecar) for sidecar in replicas for _ in range(4)]
    admitted = rush(wires, get(f"/{rule}{run}"), 150)[200]
    assert 0.75 * LIMIT <= admitted <= LIMIT


def test_one_of_three_with_batches_gets_nearly_the_whole_limit(replicas, connect, run) -> None:
    """A client that always meets the same replica loses to batches only what a crowded machine let lapse."""
    admitted = rush([connect(replicas[1])], get(f"/leased{run}"), LIMIT + 50)[200]
    assert 0.9 * LIMIT <= admitted <= LIMIT


# --- without Valkey


def test_killed_in_the_middle_the_divided_limit_holds(raw_sidecars, connect, fresh_valkey, run) -> None:
    """A third of the limit is used when Valkey is killed; whatever comes then, all in all a tenth more or less passes.

    Also when the outage has lasted so long that no replica has heard of another for a while.
    """
    trio = raw_sidecars(3, fresh_valkey.url, policy=POLICY)
    _settle(trio)
    wires = [connect(sidecar) for sidecar in trio for _ in range(2)]
    before = rush(wires, get(f"/local{run}"), LIMIT // 18)[200]
    assert LIMIT // 18 * 6 == before
    fresh_valkey.kill()
    during = rush(wires, get(f"/local{run}"), LIMIT // 10)[200]
    for sidecar in trio:
        sidecar.await_part("bus", "lost")
    time.sleep(3)  # Longer than a replica remembers another's heartbeat.
    during += rush(wires, get(f"/local{run}"), LIMIT // 2)[200]
    assert before + during == pytest.approx(LIMIT, rel=0.1)
    assert ["1.0"] * 3 == [_metric(sidecar, "cacheproxy_ratelimit_degraded") for sidecar in trio]


def _settle(trio) -> None:
    """Wait until each replica has heard of all."""
    for sidecar in trio:
        give_up_at = time.monotonic() + 10
        while len(sidecar.purge(tags=["nothing"], wait="5s")["acknowledged"]) < len(trio):
            assert time.monotonic() < give_up_at
    time.sleep(1.5)  # One heartbeat of each.


def test_without_valkey_each_rule_does_as_it_says(raw_sidecars, connect, fresh_valkey, run) -> None:
    """Deny refuses everybody for a moment, allow lets everybody pass and says nothing of quotas."""
    [sidecar] = raw_sidecars(1, fresh_valkey.url, policy=POLICY)
    fresh_valkey.kill()
    wire = connect(sidecar)
    denied, allowed = wire.ask(get(f"/denied{run}")), wire.ask(get(f"/allowed{run}"))
    assert (429, "1", 200, None) == (
        denied.status, denied.get("retry-after"), allowed.status, allowed.get("ratelimit"),
    )  # fmt: skip
    assert "1.0" == _metric(sidecar, 'cacheproxy_ratelimit_decisions_total{decision="unknown",rule="allowed"}')


def _metric(sidecar, name: str) -> str | None:
    lines = httpx.get(sidecar.admin + "/metrics", trust_env=False).text.splitlines()
    return next((line.rpartition(" ")[2] for line in lines if line.rpartition(" ")[0] == name), None)


# --- what becomes of a request over its limit


def test_a_hit_over_the_limit_is_refused_and_says_when(sidecar, connect, run) -> None:
    """A stored response counts like any other; the refusal is a problem document."""
    wire = connect(sidecar)
    answers = [wire.ask(get(f"/hits/1{run}")) for _ in range(3)]
    assert [(200, "MISS"), (200, "HIT"), (429, "BYPASS")] == [(a.status, a.get("x-cache")) for a in answers]
    assert ["1", "0", "0"] == [answer.get("x-ratelimit-remaining") for answer in answers]
    assert "application/problem+json" == answers[2].get("content-type")
    assert ["few"] == json.loads(answers[2].body)["violated-policies"]
    assert 0 < int(answers[2].get("retry-after") or 0) <= 43_200


def test_over_its_limit_a_client_gets_what_is_stored(sidecar, connect, raw_origin, run) -> None:
    """Fresh or stale, and with a ``detail`` that says so; where nothing is stored it is refused."""
    wire = connect(sidecar)
    first, fresh = wire.ask(get(f"/stale/1{run}")), wire.ask(get(f"/stale/1{run}"))
    assert [(200, "MISS"), (200, "HIT")] == [(answer.status, answer.get("x-cache")) for answer in (first, fresh)]
    assert "detail=limited" in (fresh.get("cache-status") or "")
    time.sleep(1.1)  # It becomes stale.
    stale = wire.ask(get(f"/stale/1{run}"))
    assert (200, "STALE", "0") == (stale.status, stale.get("x-cache"), stale.get("x-ratelimit-remaining"))
    assert "hit; ttl=-1; detail=limited" in (stale.get("cache-status") or "")
    assert 1 == len(raw_origin.seen(b"/stale/1"))
    assert 429 == wire.ask(get(f"/stale/2{run}")).status


def test_hits_may_cost_nothing(sidecar, connect, run) -> None:
    """With a cost by outcome, stored responses are free and the origin is what is limited."""
    wire = connect(sidecar)
    answers = [wire.ask(get(f"/misses/{number}{run}")) for number in (1, 1, 1, 2, 2, 3, 1)]
    assert [200, 200, 200, 200, 200, 429, 200] == [answer.status for answer in answers]
    assert ["1", None, None, "0"] == [answer.get("x-ratelimit-remaining") for answer in answers[:4]]


def test_a_burst_is_spread_over_time_by_all_replicas(replicas, connect, run) -> None:
    """Thirty at once at twenty a second: nobody is refused, and the last is answered more than a second later."""
    wires = [connect(sidecar) for sidecar in replicas for _ in range(10)]
    began = time.monotonic()
    assert {200: 30} == rush(wires, get(f"/slowly{run}"), 1)
    assert 1.4 < time.monotonic() - began


def test_who_would_wait_too_long_is_refused_at_once(sidecar, connect, run) -> None:
    """Sixty at once: those that find no place within two seconds hear so without delay."""
    statuses = rush([connect(sidecar) for _ in range(60)], get(f"/slowly{run}"), 1)
    assert 38 <= statuses[200] <= 44
    assert 60 == statuses.total()


def test_shadow_rules_refuse_nobody_and_are_counted(sidecar, connect, run) -> None:
    """What they would have refused is in the metrics, and in nothing that a client sees."""
    wire = connect(sidecar)
    answers = [wire.ask(get(f"/shadow{run}")) for _ in range(3)]
    assert [(200, None)] * 3 == [(answer.status, answer.get("ratelimit")) for answer in answers]
    assert "2.0" == _metric(sidecar, 'cacheproxy_ratelimit_decisions_total{decision="shadow_deny",rule="shadow"}')


# --- in flight


@contextlib.contextmanager
def held(raw_origin, paths: list[bytes]) -> Iterator[threading.Event]:
    """Responses that begin at once and end when the event says so."""
    go_on = threading.Event()
    for path in paths:
        raw_origin.on(path, b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab", go_on, b"cd")
    try:
        yield go_on
    finally:
        go_on.set()


def test_so_many_in_flight_and_each_way_out_makes_room(raw_sidecars, raw_origin, connect, fresh_valkey, run) -> None:
    """Three bodies that are not sent to their end fill the limit; an end, and a client that leaves, make room."""
    [sidecar] = raw_sidecars(1, fresh_valkey.url, policy=POLICY, **PATIENT)
    paths = [raw_origin.path("/alone") for _ in range(4)]
    with held(raw_origin, paths[:3]) as go_on:
        wires = [connect(sidecar).send(get(path.decode() + run)) for path in paths[:3]]
        _await_seen(raw_origin, paths[:3])
        refused = connect(sidecar).ask(get(paths[3].decode() + run))
        assert (429, "1", "alone") == (
            refused.status, refused.get("retry-after"), json.loads(refused.body)["violated-policies"][0],
        )  # fmt: skip
        wires[0].reset()
        _await_status(connect(sidecar), paths[3].decode() + run, 200)
        go_on.set()
        assert [b"abcd"] * 2 == [wire.answer().body for wire in wires[1:]]
    _await_status(connect(sidecar), paths[3].decode() + run, 200)
    assert {200} == {connect(sidecar).ask(get(paths[3].decode() + run)).status for _ in range(5)}


def test_replicas_divide_what_may_be_in_flight(raw_sidecars, raw_origin, connect, fresh_valkey, run) -> None:
    """Three in flight among three replicas are one on each."""
    trio = raw_sidecars(3, fresh_valkey.url, policy=POLICY, **PATIENT)
    _settle(trio)
    paths = [raw_origin.path("/alone") for _ in range(4)]
    with held(raw_origin, paths[:3]):
        for sidecar, path in zip(trio, paths, strict=False):
            connect(sidecar).send(get(path.decode() + run))
        _await_seen(raw_origin, paths[:3])
        assert [429] * 3 == [connect(sidecar).ask(get(paths[3].decode() + run)).status for sidecar in trio]


def test_a_websocket_is_in_flight_until_it_ends(sidecars, fresh_valkey) -> None:
    """Its place is taken from handshake to close."""
    policy = POLICY.replace('match: "GET /alone/{id}"', 'match: "GET /echo"').replace(
        "concurrency: 3", "concurrency: 1"
    )
    [sidecar] = sidecars(1, fresh_valkey.url, policy=policy, **PATIENT)
    url = sidecar.url.replace("http", "ws") + "/echo?run=1"

    def status() -> int:
        try:
            with websockets.sync.client.connect(url):
                return 101
        except websockets.InvalidStatus as refused:
            return refused.response.status_code

    with websockets.sync.client.connect(url) as first:
        first.send("hello")
        assert "-:hello" == first.recv()
        assert 429 == status()
    give_up_at = time.monotonic() + 5
    while status() != 101:
        assert time.monotonic() < give_up_at


def _await_seen(raw_origin, paths: list[bytes]) -> None:
    give_up_at = time.monotonic() + 10
    while not all(raw_origin.seen(path) for path in paths):
        assert time.monotonic() < give_up_at


def _await_status(wire: Wire, target: str, status: int) -> None:
    give_up_at = time.monotonic() + 10
    while wire.ask(get(target)).status != status:
        assert time.monotonic() < give_up_at


# --- for whom


@pytest.mark.parametrize(
    ("field", "other"),
    [
        ("X-Forwarded-For: 192.0.2.7", "X-Forwarded-For: 10.0.0.1, 192.0.2.7"),
        ("X-Forwarded-For: 192.0.2.7", "X-Forwarded-For: 192.0.2.7:4711"),
        ("X-Forwarded-For: 192.0.2.7", "Forwarded: for=192.0.2.7"),
        ("X-Forwarded-For: 192.0.2.7", 'Forwarded: for="192.0.2.7:80"'),
        ("X-Forwarded-For: 192.0.2.7", "X-Forwarded-For: ::ffff:192.0.2.7"),
        ("X-Forwarded-For: 2001:db8:1:2::1", "X-Forwarded-For: 2001:db8:1:2:ffff::9"),
        ("X-Forwarded-For: 2001:db8:1:2::1", "X-Forwarded-For: [2001:db8:1:2::5]:80"),
        ("X-Forwarded-For: 2001:db8:1:2::1", 'Forwarded: for="[2001:db8:1:2::7]"'),
    ],
)
def test_one_client_however_it_is_written_is_one(sidecar, connect, run, field, other) -> None:
    """Ports, brackets, longer chains and the lower half of an IPv6 address give nobody another quota."""
    wire = connect(sidecar)
    assert [200, 200, 429] == [wire.ask(get(f"/few/1{run}", line)).status for line in (field, field, other)]


@pytest.mark.parametrize(
    "line",
    [
        "X-Forwarded-For: unknown", "X-Forwarded-For: evil, , ;", "X-Forwarded-For: 300.1.1.1", "X-Forwarded-For:",
        "Forwarded: for=unknown", "Forwarded: for=_hidden", 'Forwarded: for="', "Forwarded: proto=https",
        "X-Forwarded-For: 192.0.2.9\x0b", "X_Forwarded_For: 192.0.2.9", "X-Forwarded-For: " + "1.1.1.1, " * 400,
    ],
)  # fmt: skip
def test_a_malformed_address_is_never_a_500_nor_a_way_around(sidecar, connect, run, line) -> None:
    """Whatever a client writes there, it has one quota."""
    statuses = [connect(sidecar).ask(get(f"/few/2{run}", line)).status for _ in range(3)]
    assert statuses in ([200, 200, 429], [400, 400, 400])


def test_untrusted_peers_cannot_choose_their_address(raw_sidecars, connect, valkey, run) -> None:
    """Without trusted proxies every claim is the peer's own, and counts against it."""
    [sidecar] = raw_sidecars(1, valkey, policy=POLICY.replace("trusted_proxies: [127.0.0.1/32]", ""), **PATIENT)
    wire = connect(sidecar)
    names = ("X-Forwarded-For: ", "Forwarded: for=", "X-Real-IP: ")
    lines = [f"{name}192.0.2.{number}" for number in range(2) for name in names]
    assert [200, 200, 429, 429, 429, 429] == [wire.ask(get(f"/few/3{run}", line)).status for line in lines]

"""Nine ways in which caches serve what was purged, or lose requests over it: on real processes, none of them ours.

The origin's answers say which version of a thing they are, so that an old one is known for what it is.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import httpx
import pytest
import redis

from cacheproxy.client import SyncPublisher
from cacheproxy.client.wire import PURGE, Layout, Recorded, purge_args
from cacheproxy.invalidation.receipts import LEASE_S, MARGIN_S

from .conftest import Connect, Sidecar, StartSidecars
from .versions import BadLine, VersionedOrigin

pytestmark = pytest.mark.e2e

POLICY = """
version: 1
routes:
  - name: thing
    match: "GET /v/{id}"
    cache: {ttl: 1h, key: "v:{id}", tags: ["v:{id}"], stale_while_revalidate: 1h}
  - {name: write, match: "PUT /v/{id}", purge: ["v:{id}"]}
  - {name: private, match: "GET /private/{id}", cache: {ttl: 1h, key: "private:{id}"}}
  - {name: cookie, match: "GET /cookie/{id}", cache: {ttl: 1h, key: "cookie:{id}"}}
events:
  on_gap: keep          # nothing but what is tested here may purge
  on: {v.changed: ["v:{data.id}"]}
"""
LAYOUT = Layout()
LEASE_AGE_S = 3.0
"""As ``wiring`` has it."""


@pytest.fixture
def things() -> Iterator[VersionedOrigin]:
    """An origin of the test's own."""
    origin = VersionedOrigin().start()
    yield origin
    origin.stop()


Replicas = Callable[..., list[Sidecar]]


@pytest.fixture
def replicas(sidecars: StartSidecars, things: VersionedOrigin) -> Replicas:
    """Starts so many sidecars in front of ``things`` on a Redis URL, their bus connected."""

    def start(number: int, redis_url: str, **env: str) -> list[Sidecar]:
        return sidecars(number, redis_url, policy=POLICY, upstream=things.url, **env)

    return start


@pytest.fixture
def meanwhile() -> Iterator[Callable[..., "Future[httpx.Response]"]]:
    """Asks in a thread of its own."""
    with ThreadPoolExecutor(64) as pool:
        yield lambda url, **kwargs: pool.submit(get, url, **kwargs)


def get(url: str, **kwargs: object) -> httpx.Response:
    """One request on a connection of its own."""
    return httpx.get(url, trust_env=False, timeout=20, **kwargs)  # type: ignore[arg-type]


def version(sidecar: Sidecar, path: str = "/v/1") -> int:
    """The version that ``sidecar`` answers with."""
    answer = get(sidecar.url + path)
    assert answer.status_code == 200
    return int(answer.json()["version"])


def remember(*sidecars: Sidecar, path: str = "/v/1") -> None:
    """Have ``path`` in every sidecar's memory."""
    for sidecar in sidecars:
        get(sidecar.url + path)
        assert get(sidecar.url + path).headers["x-cache"] == "HIT"


def until(fact: Callable[[], bool], within_s: float = 15.0) -> None:
    """Wait until ``fact`` holds."""
    give_up_at = time.monotonic() + within_s
    while not fact():
        assert time.monotonic() < give_up_at, "in vain"
        time.sleep(0.005)


# --- 1: a fill races a purge


@pytest.mark.parametrize("mode", ["hard", "soft"])
def test_a_fill_that_a_purge_overtook_is_never_served_again(replicas, things, valkey, meanwhile, mode) -> None:
    """What the origin said before the purge goes to who asked before it, and to nobody after."""
    one, two = replicas(2, valkey)
    things.gate.clear()
    early = meanwhile(one.url + "/v/1")
    things.until_asked("/v/1", 1)
    things.bump("/v/1")
    assert two.purge(tags=["v:1"], mode=mode, wait="5s")["silent"] == []
    late = [meanwhile(sidecar.url + "/v/1") for sidecar in (one, two) for _ in range(5)]
    until(lambda: collapsed(one) == 5 and waits_for_lease(two))
    things.gate.set()
    assert early.result().json()["version"] == 1
    answers = [answer.result() for answer in late]
    if mode == "hard":
        assert {answer.json()["version"] for answer in answers} == {2}
    assert {answer.status_code for answer in answers} == {200}
    until(lambda: {version(one), version(two)} == {2})
    assert [version(one), version(two)] == [2, 2]


# --- 2: a purge while every subscriber is disconnected


def test_a_purge_that_nobody_heard_is_not_lost(replicas, things, valkey) -> None:
    """Redis executes it in the very step in which it has cut off every subscriber: they read it when they are back."""
    both = replicas(2, valkey)
    remember(*both)
    things.bump("/v/1")
    with redis.Redis.from_url(valkey) as server, server.pipeline(transaction=True) as step:
        step.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        keys = (LAYOUT.clock, LAYOUT.stream, LAYOUT.replicas)
        step.eval(PURGE, len(keys), *keys, *purge_args(LAYOUT, ["v:1"], "hard"))
        killed, recorded = step.execute()
    assert (killed, Recorded.of(recorded).heard) == (2, 0)
    for sidecar in both:
        until(lambda at=sidecar: version(at) == 2, 5)
        sidecar.await_part("bus", "connected")
        assert version(sidecar) == 2


def test_a_purge_is_acknowledged_by_those_who_were_cut_off(replicas, things, valkey) -> None:
    """With ``wait`` it is answered when they are back and have read it, and then none of them serves what it purged."""
    both = replicas(2, valkey)
    for round_ in range(1, 6):
        remember(*both)
        things.bump("/v/1")
        with redis.Redis.from_url(valkey) as server:
            server.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        assert both[0].purge(tags=["v:1"], wait="5s")["silent"] == []
        assert [version(sidecar) for sidecar in both] == [round_ + 1] * 2
        for sidecar in both:
            sidecar.await_part("bus", "connected")


def test_an_event_that_nobody_heard_is_not_lost(replicas, things, valkey) -> None:
    """What a service published while no sidecar ran is mapped by the next one, before it serves what is in Redis."""
    [one] = replicas(1, valkey)
    remember(one)
    assert one.end() == 0
    things.bump("/v/1")
    with redis.Redis.from_url(valkey) as server:
        assert SyncPublisher(server).publish({"type": "v.changed", "data": {"id": 1}}) == 0
    [two] = replicas(1, valkey)
    assert version(two) == 2


# --- 3: a deaf subscriber


@pytest.fixture
def bad_line(fresh_valkey) -> Iterator[BadLine]:
    """A way to ``fresh_valkey`` that can go deaf."""
    line = BadLine(fresh_valkey.port)
    yield line
    line.stop()


def test_a_deaf_replica_does_not_serve_what_was_purged(replicas, things, fresh_valkey, bad_line) -> None:
    """Its connection is open and brings nothing: the purge is answered when its memory has shut itself off."""
    [one], [deaf] = replicas(1, fresh_valkey.url), replicas(1, bad_line.url, CACHEPROXY_INSTANCE_ID="deaf")
    remember(one, deaf)
    bad_line.deaf.set()
    things.bump("/v/1")
    assert one.purge(tags=["v:1"], wait="100ms")["silent"] == ["deaf"]
    receipt = one.purge(tags=["v:1"], wait="5s")
    assert (len(receipt["acknowledged"]), receipt["silent"]) == (2, [])
    assert [version(deaf), version(one)] == [2, 2]
    bad_line.deaf.clear()
    deaf.await_part("bus", "connected")
    remember(deaf)


# --- 4: a paused replica


def test_a_paused_replica_wakes_up_knowing_nothing(replicas, things, valkey, connect: Connect) -> None:
    """Its very first answer is not what was purged while it stood still."""
    one, paused = replicas(2, valkey)
    remember(one, paused)
    old, new = connect(paused), connect(paused)
    request = b"GET /v/1 HTTP/1.1\r\nHost: example.com\r\n\r\n"
    assert old.ask(request).get("x-cache") is not None
    for _ in range(3):
        assert old.ask(request).get("x-cache") == "HIT"  # the express lane
    paused.send(signal.SIGSTOP)
    things.bump("/v/1")
    assert one.purge(tags=["v:1"], wait="5s")["silent"] == []
    old.send(request)
    new.send(request)
    paused.send(signal.SIGCONT)
    assert [b'"version": 2' in wire.answer().body for wire in (old, new)] == [True, True]
    paused.await_part("bus", "connected")
    remember(one, paused)


def test_the_command_line_names_who_was_silent(replicas, valkey) -> None:
    """``cacheproxy purge --wait`` exits with 1 and the name of the replica that did not answer in time."""
    [one], [paused] = replicas(1, valkey), replicas(1, valkey, CACHEPROXY_INSTANCE_ID="paused")
    command = [
        sys.executable,
        "-m",
        "cacheproxy",
        "purge",
        "--tag",
        "v:1",
        "--admin",
        one.admin.removeprefix("http://"),
    ]
    heard = subprocess.run([*command, "--wait", "2s"], capture_output=True, text=True, check=False)
    assert (heard.returncode, "paused" in heard.stdout) == (0, True)
    paused.send(signal.SIGSTOP)
    silent = subprocess.run([*command, "--wait", "200ms"], capture_output=True, text=True, check=False)
    assert silent.returncode == 1
    assert any(line.split()[0] == "silent" and "paused" in line for line in silent.stdout.splitlines())
    patient = subprocess.run([*command, "--wait", "5s"], capture_output=True, text=True, check=False)
    assert patient.returncode == 0, "after its lease its memory is off, and its silence does not matter"


# --- 5: Redis flushed


def test_a_flushed_redis_costs_misses_and_no_truth(replicas, things, valkey, meanwhile) -> None:
    """With the clock gone, the next purge still reaches every memory, and the fill that was under way."""
    one, two = replicas(2, valkey)
    remember(one, two)
    things.gate.clear()
    early = meanwhile(two.url + "/v/2")
    things.until_asked("/v/2", 1)
    with redis.Redis.from_url(valkey) as server:
        server.flushall()
    things.bump("/v/1")
    things.bump("/v/2")
    assert one.purge(tags=["v:1", "v:2"], wait="5s")["silent"] == []
    things.gate.set()
    assert early.result().json()["version"] == 1
    assert [version(sidecar, path) for sidecar in (one, two) for path in ("/v/1", "/v/2")] == [2] * 4
    for sidecar in (one, two):
        sidecar.await_part("bus", "connected")
    remember(one, two)


def test_a_purge_waits_for_those_whom_an_emptied_redis_does_not_know(replicas, valkeys) -> None:
    """The registry is gone with the rest: replicas that were heard of before are waited for until they are back."""
    server = valkeys()
    three = replicas(3, server.url)
    assert len(three[0].purge(tags=["v:1"], wait="10s")["acknowledged"]) == 3
    server.kill()
    time.sleep(LEASE_S + MARGIN_S)  # so that nobody was heard of lately
    server.start()
    three[0].await_part("redis-bus", "up")
    receipt = three[0].purge(tags=["v:1"], wait="10s")
    assert (len(receipt["acknowledged"]), receipt["silent"]) == (3, [])


# --- 6: the clock evicted


def evict_clock(server: "redis.Redis", keys: list[str]) -> int:
    """Fill memory until the clock is gone; how many of ``keys`` outlived it."""
    number = 0
    while server.exists(LAYOUT.clock):
        with server.pipeline(transaction=False) as step:
            for _ in range(4):
                number += 1
                step.set(f"junk:{number}", os.urandom(32_768))
            step.execute()
        assert number < 50_000, "it is never evicted"
    return int(server.exists(*keys))


def test_a_clock_evicted_under_memory_pressure_costs_no_truth(replicas, things, valkeys) -> None:
    """What it knew of purges is gone, and so is all that was stored before: entries that outlived it are dead."""
    # one sample makes the eviction of allkeys-lru a lottery, so that what is in use is drawn as well
    server = valkeys("--maxmemory-policy", "allkeys-lru", "--maxmemory-samples", "1")
    one, two = replicas(2, server.url)
    paths = [f"/v/{number}" for number in range(40)]
    outlived = 0  # entries that could have been served
    with server.client() as client:
        client.config_set("maxmemory", client.info("memory")["used_memory"] + (3 << 20))
        while not outlived:
            for path in paths:
                remember(one, path=path)
            assert one.purge(tags=[f"v:{number}" for number in range(40)], wait="5s")["silent"] == []
            for path in paths:
                things.bump(path)
            outlived += evict_clock(client, [key.decode() for key in client.scan_iter("cacheproxy:tenant-*:v:*")])
            want = [things.versions[path] for path in paths]
            assert [[version(sidecar, path) for path in paths] for sidecar in (two, one)] == [want] * 2


# --- 7: the holder killed


def test_a_killed_holder_is_followed_within_the_lease_age(replicas, things, valkey, meanwhile) -> None:
    """Those who waited for its fill get answers, from one request more."""
    holder, two, three = replicas(3, valkey)
    things.gate.clear()
    lost = meanwhile(holder.url + "/v/1")
    things.until_asked("/v/1", 1)
    waiting = [meanwhile(sidecar.url + "/v/1") for sidecar in (two, three) for _ in range(10)]
    until(lambda: sum(waits_for_lease(sidecar) for sidecar in (two, three)) == 2)
    killed_at = time.monotonic()
    holder.end(signal.SIGKILL)
    things.until_asked("/v/1", 2)
    assert time.monotonic() - killed_at < LEASE_AGE_S + 0.5
    things.gate.set()
    assert {(answer.result().status_code, answer.result().json()["number"]) for answer in waiting} == {(200, 2)}
    with pytest.raises(httpx.TransportError):
        lost.result()
    assert get(two.url + "/v/1").headers["x-cache"] == "HIT"
    assert things.asked["/v/1"] == 2


def test_nobody_waits_for_a_lease_that_went_with_redis(replicas, things, fresh_valkey, meanwhile) -> None:
    """No word will come, and no lease runs out: who waited asks the origin, and at once."""
    holder, two = replicas(2, fresh_valkey.url)
    things.gate.clear()
    answers = [meanwhile(holder.url + "/v/1")]
    things.until_asked("/v/1", 1)
    answers += [meanwhile(two.url + "/v/1") for _ in range(10)]
    until(lambda: waits_for_lease(two))
    killed_at = time.monotonic()
    fresh_valkey.kill()
    things.until_asked("/v/1", 2)
    assert time.monotonic() - killed_at < LEASE_AGE_S / 2
    things.gate.set()
    assert {answer.result().status_code for answer in answers} == {200}


def waits_for_lease(sidecar: Sidecar) -> bool:
    """Whether it has found that another replica fills."""
    lines = get(sidecar.admin + "/metrics").text.splitlines()
    return any(line.startswith("cacheproxy_collapsed_requests_total") and 'where="lease"' in line for line in lines)


def test_a_fill_that_takes_longer_than_the_lease_is_not_repeated(replicas, things, valkey, meanwhile) -> None:
    """A holder that lives renews its lease."""
    holder, two = replicas(2, valkey)
    things.delay_s = LEASE_AGE_S + 1.0
    first = meanwhile(holder.url + "/v/1")
    things.until_asked("/v/1", 1)
    assert [get(two.url + "/v/1").json()["number"], first.result().json()["number"]] == [1, 1]
    assert things.asked["/v/1"] == 1


# --- 8: the leader's client hangs up


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_leader_that_hangs_up_harms_nobody(replicas, things, valkey, meanwhile, connect: Connect, how) -> None:
    """The fill goes on without it: its followers, here and elsewhere, are answered, and the response is stored."""
    one, two = replicas(2, valkey)
    things.gate.clear()
    leader = connect(one).send(b"GET /v/1 HTTP/1.1\r\nHost: %s\r\n\r\n" % one.url.removeprefix("http://").encode())
    things.until_asked("/v/1", 1)
    followers = [meanwhile(one.url + "/v/1") for _ in range(20)]
    until(lambda: collapsed(one) == 20)
    leader.reset() if how == "reset" else leader.close()
    things.gate.set()
    assert {(each.result().status_code, each.result().json()["number"]) for each in followers} == {(200, 1)}
    assert get(one.url + "/v/1").headers["x-cache"] == "HIT"
    assert things.asked["/v/1"] == 1
    assert version(two) == 1


def collapsed(sidecar: Sidecar) -> float:
    """How many requests wait, or waited, for another's fill in its process."""
    lines = get(sidecar.admin + "/metrics").text.splitlines()
    return sum(
        float(line.rpartition(" ")[2])
        for line in lines
        if line.startswith("cacheproxy_collapsed_requests_total") and 'where="flight"' in line
    )


# --- 9: a leader whose answer is for nobody else


@pytest.mark.parametrize("kind", ["private", "cookie"])
def test_what_is_for_one_alone_is_shared_with_none_of_fifty(replicas, things, valkey, kind) -> None:
    """Each gets an answer of its own, and they do not queue up for it."""
    both = replicas(2, valkey)
    things.delay_s = 0.3
    began = time.monotonic()
    answers = asyncio.run(many([f"{sidecar.url}/{kind}/1" for sidecar in both for _ in range(25)]))
    assert time.monotonic() - began < 10 * things.delay_s
    assert len({answer.json()["number"] for answer in answers}) == 50
    assert things.asked[f"/{kind}/1"] == 50
    if kind == "cookie":
        assert len({answer.headers["set-cookie"] for answer in answers}) == 50


async def many(urls: list[str]) -> list[httpx.Response]:
    """All at once."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(trust_env=False, timeout=30, limits=limits) as client:
        return await asyncio.gather(*(client.get(url) for url in urls))


# --- soft purges


def test_a_soft_purge_is_served_stale_while_one_refreshes(replicas, things, valkey) -> None:
    """Nobody waits, the origin is asked once for all replicas, and events that are equal are one."""
    both = replicas(2, valkey)
    remember(*both)
    things.bump("/v/1")
    things.gate.clear()
    for _ in range(3):
        assert both[0].purge(tags=["v:1"], mode="soft", wait="5s")["silent"] == []
    stale = [get(sidecar.url + "/v/1") for sidecar in both for _ in range(10)]
    assert {(answer.headers["x-cache"], answer.json()["version"]) for answer in stale} == {("STALE", 1)}
    things.until_asked("/v/1", 2)
    things.gate.set()
    for sidecar in both:
        until(lambda at=sidecar: version(at) == 2)
        assert get(sidecar.url + "/v/1").headers["x-cache"] == "HIT"
    assert things.asked["/v/1"] == 2

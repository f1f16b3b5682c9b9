"""Faults: whatever breaks, each request is answered in time, rightly or with a 5xx that says why; then it heals."""

import asyncio
import json
import os
import resource
import signal
import socket
import threading
import time
from pathlib import Path

import httpx
import pytest
import redis

from .wire import CLOSE, HANG, RESET, RawOrigin, Seen, Wire, ok

pytestmark = pytest.mark.e2e

POLICY = """
version: 1
upstream:
  timeouts: {connect: 1s, first_byte: 1s, idle: 1s}
  pool: {max_connections: 64, wait: 1s}
session: {cookie: session_id, identity: {X-User-Id: user_id}}
limits:
  many: {rate: 100000/minute, by: [client_ip]}
  denying: {rate: 100000/minute, by: [client_ip], on_redis_down: deny}
routes:
  - {name: cached, match: "GET /c/{id}", cache: {ttl: 60s, key: "c:{id}", tags: ["c:{id}"]}}
  - {name: write, match: "PUT /c/{id}", purge: ["c:{id}"]}
  - {name: stale, match: "GET /s/{id}", cache: {ttl: 0s, key: "s:{id}", stale_if_error: 1h}}
  - {name: user, match: "GET /user/{id}", session: required, cache: {ttl: 60s, key: "user:{id}", scope: user}}
  - {name: limited, match: "GET /limited/{id}", limits: [many], cache: {ttl: 60s, key: "limited:{id}"}}
  - {name: denied, match: "GET /denied/{id}", limits: [denying]}
"""
IN_TIME_S = 3.0
"""No answer may take longer while the origin is given 1 s and Redis 50 ms."""


@pytest.fixture(scope="module")
def alone(raw_sidecars):
    """A sidecar without Redis."""
    return raw_sidecars(1, "none", policy=POLICY)[0]


@pytest.fixture(scope="module")
def server(module_valkeys):
    """The Redis that things happen to."""
    server = module_valkeys()
    with server.client() as client:
        client.set("session:ann", json.dumps({"user_id": "1"}), ex=3600)
    return server


@pytest.fixture(scope="module")
def replicas(raw_sidecars, server):
    """Two replicas on it."""
    return raw_sidecars(2, server.url, policy=POLICY)


def get(path: bytes, *lines: bytes, method: bytes = b"GET") -> bytes:
    """A request."""
    return b"%b %b HTTP/1.1\r\nHost: a.example\r\n%b\r\n" % (method, path, b"".join(line + b"\r\n" for line in lines))


def metrics_of(sidecar) -> str:
    """What it tells Prometheus."""
    return httpx.get(sidecar.admin + "/metrics", trust_env=False).text


# The origin


RESPONSE = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\nx: y\r\n\r\n0123456789"
CHUNKS = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n01234\r\n5;x\r\n56789\r\n0\r\nt: u\r\n\r\n"
LARGE = b"HTTP/1.1 200 OK\r\ncontent-length: 40000\r\n\r\n" + b"x" * 40_000


@pytest.mark.parametrize("kind", ["/c", "/any", "again"])
@pytest.mark.parametrize("end", [CLOSE, RESET])
@pytest.mark.parametrize("response", [RESPONSE, CHUNKS], ids=["length", "chunked"])
def test_a_response_that_breaks_off_at_any_byte(alone, raw_origin, connect, response, end, kind) -> None:
    """At each offset the client sees a 502 or a body cut off, never a short whole; the next request gets all of it."""
    same = raw_origin.path("/any")
    for offset in range(len(response)):
        path = same if kind == "again" else raw_origin.path(kind)
        raw_origin.only(path, response[:offset], end)
        answer = connect(alone).ask(get(path))
        assert answer.status == 502 or not answer.whole, offset
        raw_origin.only(path, response)
        answer = connect(alone).ask(get(path))
        assert (200, b"0123456789", True) == (answer.status, answer.body, answer.whole), offset


@pytest.mark.parametrize("response", [RESPONSE, CHUNKS, LARGE], ids=["length", "chunked", "large"])
def test_a_response_that_falls_silent_at_any_byte(alone, raw_origin, connect, response) -> None:
    """At each offset the wait is bounded by the policy's time-outs: a 504, or a body cut off."""
    offsets = [*range(0, min(len(response), 90), 2), len(response) - 1]
    wires = []
    for offset in offsets:
        path = raw_origin.path("/c")
        raw_origin.only(path, response[:offset], HANG)
        wires.append(connect(alone).send(get(path)))
    began = time.monotonic()
    for offset, wire in zip(offsets, wires, strict=True):
        answer = wire.answer()
        assert answer.status in {502, 504} or not answer.whole, offset
    assert time.monotonic() - began < IN_TIME_S + 1


def test_a_dripping_response_is_not_endless(alone, raw_origin, connect) -> None:
    """A head that drips in is over when the first-byte time is, however often a byte comes."""
    path = raw_origin.path("/c")
    pause = threading.Event()
    raw_origin.only(
        path, *(lambda _, at=at: pause.wait(0.1) * b"" + RESPONSE[at : at + 1] for at in range(len(RESPONSE)))
    )
    began = time.monotonic()
    assert 504 == connect(alone).ask(get(path)).status
    assert time.monotonic() - began < IN_TIME_S


@pytest.mark.parametrize(
    "steps",
    [(CLOSE,), (RESET,), (HANG,), (b"nonsense\r\n\r\n",), (RESPONSE[:-3], CLOSE), (ok(b"no", status=b"503 No"),),
    (ok(b"", status=b"500 E"),)],
    ids=["close", "reset", "hang", "malformed", "truncated", "503", "500"],
)  # fmt: skip
def test_stale_stands_in_for_an_origin_that_fails(alone, raw_origin, connect, steps) -> None:
    """stale-if-error (RFC 5861 §4) covers every way of failing, and says so."""
    path = raw_origin.path("/s")
    raw_origin.only(path, ok(b"kept", b'etag: "1"'))
    assert b"kept" == connect(alone).ask(get(path)).body
    raw_origin.only(path, *steps)
    answer = connect(alone).ask(get(path))
    assert (200, b"kept", "STALE") == (answer.status, answer.body, answer.get("x-cache"))
    assert "stale-if-error" in answer.get("cache-status")


def test_an_origin_that_is_gone_and_back(raw_sidecars, connect) -> None:
    """Refused connections are 502s at once; when it is back so are its answers."""
    origin = RawOrigin().start()
    [sidecar] = raw_sidecars(1, "none", policy=POLICY, upstream=origin.url)
    assert 200 == connect(sidecar).ask(get(b"/any/1")).status
    origin.stop()
    began = time.monotonic()
    assert [502] * 20 == [connect(sidecar).ask(get(b"/any/1")).status for _ in range(20)]
    assert time.monotonic() - began < IN_TIME_S
    again = RawOrigin(port=origin.port).start()
    assert 200 == connect(sidecar).ask(get(b"/any/1")).status
    again.stop()


UNREACHABLE = {
    "http://secret-host.invalid:8000": ("resolve-failed", "secret-host"),
    "http://127.0.0.1:1": ("connect-refused", "127.0.0.1"),
    "unix:///secret/app.sock": ("connect-failed", "secret"),
}
"""Origins that cannot be reached, why, and what of them is nobody's business."""


@pytest.mark.parametrize("upstream", UNREACHABLE)
def test_an_origin_that_cannot_be_reached_is_not_described(raw_sidecars, connect, upstream) -> None:
    """A client is told the reason at once, and nothing of where the origin should be: that is in the log."""
    [sidecar] = raw_sidecars(1, "none", policy=POLICY, upstream=upstream)
    reason, secret = UNREACHABLE[upstream]
    began = time.monotonic()
    answer = connect(sidecar).ask(get(b"/any/1"))
    assert time.monotonic() - began < IN_TIME_S
    assert (502, reason) == (answer.status, json.loads(answer.body)["reason"])
    assert secret not in answer.body.decode() + str(answer.fields)
    eventually(lambda: "error_detail" in sidecar.log.read_text())


def test_an_exhausted_pool_is_a_503_in_time(alone, raw_origin, connect) -> None:
    """More requests than connections to a hung origin: 504 where sent, 503 where waiting; then all is well."""
    path = raw_origin.path("/any")
    raw_origin.only(path, HANG)
    wires = [connect(alone).send(get(path)) for _ in range(150)]
    began = time.monotonic()
    statuses = [wire.answer().status for wire in wires]
    assert time.monotonic() - began < IN_TIME_S + 1
    assert {503, 504} >= set(statuses)
    assert 200 == connect(alone).ask(get(raw_origin.path("/any"))).status


# The client


@pytest.mark.parametrize("framing", [b"Content-Length: 100", b"Transfer-Encoding: chunked"], ids=["length", "chunked"])
def test_bodies_that_do_not_come_hold_up_nobody(alone, raw_origin, connect, framing) -> None:
    """(R-U-Dead-Yet) More half-sent bodies than there are connections: others read, and write, as before."""
    path, other = raw_origin.path("/up"), raw_origin.path("/up")
    slow = [connect(alone).send(get(path, framing, method=b"POST") + b"5\r\nhello") for _ in range(100)]
    eventually(lambda: len(raw_origin.seen(path)) >= 32)
    began = time.monotonic()
    assert [200] * 10 == [connect(alone).ask(get(raw_origin.path("/c"))).status for _ in range(10)]
    for _ in range(3):
        wire = connect(alone).send(get(other, b"Content-Length: 5", method=b"POST"))
        assert b" 200 " in wire.send(b"hel").send(b"lo").sock.recv(100)
    assert time.monotonic() - began < 0.5
    assert [b"hello"] * 3 == [seen.body for seen in raw_origin.seen(other)]
    for wire in slow:
        wire.reset()
    eventually(lambda: connect(alone).ask(get(other, b"Content-Length: 0", method=b"POST")).status == 200)


def test_bodies_that_nobody_takes_hold_up_nobody(alone, raw_origin, connect) -> None:
    """(slow read) More clients that read nothing than there are connections, beside as many that send nothing."""
    path, up = raw_origin.path("/big"), raw_origin.path("/up")
    raw_origin.only(path, ok(b"x" * (32 << 20)))
    slow = [connect(alone).send(get(up, b"Content-Length: 9", method=b"POST") + b"hello") for _ in range(100)]
    eventually(lambda: len(raw_origin.seen(up)) >= 32)
    slow += [connect(alone).send(get(path)) for _ in range(40)]
    eventually(lambda: 'state="held"} 32.0' in metrics_of(alone))
    assert [200] * 10 == [connect(alone).ask(get(raw_origin.path("/c"))).status for _ in range(10)]
    assert "cacheproxy_slow_readers_cut_off_total 0.0" not in metrics_of(alone)
    for wire in slow:
        wire.reset()
    eventually(lambda: 'state="held"} 0.0' in metrics_of(alone))


def test_a_leader_that_leaves_costs_nobody_anything(alone, raw_origin, connect) -> None:
    """The fill goes on: its followers are answered, and its response is stored, with one request to the origin."""
    path, gate = raw_origin.path("/c"), threading.Event()
    raw_origin.only(path, gate, ok(b"body"))
    leader = connect(alone).send(get(path))
    await_seen(raw_origin, path)
    followers = [connect(alone).send(get(path)) for _ in range(5)]
    assert 200 == connect(alone).ask(get(raw_origin.path("/c"))).status
    leader.reset()
    followers.pop().reset()
    gate.set()
    assert [b"body"] * 4 == [wire.answer().body for wire in followers]
    assert "HIT" == connect(alone).ask(get(path)).get("x-cache")
    assert 1 == len(raw_origin.seen(path))


def test_a_leader_that_leaves_alone_still_fills(alone, raw_origin, connect) -> None:
    """What was fetched for a client that left is there for the next."""
    path, gate = raw_origin.path("/c"), threading.Event()
    raw_origin.only(path, gate, ok(b"body"))
    leader = connect(alone).send(get(path))
    await_seen(raw_origin, path)
    leader.reset()
    gate.set()
    assert b"body" == connect(alone).ask(get(path)).body
    assert 1 == len(raw_origin.seen(path))


@pytest.mark.parametrize("before", [0, 3], ids=["new", "as-before"])
@pytest.mark.parametrize("resource", ["/c", "/any"], ids=["cached", "past-the-cache"])
def test_a_client_that_does_not_wait_is_counted_and_logged(raw_sidecars, raw_origin, connect, resource, before) -> None:
    """With nginx's 499, whichever lane its request took; the log has it once the sidecar has ended."""
    [sidecar] = raw_sidecars(1, "none", policy=POLICY)
    path = raw_origin.path(resource)
    raw_origin.on(path, ok(b"x", b"cache-control: no-store"))
    for _ in range(before):
        assert 200 == connect(sidecar).ask(get(path)).status
    raw_origin.only(path, HANG)
    seen = len(raw_origin.seen(path))
    wire = connect(sidecar).send(get(path))
    await_seen(raw_origin, path, seen + 1)
    wire.reset()
    gone = 'cacheproxy_refused_requests_total{reason="client-gone"} 1.0'
    eventually(lambda: gone in httpx.get(sidecar.admin + "/metrics", trust_env=False).text)
    sidecar.end()
    lines = [json.loads(line) for line in sidecar.log.read_text().splitlines()]
    assert [(path.decode(), "client-gone")] == [
        (line["path"], line["error"]) for line in lines if line.get("status") == 499
    ]


@pytest.mark.parametrize("size", [30_000, 600_000, 3_000_000], ids=["small", "stored", "over-the-limit"])
def test_a_client_that_leaves_amid_a_body(alone, raw_origin, connect, size) -> None:
    """A reset while the body streams: no half body is stored, the others get all of it."""
    path, gate = raw_origin.path("/c"), threading.Event()
    head, body = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size, b"z" * size
    raw_origin.only(path, head + body[: size // 2], gate, body[size // 2 :])
    leaving = connect(alone).send(get(path))
    staying = connect(alone).send(get(path))
    if size > 1 << 14:
        assert leaving.sock.recv(100).startswith(b"HTTP/1.1 200")
    leaving.reset()
    gate.set()
    for wire in (staying, connect(alone).send(get(path))):
        answer = wire.answer()
        assert (200, size, True) == (answer.status, len(answer.body), answer.whole)


@pytest.mark.parametrize("framing", [b"Content-Length: 100", b"Transfer-Encoding: chunked"], ids=["length", "chunked"])
@pytest.mark.parametrize("leave", ["reset", "close", "half_close"])
def test_a_client_that_leaves_amid_an_upload(alone, raw_origin, connect, framing, leave) -> None:
    """The origin never takes half a body for a whole one."""
    path = raw_origin.path("/up")
    part = b"a\r\n0123456789\r\n" if b"chunked" in framing else b"0123456789"
    wire = connect(alone).send(get(path, framing, method=b"POST") + part)
    await_seen(raw_origin, path)
    getattr(wire, leave)()
    if leave == "half_close":
        assert wire.answer().status in {400, 408}
    assert 200 == connect(alone).ask(get(raw_origin.path("/c"))).status
    assert [b""] == [seen.body for seen in raw_origin.seen(path)] or await_end(raw_origin, path)


def await_end(raw_origin, path: bytes) -> bool:
    """Whether the only request for ``path`` never became whole: the origin saw its connection end first."""
    [seen] = raw_origin.seen(path)
    return len(seen.body) < 100


def test_a_write_is_carried_out_though_its_client_left(replicas, raw_origin, connect) -> None:
    """A PUT that the origin got is finished, and purges."""
    path, gate = raw_origin.path("/c"), threading.Event()
    assert 200 == connect(replicas[0]).ask(get(path)).status
    raw_origin.only(path, lambda seen: ok(b"new") if seen.line.startswith(b"GET") else gate.wait(5) * ok())
    wire = connect(replicas[0]).send(get(path, b"Content-Length: 2", method=b"PUT") + b"hi")
    await_seen(raw_origin, path, 2)
    wire.reset()
    gate.set()
    eventually(lambda: connect(replicas[0]).ask(get(path)).body == b"new")


def test_a_thousand_connections(alone, raw_origin) -> None:
    """A thousand clients at once on one cold key make one request to the origin; then on keys of their own."""
    path, gate = raw_origin.path("/c"), threading.Event()
    raw_origin.only(path, gate, ok(b"body" * 1000))
    port = int(alone.url.rpartition(":")[2])
    wires = [Wire(socket.create_connection(("127.0.0.1", port), 10)).send(get(path)) for _ in range(1000)]
    gate.set()
    try:
        assert {(200, 4000)} == {(answer.status, len(answer.body)) for answer in (wire.answer() for wire in wires)}
        assert 1 == len(raw_origin.seen(path))
        for number, wire in enumerate(wires):
            wire.send(get(b"%b-%d" % (path, number % 50)))
        assert {200} == {wire.answer().status for wire in wires}
    finally:
        for wire in wires:
            wire.close()


def test_too_few_file_descriptors(raw_sidecars, raw_origin, connect) -> None:
    """Out of descriptors some clients wait or are turned away; once there are some again, all is well."""
    [sidecar] = raw_sidecars(1, "none", policy=POLICY)
    used = len(list_descriptors(sidecar.popen.pid))
    resource.prlimit(sidecar.popen.pid, resource.RLIMIT_NOFILE, (used + 20, used + 20))
    port = int(sidecar.url.rpartition(":")[2])
    held = [socket.create_connection(("127.0.0.1", port), 5) for _ in range(60)]
    for sock in held:
        sock.close()
    path = raw_origin.path("/c")
    eventually(lambda: b" 200 " in connect(sidecar).send(get(path, b"Connection: close")).rest()[:20], within_s=10)
    assert "HIT" == connect(sidecar).ask(get(path)).get("x-cache")


def list_descriptors(pid: int) -> list[str]:
    """The open descriptors of a process."""
    return [entry.name for entry in Path(f"/proc/{pid}/fd").iterdir()]


def refuses(port: int) -> bool:
    """Whether nobody takes a connection there."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_stop_amid_a_load(raw_sidecars, raw_origin) -> None:
    """SIGTERM with 200 requests under way: all are answered, nobody new is let in, and the process ends with 0."""
    [sidecar] = raw_sidecars(1, "none", policy=POLICY)
    path, gate = raw_origin.path("/c"), threading.Event()
    raw_origin.only(path, gate, ok(b"body"))
    port = int(sidecar.url.rpartition(":")[2])
    idle = [Wire(socket.create_connection(("127.0.0.1", port), 10)) for _ in range(20)]
    wires = [Wire(socket.create_connection(("127.0.0.1", port), 10)).send(get(path)) for _ in range(200)]
    assert 200 == idle[0].ask(get(raw_origin.path("/c"))).status
    sidecar.send(signal.SIGTERM)
    eventually(lambda: refuses(port))
    gate.set()
    answers = [wire.answer() for wire in wires]
    assert all(wire.closed() for wire in idle)
    assert {(200, b"body")} == {(answer.status, answer.body) for answer in answers}
    assert 0 == sidecar.popen.wait(10)
    for wire in (*idle, *wires):
        wire.close()


def test_a_stop_ends_who_listens(raw_sidecars) -> None:
    """A dashboard that is open keeps no sidecar from stopping, nor is its end an error in the log."""
    [sidecar] = raw_sidecars(1, "none", policy=POLICY)
    with httpx.stream("GET", sidecar.admin + "/api/v1/events", trust_env=False, timeout=10) as events:
        lines = events.iter_lines()
        assert "retry: 1000" == next(lines)
        sidecar.send(signal.SIGTERM)
        assert [""] == list(lines)
    assert 0 == sidecar.popen.wait(5)
    assert "Traceback" not in sidecar.log.read_text()


def test_a_stop_that_an_origin_holds_up(raw_sidecars, raw_origin, connect) -> None:
    """SIGTERM waits for requests under way no longer than it was told to."""
    [sidecar] = raw_sidecars(
        1, "none", policy=POLICY.replace("first_byte: 1s", "first_byte: 30s"), CACHEPROXY_DRAIN_TIMEOUT="1s"
    )
    path = raw_origin.path("/any")
    raw_origin.only(path, HANG)
    connect(sidecar).send(get(path))
    await_seen(raw_origin, path)
    began = time.monotonic()
    sidecar.send(signal.SIGTERM)
    assert 0 == sidecar.popen.wait(10)
    assert time.monotonic() - began < IN_TIME_S


@pytest.mark.parametrize("reader", ["leaves", "stalls"])
def test_a_log_that_nobody_takes_stops_nothing(raw_sidecars, raw_origin, connect, reader) -> None:
    """Whoever reads the log may hang, or go away: requests are answered all the same, and so is the end in time."""
    read, write = os.pipe()
    [sidecar] = raw_sidecars(1, "none", policy=POLICY, log_to=write, CACHEPROXY_ACCESS_LOG="all")
    os.close(write)
    if reader == "leaves":
        os.close(read)
    wire = connect(sidecar)
    path = raw_origin.path("/any")
    assert {200} == {wire.ask(get(path)).status for _ in range(1000)}
    began = time.monotonic()
    sidecar.send(signal.SIGTERM)
    assert 0 == sidecar.popen.wait(10)
    assert time.monotonic() - began < 2 * IN_TIME_S
    if reader == "stalls":
        os.close(read)


def test_a_log_that_is_taken_again_tells_what_it_missed(raw_sidecars, raw_origin, connect) -> None:
    """Lines beyond what may wait are dropped and counted, not kept for ever; then there is one line that says so."""
    read, write = os.pipe()
    [sidecar] = raw_sidecars(1, "none", policy=POLICY, log_to=write, CACHEPROXY_ACCESS_LOG="all")
    os.close(write)
    wire = connect(sidecar)
    path = b"/c/" + b"x" * 7_000  # a line of so many bytes: a few hundred of them are more than may wait
    raw_origin.only(path, *([ok(b"")] * 2))
    assert {200} == {wire.ask(get(path)).status for _ in range(1000)}
    metrics = httpx.get(sidecar.admin + "/metrics", trust_env=False).text
    [dropped] = [
        line.split()[1] for line in metrics.splitlines() if line.startswith("cacheproxy_log_lines_dropped_total")
    ]
    assert float(dropped) > 0
    with os.fdopen(read) as lines:
        told = next(line for line in map(json.loads, lines) if line["event"] == "log_lines_dropped")
    assert told["lines"] == float(dropped)


# Redis


def own(seen: Seen) -> bytes:
    """Answers each path with itself."""
    return ok(seen.path + b" " + (seen.get("x-user-id") or b"-"))


def load(replicas, connect, paths: list[bytes], rounds: int = 3) -> list[float]:
    """How long each answer took; every one is right: the path's own, a session that cannot be told a 503, no 500."""
    times = []
    wires = [connect(replica) for replica in replicas]
    for _ in range(rounds):
        for path in paths:
            for wire in wires:
                began = time.monotonic()
                answer = wire.ask(get(path, b"Cookie: session_id=ann"))
                times.append(time.monotonic() - began)
                if path.startswith(b"/user"):
                    assert answer.status in {200, 401, 503}, answer
                elif path.startswith(b"/denied"):
                    assert answer.status in {200, 429}, answer
                else:
                    assert 200 == answer.status, answer
                if answer.status == 200:
                    assert answer.body in {path + b" -", path + b" 1"}
    return times


def _kill(server, client) -> None:
    server.kill()


def _pause(server, client) -> None:
    server.pause()


def _flush(server, client) -> None:
    client.flushall()


def _read_only(server, client) -> None:
    client.execute_command("REPLICAOF", "127.0.0.1", "1")


def _full(server, client) -> None:
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", "1mb")


def _forbidden(server, client) -> None:
    client.execute_command("ACL", "SETUSER", "default", "-@all", "+auth", "+ping", "+acl", "+config")


def _slow(server, client) -> None:
    client.execute_command("CLIENT", "PAUSE", "1500", "ALL")


def _scripts_gone(server, client) -> None:
    client.script_flush()


def _dropped(server, client) -> None:
    for kind in ("normal", "pubsub"):
        client.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")


def _wrong_types(server, client) -> None:
    for key in client.keys("*"):
        client.delete(key)
        client.rpush(key, "a", "list")


def _garbage(server, client) -> None:
    for key in client.keys("*"):
        client.set(key, b"\x00\xff garbage \r\n$-1\r\n")


def _no_scripts(server, client) -> None:
    client.execute_command("ACL", "SETUSER", "default", "-eval", "-evalsha")


def _password(server, client) -> None:
    client.config_set("requirepass", "changed")
    client.execute_command("AUTH", "changed")
    _dropped(server, client)


FAULTS = [
    _flush, _scripts_gone, _dropped, _slow, _full, _read_only, _forbidden, _no_scripts, _wrong_types, _garbage,
    _password, _pause, _kill,
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__.strip("_"))
def test_redis_costs_hits_never_requests(replicas, server, raw_origin, connect, fault) -> None:
    """While Redis is {fault}, every answer is right and in time; when it is well again, caching and purges are."""
    with server.client() as client:
        client.set("session:ann", json.dumps({"user_id": "1"}), ex=3600)
        paths = [raw_origin.path(kind) for kind in ("/c", "/c", "/limited", "/user", "/any", "/denied")]
        for path in paths:
            raw_origin.only(path, own)
        load(replicas, connect, paths)
        fault(server, client)
        fresh = [raw_origin.path(kind) for kind in ("/c", "/c", "/limited", "/user", "/any", "/denied")]
        for path in fresh:
            raw_origin.only(path, own)
        times = sorted(load(replicas, connect, paths + fresh, rounds=4))
        assert times[-1] < IN_TIME_S
        assert sum(times) / len(times) < 0.1
    heal(server, fault)
    for replica in replicas:
        replica.await_part("bus", "connected")
        replica.await_part("redis-cache", "up")
    assert_coherent(replicas, raw_origin, connect)


def heal(server, fault) -> None:
    """Undo ``fault``."""
    if fault is _kill:
        server.start()
    if fault is _pause:
        server.resume()
    password = "changed" if fault is _password else None
    with redis.Redis(port=server.port, password=password) as client:
        client.execute_command("ACL", "SETUSER", "default", "+@all")
        client.execute_command("REPLICAOF", "NO", "ONE")
        client.config_set("maxmemory", "0")
        client.config_set("requirepass", "")
        if fault in {_wrong_types, _garbage}:
            client.flushall()


def assert_coherent(replicas, raw_origin, connect) -> None:
    """What one replica fills the other serves, and after an acknowledged purge neither serves it."""
    path = raw_origin.path("/c")
    raw_origin.only(path, ok(b"old"))

    def shared() -> bool:
        first, second = (connect(replica).ask(get(path)) for replica in replicas)
        return (b"old", "HIT") == (second.body, second.get("x-cache")) and first.status == 200

    eventually(shared, within_s=10)
    raw_origin.only(path, ok(b"new"))
    receipt = replicas[0].purge(tags=["c:" + path.decode().rpartition("/")[2]], wait="5s")
    assert [] == receipt["silent"]
    assert [b"new"] * 2 == [connect(replica).ask(get(path)).body for replica in replicas]


DAMAGES = {
    "empty": lambda value: b"",
    "half": lambda value: value[: len(value) // 2],
    "one-byte-less": lambda value: value[:-1],
    "one-byte-more": lambda value: value + b"x",
    "zeros": lambda value: bytes(len(value)),
    "other-json": lambda value: b"{}" + value,
    "pickle": lambda value: b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00.",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_a_miss(replicas, raw_origin, connect, server, damage) -> None:
    """What does not decode in Redis is fetched anew: never a wrong body, never an error."""
    path = raw_origin.path("/c")
    raw_origin.only(path, ok(b"body" * 50))
    connect(replicas[0]).ask(get(path))
    name = path.decode().rpartition("/")[2]
    with server.client() as client:
        keys = [key for key in client.keys(f"*c:{name}:*") if client.type(key) in {b"string", b"hash"}]
        assert keys
        for key in keys:
            if client.type(key) == b"string":
                client.set(key, DAMAGES[damage](client.get(key)))
            else:
                for field, value in client.hgetall(key).items():
                    client.hset(key, field, DAMAGES[damage](value))
    answer = connect(replicas[1]).ask(get(path))
    assert (200, b"body" * 50) == (answer.status, answer.body)


def test_a_value_under_anothers_key_is_a_miss(replicas, raw_origin, connect, server) -> None:
    """Whatever copies or renames keys in Redis, no response answers another request than its own."""
    paths = [raw_origin.path("/c") for _ in range(2)]
    for path in paths:
        raw_origin.only(path, own)
        connect(replicas[0]).ask(get(path))
    with server.client() as client:
        one, other = (client.keys(b"*c:%b:*" % path.rpartition(b"/")[2])[0] for path in paths)
        value = client.get(one)
        client.set(other, value, ex=60)
        client.set(one.replace(b"tenant-global", b"tenant-acme"), value, ex=60)
    assert [path + b" -" for path in paths] == [connect(replicas[1]).ask(get(path)).body for path in paths]


@pytest.mark.parametrize(
    "value",
    [b"", b"null", b"[]", b'"text"', b"{", b"\xff\xfe", b'{"user_id": null}', b'{"user_id": {"a": 1}}',
    b'{"user_id": [1]}',
     b'{"user_id": true}', b'{"user_id": ""}', b'{"user_id": "a\\r\\nX-Admin: 1"}', b'{"user_id": "\\u0000"}',
     b"[" * 50_000,
     b'{"user_id": 1, "expires_at": 1}', b'{"user_id": 1, "expires_at": "never"}', b'{"user_id": 1e999}',
     b'{"user_id": NaN}'],
    ids=lambda value: value[:30].decode("latin-1"),
)  # fmt: skip
def test_an_odd_session_is_never_an_error(replicas, raw_origin, connect, server, value) -> None:
    """A session that is no JSON object, or names no user, is none: 401 where one is required, and no injected field."""
    path = raw_origin.path("/user")
    raw_origin.only(path, own)
    name = f"odd-{hash(value) & 0xFFFF}"
    with server.client() as client:
        client.set(f"session:{name}", value, ex=100)
    answer = connect(replicas[0]).ask(get(path, b"Cookie: session_id=" + name.encode()))
    assert answer.status in {200, 401}
    assert all(seen.all("x-admin") == [] for seen in raw_origin.seen(path))


def test_a_session_of_another_type_is_none(replicas, raw_origin, connect, server) -> None:
    """A hash where a session should be is not an outage: 401."""
    with server.client() as client:
        client.hset("session:hash", mapping={"user_id": "1"})
    assert 401 == connect(replicas[0]).ask(get(raw_origin.path("/user"), b"Cookie: session_id=hash")).status


async def test_redis_dies_and_returns_under_load(raw_sidecars, raw_origin, valkeys) -> None:
    """2,000 requests by 20 clients over two replicas while Redis is killed, paused and flushed: no error, none late."""
    server = valkeys()
    replicas = raw_sidecars(2, server.url, policy=POLICY)
    urls = [replica.url + raw_origin.path("/c").decode() for replica in replicas for _ in range(10)]
    slowest = 0.0

    async def client(url: str) -> None:
        nonlocal slowest
        async with httpx.AsyncClient(trust_env=False, timeout=10) as session:
            for number in range(100):
                began = time.monotonic()
                assert 200 == (await session.get(f"{url}{number % 5}")).status_code
                slowest = max(slowest, time.monotonic() - began)

    async def trouble() -> None:
        for step in (server.pause, server.resume, server.kill, server.start):
            await asyncio.sleep(0.15)
            await asyncio.to_thread(step)

    await asyncio.gather(trouble(), *(client(url) for url in urls))
    assert slowest < IN_TIME_S


def await_seen(raw_origin, path: bytes, number: int = 1) -> None:
    """Wait until the origin has got ``number`` requests for ``path``."""
    eventually(lambda: len(raw_origin.seen(path)) >= number)


def eventually(check, within_s: float = 5.0) -> None:
    """Wait until ``check`` comes true."""
    give_up_at = time.monotonic() + within_s
    while not check():
        assert time.monotonic() < give_up_at
        time.sleep(0.005)

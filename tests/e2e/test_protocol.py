"""Connections as clients really use them: kept alive, pipelined, upgraded, slow, and too many at once."""

import asyncio
import base64
import contextlib
import hashlib
import struct
import threading
import time
import zlib
from pathlib import Path

import pytest
import websockets

from .wire import CLOSE, HANG, RESET, Seen, ok

pytestmark = pytest.mark.e2e

POLICY = """
version: 1
session: {cookie: session_id, identity: {X-User-Id: user_id}}
limits:
  two: {rate: 2/hour, by: [path]}
routes:
  - {name: cached, match: "GET /c/{id}", cache: {ttl: 60s, key: "c:{id}"}}
  - {name: secret, match: "GET /secret/{id}", session: required}
  - {name: limited, match: "GET /limited/{id}", limits: [two]}
"""


@pytest.fixture(scope="module")
def sidecar(raw_sidecars):
    """One sidecar for all of these."""
    return raw_sidecars(1, "none", policy=POLICY)[0]


def get(path: bytes, *lines: bytes, method: bytes = b"GET", version: bytes = b"1.1") -> bytes:
    """A request."""
    fields = b"".join(line + b"\r\n" for line in lines)
    return b"%b %b HTTP/%b\r\nHost: a.example\r\n%b\r\n" % (method, path, version, fields)


def resident_mb(sidecar) -> float:
    """What the process has in memory."""
    pages = Path(f"/proc/{sidecar.popen.pid}/statm").read_text().split()[1]
    return int(pages) * 4096 / (1 << 20)


# Requests on one connection


def test_everything_stays_in_step_on_one_connection(sidecar, raw_origin, connect) -> None:
    """Hits, misses, HEADs, 304s, 204s, bodies and refusals, pipelined in one piece: each answer in its place."""
    path, empty, chunked = raw_origin.path("/c"), raw_origin.path("/x"), raw_origin.path("/x")
    raw_origin.only(path, ok(b"body", b'etag: "1"'))
    raw_origin.only(empty, b"HTTP/1.1 204 No Content\r\n\r\n")
    raw_origin.only(
        chunked, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nparts\r\n0\r\n\r\n".replace(b"4", b"5")
    )
    asked = [
        (get(path), "GET", 200, b"body"),
        (get(path), "GET", 200, b"body"),
        (get(path, method=b"HEAD"), "HEAD", 200, b""),
        (get(path, b'If-None-Match: "1"'), "GET", 304, b""),
        (get(path, b"Range: bytes=1-2"), "GET", 206, b"od"),
        (get(path, b"Range: bytes=9-"), "GET", 416, b""),
        (get(empty), "GET", 204, b""),
        (get(chunked), "GET", 200, b"parts"),
        (get(chunked, method=b"HEAD"), "HEAD", 200, b""),
        (get(b"/secret/1"), "GET", 401, None),
        (get(chunked, b"Content-Length: 3", method=b"POST") + b"abc", "POST", 200, b"parts"),
        (get(b"/c/%2e%2e/x"), "GET", 400, None),
        (get(path), "GET", 200, b"body"),
    ]
    wire = connect(sidecar).send(b"".join(raw for raw, *_ in asked) * 3)
    for _, method, status, body in asked * 3:
        answer = wire.answer(method)
        assert status == answer.status
        assert body is None or body == answer.body
        assert None is answer.get("connection")


@pytest.mark.parametrize(("hops", "told"), [(b"0", []), (b"1", [b"0"]), (b"9", [b"8"]), (b"x", [b"x"])])
def test_options_goes_no_further_than_asked(sidecar, raw_origin, connect, hops, told) -> None:
    """Max-Forwards is counted down for OPTIONS, and 0 is answered here (RFC 9110 §7.6.2)."""
    path = raw_origin.path("/x")
    assert connect(sidecar).ask(get(path, b"Max-Forwards: " + hops, method=b"OPTIONS")).status in {200, 204}
    assert told == [seen.get("max-forwards") for seen in raw_origin.seen(path)]


def test_a_1_0_client_may_keep_its_connection(sidecar, raw_origin, connect) -> None:
    """An HTTP/1.0 client that asks for it is kept, where the length is known; else the end of the connection tells."""
    path, stream, gate = raw_origin.path("/c"), raw_origin.path("/x"), threading.Event()
    raw_origin.only(stream, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nparts\r\n", gate, b"0\r\n\r\n")
    wire = connect(sidecar)
    for _ in range(3):
        assert "keep-alive" == wire.ask(get(path, b"Connection: keep-alive", version=b"1.0")).get("connection")
    first = wire.send(get(stream, b"Connection: keep-alive", version=b"1.0")).sock.recv(4096)
    gate.set()
    received = first + wire.rest()
    head, _, content = received.partition(b"\r\n\r\n")
    assert (b"parts", 1) == (content, head.split(b"\r\n").count(b"connection: close"))
    assert b"transfer-encoding" not in received


def test_pipelined_hits_that_nobody_reads_take_no_memory(sidecar, raw_origin, connect) -> None:
    """2,000 requests for a megabyte each, unread: the sidecar answers no more than it can get rid of."""
    path = raw_origin.path("/c")
    raw_origin.only(path, ok(b"x" * 1_000_000))
    connect(sidecar).ask(get(path))
    connect(sidecar).ask(get(path))
    before = resident_mb(sidecar)
    greedy = [connect(sidecar).send(get(path) * 200) for _ in range(10)]
    for _ in range(50):
        assert 200 == connect(sidecar).ask(get(raw_origin.path("/x"))).status
    assert resident_mb(sidecar) - before < 64
    assert [1_000_000] * 200 == [len(greedy[0].answer().body) for _ in range(200)]


@pytest.mark.parametrize("prefix", ["/c", "/x"])
def test_long_heads_are_not_remembered(sidecar, raw_origin, connect, prefix) -> None:
    """A thousand requests with 60 KB of fields each, none like another: nothing of them is kept."""
    path, wire = raw_origin.path(prefix), connect(sidecar)
    wire.ask(get(path, b"X: " + b"y" * 60_000))
    before = resident_mb(sidecar)
    for number in range(1000):
        assert 200 == wire.ask(get(path, b"X: %d" % number + b"y" * 60_000)).status
    assert resident_mb(sidecar) - before < 20


def test_a_download_that_nobody_reads_takes_no_memory(sidecar, raw_origin, connect) -> None:
    """Back-pressure reaches the origin: it cannot get rid of its 32 MB before the client takes them."""
    path, sent = raw_origin.path("/x"), threading.Event()
    piece = b"x" * (1 << 20)
    head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (32 << 20)
    raw_origin.only(path, head, *[piece] * 32, lambda _: bool(sent.set()) * b"")
    before = resident_mb(sidecar)
    wire = connect(sidecar).send(get(path))
    assert 200 == connect(sidecar).ask(get(raw_origin.path("/x"))).status
    assert not sent.wait(0.3)
    assert resident_mb(sidecar) - before < 16
    assert 32 << 20 == len(wire.answer().body)


def test_an_upload_that_nobody_takes_waits(sidecar, raw_origin, connect) -> None:
    """Back-pressure reaches the client: it cannot get rid of its 32 MB before the origin takes them."""
    path, gate = raw_origin.path("/x"), threading.Event()
    raw_origin.only(path, gate, "read", lambda seen: ok(b"%d" % len(seen.body)), early=True)
    before = resident_mb(sidecar)
    wire = connect(sidecar).send(get(path, b"Content-Length: %d" % (32 << 20), method=b"POST"))
    wire.sock.settimeout(0.3)
    at = 0
    with contextlib.suppress(TimeoutError):
        while at < 32 << 20:
            at += wire.sock.send(b"y" * (1 << 18))
    assert at < 16 << 20
    assert resident_mb(sidecar) - before < 16
    wire.sock.settimeout(20)
    gate.set()
    wire.send(b"y" * ((32 << 20) - at))
    assert b"%d" % (32 << 20) == wire.answer().body


def test_idle_and_half_said_requests_hold_up_nobody(sidecar, raw_origin, connect) -> None:
    """(Slowloris) 500 connections that say nothing, or half a head, or half a body: others are served at once."""
    for number in range(500):
        connect(sidecar).send(
            [b"", b"GET /x HTTP/1.1\r\nHos", get(b"/x", b"Content-Length: 9", method=b"POST")][number % 3]
        )
    assert [200] * 20 == [connect(sidecar).ask(get(raw_origin.path("/c"))).status for _ in range(20)]


def test_a_flood_of_tiny_chunks_holds_up_nobody(sidecar, raw_origin, connect) -> None:
    """700,000 chunks of a byte each cost time in proportion, not the square of it: others are served meanwhile."""
    path = raw_origin.path("/x")
    raw_origin.only(path, lambda seen: ok(b"%d" % len(seen.body)))
    flooding = connect(sidecar)
    raw = get(path, b"Transfer-Encoding: chunked", method=b"POST") + b"1\r\nx\r\n" * 700_000 + b"0\r\n\r\n"
    flood = threading.Thread(target=flooding.send, args=(raw,))
    began = time.monotonic()
    flood.start()
    wire = connect(sidecar)
    assert [200] * 100 == [wire.ask(get(raw_origin.path("/c"))).status for _ in range(100)]
    assert b"700000" == flooding.answer().body
    assert time.monotonic() - began < 8
    flood.join()


LONG_VALUES = [
    b"a" + b" " * 60_000 + b"b", b", " * 30_000, b"," * 60_000, b'"' * 60_000, b'"\\' * 30_000, b"a;q=0.1," * 7_000,
    b"W/" * 30_000, b"bytes=" + b"0-0," * 15_000, b"for=" * 15_000, b"%2e/" * 15_000, b"max-age=1," * 6_000,
    b"=;" * 30_000,
]  # fmt: skip


@pytest.mark.parametrize("value", LONG_VALUES, ids=lambda value: value[:9].decode())
def test_a_long_field_holds_up_nobody(sidecar, raw_origin, connect, value) -> None:
    """(ReDoS) However odd a field of 60 KB is, and whoever reads it, it costs no more than its length."""
    path = raw_origin.path("/c")
    raw_origin.only(path, ok(b"x", b"vary: accept-language, accept-encoding, x-any, cookie", b'etag: "1"'))
    wire = connect(sidecar)
    for number in range(32):
        wire.ask(get(path, b"X-Any: %d" % number))
    names = (
        b"X-Any", b"Accept-Language", b"Accept-Encoding", b"Cookie", b"Cache-Control", b"Connection", b"Range",
        b"If-None-Match", b"If-Range", b"X-Forwarded-For", b"Forwarded", b"Via", b"TE", b"X-Request-ID",
    )  # fmt: skip
    began = time.monotonic()
    for name in names:
        assert wire.ask(get(path, name + b": " + value)).status in {200, 206, 304, 416, 431}
    assert time.monotonic() - began < 2


def test_events_arrive_one_by_one(sidecar, raw_origin, connect) -> None:
    """A chunk of a stream is sent on when it comes, not when the next one does."""
    path, gates = raw_origin.path("/x"), [threading.Event() for _ in range(3)]
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    steps = [step for gate in gates for step in (b"9\r\ndata: 1\n\n\r\n", gate)]
    raw_origin.only(path, head, *steps, b"0\r\n\r\n")
    wire = connect(sidecar).send(get(path))
    received = wire.sock.recv(4096)
    for number, gate in enumerate(gates, 1):
        while received.count(b"data: 1") < number:
            received += wire.sock.recv(4096)
        assert number == received.count(b"data: 1")
        gate.set()


@pytest.mark.parametrize("length", [b"Content-Length: 10", b"Transfer-Encoding: chunked"])
def test_a_refusal_does_not_wait_for_the_body(sidecar, connect, length) -> None:
    """A 401 comes before the body does, and ends the connection (RFC 9112 §9.6)."""
    answer = (wire := connect(sidecar)).ask(get(b"/secret/1", length))
    assert (401, "close") == (answer.status, answer.get("connection"))
    wire.send(b"0123456789")
    assert wire.closed()


# WebSockets


KEY = base64.b64encode(b"0123456789abcdef")
ACCEPT = base64.b64encode(hashlib.sha1(KEY + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11", usedforsecurity=False).digest())
UPGRADE = (b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: " + KEY)
_DEFLATE = zlib.compressobj(9, zlib.DEFLATED, -15)
BOMB = (_DEFLATE.compress(bytes(15 << 20)) + _DEFLATE.flush(zlib.Z_SYNC_FLUSH))[:-4]
"""15 MiB in 15 KiB."""
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n"


def accepted(seen: Seen, *lines: bytes) -> bytes:
    """An origin's answer that opens the WebSocket."""
    key = (seen.get("sec-websocket-key") or b"") + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = base64.b64encode(hashlib.sha1(key, usedforsecurity=False).digest())
    fields = (b"upgrade: websocket", b"connection: upgrade", b"sec-websocket-accept: " + accept, *lines)
    return b"HTTP/1.1 101 Switching Protocols\r\n" + b"".join(line + b"\r\n" for line in fields) + b"\r\n"


def test_a_websocket_opens_with_the_sidecars_own_handshake(sidecar, raw_origin, connect) -> None:
    """The origin is told who asks and how, with a key of the sidecar's own, and nothing that the client claims."""
    path = raw_origin.path("/ws")
    raw_origin.only(path, lambda seen: accepted(seen, b"x-origin: yes"), HANG)
    hop = (b"Proxy-Authorization: Basic x", b"TE: trailers", b"Keep-Alive: 5", b"Expect: 100-continue")
    claims = (
        *hop,
        b"X-User-Id: 1",
        b"X_User_Id: 1",
        b"X-Forwarded-For: 9.9.9.9",
        b"X-Rewrite-URL: /evil",
        b"Cookie: a=b",
    )
    answer = connect(sidecar).ask(get(path + b"?q=1", *UPGRADE, *claims))
    assert (101, ACCEPT.decode()) == (answer.status, answer.get("sec-websocket-accept"))
    assert "yes" == answer.get("x-origin")
    [seen] = raw_origin.seen(path)
    assert path + b"?q=1" == seen.target
    assert KEY != seen.get("sec-websocket-key")
    assert (b"a=b", b"127.0.0.1", b"a.example") == (seen.get("cookie"), seen.get("x-forwarded-for"), seen.get("host"))
    assert {b"proxy-authorization", b"te", b"keep-alive", b"expect"}.isdisjoint(name for name, _ in seen.fields)
    assert [] == [name for name, _ in seen.fields if b"user" in name.lower() and name.lower() != b"user-agent"]
    assert None is seen.get("x-rewrite-url")


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        pytest.param(get(b"$", *UPGRADE[:2], UPGRADE[3], b"Sec-WebSocket-Version: 8"), 426, id="version-8"),
        pytest.param(get(b"$", *UPGRADE[:3]), 400, id="no-key"),
        pytest.param(get(b"$", *UPGRADE[:3], b"Sec-WebSocket-Key: x"), 400, id="bad-key"),
        pytest.param(get(b"$", *UPGRADE, b"Sec-WebSocket-Key: " + KEY), 400, id="two-keys"),
        pytest.param(get(b"/secret/1", *UPGRADE), 401, id="session-required"),
        pytest.param(get(b"/x/..%2fsecret/1", *UPGRADE), 400, id="ambiguous-path"),
        pytest.param(get(b"$", *UPGRADE, *[b"X: y"] * 125), 431, id="too-many-fields"),
        pytest.param(get(b"$", *UPGRADE, b"X: " + b"y" * 8200), 431, id="long-field"),
        pytest.param(get(b"/" + b"y" * 8200, *UPGRADE), 431, id="long-target"),
        pytest.param(get(b"$", *UPGRADE, b"Sec-WebSocket-Extensions: ;;"), 400, id="extensions-malformed"),
        pytest.param(get(b"$", *UPGRADE, b"Sec-WebSocket-Protocol: a b"), 400, id="protocol-malformed"),
        pytest.param(get(b"$", *UPGRADE, b"Sec-WebSocket-Version: 13"), 400, id="two-versions"),
    ],
)
def test_a_handshake_that_is_refused_opens_nothing(sidecar, raw_origin, connect, raw, status) -> None:
    """(WebSocket smuggling) A refusal is never taken for a tunnel: nothing after it reaches the origin unread."""
    path = raw_origin.path("/ws")
    raw_origin.only(path, accepted, HANG)
    wire = connect(sidecar).send(raw.replace(b"$", path))
    assert status == wire.answer().status
    wire.send(SMUGGLED).rest()
    assert [] == raw_origin.seen(path)
    assert b"/smuggled" not in b"".join(raw_origin.lines())


def test_another_version_of_websocket_is_told_which_one_will_do(sidecar, connect) -> None:
    """426 with the version that is spoken here, and as a protocol to change to (RFC 6455 §4.4, RFC 9110 §15.5.22)."""
    wire = connect(sidecar)
    answer = wire.ask(get(b"/ws", *UPGRADE[:2], UPGRADE[3], b"Sec-WebSocket-Version: 8"))
    assert (426, "13", "websocket") == (
        answer.status,
        answer.get("sec-websocket-version"),
        answer.get("upgrade"),
    )
    assert [b"upgrade", b"close"] == answer.all("connection")
    assert wire.closed()


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(get(b"$", *UPGRADE, b"Content-Length: 0", method=b"POST"), id="POST"),
        pytest.param(get(b"$", *UPGRADE, b"Content-Length: 5") + b"hello", id="with-a-body"),
        pytest.param(get(b"$", *UPGRADE, b"Content-Length: 00"), id="with-length-00"),
        pytest.param(get(b"$", *UPGRADE, b"Transfer-Encoding: chunked") + b"0\r\n\r\n", id="with-a-chunked-body"),
        pytest.param(get(b"$", *UPGRADE, version=b"1.0"), id="1.0"),
        pytest.param(get(b"$", b"Connection: upgrade", b"Upgrade: websocket, h2c", *UPGRADE[2:]), id="two-protocols"),
        pytest.param(get(b"$", b"Upgrade: websocket", *UPGRADE[2:]), id="without-connection"),
        pytest.param(get(b"$", b"Connection: upgrade", b"Upgrade: h2c", b"HTTP2-Settings: AAAA"), id="h2c"),
    ],
)
def test_what_is_no_handshake_is_a_plain_request(sidecar, raw_origin, connect, raw) -> None:
    """Upgrade is dropped wherever the sidecar does not itself speak the other protocol (RFC 9110 §7.8)."""
    path = raw_origin.path("/ws")
    assert 200 == connect(sidecar).ask(raw.replace(b"$", path)).status
    [seen] = raw_origin.seen(path)
    assert (None, None) == (seen.get("upgrade"), seen.get("connection"))


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        pytest.param(ok(b"no", status=b"403 No"), 403, id="403"),
        pytest.param(ok(b"plain"), 200, id="200"),
        pytest.param(b"HTTP/1.1 101 Go\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n", 502, id="101-no-accept"),
        pytest.param(b"HTTP/1.1 101 Switching\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n", 502, id="101-to-h2c"),
        pytest.param(b"nonsense\r\n\r\n", 502, id="malformed"),
    ],
)
def test_an_origin_that_does_not_open_the_tunnel(sidecar, raw_origin, connect, answer, status) -> None:
    """Its answer goes to the client as it is, or as a 502; what the client sends then reaches nobody."""
    path = raw_origin.path("/ws")
    raw_origin.only(path, answer, CLOSE)
    wire = connect(sidecar).send(get(path, *UPGRADE))
    assert status == wire.answer().status
    wire.send(SMUGGLED).rest()
    assert b"/smuggled" not in b"".join(raw_origin.lines())


@pytest.mark.parametrize(
    "end",
    [(CLOSE,), (RESET,), (b"\x81\x02hi", CLOSE), (b"\x01\x02hi", RESET)],
    ids=["close", "reset", "message-then-close", "half-a-message"],
)
def test_an_origin_that_ends_the_websocket_ends_it_for_the_client(sidecar, raw_origin, connect, end) -> None:
    """However the origin goes, its last whole message and a close frame come at once, and no half message."""
    path = raw_origin.path("/ws")
    raw_origin.only(path, accepted, *end)
    wire, received, began = connect(sidecar).send(get(path, *UPGRADE)), b"", time.monotonic()
    while b"\x88" not in received:
        received += wire.sock.recv(4096)
    assert time.monotonic() - began < 2
    _, _, frames = received.partition(b"\r\n\r\n")
    assert (b"\x81\x02hi" in end) == frames.startswith(b"\x81\x02hi")


def test_a_limit_holds_for_websockets(sidecar, raw_origin, connect) -> None:
    """Handshakes are counted like requests."""
    path = raw_origin.path("/limited")
    raw_origin.only(path, accepted, HANG)
    assert [101, 101, 429] == [connect(sidecar).ask(get(path, *UPGRADE)).status for _ in range(3)]


@pytest.fixture(scope="module")
def echoing(raw_sidecars, origin):
    """A sidecar before the origin that echoes."""
    return raw_sidecars(1, "none", policy=POLICY, upstream=origin.url)[0]


async def test_websocket_messages_of_every_kind(echoing) -> None:
    """Empty, large, fragmented and many messages, pings and closes pass."""
    url = echoing.url.replace("http", "ws") + "/echo"
    async with websockets.connect(url, proxy=None, max_size=None) as socket:
        for text in ("", "x" * 1_000_000, "ä\u0000\n"):
            await socket.send(text)
            assert f"-:{text}" == await socket.recv()
        await socket.send(["in ", "three ", "parts"])
        assert "-:in three parts" == await socket.recv()
        await asyncio.gather(*(socket.send(str(number)) for number in range(500)))
        assert [f"-:{number}" for number in range(500)] == [await socket.recv() for _ in range(500)]
        await asyncio.wait_for(await socket.ping(), 2)
        await socket.close(4001, "enough")
    assert 4001 == socket.close_code


ENDLESS_MESSAGES = {
    "declared": b"\x82\xff" + struct.pack("!Q", 2 << 20) + bytes(4),
    "in-fragments": b"\x02\x80" + bytes(4) + (b"\x00\xfe" + struct.pack("!H", 60_000) + bytes(4 + 60_000)) * 20,
    "compressed": b"\xc2\xfe" + struct.pack("!H", len(BOMB)) + bytes(4) + BOMB,
}


@pytest.mark.parametrize("message", ENDLESS_MESSAGES)
def test_a_message_that_is_too_long_ends_the_websocket(sidecar, raw_origin, connect, message) -> None:
    """Whether it says so, comes in parts, or is small until it is decompressed: 1009, and no memory for more."""
    path = raw_origin.path("/ws")
    raw_origin.only(path, accepted, HANG)
    before = resident_mb(sidecar)
    for _ in range(10):
        wire = connect(sidecar)
        deflate = (b"Sec-WebSocket-Extensions: permessage-deflate",) if message == "compressed" else ()
        assert 101 == wire.ask(get(path, *UPGRADE, *deflate)).status
        wire.send(ENDLESS_MESSAGES[message])
        closing = wire.sock.recv(4096)
        assert (0x88, 1009) == (closing[0], int.from_bytes(closing[2:4], "big"))
    assert resident_mb(sidecar) - before < 32


async def test_a_hundred_websockets_at_once(echoing) -> None:
    """Each gets its own messages; when all leave, the sidecar goes on."""
    url = echoing.url.replace("http", "ws") + "/echo"
    sockets = await asyncio.gather(*(websockets.connect(url, proxy=None) for _ in range(100)))
    for number, socket in enumerate(sockets):
        await socket.send(str(number))
    assert [f"-:{number}" for number in range(100)] == [await socket.recv() for socket in sockets]
    for socket in sockets[::2]:
        socket.transport.abort()
    await asyncio.gather(*(socket.close() for socket in sockets[1::2]))
    async with websockets.connect(url, proxy=None) as socket:
        await socket.send("still")
        assert "-:still" == await socket.recv()


def test_an_invalid_frame_ends_the_websocket(echoing, origin, connect) -> None:
    """Bytes that are no frames, such as a request, end the tunnel: the origin never reads them."""
    wire = connect(echoing)
    assert 101 == wire.ask(get(b"/echo", *UPGRADE)).status
    wire.send(SMUGGLED).rest()
    assert 0 == origin.count("/smuggled")


def test_bytes_behind_a_handshake_are_no_request(sidecar, raw_origin, connect) -> None:
    """What comes before the WebSocket is open ends it."""
    path = raw_origin.path("/ws")
    raw_origin.only(path, ok(b"no", status=b"403 No"))
    connect(sidecar).send(get(path, *UPGRADE) + SMUGGLED).rest()
    assert b"/smuggled" not in b"".join(raw_origin.lines())

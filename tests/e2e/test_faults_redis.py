"""Redis at its worst: lying, dripping, cut off at any byte, and changing its mind under load. Requests never notice."""

import contextlib
import itertools
import random
import socket
import threading
import time
from collections.abc import Callable

import pytest

from .wire import Seen, ok

pytestmark = pytest.mark.e2e

POLICY = """
version: 1
session: {cookie: session_id, identity: {X-User-Id: user_id}}
limits:
  many: {rate: 100000/minute, by: [client_ip]}
routes:
  - {name: cached, match: "GET /c/{id}", limits: [many], cache: {ttl: 60s, key: "c:{id}", tags: ["c:{id}"]}}
  - {name: user, match: "GET /user/{id}", session: required, cache: {ttl: 60s, key: "user:{id}", scope: user}}
"""
IN_TIME_S = 3.0


def get(path: bytes, *lines: bytes) -> bytes:
    """A request with a session."""
    fields = (b"Cookie: session_id=ann", *lines)
    return b"GET %b HTTP/1.1\r\nHost: a.example\r\n%b\r\n" % (path, b"".join(line + b"\r\n" for line in fields))


def own(seen: Seen) -> bytes:
    """Answers each path with itself."""
    return ok(seen.path)


def assert_served(sidecar, raw_origin, connect, requests: int = 30) -> None:
    """Every answer is right and in time; one that needs a session may be a 503, and is never anybody's."""
    wire = connect(sidecar)
    paths = [raw_origin.path("/c") for _ in range(5)] + [raw_origin.path("/user")]
    for path in paths:
        raw_origin.only(path, own)
    slowest = 0.0
    for path in itertools.islice(itertools.cycle(paths), requests):
        began = time.monotonic()
        answer = wire.ask(get(path))
        slowest = max(slowest, time.monotonic() - began)
        if path.startswith(b"/user"):
            assert answer.status in {401, 503}
        else:
            assert (200, path) == (answer.status, answer.body)
    assert slowest < IN_TIME_S


# A server that is not Redis


class Pretender:
    """Listens where Redis should, and treats each connection as ``mode`` says."""

    def __init__(self) -> None:
        self.mode: Callable[[socket.socket], None] = _close
        self.served = 0
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        """Listen no more."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def drop(self) -> None:
        """Hang up on everybody."""
        for sock in list(self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.served += 1
            threading.Thread(target=self._serve, args=(sock, self.mode), daemon=True).start()

    def _serve(self, sock: socket.socket, mode: Callable[[socket.socket], None]) -> None:
        self._open.add(sock)
        with contextlib.suppress(OSError), sock:
            mode(sock)
        self._open.discard(sock)


def _close(_: socket.socket) -> None:
    """Hang up at once."""


def _always(reply: bytes) -> Callable[[socket.socket], None]:
    """Answer every piece that comes with ``reply``."""

    def serve(sock: socket.socket) -> None:
        while sock.recv(65536):
            sock.sendall(reply)

    return serve


def _unasked(sock: socket.socket) -> None:
    """Talk before being asked, and on and on."""
    sock.settimeout(0.2)
    for _ in range(1000):
        sock.sendall(b"+OK\r\n" * 1000)


def _drip(sock: socket.socket) -> None:
    """One byte of an answer now and then."""
    while sock.recv(65536):
        for byte in b"$1000\r\n" + b"x" * 50:
            sock.sendall(bytes((byte,)))
            time.sleep(0.01)


PRETENCES = {
    "hangs-up": _close,
    "talks-unasked": _unasked,
    "drips": _drip,
    "ok": _always(b"+OK\r\n"),
    "many-oks": _always(b"+OK\r\n" * 50),
    "error": _always(b"-ERR no\r\n"),
    "loading": _always(b"-LOADING Redis is loading the dataset in memory\r\n"),
    "noauth": _always(b"-NOAUTH Authentication required.\r\n"),
    "noperm": _always(b"-NOPERM no\r\n"),
    "readonly": _always(b"-READONLY You can't write against a read only replica.\r\n"),
    "masterdown": _always(b"-MASTERDOWN Link with MASTER is down\r\n"),
    "oom": _always(b"-OOM command not allowed when used memory > 'maxmemory'.\r\n"),
    "busy": _always(b"-BUSY Redis is busy running a script.\r\n"),
    "moved": _always(b"-MOVED 1 127.0.0.1:1\r\n"),
    "noscript": _always(b"-NOSCRIPT No matching script.\r\n"),
    "numbers": _always(b":1\r\n" * 8),
    "nulls": _always(b"_\r\n" * 8 + b"$-1\r\n" * 8 + b"*-1\r\n" * 8),
    "garbage": _always(b"\x00\xff\r\n\r\nnonsense"),
    "http": _always(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"),
    "endless-string": _always(b"$1000000000\r\nxxxx"),
    "endless-array": _always(b"*1000000000\r\n"),
    "endless-map": _always(b"%1000000000\r\n"),
    "endless-push": _always(b">1000000000\r\n"),
    "negative-length": _always(b"$-7\r\n"),
    "deep-array": _always(b"*1\r\n" * 5000),
    "half-a-line": _always(b"$5"),
    "wrong-shapes": _always(b"*3\r\n:1\r\n$3\r\nabc\r\n*0\r\n" * 8),
    "push": _always(b">2\r\n+invalidate\r\n*0\r\n" * 8),
}


class Between(Pretender):
    """A relay before Redis, on which replies are late or cut off."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.delay_s = 0.0
        self.cut_after: Callable[[], int] = lambda: 1 << 40
        self.mode = self.relay
        self._port = port

    def relay(self, client: socket.socket) -> None:
        """Pass bytes both ways."""
        with socket.create_connection(("127.0.0.1", self._port), 5) as server:
            asking = threading.Thread(target=self._pass, args=(client, server, 1 << 40), daemon=True)
            asking.start()
            self._pass(server, client, self.cut_after())
            asking.join()

    def _pass(self, source: socket.socket, target: socket.socket, left: int) -> None:
        with contextlib.suppress(OSError):
            while left > 0 and (data := source.recv(65536)):
                time.sleep(self.delay_s)
                target.sendall(data[:left])
                left -= len(data)
        for sock in (source, target):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def server(module_valkeys):
    """A real server."""
    return module_valkeys()


@pytest.fixture(scope="module")
def between(server):
    """The relay before it."""
    relay = Between(server.port)
    yield relay
    relay.stop()


@pytest.fixture(scope="module")
def distant(raw_sidecars, between):
    """A sidecar behind the relay."""
    return raw_sidecars(1, between.url, policy=POLICY)[0]


@pytest.mark.parametrize("pretence", PRETENCES)
def test_a_server_that_is_not_redis(distant, between, raw_origin, connect, pretence) -> None:
    """Whatever answers in place of Redis costs hits, not requests; as soon as it is Redis again, all is well."""
    between.mode, before = PRETENCES[pretence], between.served
    between.drop()
    give_up_at = time.monotonic() + 10
    while between.served < before + 2:
        assert_served(distant, raw_origin, connect, requests=6)
        assert time.monotonic() < give_up_at
    assert_served(distant, raw_origin, connect)
    between.mode = between.relay
    between.drop()
    distant.await_part("redis-cache", "up")
    distant.await_part("bus", "connected")


@pytest.mark.parametrize("delay_s", [0.01, 0.04, 0.06, 0.2, 1.0])
def test_a_slow_redis_costs_no_more_than_its_budget(distant, between, raw_origin, connect, delay_s) -> None:
    """However late the answers are, requests wait 50 ms for all of them together, and soon not even that."""
    between.delay_s = delay_s
    began = time.monotonic()
    assert_served(distant, raw_origin, connect, requests=40)
    between.delay_s = 0.0
    assert time.monotonic() - began < 40 * 0.12


def test_replies_that_break_off_at_any_byte(distant, between, raw_origin, connect) -> None:
    """A reply cut anywhere is no reply: never a body that is short, or another key's."""
    lengths = itertools.count(1)
    between.cut_after = lambda: next(lengths) * 7 % 3000
    path = raw_origin.path("/c")
    raw_origin.only(path, lambda seen: ok(seen.target * 20))
    wire = connect(distant)
    for number in range(600):
        target = b"%b?%d" % (path, number % 40)
        answer = wire.ask(get(target))
        assert (200, target * 20) == (answer.status, answer.body)
    between.cut_after = lambda: 1 << 40
    distant.await_part("bus", "connected")


# Truth


def _kill_clients(client) -> None:
    client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")


TROUBLES = [
    lambda client: client.flushall(),
    lambda client: client.script_flush(),
    _kill_clients,
    lambda client: client.delete("{cacheproxy}:clock"),
    lambda client: client.execute_command("CLIENT", "PAUSE", "120", "ALL"),
    lambda client: [client.delete(key) for key in client.scan_iter("cacheproxy:*")],
    lambda client: client.delete("{cacheproxy}:events"),
]


def test_nothing_stale_survives_any_trouble(raw_sidecars, raw_origin, connect, server) -> None:
    """100 writes, each with an acknowledged purge, over two replicas while Redis is in trouble: no read is older."""
    replicas = raw_sidecars(2, server.url, policy=POLICY)
    shuffled = random.Random(11)
    path, version = raw_origin.path("/c"), 0
    raw_origin.only(path, lambda _: ok(b"%d" % version))
    wires = [connect(replica) for replica in replicas]
    tag = "c:" + path.decode().rpartition("/")[2]
    with server.client() as client:
        acknowledged = hits = 0
        for _ in range(100):
            for wire in shuffled.choices(wires, k=3):
                answer = wire.ask(get(path))
                assert int(answer.body) >= acknowledged
                hits += answer.get("x-cache") == "HIT"
            if shuffled.random() < 0.15:
                shuffled.choice(TROUBLES)(client)
            version += 1
            with contextlib.suppress(AssertionError):
                receipt = shuffled.choice(replicas).purge(tags=[tag], wait="2s")
                acknowledged = version if not receipt["silent"] else acknowledged
    assert acknowledged > 70
    assert hits > 30

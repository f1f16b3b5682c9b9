"""Both ends of a proxy as bytes: an origin that answers by script and keeps what it got, and a client that reads."""

import contextlib
import itertools
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

PATIENCE_S = 10.0
"""How long a reader waits for bytes that must come."""
HEAD_END = b"\r\n\r\n"
CLOSE, RESET, HANG, READ = "close", "reset", "hang", "read"
"""Steps of a script beside the bytes it sends: end orderly, end by RST, read until the proxy ends, take the body in."""

Step = bytes | str | threading.Event | Callable[["Seen"], bytes | str]


@dataclass(slots=True)
class Seen:
    """One request as the origin received it."""

    line: bytes
    fields: list[tuple[bytes, bytes]]
    connection: int
    body: bytes = b""

    @property
    def path(self) -> bytes:
        """The target without its query."""
        return self.target.partition(b"?")[0]

    @property
    def target(self) -> bytes:
        """What was asked for."""
        return self.line.split(b" ")[1]

    def all(self, name: str) -> list[bytes]:
        """Every value of a field."""
        return [value for key, value in self.fields if key.lower() == name.lower().encode()]

    def get(self, name: str) -> bytes | None:
        """The only value of a field, or None."""
        values = self.all(name)
        assert len(values) < 2, f"{name} came {len(values)} times"
        return values[0] if values else None


@dataclass(slots=True)
class Answer:
    """One response as the client read it. ``whole`` unless it broke off before its own end."""

    status: int
    fields: list[tuple[bytes, bytes]]
    body: bytes = b""
    whole: bool = True

    def all(self, name: str) -> list[bytes]:
        """Every value of a field."""
        return [value for key, value in self.fields if key == name.lower().encode()]

    def get(self, name: str) -> str | None:
        """The first value of a field as text, or None."""
        values = self.all(name)
        return values[0].decode("latin-1") if values else None


class Wire:
    """A client's connection, or the origin's end of one: bytes out, messages in."""

    def __init__(self, sock: socket.socket) -> None:
        """Use ``sock``."""
        self.sock = sock
        self._buffer = b""
        sock.settimeout(PATIENCE_S)

    def send(self, data: bytes) -> "Wire":
        """Send ``data``, unless the other end is gone already."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.sock.sendall(data)
        return self

    def half_close(self) -> "Wire":
        """Send no more."""
        self.sock.shutdown(socket.SHUT_WR)
        return self

    def reset(self) -> None:
        """End by RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        """End orderly."""
        self.sock.close()

    def closed(self) -> bool:
        """Whether the other end closes without another byte."""
        return self._buffer == b"" and not self._fill()

    def rest(self) -> bytes:
        """All bytes up to the other end's close."""
        while self._fill():
            pass
        taken, self._buffer = self._buffer, b""
        return taken

    def answer(self, method: str = "GET") -> Answer:
        """The next response, interim ones included. AssertionError if the connection ends before its head does."""
        head = self._head()
        assert head is not None, f"closed without a response: {self._buffer!r}"
        line, fields = head
        status = int(line.split(b" ", 2)[1])
        answer = Answer(status, [(name.lower(), value) for name, value in fields])
        if method != "HEAD" and status >= 200 and status not in {204, 304}:
            answer.body, answer.whole = self._body(answer.fields, to_the_end=True)
        return answer

    def ask(self, data: bytes, method: str = "GET") -> Answer:
        """Send ``data``; the response."""
        return self.send(data).answer(method)

    def request(self, number: int) -> Seen | None:
        """The next request's head, as an origin reads it; None at the end."""
        head = self._head()
        return None if head is None else Seen(head[0], head[1], number)

    def request_body(self, seen: Seen) -> None:
        """Take in the body of ``seen``."""
        seen.body, _ = self._body([(name.lower(), value) for name, value in seen.fields], to_the_end=False)

    def _head(self) -> tuple[bytes, list[tuple[bytes, bytes]]] | None:
        while HEAD_END not in self._buffer:
            if not self._fill():
                return None
        raw, _, self._buffer = self._buffer.partition(HEAD_END)
        line, *lines = raw.split(b"\r\n")
        parts = [each.partition(b":") for each in lines]
        return line, [(name, value.strip(b" \t")) for name, _, value in parts]

    def _body(self, fields: list[tuple[bytes, bytes]], *, to_the_end: bool) -> tuple[bytes, bool]:
        named = dict(fields)
        if b"transfer-encoding" in named:
            return self._chunks()
        if b"content-length" in named:
            return self._take(int(named[b"content-length"]))
        return (self.rest(), True) if to_the_end else (b"", True)

    def _chunks(self) -> tuple[bytes, bool]:
        body = b""
        while True:
            line = self._line()
            if line is None:
                return body, False
            size = int(line, 16)
            chunk, whole = self._take(size)
            body += chunk
            if not whole or self._line() is None:
                return body, False
            if size == 0:
                return body, True

    def _line(self) -> bytes | None:
        while b"\r\n" not in self._buffer:
            if not self._fill():
                return None
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line

    def _take(self, size: int) -> tuple[bytes, bool]:
        parts, left = [], size
        while True:
            part, self._buffer = self._buffer[:left], self._buffer[left:]
            parts.append(part)
            left -= len(part)
            if left == 0 or not self._fill():
                return b"".join(parts), left == 0

    def _fill(self) -> bool:
        try:
            data = self.sock.recv(1 << 16)
        except ConnectionResetError:
            data = b""
        self._buffer += data
        return bool(data)


@dataclass(slots=True)
class _Script:
    steps: tuple[Step, ...]
    early: bool = False


def ok(body: bytes = b"ok", *fields: bytes, status: bytes = b"200 OK") -> bytes:
    """A response with a length."""
    lines = b"".join(line + b"\r\n" for line in fields)
    return b"HTTP/1.1 %b\r\ncontent-length: %d\r\n%b\r\n%b" % (status, len(body), lines, body)


@dataclass
class RawOrigin:
    """Answers each path as it was told to, and any other with what it understood of the request."""

    port: int = 0
    _scripts: dict[bytes, list[_Script]] = field(default_factory=dict)
    _seen: list[Seen] = field(default_factory=list)
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _open: set[Wire] = field(default_factory=set)
    _listener: socket.socket | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> "RawOrigin":
        """Listen."""
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=2048)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()
        return self

    def stop(self) -> None:
        """Close everything."""
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        for wire in list(self._open):
            with contextlib.suppress(OSError):
                wire.sock.shutdown(socket.SHUT_RDWR)

    def path(self, prefix: str = "/t") -> bytes:
        """A path that no other test uses."""
        return f"{prefix}/{next(self._numbers)}".encode()

    def on(self, path: bytes, *steps: Step, early: bool = False) -> None:
        """Answer the next request for ``path`` by ``steps``, and all later ones if nothing else is said of them.

        ``early``: begin before the request's body is read.
        """
        self._scripts.setdefault(path, []).append(_Script(steps, early))

    def only(self, path: bytes, *steps: Step, early: bool = False) -> None:
        """Answer every request for ``path`` by ``steps`` from now on."""
        self._scripts[path] = [_Script(steps, early)]

    def seen(self, path: bytes) -> list[Seen]:
        """The requests for ``path``, whatever their query."""
        with self._lock:
            return [seen for seen in self._seen if seen.path == path]

    def lines(self) -> list[bytes]:
        """Every request line that came."""
        with self._lock:
            return [seen.line for seen in self._seen]

    def _accept(self, listener: socket.socket) -> None:
        for number in itertools.count():
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(Wire(sock), number), daemon=True).start()

    def _serve(self, wire: Wire, number: int) -> None:
        self._open.add(wire)
        wire.sock.settimeout(60)
        try:
            while self._one(wire, number):
                pass
        except OSError:
            pass
        finally:
            self._open.discard(wire)
            wire.close()

    def _one(self, wire: Wire, number: int) -> bool:
        seen = wire.request(number)
        if seen is None:
            return False
        with self._lock:
            self._seen.append(seen)
            scripts = self._scripts.get(seen.path, [])
            script = (scripts.pop(0) if len(scripts) > 1 else scripts[0]) if scripts else _Script((_understood,))
        if not script.early:
            wire.request_body(seen)
        return all(_perform(step, wire, seen) for step in script.steps)


def _perform(step: Step, wire: Wire, seen: Seen) -> bool:
    """Do one step; whether the connection goes on."""
    if isinstance(step, threading.Event):
        assert step.wait(PATIENCE_S)
        return True
    if callable(step):
        step = step(seen)
    if isinstance(step, bytes):
        wire.send(step)
    elif step == READ:
        wire.request_body(seen)
    elif step == HANG:
        wire.rest()
    elif step == RESET:
        wire.reset()
        return False
    else:
        return False
    return True


def _understood(seen: Seen) -> bytes:
    host = seen.get("host") or b"-"
    return ok(b"%b host=%b body=%b" % (seen.line, host, seen.body))

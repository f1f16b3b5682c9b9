"""What the tests of coherence put around the sidecars: an origin whose answers tell their age, and a bad line."""

import contextlib
import json
import socket
import threading
import time
from collections import Counter, defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PATIENCE_S = 15.0


class VersionedOrigin(ThreadingHTTPServer):
    """Answers with the version that a thing had when the request came, and can be held between the two.

    ``/v/{id}`` may be cached; ``/private/{id}`` and ``/cookie/{id}`` are for one client alone.
    """

    daemon_threads = True
    request_queue_size = 512

    def __init__(self) -> None:
        """Listen on a loopback port."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.versions: defaultdict[str, int] = defaultdict(lambda: 1)
        self.asked: Counter[str] = Counter()
        self.delay_s = 0.0
        """How long each answer takes."""
        self.gate = threading.Event()
        self.gate.set()
        self.changed = threading.Condition()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)

    def start(self) -> "VersionedOrigin":
        """Serve from a thread."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Serve no more."""
        self.gate.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: replicas that are killed break their connections off."""

    def bump(self, path: str) -> int:
        """Change what is under ``path``; its new version."""
        with self.changed:
            self.versions[path] += 1
            return self.versions[path]

    def until_asked(self, path: str, times: int) -> None:
        """Wait until ``path`` was asked for so often."""
        with self.changed:
            assert self.changed.wait_for(lambda: self.asked[path] >= times, PATIENCE_S), (path, self.asked[path])


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: VersionedOrigin

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        with self.server.changed:
            version = self.server.versions[path]
            self.server.asked[path] += 1
            number = self.server.asked[path]
            self.server.changed.notify_all()
        self.server.gate.wait(PATIENCE_S)
        time.sleep(self.server.delay_s)
        fields = {
            "/private/": {"Cache-Control": "private"},
            "/cookie/": {"Set-Cookie": f"visit={number}"},
        }
        extra = next((value for prefix, value in fields.items() if path.startswith(prefix)), {})
        self._answer({"version": version, "number": number}, extra)

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self._answer({"version": self.server.bump(self.path)}, {})

    def _answer(self, content: dict[str, int], extra: dict[str, str]) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **extra}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class BadLine:
    """Stands between one replica and Redis. Once ``deaf``, subscribers' connections bring nothing and stay open."""

    def __init__(self, port: int) -> None:
        """Lead to Redis on the loopback ``port``."""
        self.deaf = threading.Event()
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        """Cut everything."""
        for each in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
                self._sockets += (near, far)
                subscribed = threading.Event()
                threading.Thread(target=self._there, args=(near, far, subscribed), daemon=True).start()
                threading.Thread(target=self._back, args=(far, near, subscribed), daemon=True).start()

    def _there(self, near: socket.socket, far: socket.socket, subscribed: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := near.recv(65536):
                if b"SUBSCRIBE" in data:
                    subscribed.set()
                far.sendall(data)
        _end(far)

    def _back(self, far: socket.socket, near: socket.socket, subscribed: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := far.recv(65536):
                if not (self.deaf.is_set() and subscribed.is_set()):
                    near.sendall(data)
        _end(near)


def _end(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_WR)

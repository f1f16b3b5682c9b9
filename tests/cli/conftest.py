"""A command run in this process, and an admin port to ask."""

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from cacheproxy.cli import main


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its output as JSON."""
        return json.loads(self.out)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Runs ``cacheproxy`` with arguments, in an environment without variables of ours."""
    for name in list(os.environ):
        if name.startswith(("CACHEPROXY_", "CACHE_TTL_", "REDIS_")):
            monkeypatch.delenv(name)

    def run_command(*arguments: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["cacheproxy", *arguments])
        with pytest.raises(SystemExit) as exited:
            main()
        captured = capsys.readouterr()
        assert isinstance(exited.value.code, int)
        return Ran(exited.value.code, captured.out, captured.err)

    return run_command


@dataclass
class AdminPort:
    """An HTTP server that answers as it is told and remembers what it was asked."""

    address: str = ""
    status: int = 200
    answer: object = field(default_factory=dict)
    answers: dict[str, object] = field(default_factory=dict)
    """In place of ``answer``, by how the request's line begins (``DELETE /api/v1/keys``)."""
    asked: list[tuple[str, str, str | None, Any]] = field(default_factory=list)


@pytest.fixture
def admin_port() -> Iterator[AdminPort]:
    """A running admin port."""
    port = AdminPort()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.do_POST()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            token = self.headers.get("authorization")
            port.asked.append((self.command, self.path, token, json.loads(body) if body else None))
            line = f"{self.command} {self.path}"
            answer = next((each for start, each in port.answers.items() if line.startswith(start)), port.answer)
            content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(404 if answer is None else port.status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_PUT = do_DELETE = do_PATCH = do_POST  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    port.address = f"127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield port
    server.shutdown()
    thread.join()
    server.server_close()

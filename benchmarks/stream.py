"""What 100 MB do to a server that passes them on."""

import socket
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from servers import STREAM_BYTES, Server

_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class Stream:
    """How it went."""

    server: str
    first_byte_ms: float
    took_s: float
    grown_bytes: int
    """The most by which its memory grew, while the client read as fast as it could."""
    grown_paused_bytes: int
    """The same for a client that stopped reading for a second."""


def streams(servers: Sequence[Server]) -> list[Stream]:
    """100 MB through each of ``servers``."""
    return [_streamed(server) for server in servers]


def _streamed(server: Server) -> Stream:
    _read(server, 0.0)  # what is allocated once is not growth
    first_s, took_s, grown = _read(server, 0.0)
    _, _, grown_paused = _read(server, _PAUSE_S)
    return Stream(server.name, first_s * 1000, took_s, grown, grown_paused)


def _read(server: Server, pause_s: float) -> tuple[float, float, int]:
    """Seconds to the first byte and to the last, and the bytes by which the server grew meanwhile."""
    before = peak = server.process.rss_bytes()
    with closing(socket.create_connection(("127.0.0.1", server.port), 30)) as connection:
        connection.sendall(b"GET /stream HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
        began, read, first_s = time.perf_counter(), 0, 0.0
        while chunk := connection.recv(1 << 20):
            if not read:
                first_s = time.perf_counter() - began
                time.sleep(pause_s)
            read += len(chunk)
            peak = max(peak, server.process.rss_bytes())
        took_s = time.perf_counter() - began
    if read < STREAM_BYTES:
        raise RuntimeError(f"{server.name} sent {read} bytes of {STREAM_BYTES}")
    return first_s, took_s, peak - before

"""Many clients at once for one key that nobody has yet."""

import asyncio
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace

from machine import free_port
from servers import Place, Server, sidecar, start_peers

CLIENTS = 500
SLOW_S = 0.2
"""How long the origin thinks."""
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nCache-Control: max-age=60\r\n\r\nok"


@dataclass(frozen=True, slots=True)
class Stampede:
    """What came of it."""

    server: str
    origin_requests: int
    took_s: float
    """Until the last client had its answer."""
    failed: int


def stampedes(place: Place) -> list[Stampede]:
    """``CLIENTS`` at once on every cache."""
    slow = replace(place.apart("stampede"), slow=free_port())
    with ExitStack() as stack:
        ours = stack.enter_context(sidecar(slow, upstream=slow.slow, answers=b"502"))
        return [asyncio.run(_stampede(server, slow.slow)) for server in (ours, *start_peers(slow, stack))]


async def _stampede(server: Server, slow_port: int) -> Stampede:
    asked: list[bytes] = []
    loop, together = asyncio.get_running_loop(), asyncio.Barrier(CLIENTS + 1)
    origin = await loop.create_server(lambda: _Slow(asked), "127.0.0.1", slow_port, backlog=CLIENTS)
    clients = [asyncio.create_task(_client(server.port, together)) for _ in range(CLIENTS)]
    await together.wait()
    began = time.perf_counter()
    answers = await asyncio.gather(*clients)
    took_s = time.perf_counter() - began
    origin.close()
    failed = sum(not answer.startswith(b"HTTP/1.1 200") for answer in answers)
    return Stampede(server.name, len(asked), took_s, failed)


class _Slow(asyncio.Protocol):
    """An origin's connection. Proxies send each head in one piece, and the next after the answer."""

    def __init__(self, asked: list[bytes]) -> None:
        self._asked = asked

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._asked.append(data)
        asyncio.get_running_loop().call_later(SLOW_S, self._transport.write, _ANSWER)


async def _client(port: int, together: asyncio.Barrier) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await together.wait()
    writer.write(b"GET /slow/1 HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
    answer = b""
    with suppress(ConnectionError):
        answer = await reader.read()
        writer.close()
    return answer

"""Links to real servers, closed after each test."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

import hiredis
import pytest

from cacheproxy.redis_link.connect import Roles, Tuning, connect

Connect = Callable[..., Roles]


@pytest.fixture
async def connected() -> AsyncIterator[Connect]:
    """``connected(urls, tuning, on_change)`` is ``connect`` with its links closed at the end."""
    made: list[Roles] = []

    def make(*args: object, **named: object) -> Roles:
        made.append(connect(*args, **named))
        return made[-1]

    yield make
    for roles in made:
        await roles.aclose()


@pytest.fixture
async def roles(valkey: str, connected: Connect) -> Roles:
    """Links of all roles to an empty server, patient enough for a busy machine."""
    return connected(valkey, Tuning(limit_s=2.0))


class ScriptedServer:
    """Speaks RESP as ``answer`` says: for each command its reply, None to hang, b"" to hang up."""

    HELLO = b"%1\r\n$4\r\nrole\r\n$6\r\nmaster\r\n"

    def __init__(self) -> None:
        """Well until told otherwise."""
        self.answer: Callable[[list[bytes]], bytes | None] = self.well
        self.connections = 0
        self.commands: list[list[bytes]] = []
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []

    @classmethod
    def well(cls, command: list[bytes]) -> bytes:
        """The reply of a healthy server that echoes the last argument."""
        if command[0] == b"HELLO":
            return cls.HELLO
        return b"$%d\r\n%b\r\n" % (len(command[-1]), command[-1])

    def after_hello(self, reply: bytes | None) -> Callable[[list[bytes]], bytes | None]:
        """An ``answer`` that lets clients in and then always gives ``reply``."""
        return lambda command: self.HELLO if command[0] == b"HELLO" else reply

    @property
    def url(self) -> str:
        """Where it listens."""
        assert self._server is not None
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"

    async def start(self, tls: ssl.SSLContext | None = None) -> None:
        """Listen on a loopback port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)

    async def stop(self) -> None:
        """Close everything."""
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        parser = hiredis.Reader()
        while data := await _read(reader):
            parser.feed(data)
            while command := _next(parser):
                self.commands.append(command)
                reply = self.answer(command)
                if reply == b"":
                    writer.transport.abort()
                    return
                if reply is not None:
                    writer.write(reply)
        writer.close()


def _next(parser: hiredis.Reader) -> list[bytes] | None:
    try:
        return parser.gets() or None
    except hiredis.ProtocolError:
        return None


async def _read(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(1 << 16)
    except ConnectionError:
        return b""


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedServer]:
    """A server that fails as the test says."""
    server = ScriptedServer()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def scripted_tls() -> AsyncIterator[Callable[[ssl.SSLContext], Awaitable[str]]]:
    """Gives what starts a healthy server that speaks TLS by a context, and tells its URL."""
    server = ScriptedServer()

    async def start(context: ssl.SSLContext) -> str:
        await server.start(context)
        return server.url.replace("redis://", "rediss://")

    yield start
    await server.stop()

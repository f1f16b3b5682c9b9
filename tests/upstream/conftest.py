"""Real servers on loopback that do exactly what a test says, for clients on both event loops."""

import asyncio
import datetime as dt
import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from ssl import SSLContext

import h11
import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cacheproxy.errors import UpstreamError
from cacheproxy.policy.route import Timeouts, UpstreamRules
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.head import RequestHead
from cacheproxy.upstream.bodies import BytesBody
from cacheproxy.upstream.fake import ScriptedOrigin
from cacheproxy.upstream.origin import HttpOrigin


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run every asynchronous test of this room on both loops: their transports differ."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


class Peer:
    """The server's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def request(self) -> bytes:
        """The next request's head and sized body."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        _, found, length = head.partition(b"content-length: ")
        return head + (await self.reader.readexactly(int(length.split(b"\r\n")[0])) if found else b"")

    def say(self, data: bytes) -> None:
        """Send raw bytes."""
        self.writer.write(data)

    async def answer(self, *responses: bytes) -> None:
        """Answer one request after another."""
        for response in responses:
            await self.request()
            self.say(response)

    async def gone(self) -> None:
        """Wait until the client has closed, whatever else it sends."""
        with suppress(ConnectionError):
            while await self.reader.read(65536):
                pass

    def reset(self) -> None:
        """Drop the connection at once."""
        self.writer.transport.abort()


Handler = Callable[[Peer], Awaitable[None]]


class Server:
    """Runs ``handler`` for each connection, and closes the connection when it returns."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections = 0
        self.failures: list[BaseException] = []

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a new connection in a task."""
        self.connections += 1
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._handler(Peer(reader, writer))
            if not writer.transport.is_closing():
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except Exception as error:
            self.failures.append(error)
        finally:
            writer.close()

    async def stop(self) -> None:
        """End every connection's task."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


Serve = Callable[..., Awaitable[UpstreamRules]]


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    """Start a server for a handler; give the rules to reach it: over TCP, IPv6 (``host``), ``unix`` or with ``tls``."""
    servers: list[tuple[asyncio.Server, Server]] = []

    async def start(
        handler: Handler, *, host: str = "127.0.0.1", unix: bool = False, tls: SSLContext | None = None, **rules: object
    ) -> UpstreamRules:
        server = Server(handler)
        if unix:
            path = str(tmp_path / "origin.sock")
            listening = await asyncio.start_unix_server(server.accept, path, ssl=tls)
            rules["socket"] = path
        else:
            listening = await asyncio.start_server(server.accept, host, 0, ssl=tls)
            rules |= {"host": host, "port": listening.sockets[0].getsockname()[1]} | rules
        servers.append((listening, server))
        return UpstreamRules(**rules)

    yield start
    for listening, server in servers:
        listening.close()
        await server.stop()
        assert server.failures == []


Connect = Callable[..., Awaitable[HttpOrigin]]


@pytest.fixture
async def connect(serve: Serve) -> AsyncIterator[Connect]:
    """Start a server for a handler and make a client of it, which must lose no place in its pool."""
    origins: list[HttpOrigin] = []

    async def start(handler: Handler, **rules: object) -> HttpOrigin:
        origin = HttpOrigin(await serve(handler, **rules))
        origins.append(origin)
        return origin

    yield start
    for origin in origins:
        await origin.aclose()
        assert "<Pool 0 of" in repr(origin)
        assert "0 waiting" in repr(origin)


@pytest.fixture
def quick() -> Callable[..., Timeouts]:
    """Time limits too long to matter, less the one under test."""

    def limits(**one: float) -> Timeouts:
        return Timeouts(**({"connect_s": 20.0, "first_byte_s": 20.0, "idle_s": 20.0} | one))

    return limits


Play = Callable[[ScriptedOrigin], Awaitable[HttpOrigin]]


@pytest.fixture
async def play(connect: Connect) -> Play:
    """A real server that plays a script (by h11, so that it is right), and a client of it."""

    async def start(script: ScriptedOrigin) -> HttpOrigin:
        async def handler(peer: Peer) -> None:
            while await played(peer, script):
                pass

        return await connect(handler)

    return start


async def played(peer: Peer, script: ScriptedOrigin) -> bool:
    """Answer one request from ``script``; whether the connection stays open."""
    protocol = h11.Connection(h11.SERVER)
    head, body = await received(peer, protocol)
    interim: list[h11.InformationalResponse] = []

    def note(early: object) -> None:
        interim.append(h11.InformationalResponse(status_code=early.status, headers=list(early.fields)))

    try:
        answer, content = await script.send(head, BytesBody(body), note)
        for early in interim:
            peer.say(protocol.send(early))
        peer.say(protocol.send(h11.Response(status_code=answer.status, headers=list(answer.fields))))
        async for chunk in content:
            peer.say(protocol.send(h11.Data(chunk)))
            await peer.writer.drain()
        peer.say(protocol.send(h11.EndOfMessage(headers=list(content.trailers))))
    except UpstreamError:
        return False
    return protocol.our_state is h11.DONE


async def received(peer: Peer, protocol: h11.Connection) -> tuple[RequestHead, bytes]:
    """One request, read by h11."""
    head, body = None, b""
    while True:
        event = protocol.next_event()
        if event is h11.NEED_DATA:
            data = await peer.reader.read(65536)
            if not data:
                raise ConnectionResetError
            protocol.receive_data(data)
        elif isinstance(event, h11.Request):
            head = RequestHead(method=event.method.decode(), target=event.target, fields=Fields(event.headers))
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        else:
            assert head is not None
            return head, body


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for localhost and 127.0.0.1, and its key."""
    directory = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (directory / "cert.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    (directory / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return directory / "cert.pem", directory / "key.pem"

"""What a client of the admin port may keep it waiting for."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from cacheproxy.server import admin_protocol
from cacheproxy.server.listen import admin_server, bind


async def app(scope: dict[str, object], receive: object, send: object) -> None:
    """Answers every request with its path, once its body is here."""
    assert callable(receive)
    assert callable(send)
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    """Where the admin port listens, giving each request a tenth of a second."""
    monkeypatch.setattr(admin_protocol, "REQUEST_S", 0.1)
    sock = bind("127.0.0.1", 0)
    server = admin_server(app)
    serving = asyncio.create_task(server.serve(sockets=[sock]))
    yield sock.getsockname()[1]
    server.should_exit = True
    await serving


async def ask(port: int, *pieces: bytes) -> bytes:
    """All that comes back, to the end of the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
    try:
        return await asyncio.wait_for(reader.read(), 5)
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"GET /livez HTTP/1.1\r\nHost: a\r\nX", id="half-a-head"),
        pytest.param(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf", id="half-a-body"),
    ],
)
async def test_a_request_that_does_not_come_ends_its_connection(port: int, raw: bytes) -> None:
    """(Slowloris) A client that asks for nothing, or for half of something, is waited for no longer than others."""
    assert b"" == await ask(port, raw)


async def test_a_head_has_a_largest_size(port: int) -> None:
    """What would fill the memory before anybody asks for a token is refused."""
    answer = await ask(port, b"GET /x HTTP/1.1\r\nHost: a\r\nX: ", *[b"y" * 100_000] * 20)
    assert answer.startswith(b"HTTP/1.1 400") or answer == b""


async def test_requests_on_one_connection_have_a_limit_each(port: int) -> None:
    """A large body is no head, and the next request on its connection is answered too."""
    large = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n" + b"y" * 300_000
    last = b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    assert 3 == (await ask(port, large, large, last)).count(b" 200 OK")

"""An origin that says anything at all, over a real connection."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from cacheproxy.errors import UpstreamError
from cacheproxy.policy.route import Timeouts, UpstreamRules
from cacheproxy.semantics.head import RequestHead
from cacheproxy.upstream.origin import HttpOrigin

PIECES = [
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 103 Early Hints\r\n\r\n",
    b"content-length: 4\r\n",
    b"transfer-encoding: chunked\r\n",
    b"connection: close\r\n",
    b"\r\n",
    b"4\r\nwxyz\r\n",
    b"0\r\n\r\n",
    b"wxyz",
    b"x" * 40_000,
]


class Talker:
    """A server that gives the next answer for each request, and hangs up when it has no more."""

    def __init__(self, answers: list[bytes]) -> None:
        self.answers = iter(answers)
        self.open: set[asyncio.Transport] = set()

    def connection(self) -> "Talk":
        """The protocol of a new connection."""
        return Talk(self)

    async def hang_up(self) -> None:
        """Close every connection that is left."""
        for transport in self.open:
            transport.abort()
        for _ in iter(lambda: self.open, set()):
            await asyncio.sleep(0)


class Talk(asyncio.Protocol):
    """One connection of a talker."""

    def __init__(self, talker: Talker) -> None:
        self.talker = talker

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Note that it is open."""
        self.transport = transport
        self.talker.open.add(transport)

    def data_received(self, data: bytes) -> None:
        """Answer each head."""
        for _ in range(data.count(b"\r\n\r\n")):
            answer = next(self.talker.answers, None)
            if answer is None:
                self.transport.close()
            else:
                self.transport.write(answer)

    def connection_lost(self, _: Exception | None) -> None:
        """Note that it is closed."""
        self.talker.open.discard(self.transport)


@settings(max_examples=100, deadline=None)
@given(
    answers=st.lists(st.lists(st.sampled_from(PIECES) | st.binary(max_size=8), max_size=8).map(b"".join), min_size=1),
    method=st.sampled_from(["GET", "HEAD", "POST"]),
)
def test_an_origin_that_says_anything_gives_a_response_or_an_error(answers: list[bytes], method: str) -> None:
    """Requests end, with a response whose body ends or with an UpstreamError, and nothing is left behind."""

    async def ask() -> None:
        loop, talker = asyncio.get_running_loop(), Talker(answers)
        server = await loop.create_server(talker.connection, "127.0.0.1", 0)
        limits = Timeouts(connect_s=5, first_byte_s=0.02, idle_s=0.02)
        origin = HttpOrigin(UpstreamRules(port=server.sockets[0].getsockname()[1], timeouts=limits))
        async with asyncio.timeout(20):
            for _ in answers:
                await exchange(origin, method)
        await origin.aclose()
        assert "<Pool 0 of" in repr(origin)
        server.close()
        await talker.hang_up()

    asyncio.run(ask())


async def exchange(origin: HttpOrigin, method: str) -> None:
    """Send one request and read its response, whatever it is."""
    try:
        head, body = await origin.send(RequestHead(method=method, target=b"/"))
        content = b"".join([chunk async for chunk in body])
    except UpstreamError:
        return
    assert 200 <= head.status <= 599
    length = head.fields.get(b"content-length")
    assert method == "HEAD" or length is None or len(content) == int(length)

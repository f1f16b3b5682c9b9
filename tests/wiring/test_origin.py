"""An origin that a reload replaces."""

import asyncio

import pytest

from cacheproxy.errors import PolicyError, UpstreamError
from cacheproxy.policy.route import UpstreamRules
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.head import RequestHead
from cacheproxy.wiring.origin import ReplaceableOrigin

GET = RequestHead(method="GET", target=b"/", fields=Fields(), authority=b"example.com")


class Server:
    """An origin that answers with its name when it is let."""

    def __init__(self, name: str) -> None:
        """Let it answer at once."""
        self.name = name
        self.asked = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()
        self.port = 0

    async def start(self) -> asyncio.Server:
        """Listen."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.asked.set()
        await self.open.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(self.name))
        writer.write(self.name.encode())
        writer.close()


@pytest.fixture
async def servers():
    """Two origins, listening."""
    both = [Server("one"), Server("two")]
    listening = [await server.start() for server in both]
    yield both
    for server in listening:
        server.close()
        await server.wait_closed()


@pytest.fixture
async def origin(servers):
    """A way to the first of them."""
    made = ReplaceableOrigin(UpstreamRules(port=servers[0].port), "p.yaml")
    await made.start()
    yield made
    await made.aclose()


async def answer(origin: ReplaceableOrigin) -> str:
    """What it answers with."""
    _head, body = await origin.send(GET)
    return b"".join([chunk async for chunk in body]).decode()


async def test_a_request_ends_where_it_began(origin, servers):
    """The next one goes to the new origin."""
    one, two = servers
    one.open.clear()
    under_way = asyncio.create_task(answer(origin))
    await one.asked.wait()
    await origin.follow(UpstreamRules(port=two.port))
    assert await answer(origin) == "two"
    one.open.set()
    assert await under_way == "one"


async def test_the_end_is_that_of_the_origins_before_as_well(origin, servers):
    """Requests that are still under way there are told."""
    one, two = servers
    one.open.clear()
    under_way = asyncio.create_task(answer(origin))
    await one.asked.wait()
    await origin.follow(UpstreamRules(port=two.port))
    await origin.aclose()
    with pytest.raises(UpstreamError, match="shut-down"):
        await under_way
    one.open.set()


async def test_the_origin_is_probed_from_the_start(servers):
    """Where the policy says how, and without a request of a client's."""
    made = ReplaceableOrigin(UpstreamRules(port=servers[0].port, health_path="/health"), "p.yaml")
    await made.start()
    await servers[0].asked.wait()
    await made.aclose()


async def test_certificates_that_cannot_be_read_change_nothing(origin):
    """The error comes before the change, and says which file is meant, and of which policy."""
    with pytest.raises(PolicyError) as caught:
        await origin.follow(UpstreamRules(scheme="https", ca_file="/no/such/file"))
    assert caught.value.lines()[0].startswith(
        "p.yaml: upstream.ca_file: the certificates in `/no/such/file` cannot be used: "
    )
    assert await answer(origin) == "one"


async def test_certificates_that_cannot_be_read_at_the_start_are_a_fault():
    """An operator's mistake, and no traceback."""
    with pytest.raises(PolicyError, match="/no/such/file"):
        ReplaceableOrigin(UpstreamRules(scheme="https", ca_file="/no/such/file"), "p.yaml")


async def test_the_same_rules_keep_the_connections(origin, servers):
    """A reload that does not concern the origin costs no connection."""
    pool = repr(origin._origin)
    await origin.follow(UpstreamRules(port=servers[0].port))
    assert repr(origin._origin) == pool
    assert origin._before == []


async def test_the_new_origin_is_probed_instead(servers):
    """What readiness says of the origin is said of the one in force."""
    dead = UpstreamRules(port=1, health_path="/health")
    made = ReplaceableOrigin(dead, "p.yaml")
    await made.start()
    await made._prober.probe()
    assert made.healthy is False
    await made.follow(UpstreamRules(port=servers[1].port, health_path="/health"))
    await made._prober.probe()
    assert made.healthy is True
    await made.aclose()

"""The ways to reach an origin, and how each fails."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from cacheproxy.errors import UpstreamError
from cacheproxy.policy.route import Timeouts, UpstreamRules
from cacheproxy.semantics.head import RequestHead
from cacheproxy.upstream.origin import HttpOrigin
from cacheproxy.upstream.reasons import Reason

Connect = Callable[..., Awaitable[HttpOrigin]]
GET = RequestHead(method="GET", target=b"/")
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


async def answer(peer) -> None:
    """Serve one request."""
    await peer.answer(OK)
    await peer.gone()


@pytest.fixture
def tls(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    """The server's side of TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


async def test_over_tls_with_a_ca_file(connect: Connect, tls: ssl.SSLContext, certificate: tuple[Path, Path]) -> None:
    """A verified origin is asked over TLS, by the name it was configured with, and its connection kept."""
    asked: list[str | None] = []
    tls.sni_callback = lambda _, name, __: asked.append(name)
    origin = await connect(answer, tls=tls, scheme="https", ca_file=str(certificate[0]))
    head, body = await origin.send(GET)
    assert (head.status, body.complete) == (200, b"ok")
    assert "1 idle" in repr(origin)
    named = HttpOrigin(
        UpstreamRules(scheme="https", host="localhost", port=port_of(origin), ca_file=str(certificate[0]))
    )
    await named.send(GET)
    await named.aclose()
    assert asked == [None, "localhost"]


async def test_a_certificate_that_does_not_verify_is_refused(connect: Connect, tls: ssl.SSLContext) -> None:
    """Without the right CA nothing is sent."""
    origin = await connect(answer, tls=tls, scheme="https")
    with pytest.raises(UpstreamError) as error:
        await origin.send(GET)
    assert (error.value.status, error.value.reason, error.value.sent) == (502, Reason.TLS_FAILED, False)


async def test_a_certificate_for_another_name_is_refused(
    connect: Connect, tls: ssl.SSLContext, certificate: tuple[Path, Path]
) -> None:
    """The name is verified, not the signature alone."""
    origin = await connect(answer, tls=tls, host="0.0.0.0", scheme="https", ca_file=str(certificate[0]))
    other = HttpOrigin(
        UpstreamRules(scheme="https", host="127.0.0.2", port=port_of(origin), ca_file=str(certificate[0]))
    )
    with pytest.raises(UpstreamError) as error:
        await other.send(GET)
    assert error.value.reason == Reason.TLS_FAILED
    await other.aclose()


async def test_tls_to_a_plain_server_fails(connect: Connect) -> None:
    """A server that answers the handshake with something else is no TLS server."""

    async def plain(peer) -> None:
        await peer.reader.read(1)
        peer.say(OK)

    origin = await connect(plain, scheme="https")
    with pytest.raises(UpstreamError) as error:
        await origin.send(GET)
    assert error.value.reason == Reason.TLS_FAILED
    assert "<Pool 0 of" in repr(origin)


async def test_a_handshake_that_never_ends_is_a_connect_timeout(connect: Connect) -> None:
    """The connect limit covers TLS."""

    async def silent(peer) -> None:
        await peer.gone()

    origin = await connect(silent, scheme="https", timeouts=Timeouts(connect_s=0.05))
    with pytest.raises(UpstreamError) as error:
        await origin.send(GET)
    assert (error.value.status, error.value.reason) == (504, Reason.CONNECT_TIMEOUT)
    assert "<Pool 0 of" in repr(origin)


async def test_over_a_unix_socket(connect: Connect) -> None:
    """A socket path is enough; the Host is then localhost."""
    heads: list[bytes] = []

    async def handler(peer) -> None:
        heads.append(await peer.request())
        peer.say(OK)
        await peer.gone()

    origin = await connect(handler, unix=True)
    head, _ = await origin.send(GET)
    assert head.status == 200
    assert heads == [b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"]


async def test_over_ipv6(connect: Connect) -> None:
    """An IPv6 literal is dialled, and bracketed in Host."""
    heads: list[bytes] = []

    async def handler(peer) -> None:
        heads.append(await peer.request())
        peer.say(OK)
        await peer.gone()

    origin = await connect(handler, host="::1")
    await origin.send(GET)
    assert heads[0].startswith(b"GET / HTTP/1.1\r\nhost: [::1]:")


@pytest.mark.parametrize("first", ["127.0.0.77", "::1"], ids=["refused", "another-family"])
async def test_a_name_with_several_addresses_is_tried_in_turn(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """Where one address refuses, the next one is asked."""
    origin = await connect(answer)
    port = port_of(origin)

    async def both(host: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        assert host == "origin.example"
        return [(0, 0, 0, "", (address, port)) for address in (first, "127.0.0.1", "127.0.0.1")]

    monkeypatch.setattr(
        type(asyncio.get_running_loop()), "getaddrinfo", lambda _, *a, **k: both(*a, **k), raising=False
    )
    named = HttpOrigin(UpstreamRules(host="origin.example", port=port))
    head, _ = await named.send(GET)
    assert head.status == 200
    await named.aclose()


async def test_a_name_that_does_not_resolve() -> None:
    """A name without an address is said to be one."""
    origin = HttpOrigin(UpstreamRules(host="nowhere.invalid", timeouts=Timeouts(connect_s=20)))
    with pytest.raises(UpstreamError) as error:
        await origin.send(GET)
    assert (error.value.status, error.value.reason, error.value.sent) == (502, Reason.RESOLVE_FAILED, False)
    await origin.aclose()


async def test_a_port_that_nobody_listens_on() -> None:
    """Refused is refused, at once."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    origin = HttpOrigin(UpstreamRules(port=port))
    with pytest.raises(UpstreamError) as error:
        await origin.send(GET)
    assert (error.value.status, error.value.reason, error.value.sent) == (502, Reason.CONNECT_REFUSED, False)
    assert "<Pool 0 of" in repr(origin)
    await origin.aclose()


async def test_a_socket_that_is_not_there(tmp_path: Path) -> None:
    """A missing socket file is no connection."""
    origin = HttpOrigin(UpstreamRules(socket=str(tmp_path / "none.sock")))
    with pytest.raises(UpstreamError) as error:
        await origin.send(GET)
    assert (error.value.status, error.value.reason, error.value.sent) == (502, Reason.CONNECT_FAILED, False)
    await origin.aclose()


def port_of(origin: HttpOrigin) -> int:
    """The port that ``origin`` was given."""
    return int(origin._host.rpartition(b":")[2])

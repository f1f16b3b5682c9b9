"""What an operator is told of an address that cannot be listened on, and how listening ends."""

import asyncio
import errno
import socket
from types import SimpleNamespace

import pytest
import uvicorn

from cacheproxy.server.listen import BACKLOG, EdgeServer, ListenError, bind


def test_a_port_in_use_is_to_be_freed_or_another_chosen() -> None:
    """The address is named, and both ways out are."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ListenError, match=rf"127\.0\.0\.1:{port}: .*choose another port or stop what uses"):
            bind("127.0.0.1", port)


def test_an_address_of_another_machine_is_no_matter_of_ports() -> None:
    """TEST-NET-1 (RFC 5737) is nobody's."""
    with pytest.raises(ListenError, match="this machine has no such address"):
        bind("192.0.2.1", 8000)


def test_a_privileged_port_says_who_may_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the kernel refuses it to an ordinary user."""

    def refuse(_socket: socket.socket, _address: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(ListenError, match=r"127\.0\.0\.1:80: Permission denied; ports under 1024"):
        bind("127.0.0.1", 80)


def test_a_name_is_no_address() -> None:
    """What is no address has no advice of its own."""
    with pytest.raises(ListenError, match="choose another address"):
        bind("no-such-name.invalid", 8000)


async def test_a_stop_is_not_held_up_by_clients_that_do_not_cease_to_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those are taken that were here; there may always be one more."""
    taken: list[object] = []

    async def take(_: object, accepted: object) -> None:
        taken.append(accepted)

    monkeypatch.setattr(asyncio.get_running_loop(), "connect_accepted_socket", take)
    closed: list[bool] = []
    listening = SimpleNamespace(accept=lambda: (_one_more(taken), None), close=lambda: closed.append(True))
    config = uvicorn.Config(_nothing, http=asyncio.Protocol, ws="none", lifespan="off", log_config=None)
    config.load()
    await EdgeServer(config).refuse(listening)  # type: ignore[arg-type]
    assert (len(taken), closed) == (BACKLOG, [True])


async def _nothing(_scope: object, _receive: object, _send: object) -> None:
    """No application."""


def _one_more(taken: list[object]) -> object:
    assert len(taken) < 2 * BACKLOG, "it goes on for ever"
    return object()

"""Opens connections: the socket, TLS, and the handshake, within one time limit."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

from hiredis import ReplyError

from cacheproxy.errors import StateError
from cacheproxy.redis_link.contract import Command
from cacheproxy.redis_link.endpoint import Endpoint, Kind
from cacheproxy.redis_link.errors import Lost, redis_errors, state_error
from cacheproxy.redis_link.wire import Due, Wire, pack

CLIENT_NAME = "cacheproxy"
SHARDED_SINCE = 7
"""The version of Redis that brought sharded channels."""


Dial = Callable[[], Awaitable[Wire]]
"""Opens a wire that is ready for commands; StateError if there is none to be had."""


async def dial(endpoint: Endpoint, connect_s: float) -> Wire:
    """A wire to ``endpoint`` (the master, where Sentinel knows it), within ``connect_s``. StateError otherwise."""
    with redis_errors():
        async with asyncio.timeout(connect_s):
            if endpoint.kind is Kind.SENTINEL:
                from cacheproxy.redis_link.sentinel import master  # noqa: PLC0415 - redis-py is 6 MB of memory

                endpoint = endpoint.at(await master(endpoint, connect_s))
            wire = await _connect(endpoint)
            try:
                await _greet(wire, endpoint)
            except BaseException:
                wire.drop(StateError(Lost.LOST, "handshake failed"))
                raise
            return wire


async def _connect(endpoint: Endpoint) -> Wire:
    try:
        return await _open(endpoint)
    except ssl.SSLError as error:
        raise StateError(Lost.ERROR, f"{endpoint}: {error}") from error
    except OSError as error:
        raise StateError(Lost.REFUSED, f"{endpoint}: {error}") from error


async def _open(endpoint: Endpoint) -> Wire:
    loop = asyncio.get_running_loop()
    if endpoint.socket:
        _, wire = await loop.create_unix_connection(lambda: Wire(loop), endpoint.socket)
        return wire
    host, port = endpoint.addresses[0]
    _, wire = await loop.create_connection(lambda: Wire(loop), host, port, ssl=endpoint.tls)
    return wire


async def _greet(wire: Wire, endpoint: Endpoint) -> None:
    auth: Command = ("AUTH", *endpoint.credentials) if endpoint.credentials else ()
    commands: list[Command] = [("HELLO", 3, *auth, "SETNAME", CLIENT_NAME)]
    if endpoint.db:
        commands.append(("SELECT", endpoint.db))
    hello, *_ = await ask(wire, commands)
    if not isinstance(hello, dict):
        raise StateError(Lost.ERROR, f"{endpoint} does not speak RESP3 (Redis 6 or newer does)")
    wire.has_shards = hello.get(b"mode") == b"cluster" and _major(hello) >= SHARDED_SINCE
    if hello.get(b"role") == b"replica":
        raise StateError(Lost.READONLY, f"{endpoint} is a replica")


def _major(hello: dict[bytes, Any]) -> int:
    major = hello.get(b"version", b"").partition(b".")[0]
    return int(major) if major.isdigit() else 0


async def ask(wire: Wire, commands: list[Command]) -> list[Any]:
    """The replies to ``commands`` on ``wire``. StateError where one is an error; time is the caller's to limit."""
    loop = asyncio.get_running_loop()
    due = Due(loop.create_future(), loop.time(), float("inf"), len(commands))
    wire.send(b"".join(map(pack, commands)), (due,))
    replies: list[Any] = await due.future
    for reply in replies:
        if isinstance(reply, ReplyError):
            raise state_error(reply)
    return replies

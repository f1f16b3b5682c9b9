"""Opening a connection to the origin: unix socket or TCP, plain or TLS, each address in turn, within one time limit."""

import asyncio
import ipaddress
import socket
import ssl

from cacheproxy.policy.route import UpstreamRules
from cacheproxy.upstream.connection import Connection
from cacheproxy.upstream.reasons import Reason, failure


class Dialer:
    """Opens connections by ``rules``."""

    def __init__(self, rules: UpstreamRules) -> None:
        """Load the CA file if one is named: OSError (or its ssl.SSLError) where it cannot be."""
        self._rules = rules
        self._tls = tls_context(rules)
        self._tls_name = rules.host if self._tls else None

    async def dial(self) -> Connection:
        """Return a new connection. UpstreamError, nothing having been sent, where none is to be had in time."""
        limit_s = self._rules.timeouts.connect_s
        try:
            async with asyncio.timeout(limit_s):
                return await self._open(limit_s)
        except TimeoutError as error:
            raise failure(Reason.CONNECT_TIMEOUT, f"no connection within {limit_s:g} s") from error
        except socket.gaierror as error:
            raise failure(Reason.RESOLVE_FAILED, f"{self._rules.host}: {error.strerror}") from error
        except ssl.SSLError as error:
            raise failure(Reason.TLS_FAILED, str(error)) from error
        except ConnectionRefusedError as error:
            raise failure(Reason.CONNECT_REFUSED, str(error)) from error
        except OSError as error:
            raise failure(Reason.CONNECT_FAILED, str(error)) from error

    async def _open(self, limit_s: float) -> Connection:
        if self._rules.socket is not None:
            return await self._attempt(self._rules.socket, None)
        deadline = asyncio.get_running_loop().time() + limit_s
        *others, last = await self._addresses()
        for index, address in enumerate(others):
            share_s = (deadline - asyncio.get_running_loop().time()) / (len(others) - index + 1)
            try:
                async with asyncio.timeout(share_s):
                    return await self._attempt(address, self._rules.port)
            except OSError:  # and TimeoutError, which is one: the next address may answer
                continue
        return await self._attempt(last, self._rules.port)

    async def _addresses(self) -> list[str]:
        host = self._rules.host
        if _is_literal(host):
            return [host]
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, self._rules.port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))

    async def _attempt(self, place: str, port: int | None) -> Connection:
        loop = asyncio.get_running_loop()
        connection = Connection(loop, self._rules.timeouts.idle_s)
        tls, name = self._tls, self._tls_name
        try:
            if port is None:
                await loop.create_unix_connection(lambda: connection, place, ssl=tls, server_hostname=name)
            else:
                await loop.create_connection(lambda: connection, place, port, ssl=tls, server_hostname=name)
        except BaseException:
            connection.abort()
            raise
        return connection


def tls_context(rules: UpstreamRules) -> ssl.SSLContext | None:
    """Return the client's side of TLS, certificates verified by ``ca_file`` or the system's; None for plain http."""
    if rules.scheme != "https":
        return None
    context = ssl.create_default_context(cafile=rules.ca_file)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True

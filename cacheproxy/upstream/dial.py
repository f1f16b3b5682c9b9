"""Opening a connection to the origin: unix socket or TCP, plain or TLS, each address in turn, within one time limit."""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable
from typing import TypeVar

from cacheproxy.policy.route import UpstreamRules
from cacheproxy.upstream.reasons import Reason, failure

D = TypeVar("D", bound=asyncio.BaseProtocol)


class Dialer:
    """Opens connections by ``rules``."""

    def __init__(self, rules: UpstreamRules) -> None:
        """Load the CA file if one is named: OSError (or its ssl.SSLError) where it cannot be."""
        self._rules = rules
        self._tls = tls_context(rules)
        self._tls_name = rules.host if self._tls else None

    async def dial(self, make: Callable[[], D]) -> D:
        """Return what ``make`` made, connected. UpstreamError, nothing having been sent, where that fails."""
        limit_s = self._rules.timeouts.connect_s
        try:
            async with asyncio.timeout(limit_s):
                return await self._open(make, limit_s)
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

    async def _open(self, make: Callable[[], D], limit_s: float) -> D:
        if self._rules.socket is not None:
            return await self._attempt(make, self._rules.socket, None)
        deadline = asyncio.get_running_loop().time() + limit_s
        *others, last = await self._addresses()
        for index, address in enumerate(others):
            share_s = (deadline - asyncio.get_running_loop().time()) / (len(others) - index + 1)
            try:
                async with asyncio.timeout(share_s):
                    return await self._attempt(make, address, self._rules.port)
            except OSError:  # and TimeoutError, which is one: the next address may answer
                continue
        return await self._attempt(make, last, self._rules.port)

    async def _addresses(self) -> list[str]:
        host = self._rules.host
        if _is_literal(host):
            return [host]
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, self._rules.port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))

    async def _attempt(self, make: Callable[[], D], place: str, port: int | None) -> D:
        loop = asyncio.get_running_loop()
        tls, name = self._tls, self._tls_name
        if port is None:
            return (await loop.create_unix_connection(make, place, ssl=tls, server_hostname=name))[1]
        return (await loop.create_connection(make, place, port, ssl=tls, server_hostname=name))[1]


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

"""Workers, as their supervisor asks them: over the unix sockets of their own admin ports."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
from starlette.requests import Request

ASK_S = 5.0
LIFE_S = 0.5
"""How long a worker may take to show that it is alive before another is asked instead."""
LONGEST_S = 75.0
"""Longer than a purge may wait for replicas, and than an event stream is silent."""
OF_A_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"})
"""Fields that are not passed on."""

Answers = Mapping[str, httpx.Response | None]
"""By member; None from one that gave none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One worker."""

    name: str
    socket: Path
    alive: Callable[[], bool]
    starts: Callable[[], int]
    """How often it was started: it counts from nought each time."""


class Members:
    """All workers. Close it in the end."""

    def __init__(self, members: Sequence[Member]) -> None:
        """Ask ``members``."""
        self.all = members
        self._clients = {
            member.name: httpx.AsyncClient(
                transport=httpx.AsyncHTTPTransport(uds=str(member.socket)), timeout=LONGEST_S, trust_env=False
            )
            for member in members
        }

    async def aclose(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            await client.aclose()

    async def each(
        self, request: Request, *, path: str | None = None, body: bytes = b"", within_s: float = ASK_S
    ) -> Answers:
        """What every worker answers to ``request``, or to a GET of ``path`` by the same asker."""
        asked = (self._ask(member, _onward(request, body, path), within_s) for member in self.all)
        answers = await asyncio.gather(*asked)
        return {member.name: answer for member, answer in zip(self.all, answers, strict=True)}

    async def one(self, request: Request, body: bytes) -> httpx.Response | None:
        """The answer of the first worker that has one, its body yet to be read; to be closed."""
        for member in await self._candidates(request):
            try:
                return await self._clients[member.name].send(_onward(request, body), stream=True)
            except httpx.ConnectError:
                continue
            except httpx.TransportError:
                return None  # it may have begun: nobody else may do it again
        return None

    async def _candidates(self, request: Request) -> Sequence[Member]:
        """The workers from the first that shows life: one that stands still would do nothing, nor let another."""
        alive = [member for member in self.all if member.alive()]
        for at, member in enumerate(alive):
            if await self._ask(member, _onward(request, b"", "/livez"), LIFE_S) is not None:
                return alive[at:]
        return alive  # they may be starting

    async def _ask(self, member: Member, request: httpx.Request, within_s: float) -> httpx.Response | None:
        if not member.alive():
            return None
        try:
            async with asyncio.timeout(within_s):
                return await self._clients[member.name].send(request)
        except (httpx.TransportError, TimeoutError):
            return None


def _onward(request: Request, body: bytes, path: str | None = None) -> httpx.Request:
    """``request`` for a worker, with the fields by which it judges who asks."""
    fields = [(name, value) for name, value in request.headers.items() if name not in OF_A_HOP]
    url = httpx.URL("http://worker", path=path or request.url.path, query=request.url.query.encode())
    return httpx.Request(request.method if path is None else "GET", url, headers=fields, content=body)

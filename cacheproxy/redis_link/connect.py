"""From URLs to links: one for each role, shared where two roles have the same URL."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from cacheproxy.errors import Fault, PolicyError, StateError
from cacheproxy.redis_link.contract import Subscriber
from cacheproxy.redis_link.dial import Dial, dial
from cacheproxy.redis_link.endpoint import Endpoint, Kind
from cacheproxy.redis_link.link import RedisLink
from cacheproxy.redis_link.subscriber import RedisSubscriber


class Role(StrEnum):
    """What Redis is used for; each use may have a server of its own."""

    CACHE = "cache"
    SESSIONS = "sessions"
    LIMITS = "limits"
    BUS = "bus"


OnRoleChange = Callable[[Role, bool, str], None]
"""Called with a role, whether its Redis is up, and the reason if it is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """How Redis is asked: seconds a call may wait by itself, seconds to connect, connections for each URL."""

    limit_s: float = 0.05
    connect_s: float = 1.0
    connections: int = 4


class Roles:
    """The links of all roles, made by ``connect``. Owns their connections."""

    def __init__(self, links: Mapping[Role, RedisLink], endpoints: Mapping[Role, Endpoint], tuning: Tuning) -> None:
        """One link for each role; roles may share one."""
        self.cache = links[Role.CACHE]
        self.sessions = links[Role.SESSIONS]
        self.limits = links[Role.LIMITS]
        self.bus = links[Role.BUS]
        self._links = links
        self._endpoints = endpoints
        self._tuning = tuning

    def subscriber(self, role: Role = Role.BUS) -> Subscriber:
        """Opens subscriptions on the server of ``role``."""
        return RedisSubscriber(_dialler(self._endpoints[role], self._tuning), confirm_s=self._tuning.connect_s)

    async def greet(self) -> dict[Role, StateError | None]:
        """PING every server at start and log what came of it; a report, never a requirement."""
        links = {id(link): link for link in self._links.values()}
        outcomes = dict(zip(links, await asyncio.gather(*map(self._greet, links.values())), strict=True))
        return {role: outcomes[id(link)] for role, link in self._links.items()}

    async def aclose(self) -> None:
        """Close every connection."""
        for link in set(self._links.values()):
            await link.aclose()

    async def _greet(self, link: RedisLink) -> StateError | None:
        try:
            await link.ping(self._tuning.connect_s)
        except StateError as error:
            return error
        return None


def connect(
    urls: str | Mapping[Role, str], tuning: Tuning | None = None, on_change: OnRoleChange | None = None
) -> Roles:
    """The links for ``urls``: one URL for all roles, or one for each (a role left out uses that of ``cache``).

    Nothing is sent before the first call. PolicyError where a URL is wrong.
    """
    tuning = tuning or Tuning()
    by_role = _by_role(urls)
    endpoints = {role: _supported(Endpoint.of(url)) for role, url in by_role.items()}
    links: dict[str, RedisLink] = {}
    for role, url in by_role.items():
        if url not in links:
            sharing = [each for each in Role if by_role[each] == url]
            links[url] = _link(endpoints[role], sharing, tuning, on_change)
    return Roles({role: links[url] for role, url in by_role.items()}, endpoints, tuning)


def _by_role(urls: str | Mapping[Role, str]) -> dict[Role, str]:
    if isinstance(urls, str):
        return dict.fromkeys(Role, urls)
    return {role: urls.get(role, urls[Role.CACHE]) for role in Role}


def _supported(endpoint: Endpoint) -> Endpoint:
    if endpoint.kind is Kind.CLUSTER:
        raise PolicyError("Redis URL", [Fault(f"{endpoint}: Redis Cluster is not supported yet")])
    return endpoint


def _dialler(endpoint: Endpoint, tuning: Tuning) -> Dial:
    return partial(dial, endpoint, tuning.connect_s)


def _link(endpoint: Endpoint, roles: list[Role], tuning: Tuning, on_change: OnRoleChange | None) -> RedisLink:
    def tell(up: bool, reason: str) -> None:  # noqa: FBT001 - a callback's arguments have no names
        for role in roles:
            if on_change is not None:
                on_change(role, up, reason)

    return RedisLink(
        _dialler(endpoint, tuning),
        role="+".join(roles),
        limit_s=tuning.limit_s,
        connections=tuning.connections,
        on_change=tell,
    )

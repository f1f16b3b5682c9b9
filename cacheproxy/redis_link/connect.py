"""From URLs to links: one for each role, shared where two roles have the same URL."""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

from cacheproxy.errors import StateError
from cacheproxy.redis_link.cluster import ClusterLink
from cacheproxy.redis_link.contract import Role, Subscriber
from cacheproxy.redis_link.dial import dial
from cacheproxy.redis_link.endpoint import Endpoint, Kind
from cacheproxy.redis_link.link import RedisLink, Tuning
from cacheproxy.redis_link.subscriber import RedisSubscriber

__all__ = ["AnyLink", "OnRoleChange", "Roles", "Tuning", "connect"]

AnyLink = RedisLink | ClusterLink


OnRoleChange = Callable[[Role, bool, str], None]
"""Called with a role, whether its Redis is up, and the reason if it is not."""


class Roles:
    """The links of all roles, made by ``connect``. Owns their connections."""

    def __init__(self, links: Mapping[Role, AnyLink], tuning: Tuning) -> None:
        """One link for each role; roles may share one."""
        self.cache = links[Role.CACHE]
        self.sessions = links[Role.SESSIONS]
        self.limits = links[Role.LIMITS]
        self.bus = links[Role.BUS]
        self._links = links
        self._connect_s = tuning.connect_s

    def subscriber(self, role: Role = Role.BUS) -> Subscriber:
        """Opens subscriptions on the server of ``role``."""
        return RedisSubscriber(self._links[role].dial_near, confirm_s=self._connect_s)

    async def greet(self) -> dict[Role, StateError | None]:
        """PING every server at start: a report, never a requirement."""
        links = {id(link): link for link in self._links.values()}
        outcomes = dict(zip(links, await asyncio.gather(*map(self._greet, links.values())), strict=True))
        return {role: outcomes[id(link)] for role, link in self._links.items()}

    async def aclose(self) -> None:
        """Close every connection."""
        for link in set(self._links.values()):
            await link.aclose()

    async def _greet(self, link: AnyLink) -> StateError | None:
        try:
            await link.ping(self._connect_s)
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
    links: dict[str, AnyLink] = {}
    for url in by_role.values():
        if url not in links:
            sharing = [role for role in Role if by_role[role] == url]
            links[url] = _link(Endpoint.of(url), sharing, tuning, on_change)
    return Roles({role: links[url] for role, url in by_role.items()}, tuning)


def _by_role(urls: str | Mapping[Role, str]) -> dict[Role, str]:
    if isinstance(urls, str):
        return dict.fromkeys(Role, urls)
    return {role: urls.get(role, urls[Role.CACHE]) for role in Role}


def _link(endpoint: Endpoint, roles: list[Role], tuning: Tuning, on_change: OnRoleChange | None) -> AnyLink:
    def tell(up: bool, reason: str) -> None:  # noqa: FBT001 - a callback's arguments have no names
        for role in roles:
            if on_change is not None:
                on_change(role, up, reason)

    name = "+".join(roles)
    if endpoint.kind is Kind.CLUSTER:
        return ClusterLink(endpoint, tuning, role=name, on_change=tell)
    return RedisLink(partial(dial, endpoint, tuning.connect_s), tuning, role=name, on_change=tell)

"""Roles: who shares a link with whom, and the report at start."""

import pytest

from cacheproxy.errors import PolicyError, StateError
from cacheproxy.redis_link.connect import Tuning
from cacheproxy.redis_link.contract import Role


async def test_roles_with_one_url_share_a_link(valkey: str, connected) -> None:
    """One URL for all is one link."""
    roles = connected(valkey)
    assert roles.cache is roles.sessions is roles.limits is roles.bus


async def test_a_role_may_have_its_own_server(valkey: str, fresh_valkey, connected) -> None:
    """Sessions elsewhere: what is written there is not in the cache, and cache pressure cannot evict it."""
    roles = connected({Role.CACHE: valkey, Role.SESSIONS: fresh_valkey.url}, Tuning(limit_s=2))
    await roles.sessions.call("SET", "session:1", "{}")
    assert await roles.cache.call("GET", "session:1") is None
    assert roles.limits is roles.cache
    assert roles.sessions is not roles.cache


async def test_greeting_reports_and_requires_nothing(valkey: str, fresh_valkey, connected) -> None:
    """At start each role is told to be well or not, and nothing is raised."""
    fresh_valkey.kill()
    roles = connected({Role.CACHE: valkey, Role.LIMITS: fresh_valkey.url})
    report = await roles.greet()
    assert {role for role, error in report.items() if error is None} == {Role.CACHE, Role.SESSIONS, Role.BUS}
    assert isinstance(report[Role.LIMITS], StateError)
    assert (roles.cache.up, roles.limits.up) == (True, False)


async def test_changes_are_told_for_each_role(fresh_valkey, connected) -> None:
    """Two roles on one lost server are both told."""
    told: list[tuple[Role, bool, str]] = []
    fresh_valkey.kill()
    roles = connected(fresh_valkey.url, None, lambda *change: told.append(change))
    await roles.greet()
    assert told == [(role, False, "refused") for role in Role]


def test_a_wrong_url_is_the_operators(connected) -> None:
    """A URL that cannot be used is refused before anything starts."""
    with pytest.raises(PolicyError):
        connected("memcached://host")

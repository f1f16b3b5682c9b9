"""Sessions as services keep them, in a real Redis."""

import asyncio
import inspect
import json
import time
from typing import Any

import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from cacheproxy.client.sessions import SessionConflictError, Sessions, SyncSessions, new_session_id


class Heard:
    """A publisher that remembers what was purged."""

    def __init__(self) -> None:
        self.tags: list[str] = []

    async def purge(self, *tags: str) -> int:
        """Remember ``tags``."""
        self.tags += tags
        return 0


class SyncHeard(Heard):
    """The same without an event loop."""

    def purge(self, *tags: str) -> int:  # type: ignore[override]
        """Remember ``tags``."""
        self.tags += tags
        return 0


async def done(outcome: Any) -> Any:
    """What a method of either kind comes back with."""
    return await outcome if inspect.isawaitable(outcome) else outcome


@pytest.fixture(params=["async", "sync"])
def sessions(request: pytest.FixtureRequest, redis: AsyncRedis, sync_redis: Redis) -> Sessions | SyncSessions:
    """Both kinds, over the same server."""
    if request.param == "async":
        return Sessions(redis, ttl_s=100, publisher=Heard())
    return SyncSessions(sync_redis, ttl_s=100, publisher=SyncHeard())


def heard(sessions: Sessions | SyncSessions) -> list[str]:
    """What was purged."""
    publisher = sessions._publisher
    assert isinstance(publisher, Heard)
    return publisher.tags


async def test_what_is_created_is_found(sessions, redis: AsyncRedis) -> None:
    """A new session is JSON under ``session:{id}`` with the policy's TTL."""
    session_id = await done(sessions.create({"user_id": 7}))
    assert await done(sessions.get(session_id)) == {"user_id": 7}
    assert json.loads(await redis.get(f"session:{session_id}")) == {"user_id": 7}
    assert 95_000 < await redis.pttl(f"session:{session_id}") <= 100_000


async def test_a_lifetime_ends_a_session_however_often_it_is_used(sessions) -> None:
    """``lifetime_s`` becomes ``expires_at``, which the sidecars and ``get`` keep to."""
    over = await done(sessions.create({}, lifetime_s=-1))
    assert await done(sessions.get(over)) is None
    live = await done(sessions.create({}, lifetime_s=100))
    assert (await done(sessions.get(live)))["expires_at"] > time.time()


async def test_an_update_merges_and_keeps_the_ttl(sessions, redis: AsyncRedis) -> None:
    """Other fields and the time that was left stay, and the sidecars are told."""
    session_id = await done(sessions.create({"user_id": 7, "theme": "dark"}))
    await redis.pexpire(f"session:{session_id}", 50_000)
    assert await done(sessions.update(session_id, {"theme": "light"})) == {"user_id": 7, "theme": "light"}
    assert await done(sessions.get(session_id)) == {"user_id": 7, "theme": "light"}
    assert 45_000 < await redis.pttl(f"session:{session_id}") <= 50_000
    assert heard(sessions) == [f"session:{session_id}"]


async def test_a_deleted_session_is_gone_and_said_so(sessions) -> None:
    """Deleting purges ``session:{id}``, and tells whether there was one."""
    session_id = await done(sessions.create({}))
    assert await done(sessions.delete(session_id)) is True
    assert await done(sessions.get(session_id)) is None
    assert await done(sessions.delete(session_id)) is False
    assert heard(sessions) == [f"session:{session_id}"] * 2


async def test_nothing_revives_a_deleted_session(sessions, redis: AsyncRedis) -> None:
    """Update and rotate of what is gone create nothing."""
    session_id = await done(sessions.create({}))
    await done(sessions.delete(session_id))
    assert await done(sessions.update(session_id, {"a": 1})) is None
    assert await done(sessions.rotate(session_id)) is None
    assert await redis.dbsize() == 0


async def test_rotation_moves_the_session_to_a_new_id(sessions, redis: AsyncRedis) -> None:
    """The new id has the fields and the time that was left; the old one is dead, and the sidecars are told."""
    old = await done(sessions.create({"user_id": 7}))
    await redis.pexpire(f"session:{old}", 50_000)
    new = await done(sessions.rotate(old))
    assert new != old
    assert await done(sessions.get(old)) is None
    assert await done(sessions.get(new)) == {"user_id": 7}
    assert 45_000 < await redis.pttl(f"session:{new}") <= 50_000
    assert heard(sessions) == [f"session:{old}"]


async def test_rotation_gives_no_ttl_to_a_session_without_one(sessions, redis: AsyncRedis) -> None:
    """A session that was kept for ever still is."""
    await redis.set("session:abc", "{}")
    new = await done(sessions.rotate("abc"))
    assert await redis.pttl(f"session:{new}") == -1


@pytest.mark.parametrize("session_id", ["", "a b", "a:b", "*", "{a}", "a" * 201, "\ud800"])
async def test_what_cannot_be_an_id_is_no_session(sessions, session_id: str) -> None:
    """An id straight from a cookie, whatever it holds, names nothing and is no error."""
    assert await done(sessions.get(session_id)) is None
    assert await done(sessions.update(session_id, {})) is None
    assert await done(sessions.delete(session_id)) is False
    assert await done(sessions.rotate(session_id)) is None


@pytest.mark.parametrize("packed", [b"", b"[]", b"\xff", b'{"expires_at": 1}'])
async def test_what_is_no_live_session_is_none(sessions, redis: AsyncRedis, packed: bytes) -> None:
    """The same rules as the sidecar's: not an object, not UTF-8, over."""
    await redis.set("session:abc", packed)
    assert await done(sessions.get("abc")) is None
    assert await done(sessions.update("abc", {"a": 1})) is None
    assert await redis.get("session:abc") == packed


@pytest.mark.parametrize("fields", [{"a": float("nan")}, {"a": object()}, {"a": "x" * 70_000}])
async def test_what_cannot_be_a_session_is_refused(sessions, redis: AsyncRedis, fields: dict[str, object]) -> None:
    """Fields that the sidecar could not read are the service's mistake, found when it makes it."""
    with pytest.raises((ValueError, TypeError)):
        await done(sessions.create(fields))
    assert await redis.dbsize() == 0


async def test_concurrent_updates_are_all_kept(redis: AsyncRedis) -> None:
    """Ten services that each write a field leave ten fields."""
    sessions = Sessions(redis, publisher=Heard())
    session_id = await sessions.create({})
    await asyncio.gather(*(sessions.update(session_id, {f"f{n}": n}) for n in range(10)))
    assert await sessions.get(session_id) == {f"f{n}": n for n in range(10)}


async def test_an_update_that_is_always_overtaken_gives_up(redis: AsyncRedis, sync_redis: Redis) -> None:
    """After many lost races the caller is told, rather than kept for ever."""

    class Overtaken(AsyncRedis):
        async def get(self, name):
            found = await super().get(name)
            sync_redis.set(name, json.dumps({"at": time.monotonic_ns()}))
            return found

    async with Overtaken(connection_pool=redis.connection_pool) as overtaken:
        sync_redis.set("session:abc", "{}")
        with pytest.raises(SessionConflictError):
            await Sessions(overtaken, publisher=Heard()).update("abc", {"a": 1})


async def test_replies_may_be_decoded(valkey: str) -> None:
    """A service whose client decodes replies is served as well."""
    async with AsyncRedis.from_url(valkey, decode_responses=True) as redis:
        sessions = Sessions(redis, publisher=Heard())
        session_id = await sessions.create({"name": "Łukasz"})
        await sessions.update(session_id, {"a": 1})
        new = await sessions.rotate(session_id)
        assert new is not None
        assert await sessions.get(new) == {"name": "Łukasz", "a": 1}


async def test_by_default_the_purge_goes_where_the_sessions_are(redis: AsyncRedis) -> None:
    """Without a publisher of its own, a logout is recorded in the sidecars' stream on the same Redis."""
    sessions = Sessions(redis)
    await sessions.delete(await sessions.create({}))
    assert await redis.xlen("{cacheproxy}:stream") == 1


def test_new_ids_are_accepted_by_the_sidecar_and_do_not_repeat() -> None:
    """Ids have 256 bits and only characters that a cookie carries unquoted."""
    ids = {new_session_id() for _ in range(1000)}
    assert not any(session_id.startswith("-") for session_id in ids)
    assert len(ids) == 1000
    assert all(len(session_id) == 43 for session_id in ids)

"""Sessions made, changed and ended by an operator, on a real server."""

import json

import pytest

from cacheproxy.client.session_json import MAX_SESSION_BYTES
from cacheproxy.clock import SystemClock
from cacheproxy.policy.identity import SessionRules
from cacheproxy.sessions.desk import SessionDesk


@pytest.fixture
def purged():
    """The tags that were purged, in order."""
    return []


@pytest.fixture
def desk(link, purged):
    """A desk for sessions of an hour."""

    async def purge(tag):
        purged.append(tag)

    return SessionDesk(link, SessionRules(key="s:{id}", ttl_s=3600), SystemClock(), purge)


async def test_what_is_made_is_what_services_read(desk, link):
    """JSON under the policy's key, with the policy's ttl."""
    session_id = await desk.create({"user_id": 7})
    assert json.loads(await link.call("GET", f"s:{session_id}")) == {"user_id": 7}
    shown = await desk.show(session_id)
    assert (shown.fields, 3590 < shown.left_s <= 3600) == ({"user_id": 7}, True)


async def test_looking_does_not_keep_a_session_alive(desk, link):
    """Its ttl goes on running."""
    await link.call("SET", "s:x", "{}", "PX", 60_000)
    assert (await desk.show("x")).left_s <= 60
    assert (await desk.show("x")).left_s <= 60


async def test_a_session_without_an_end_is_shown_as_that(desk, link):
    """Another program made it so."""
    await link.call("SET", "s:x", "{}")
    assert (await desk.show("x")).left_s is None


async def test_a_change_keeps_the_rest_and_is_purged(desk, link, purged):
    """No replica goes on with the fields of before."""
    await link.call("SET", "s:x", '{"user_id":7,"role":"guest"}', "PX", 60_000)
    changed = await desk.update("x", {"role": "admin"})
    assert changed.fields == {"user_id": 7, "role": "admin"}
    assert changed.left_s <= 60
    assert purged == ["session:x"]


async def test_the_end_of_a_session_is_purged(desk, link, purged):
    """Whether or not Redis still had it: a replica may."""
    await link.call("SET", "s:x", "{}")
    assert await desk.delete("x") is True
    assert await desk.delete("x") is False
    assert purged == ["session:x"] * 2


@pytest.mark.parametrize("value", [None, "[]", "{", '{"expires_at": 1}'])
async def test_what_is_no_live_session_is_not_shown_or_revived(desk, link, purged, value):
    """Unknown, malformed or over."""
    if value is not None:
        await link.call("SET", "s:x", value)
    assert await desk.show("x") is None
    assert await desk.update("x", {"a": 1}) is None
    assert purged == []


@pytest.mark.parametrize("session_id", ["", "a b", "*", "x" * 201])
async def test_an_id_that_cannot_be_is_not_asked_about(desk, purged, session_id):
    """It might name another key."""
    assert await desk.show(session_id) is None
    assert await desk.update(session_id, {}) is None
    assert await desk.delete(session_id) is False
    assert purged == []


async def test_a_session_that_would_be_too_large_is_not_written(desk, link):
    """The sidecars would not read it."""
    await link.call("SET", "s:x", "{}")
    with pytest.raises(ValueError, match="over"):
        await desk.update("x", {"a": "b" * MAX_SESSION_BYTES})
    assert await link.call("GET", "s:x") == b"{}"

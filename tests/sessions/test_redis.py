"""Sessions in a real Redis, whatever the services or anybody else put there."""

import asyncio
import json

import pytest

from cacheproxy.errors import StateError
from cacheproxy.policy.identity import SessionRules
from cacheproxy.redis_link.connect import connect
from cacheproxy.sessions.contract import NoSessions, Session
from cacheproxy.sessions.redis import RedisSessions

RULES = SessionRules(ttl_s=100)


async def test_a_session_is_what_the_service_wrote(link, clock) -> None:
    """The JSON object under the id's key is the session."""
    await link.call("SET", "session:abc", json.dumps({"user_id": 7, "roles": ["editor"]}), "EX", 100)
    found = await RedisSessions(link, RULES, clock).load("abc")
    assert found == Session("abc", {"user_id": 7, "roles": ["editor"]})


async def test_an_unknown_id_is_no_session_and_leaves_nothing_behind(link, clock) -> None:
    """Asking for what is not there creates no key, so that a revoked id stays revoked."""
    assert await RedisSessions(link, RULES, clock).load("abc") is None
    assert await link.call("DBSIZE") == 0


@pytest.mark.parametrize(
    "packed",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="broken"),
        pytest.param(b"[1, 2]", id="list"),
        pytest.param(b'"user_id"', id="string"),
        pytest.param(b"null", id="null"),
        pytest.param(b"7", id="number"),
        pytest.param(b"\xff\xfe{}", id="not-utf-8"),
        pytest.param('{"user_id": "7"}'.encode("utf-16"), id="utf-16"),
        pytest.param(b"[" * 60_000, id="deep"),
        pytest.param(b'{"a": "' + b"x" * 70_000 + b'"}', id="huge"),
        pytest.param(b'{"expires_at": true}', id="expires-at-is-no-time"),
        pytest.param(b'{"expires_at": "soon"}', id="expires-at-cannot-be-read"),
        pytest.param(b'{"expires_at": NaN}', id="expires-at-is-no-number"),
        pytest.param(b'{"expires_at": -1' + b"0" * 400 + b"}", id="expired-beyond-any-float"),
        pytest.param(b'{"expires_at": 1' + b"0" * 5000 + b"}", id="number-too-long-to-read"),
        pytest.param(b'{"expires_at": 1699999999}', id="expired"),
        pytest.param(b'{"expires_at": 1700000000}', id="expired-just-now"),
        pytest.param(b'{"expires_at": "2023-11-14T22:13:19"}', id="expired-iso-utc"),
        pytest.param(b'{"expires_at": "2023-11-14T23:13:20+01:00"}', id="expired-iso-zone"),
        pytest.param(b"\x80\x04}.", id="pickle"),
    ],
)
async def test_what_is_no_live_session_is_none(link, clock, packed: bytes) -> None:
    """Not JSON, not an object, not UTF-8, too large, expired by its own word: none of it is an error or an identity."""
    await link.call("SET", "session:abc", packed, "EX", 100)
    assert await RedisSessions(link, RULES, clock).load("abc") is None


@pytest.mark.parametrize("expires_at", [1_700_000_001, 1_700_000_000.5, 10**400, "2023-11-14T22:13:21Z", None])
async def test_a_session_is_live_until_its_own_end(link, clock, expires_at) -> None:
    """``expires_at`` may be epoch seconds or ISO 8601, and null for none."""
    await link.call("SET", "session:abc", json.dumps({"expires_at": expires_at}), "EX", 100)
    assert await RedisSessions(link, RULES, clock).load("abc") is not None


@pytest.mark.parametrize(
    ("left_ms", "after_ms"),
    [
        pytest.param(95_000, 95_000, id="within-a-tenth-not-touched"),
        pytest.param(89_000, 100_000, id="beyond-a-tenth-touched"),
        pytest.param(10, 100_000, id="nearly-gone"),
        pytest.param(500_000, 500_000, id="never-shortened"),
    ],
)
async def test_a_session_is_kept_alive_and_seldom_written(link, clock, left_ms: int, after_ms: int) -> None:
    """Reading extends a TTL to the whole of it, at most once in a tenth."""
    await link.call("SET", "session:abc", "{}", "PX", left_ms)
    await RedisSessions(link, RULES, clock).load("abc")
    assert after_ms - 5_000 < await link.call("PTTL", "session:abc") <= after_ms


async def test_a_session_without_a_ttl_is_given_none(link, clock) -> None:
    """A service that keeps sessions for ever knows why."""
    await link.call("SET", "session:abc", "{}")
    await RedisSessions(link, RULES, clock).load("abc")
    assert await link.call("PTTL", "session:abc") == -1


async def test_a_session_that_does_not_slide_is_not_touched(link, clock) -> None:
    """With ``sliding: false`` reading is only reading."""
    await link.call("SET", "session:abc", "{}", "PX", 20_000)
    await RedisSessions(link, SessionRules(ttl_s=100, sliding=False), clock).load("abc")
    assert await link.call("PTTL", "session:abc") <= 20_000


async def test_a_deleted_session_is_never_revived(link, clock) -> None:
    """While requests load it and somebody logs out, the key is gone for good."""
    sessions = RedisSessions(link, RULES, clock)
    for _ in range(20):
        await link.call("SET", "session:abc", "{}", "PX", 1_000)
        await asyncio.gather(
            *(sessions.load("abc") for _ in range(10)),
            link.call("DEL", "session:abc"),
            *(sessions.load("abc") for _ in range(10)),
        )
        assert await link.call("EXISTS", "session:abc") == 0


async def test_the_value_is_never_written(link, clock) -> None:
    """What the service wrote is byte for byte what is there afterwards."""
    packed = b'{ "user_id" : 7.10 , "odd": [ ] }'
    await link.call("SET", "session:abc", packed, "PX", 1_000)
    await RedisSessions(link, RULES, clock).load("abc")
    assert await link.call("GET", "session:abc") == packed


async def test_the_key_is_the_policys(link, clock) -> None:
    """``{id}`` in the configured key is the id."""
    await link.call("SET", "auth/abc/v1", "{}")
    assert await RedisSessions(link, SessionRules(key="auth/{id}/v1"), clock).load("abc") == Session("abc", {})


async def test_no_redis_is_an_error_and_not_a_logout(clock) -> None:
    """Where Redis does not answer, nobody knows whether there is a session."""
    roles = connect("redis://127.0.0.1:1")
    with pytest.raises(StateError):
        await RedisSessions(roles.sessions, RULES, clock).load("abc")
    await roles.aclose()


async def test_no_sessions_are_none() -> None:
    """A policy without sessions finds nobody."""
    assert await NoSessions().load("abc") is None

"""Subscriptions against a real server: confirmed, ordered, and never silently deaf."""

import asyncio

import pytest

from cacheproxy.errors import StateError
from cacheproxy.redis_link.connect import Roles, Tuning
from cacheproxy.redis_link.contract import Message


async def test_messages_come_in_order(roles: Roles) -> None:
    """Messages of channels and of patterns come in the order they were published, with what caught them."""
    subscription = await roles.subscriber().subscribe(["news"], ["user:*"])
    for channel, payload in (("news", b"\xff1"), ("user:7", b"2"), ("other", b"no"), ("news", b"3")):
        await roles.bus.call("PUBLISH", channel, payload)
    got = [await subscription.next(5) for _ in range(3)]
    assert got == [Message("news", b"\xff1"), Message("user:7", b"2", "user:*"), Message("news", b"3")]
    await subscription.aclose()


async def test_silence_is_none(roles: Roles) -> None:
    """Without a message ``next`` gives None when the time is over, and the subscription goes on."""
    subscription = await roles.subscriber().subscribe(["news"])
    assert await subscription.next(0.01) is None
    await roles.bus.call("PUBLISH", "news", "x")
    assert await subscription.next(5) == Message("news", b"x")
    await subscription.aclose()


async def test_what_was_confirmed_is_heard(roles: Roles) -> None:
    """As soon as ``subscribe`` returns, the server counts the subscriber."""
    subscription = await roles.subscriber().subscribe(["news"])
    assert await roles.bus.call("PUBLISH", "news", "x") == 1
    await subscription.aclose()


async def test_a_lost_connection_is_told_at_once(fresh_valkey, connected) -> None:
    """When the server dies, ``next`` raises; messages that came before it are given out first."""
    roles = connected(fresh_valkey.url, Tuning(limit_s=2))
    subscription = await roles.subscriber().subscribe(["news"])
    await roles.bus.call("PUBLISH", "news", "last")
    waiting = asyncio.create_task(subscription.next(30))
    assert await waiting == Message("news", b"last")
    waiting = asyncio.create_task(subscription.next(30))
    await asyncio.sleep(0)
    fresh_valkey.kill()
    with pytest.raises(StateError):
        await waiting
    with pytest.raises(StateError):
        await subscription.next(1)


async def test_a_server_that_will_not_confirm_is_an_error(scripted, connected) -> None:
    """A subscription that the server does not confirm in time is not one."""
    scripted.answer = scripted.after_hello(None)
    roles = connected(scripted.url, Tuning(connect_s=0.05))
    with pytest.raises(StateError) as failure:
        await roles.subscriber().subscribe(["news"])
    assert failure.value.reason == "timeout"


async def test_a_refused_subscription_is_an_error(fresh_valkey, connected) -> None:
    """A user who may not listen to a channel is told so, not left waiting."""
    with fresh_valkey.client() as outside:
        outside.execute_command("ACL", "SETUSER", "deaf", "on", ">pw", "+@all", "~*", "resetchannels")
    roles = connected(fresh_valkey.url.replace("redis://", "redis://deaf:pw@"), Tuning(connect_s=5))
    with pytest.raises(StateError) as failure:
        await roles.subscriber().subscribe(["news"])
    assert failure.value.reason == "error"
    assert "NOPERM" in failure.value.detail


async def test_a_flood_is_a_seen_gap(roles: Roles, monkeypatch) -> None:
    """An owner who is too slow loses the subscription with an error, and not single messages in silence."""
    monkeypatch.setattr("cacheproxy.redis_link.subscriber.BACKLOG", 10)
    subscription = await roles.subscriber().subscribe(["news"])
    await roles.bus.batch([("PUBLISH", "news", str(n)) for n in range(50)])
    got = []

    async def take_all() -> None:
        while True:
            got.append(await subscription.next(5))

    with pytest.raises(StateError, match="faster than they were taken"):
        await take_all()
    assert [message.payload for message in got] == [str(n).encode() for n in range(len(got))]

"""What may go past the cache again without being decided anew, and what becomes of what was sent on so."""

import asyncio
from collections.abc import Callable

import pytest

from cacheproxy.engine.arrived import refusal
from cacheproxy.engine.engine import Client
from cacheproxy.engine.pass_plan import Dispatched, PassPlan
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.head import RequestHead, ResponseHead
from cacheproxy.upstream.fake import Answer

SEALED = """
version: 1
session: {cookie: sid, identity: {X-User-Id: user_id}, seal_secret: "0123456789abcdef0123456789abcdef"}
routes: [{name: plain, match: "/plain/{rest:path}", session: ignore}]
"""
OK = Answer(fields=Fields(), body=b"ok")
PRIVATE = Answer(fields=Fields.of(("cache-control", "private")), body=b"me")


class Sent:
    """A request on its way, whose answer is nobody's business here."""

    whole = None
    given_up = 0

    def when_told(self, tell: Callable[[], None]) -> None:
        """Never."""

    def abandon(self) -> None:
        """Note it."""
        self.given_up += 1


@pytest.mark.parametrize(
    ("target", "method", "fields", "repeatable"),
    [
        pytest.param("/plain/1", "GET", [], True, id="no cache"),
        pytest.param("/plain/1", "POST", [], True, id="a write"),
        pytest.param("/nowhere", "GET", [], True, id="no route"),
        pytest.param("/plain/1", "GET", [("cookie", "sid=s-ann")], False, id="a session"),
        pytest.param("/plain/1", "GET", [("cookie", "sid=nobodys")], False, id="a session that is not known"),
        pytest.param("/plain/1", "POST", [("expect", "100-continue")], False, id="a client that waits for leave"),
        pytest.param("/each/1", "POST", [], True, id="a method that the limited route does not take"),
        pytest.param("/each/1", "GET", [], False, id="a limit"),
        pytest.param("/items/1", "GET", [], False, id="stored"),
        pytest.param("/any/1", "POST", [], False, id="an answer that may be stored"),
    ],
)
async def test_what_hangs_on_its_head_alone_may_be_repeated(
    house, target: str, method: str, fields: list[tuple[str, str]], repeatable: bool
) -> None:
    """Nothing else was asked about it, and nothing is to be stored."""
    house.origin.script(target, OK)
    reply = await house.handle(target, *fields, method=method)
    assert repeatable == (reply.pass_plan is not None)


async def test_what_is_sealed_is_sealed_anew_each_time(build) -> None:
    """A seal is good for a moment, so the bytes that bore it are not sent again."""
    house = build(SEALED)
    house.origin.script("/plain/1", OK)
    assert (await house.handle("/plain/1")).pass_plan is None


async def test_what_is_fetched_alone_may_be_repeated_once_that_is_known(house) -> None:
    """The first request for a key is for all who wait for it; hit-for-miss is known from the second on."""
    house.origin.script("/items/1", PRIVATE)
    plans = [(await house.handle("/items/1")).pass_plan for _ in range(2)]
    assert [False, True] == [plan is not None for plan in plans]


@pytest.mark.parametrize(
    ("fields", "status", "reason"),
    [
        ([("cache-control", "private")], 200, "private"),
        ([("cache-control", "no-store")], 404, "no-store"),
        ([("set-cookie", "a=1")], 200, "set-cookie"),
        ([], 200, None),
        ([("cache-control", "private")], 500, None),
        ([("cache-control", "private")], 304, None),
    ],
    ids=["private", "no-store", "set-cookie", "storable", "an error", "not modified"],
)
async def test_an_answer_is_refused_by_the_rules_of_the_ordinary_way(
    house, fields: list[tuple[str, str]], status: int, reason: str | None
) -> None:
    """None where it could be stored, or where something stored may have to stand in for it."""
    house.origin.script("/items/1", PRIVATE)
    await house.handle("/items/1")
    plan = (await house.handle("/items/1")).pass_plan
    assert isinstance(plan, PassPlan)
    assert plan.alone is not None
    assert reason == refusal(plan.alone, ResponseHead(status, Fields.of(*fields)), house.clock.now())


async def _begun(house, target: str) -> tuple[RequestHead, Dispatched, Sent]:
    house.origin.script("/plain/1", OK)
    plan = (await house.handle("/plain/1")).pass_plan
    assert plan is not None
    sent = Sent()
    head = RequestHead(method="GET", target=target.encode(), authority=b"example.com")
    return head, Dispatched(plan, sent, b"its-id", "192.0.2.1", "/plain/1", house.clock.monotonic()), sent


async def test_what_was_sent_on_in_vain_is_given_up(house) -> None:
    """The request could be answered from the store after all: the origin's connection must not stay taken."""
    house.origin.script("/items/1", OK)
    await house.ask("/items/1")
    head, dispatched, sent = await _begun(house, "/items/1")
    reply = await house.engine.handle(head, None, Client(address="192.0.2.1"), dispatched=dispatched)
    assert (b"HIT", b"its-id", 1) == (reply.fields.get(b"x-cache"), reply.fields.get(b"x-request-id"), sent.given_up)


async def test_what_was_sent_on_is_given_up_with_its_client(house) -> None:
    """Also where he leaves before the way to the origin was met."""
    head, dispatched, sent = await _begun(house, "/items/2")
    waiting = asyncio.Event()

    async def wait(_: str) -> None:
        await waiting.wait()

    house.store.local, house.store.before = False, wait
    asking = asyncio.create_task(house.engine.handle(head, None, Client(address="192.0.2.1"), dispatched=dispatched))
    await house.quiet()
    asking.cancel()
    await asyncio.wait([asking])
    assert 1 == sent.given_up

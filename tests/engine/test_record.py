"""What is counted and logged of each request."""

import asyncio

import pytest
from structlog.testing import capture_logs

from cacheproxy.engine.record import HIT_SAMPLE, AccessLog
from cacheproxy.engine.recorder import Event
from cacheproxy.semantics.fields import Fields
from cacheproxy.upstream.fake import Answer

TTL = Answer(fields=Fields(), body=b"ok")


async def test_each_request_is_counted_once(house) -> None:
    """By method, route and X-Cache's word; a hit or a miss for what the route's keys name, and for no other."""
    for target in ("/items/1", "/plain/1"):
        house.origin.script(target, TTL)
    for method, target in (("GET", "/items/1"), ("GET", "/items/1"), ("PUT", "/items/1"), ("GET", "/plain/1")):
        await house.ask(target, method=method)
    counted = [(said["method"], said["route"], said["cache_status"], said["hit"]) for said in house.notes.requests]
    assert [
        ("GET", "item", "miss", False),
        ("GET", "item", "hit", True),
        ("PUT", "item-write", "bypass", False),
        ("GET", "plain", "bypass", False),
    ] == counted
    assert ["items", "items", "", ""] == [said["resource_type"] for said in house.notes.requests]


async def test_refusals_are_counted_too(house) -> None:
    """What the proxy answers by itself is a request like any other."""
    await house.ask("/mine/1")
    assert ["mine"] == [said["route"] for said in house.notes.requests]


async def test_a_route_without_a_key_counts_under_its_name(build) -> None:
    """There is no resource in its keys but the route itself."""
    house = build("version: 1\nroutes: [{name: pages, match: 'GET /pages/{rest:path}', cache: {ttl: 1m}}]")
    house.origin.script("/pages/1", TTL)
    await house.ask("/pages/1")
    assert ["pages"] == [said["resource_type"] for said in house.notes.requests]


async def test_a_line_says_all_that_is_known(build) -> None:
    """One line with what an operator asks about a request; what does not apply is left out."""
    house = build(log=AccessLog.ALL)
    house.origin.script("/items/1?a=secret", TTL)
    with capture_logs() as lines:
        await house.ask("/items/1?a=secret", ("x-request-id", "abc"))
    assert [
        {
            "event": "request",
            "log_level": "info",
            "request_id": "abc",
            "method": "GET",
            "path": "/items/1",
            "status": 200,
            "route": "item",
            "operation": "get",
            "resource_type": "items",
            "cache": "miss",
            "cache_hit": False,
            "duration_ms": 0.0,
            "upstream_ms": 0.0,
            "client": "192.0.2.1",
            "fwd": "uri-miss",
            "fwd_status": 200,
        }
    ] == lines


@pytest.mark.parametrize(
    ("log", "hits"),
    [(AccessLog.ALL, 2 * HIT_SAMPLE), (AccessLog.SAMPLED, 2), (AccessLog.OFF, 0)],
    ids=lambda each: each,
)
async def test_hits_are_sampled(build, log: AccessLog, hits: int) -> None:
    """Most hits need no line; everything else gets one, unless nothing does."""
    house = build(log=log)
    house.origin.script("/items/1", TTL)
    with capture_logs() as lines:
        for _ in range(1 + 2 * HIT_SAMPLE):
            await house.ask("/items/1")
    assert hits == sum(line["cache"] == "hit" for line in lines)
    assert (log is not AccessLog.OFF) == any(line["cache"] == "miss" for line in lines)


async def test_a_client_that_does_not_wait_is_counted_and_logged(build) -> None:
    """With the status that nginx has for it, and the route's own labels; the fill goes on."""
    house = build(log=AccessLog.ALL)
    house.origin.script("/items/1", TTL)
    house.origin.hold()
    with capture_logs() as lines:
        leaving = house.asking("/items/1")
        await house.quiet()
        leaving.cancel()
        await asyncio.wait([leaving])
    assert [(499, "item", "miss", "client-gone")] == [
        (line["status"], line["route"], line["cache"], line["error"]) for line in lines
    ]
    assert [("item", "miss", False)] == [
        (said["route"], said["cache_status"], said["hit"]) for said in house.notes.requests
    ]
    assert 1 == house.notes.events[Event.REFUSED.value, "client-gone"]
    house.origin.release()
    await house.quiet()
    assert "HIT" == (await house.ask("/items/1"))["x-cache"]


async def test_what_we_ask_for_ourselves_is_no_clients_request(build):
    """Neither counted nor logged, whether it is answered or given up."""
    house = build(log=AccessLog.ALL)
    house.origin.script("/items/1", TTL)
    with capture_logs() as lines:
        await house.ask("/items/1", ours=True)
        house.origin.hold()
        leaving = house.asking("/items/2", ours=True)
        await house.quiet()
        leaving.cancel()
        await asyncio.wait([leaving])
        house.origin.release()
    assert ([], []) == (lines, house.notes.requests)
    assert 0 == house.notes.events[Event.REFUSED.value, "client-gone"]


async def test_time_spent_upstream_is_told_apart(build) -> None:
    """The origin's slowness is not ours."""
    house = build(log=AccessLog.ALL)

    def slowly(received: object) -> Answer:
        house.clock.pass_s(1.5)
        return TTL

    house.origin.script("/plain/1", slowly)
    with capture_logs() as lines:
        await house.ask("/plain/1")
    assert (1500.0, 1500.0) == (lines[0]["duration_ms"], lines[0]["upstream_ms"])

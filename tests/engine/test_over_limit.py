"""Over a limit: refused, or given what is stored, where the rules put up with that."""

import pytest

from cacheproxy.semantics.fields import Fields
from cacheproxy.upstream.fake import Answer

POLICY = """
version: 1
limits:
  rather-stale: {rate: 1/hour, by: [client_ip], on_limit: stale_else_reject}
  strict: {rate: 2/hour, by: [client_ip]}
  crowd: {concurrency: 1, by: [client_ip]}
  quiet-crowd: {concurrency: 1, by: [client_ip], mode: shadow}
routes:
  - name: stored
    match: "GET /stored/{id}"
    limits: [rather-stale]
    cache: {ttl: 60s, key: "stored:{id}", stale_while_revalidate: 60s, keep_stale: 1h, client_cache_control: honor}
  - {name: both, match: "GET /both/{id}", limits: [rather-stale, strict], cache: {ttl: 60s, key: "both:{id}"}}
  - {name: one, match: "GET /one/{id}", limits: [crowd, strict]}
  - {name: watched, match: "GET /watched/{id}", limits: [quiet-crowd]}
"""
ETAG = ("etag", '"1"')


def ok(body: bytes = b"ok", *fields: tuple[str, str]) -> Answer:
    """An answer that is complete at once."""
    return Answer(fields=Fields.of(*fields), body=body)


@pytest.mark.parametrize(
    ("passed_s", "x_cache", "age"), [(10, "HIT", "10"), (70, "STALE", "70"), (130, "STALE", "130")],
    ids=["fresh", "stale-while-revalidate", "stale"],
)  # fmt: skip
async def test_what_is_stored_is_better_than_nothing(build, passed_s: int, x_cache: str, age: str) -> None:
    """Over such a limit nothing is fetched, nor refreshed; what is stored is served, and says why."""
    house = build(POLICY)
    house.origin.script("/stored/1", ok(b"old", ETAG))
    await house.ask("/stored/1")
    house.clock.pass_s(passed_s)
    answer = await house.ask("/stored/1")
    assert (200, b"old", x_cache, age) == (answer.status, answer.body, answer["x-cache"], answer["age"])
    assert answer["cache-status"].startswith("cacheproxy; hit; ")
    assert answer["cache-status"].endswith("detail=limited")
    assert "0" == answer["x-ratelimit-remaining"]
    await house.quiet()
    assert 1 == house.origin.count()


@pytest.mark.parametrize(
    ("said", "asked", "passed_s"),
    [("must-revalidate", "", 130), ("public", "no-cache", 10), ("public", "only-if-cached, max-age=0", 130)],
    ids=["must-revalidate", "no-cache", "only-if-cached"],
)
async def test_what_may_not_be_served_is_refused(build, said: str, asked: str, passed_s: int) -> None:
    """The response's word, and the client's, count for more than the policy's."""
    house = build(POLICY)
    house.origin.script("/stored/1", ok(b"old", ETAG, ("cache-control", said)))
    await house.ask("/stored/1")
    house.clock.pass_s(passed_s)
    assert 429 == (await house.ask("/stored/1", ("cache-control", asked))).status


async def test_where_nothing_is_stored_it_is_429(build) -> None:
    """There is no other answer without the origin."""
    house = build(POLICY)
    house.origin.script("/stored/1", ok())
    await house.ask("/stored/1")
    assert (429, 1) == ((await house.ask("/stored/2")).status, house.origin.count())


async def test_one_strict_rule_is_enough_to_refuse(build) -> None:
    """Every rule that a request is over must put up with what is stored."""
    house = build(POLICY)
    house.origin.script("/both/1", ok())
    assert [200, 200, 200] == [(await house.ask("/both/1")).status for _ in range(3)]
    for _ in range(2):
        await house.ask("/one/1")
    assert 429 == (await house.ask("/both/1")).status


async def test_requests_in_flight_are_counted_until_their_last_byte(build, dripping) -> None:
    """One at a time means that the next is refused while a body is still being sent, and admitted after it."""
    house = build(POLICY)
    drip, answer = dripping()
    house.origin.script("/one/1", answer, ok())
    reply = await house.handle("/one/1")
    refused = await house.ask("/one/1")
    assert (429, "1") == (refused.status, refused["retry-after"])
    assert 1 == house.notes.events["rate-limit", "crowd", "deny"]
    drip.drop(b"x", None)
    assert (None, [b"x"]) == (reply.body.length, [chunk async for chunk in reply.body])
    await reply.body.aclose()
    assert 200 == (await house.ask("/one/1")).status


async def test_a_request_over_its_rate_is_not_in_flight(build) -> None:
    """Its place among those at once is given back when the rate refuses it."""
    house = build(POLICY)
    house.origin.script("/one/1", ok())
    assert [200, 200, 429, 429] == [(await house.ask("/one/1")).status for _ in range(4)]
    assert 0 == house.notes.events["rate-limit", "crowd", "deny"]


async def test_a_crowd_may_be_watched_only(build, dripping) -> None:
    """In shadow nobody is refused, and what would have been is counted."""
    house = build(POLICY)
    house.origin.script("/watched/1", dripping()[1], ok())
    reply = await house.handle("/watched/1")
    assert 200 == (await house.ask("/watched/1")).status
    assert 1 == house.notes.events["rate-limit", "quiet-crowd", "shadow_deny"]
    await reply.body.aclose()

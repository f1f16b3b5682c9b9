"""Limits on the way: what is counted, what is refused, and what the answer says."""

import asyncio

import pytest

from cacheproxy.semantics.fields import Fields
from cacheproxy.upstream.fake import Answer

SHADOW = """
version: 1
limits: {quiet: {rate: 1/minute, by: [client_ip], mode: shadow}, by-param: {rate: 1/minute, by: [header.x-none]}}
routes: [{name: watched, match: "GET /watched", limits: [quiet, by-param]}]
"""


@pytest.fixture(autouse=True)
def answers(house) -> None:
    """Something at each target."""
    for target in ("/each/1", "/misses/1", "/misses/2"):
        house.origin.script(target, Answer(fields=Fields.of(("x-ratelimit-limit", "9")), body=b"ok"))


async def test_over_the_limit_is_429(house) -> None:
    """With when to come back, and the problem as a document; the origin is spared (RFC 6585 §4)."""
    for _ in range(2):
        assert 200 == (await house.ask("/each/1")).status
    answer = await house.ask("/each/1")
    assert (429, "application/problem+json", "30") == (answer.status, answer["content-type"], answer["retry-after"])
    assert ("each", "0") == (answer["ratelimit-policy"].split('"')[1], answer["x-ratelimit-remaining"])
    assert (2, 1) == (
        house.notes.events["rate-limit", "each", "allow"],
        house.notes.events["rate-limit", "each", "deny"],
    )


async def test_others_are_not_held_to_it(house) -> None:
    """Each client has a quota of its own."""
    for address in ("192.0.2.1", "192.0.2.1", "192.0.2.2"):
        assert 200 == (await house.ask("/each/1", address=address)).status


async def test_hits_count_where_the_rule_says_so(house) -> None:
    """A hit says what is left, and is refused beyond it; a refusal is no hit."""
    await house.ask("/each/1")
    hit = await house.ask("/each/1")
    assert ("HIT", "0") == (hit["x-cache"], hit["x-ratelimit-remaining"])
    answer = await house.ask("/each/1")
    assert (429, "cacheproxy", False) == (answer.status, answer["cache-status"], house.notes.requests[-1]["hit"])


async def test_a_limit_on_misses_lets_hits_pass(house) -> None:
    """Only what goes to the origin counts against it."""
    await house.ask("/misses/1")
    assert "HIT" == (await house.ask("/misses/1"))["x-cache"]


async def test_a_limit_on_misses_refuses_the_next_miss(house) -> None:
    """Its refusal tells of its own quota, once, and not of those that had room."""
    await house.ask("/misses/1")
    answer = await house.ask("/misses/2")
    assert (429, 1) == (answer.status, house.origin.count())
    assert ('"misses";r=0;t=60', "1") == (answer["ratelimit"], answer["x-ratelimit-limit"])


async def test_a_limit_on_misses_refuses_a_revalidation(house) -> None:
    """What is stale must be asked for, and that counts; the 429 is no hit though something was found."""
    house.origin.script("/misses/1", Answer(fields=Fields.of(("etag", '"1"'))))
    await house.ask("/misses/1")
    house.clock.pass_s(61)
    await house.ask("/misses/2")
    answer = await house.ask("/misses/1")
    assert (429, "cacheproxy", False) == (answer.status, answer["cache-status"], house.notes.requests[-1]["hit"])


async def test_a_limit_on_misses_counts_what_has_no_key(house) -> None:
    """A request that bypasses the cache goes to the origin, too."""
    assert [200, 429] == [(await house.ask("/misses/1", body=b"x")).status for _ in range(2)]


async def test_a_rule_in_shadow_only_counts(build) -> None:
    """Nobody is refused by it, and no client hears of it; a rule without a subject does not apply."""
    house = build(SHADOW)
    house.origin.script("/watched", Answer())
    answers = [await house.ask("/watched") for _ in range(2)]
    assert [(200, None)] * 2 == [(answer.status, answer["ratelimit"]) for answer in answers]
    assert {("rate-limit", "quiet", "allow"): 1, ("rate-limit", "quiet", "shadow_deny"): 1} == {
        event: count for event, count in house.notes.events.items() if event[0] == "rate-limit"
    }


async def test_limits_that_cannot_be_asked_admit(house) -> None:
    """Without the limiter's word the request goes on, with nothing to say about quotas of ours."""
    house.limiter.fails.add("admit")
    answers = await asyncio.gather(*(house.ask("/each/1") for _ in range(5)))
    assert {(200, None)} == {(answer.status, answer["ratelimit"]) for answer in answers}

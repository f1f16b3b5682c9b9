"""``lookup_when`` and ``store_when``: who is answered from the store, and whose answers go into it."""

import pytest

from cacheproxy.errors import UpstreamError
from cacheproxy.semantics.fields import Fields
from cacheproxy.upstream.fake import Answer

POLICY = """
version: 1
session: {cookie: sid, identity: {X-User-Id: user_id}}
routes:
  - name: fresh
    match: GET /fresh/{id}
    cache: {ttl: 60s, key: "fresh:{id}", lookup_when: {header.x-fresh: absent}, stale_if_error: 1h}
  - name: kept
    match: "/kept/{id}"
    cache:
      ttl: 60s
      key: "kept:{id}"
      stale_while_revalidate: 60s
      stale_if_error: 1h
      early_refresh: true
      store_when: {header.x-draft: absent}
  - name: neither
    match: GET /neither/{id}
    cache: {ttl: 60s, key: "neither:{id}", lookup_when: {query.x: absent}, store_when: {query.x: absent}}
  - name: asked
    match: GET /asked/{id}
    cache: {ttl: 60s, key: "asked:{id}", lookup_when: {header.x-fresh: absent}, client_cache_control: honor}
"""
FRESH, DRAFT = ("x-fresh", "1"), ("x-draft", "1")


@pytest.fixture
def house(build):
    """An engine with conditions."""
    return build(POLICY, draw=lambda: 1 - 1e-15)


def ok(body: bytes, *fields: tuple[str, str], status: int = 200) -> Answer:
    """An answer that is complete at once."""
    return Answer(status=status, fields=Fields.of(*fields), body=body)


async def test_who_may_not_look_up_asks_the_origin_and_stores(house) -> None:
    """Whatever is stored and fresh; the others get what came."""
    house.origin.script("/fresh/1", ok(b"old"), ok(b"new"))
    await house.ask("/fresh/1")
    anew = await house.ask("/fresh/1", FRESH)
    assert "cacheproxy; fwd=bypass; fwd-status=200; ttl=60; stored; detail=lookup-when" == anew["cache-status"]
    assert ("BYPASS", b"new") == (anew["x-cache"], anew.body)
    after = await house.ask("/fresh/1")
    assert (b"new", "HIT", 2) == (after.body, after["x-cache"], house.origin.count())


async def test_who_may_not_look_up_is_not_served_by_a_fill_either(house) -> None:
    """Another's fetch may have been made for something that was stored already; this one asks for itself."""
    house.origin.hold()
    house.origin.script("/fresh/1", ok(b"first"), ok(b"second"))
    led = house.asking("/fresh/1")
    await house.quiet()
    anew = house.asking("/fresh/1", FRESH)
    await house.quiet()
    house.origin.release()
    assert [b"first", b"second"] == [(await led).body, (await anew).body]
    assert 2 == house.origin.count()


async def test_who_may_not_look_up_gets_no_stale_answer_for_an_error(house) -> None:
    """The origin's own answer was wanted, and there was none."""
    house.origin.script("/fresh/1", ok(b"old"), UpstreamError(502, "connect-refused", sent=False))
    await house.ask("/fresh/1")
    house.clock.pass_s(61)
    assert 502 == (await house.ask("/fresh/1", FRESH)).status


async def test_what_is_not_storable_stays_so_without_a_look_up(house) -> None:
    """The reason that lies in the answer is told."""
    house.origin.script("/fresh/1", ok(b"mine", ("cache-control", "private")))
    answer = await house.ask("/fresh/1", FRESH)
    assert "cacheproxy; fwd=bypass; fwd-status=200; detail=private" == answer["cache-status"]


async def test_who_wants_what_is_stored_alone_gets_none_without_a_look_up(house) -> None:
    """``only-if-cached`` and no look-up leave nothing to answer with."""
    house.origin.script("/asked/1", ok(b"one"))
    await house.ask("/asked/1")
    answer = await house.ask("/asked/1", FRESH, ("cache-control", "only-if-cached"))
    assert (504, 1) == (answer.status, house.origin.count())


async def test_what_may_not_be_stored_is_not(house) -> None:
    """The answer is for who asked, and nobody after finds it."""
    house.origin.script("/kept/1", ok(b"draft"), ok(b"public"))
    draft = await house.ask("/kept/1", DRAFT)
    assert "cacheproxy; fwd=uri-miss; fwd-status=200; detail=store-when" == draft["cache-status"]
    assert [b"draft", b"public"] == [draft.body, (await house.ask("/kept/1")).body]


async def test_what_may_not_be_stored_is_not_shared(house) -> None:
    """A follower would get what the store may not have."""
    house.origin.hold()
    house.origin.script("/kept/1", ok(b"draft"), ok(b"public"))
    led = house.asking("/kept/1", DRAFT)
    await house.quiet()
    follower = house.asking("/kept/1")
    await house.quiet()
    house.origin.release()
    assert [b"draft", b"public"] == [(await led).body, (await follower).body]


async def test_what_is_stored_may_be_used_where_nothing_may_be_stored(house) -> None:
    """A hit is a hit, and is not refreshed early for such a request."""
    house.origin.script("/kept/1", ok(b"public"), ok(b"draft"))
    await house.ask("/kept/1")
    house.clock.pass_s(59)
    hit = await house.ask("/kept/1", DRAFT)
    await house.quiet()
    assert ("HIT", b"public", 1) == (hit["x-cache"], hit.body, house.origin.count())


async def test_nothing_stale_is_refreshed_where_nothing_may_be_stored(house) -> None:
    """Within stale-while-revalidate such a request goes to the origin, as nobody would refresh behind it."""
    house.origin.script("/kept/1", ok(b"public"), ok(b"draft"), ok(b"newer"))
    await house.ask("/kept/1")
    house.clock.pass_s(61)
    draft = await house.ask("/kept/1", DRAFT)
    await house.quiet()
    assert "cacheproxy; fwd=stale; fwd-status=200; detail=store-when" == draft["cache-status"]
    assert (b"public", "STALE") == ((stale := await house.ask("/kept/1")).body, stale["x-cache"])


async def test_nothing_stale_stands_in_where_nothing_may_be_stored(house) -> None:
    """The cache has no part in what is not a hit: the origin's error is the answer."""
    house.origin.script("/kept/1", ok(b"public"), UpstreamError(502, "connect-refused", sent=False))
    await house.ask("/kept/1")
    house.clock.pass_s(61)
    assert 502 == (await house.ask("/kept/1", DRAFT)).status


async def test_a_revalidation_is_none_where_nothing_may_be_stored(house) -> None:
    """What the origin says to such a request freshens nothing."""
    house.origin.script("/kept/1", ok(b"public", ("etag", '"1"')), ok(b"draft", ("etag", '"1"')))
    await house.ask("/kept/1")
    house.clock.pass_s(121)
    draft = await house.ask("/kept/1", DRAFT)
    assert (b"draft", None) == (draft.body, house.origin.received[-1].head.fields.get(b"if-none-match"))
    assert "stored" not in (draft["cache-status"] or "")


async def test_a_post_whose_answer_may_not_be_stored_leaves_none(house) -> None:
    """What a GET would bring, said in answer to a POST, is stored on the same condition."""
    says = (("cache-control", "max-age=60"), ("content-location", "/kept/1"))
    house.origin.script("/kept/1", ok(b"posted", *says), ok(b"got"))
    await house.ask("/kept/1", DRAFT, method="POST", body=b"x")
    assert b"got" == (await house.ask("/kept/1")).body


async def test_neither_looked_up_nor_stored(house) -> None:
    """Both conditions fail: the cache has no part in it, and the request has still a key to be found by without."""
    house.origin.script("/neither/1?x=1", ok(b"one"), ok(b"two"))
    answers = [await house.ask("/neither/1?x=1") for _ in range(2)]
    assert [b"one", b"two"] == [answer.body for answer in answers]
    assert "cacheproxy; fwd=bypass; fwd-status=200; detail=store-when" == answers[1]["cache-status"]


async def test_a_purge_during_a_fetch_without_look_up_is_not_lost(house) -> None:
    """The stamp is taken before the origin is asked, for this fetch as for any other."""
    house.origin.script("/fresh/1", ok(b"before"), ok(b"after"))
    house.origin.hold()
    asked = house.asking("/fresh/1", FRESH)
    await house.quiet()
    await house.purge("fresh:*")
    house.origin.release()
    await asked
    assert b"after" == (await house.ask("/fresh/1")).body

"""What clients ask for most is known, in bounded memory, and only what may be asked for in nobody's name."""

import pytest

from cacheproxy.engine.popular import Counters, Popular
from cacheproxy.engine.record import HIT_SAMPLE
from cacheproxy.semantics.fields import Fields
from cacheproxy.upstream.fake import Answer

POLICY = """
version: 1
warm: {most_used: 5}
session: {cookie: sid, identity: {X-User-Id: user_id}}
routes:
  - {name: item, match: "GET /items/{id}", cache: {ttl: 60s, key: "items:{id}:{query.page=1}"}}
  - {name: mine, match: "GET /mine/{id}", session: required, cache: {ttl: 60s, key: "mine:{id}", scope: user}}
  - {name: told, match: "GET /told/{id}", cache: {ttl: 60s, key: "told:{id}:{header.x-shop=none}"}}
  - {name: plain, match: "GET /plain/{id}"}
"""
TTL = Answer(body=b"ok")
ITEM = "GET example.com/items/"


def lines(house) -> list[str]:
    """What is used most, in order."""
    return [popular.line for popular in house.counters.most(10)]


async def test_the_most_used_come_first(build):
    """However they were answered: from the origin or from the store."""
    house = build(POLICY)
    for item, times in ((1, 1), (2, 5), (3, 3)):
        house.origin.script(f"/items/{item}?page=2", TTL)
        for _ in range(times):
            await house.ask(f"/items/{item}?page=2")
    assert [f"{ITEM}{item}?page=2" for item in (2, 3, 1)] == lines(house)


@pytest.mark.parametrize(
    ("target", "fields", "answer"),
    [
        ("/mine/1", [("cookie", "sid=s-ann")], TTL),
        ("/told/1", [], TTL),
        ("/plain/1", [], TTL),
        ("/items/1", [], Answer(status=500)),
        ("/items/1", [], Answer(fields=Fields.of(("cache-control", "private")))),
        ("/items/1", [("authorization", "Bearer x")], Answer(fields=Fields.of(("cache-control", "public, max-age=9")))),
        ("/items/1?page=" + "9" * 2000, [], TTL),
    ],
    ids=["of-a-user", "by-a-header", "uncached", "failed", "private", "authorized", "long"],
)
async def test_what_could_not_be_asked_for_again_is_not_counted(build, target, fields, answer):
    """By a request of a host and a target alone, in nobody's name."""
    house = build(POLICY)
    house.origin.script(target, answer)
    for _ in range(2):
        await house.ask(target, *fields)
    assert [] == lines(house)


async def test_nothing_is_counted_unless_the_policy_wants_it(build):
    """And nothing is kept."""
    house = build(POLICY.replace("most_used: 5", "most_used: 0"))
    house.origin.script("/items/1", TTL)
    await house.ask("/items/1")
    assert 0 == len(house.counters)


async def test_fields_that_the_answer_hangs_on_are_kept(build):
    """As the first client sent them; others are not."""
    house = build(POLICY)
    house.origin.script("/items/1", Answer(fields=Fields.of(("vary", "Accept-Encoding, Cookie")), body=b"x"))
    await house.ask("/items/1", ("accept-encoding", "gzip"), ("accept", "text/html"), ("x-forwarded-proto", "https"))
    [popular] = house.counters.most(1)
    assert (("x-forwarded-proto", "https"), ("accept-encoding", "gzip")) == popular.fields


def use(counters: Counters, key: str, times: int) -> None:
    """As a request would be counted."""
    counters.add(key, lambda: Popular(line=f"GET {key}/"))
    counters.again(key, times - 1)


def test_a_crawl_pushes_out_nothing_that_is_asked_for_all_the_time():
    """Counters are bounded, whatever comes."""
    counters = Counters(kept=10)
    for page in range(10_000):
        use(counters, f"page-{page}", 1)
        if page % 10 == 0:
            use(counters, "hot", 1)
        assert len(counters) <= 21
    assert ["GET hot/"] == [popular.line for popular in counters.most(1)]


def test_one_hit_stands_for_those_of_the_express_lane():
    """What is not counted yet has no share in that."""
    counters = Counters()
    use(counters, "a", 1)
    counters.again("a", HIT_SAMPLE - 1)
    counters.again("b", HIT_SAMPLE - 1)
    assert [(Popular(line="GET a/"), HIT_SAMPLE)] == counters.take(5)


def test_uses_are_told_once_and_fade():
    """What was used long ago gives way, and is forgotten."""
    counters = Counters()
    use(counters, "old", 10)
    assert [10] == [count for _, count in counters.take(5)]
    assert [] == counters.take(5)
    use(counters, "new", 4)
    assert ["GET new/", "GET old/"] == [popular.line for popular in counters.most(2)]
    for _ in range(20):
        counters.take(5)
    assert 0 == len(counters)


@pytest.mark.parametrize(
    "popular",
    [Popular(line="GET a/b?c"), Popular(line="GET a/", scheme="https", fields=(("accept-encoding", 'g"z'),))],
)
def test_a_request_is_read_as_it_was_written(popular):
    """From its text."""
    assert popular == Popular.of(popular.text())
    assert popular == Popular.of(popular.text().encode())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '["GET /", "ftp", []]',
        '["GET /", "http", [["cookie", "x"]]]',
        '["GET /", "http", [1]]',
        '[1, "http", []]',
    ],
)
def test_what_is_no_request_is_refused(text):
    """Nor is one with a field that is never kept."""
    with pytest.raises(ValueError, match=r".+"):
        Popular.of(text)

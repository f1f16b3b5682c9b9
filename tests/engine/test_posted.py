"""What a POST brought, kept for GETs of the same target (RFC 9110 §9.3.3)."""

import pytest

from cacheproxy.errors import UpstreamError
from cacheproxy.semantics.fields import Fields
from cacheproxy.upstream.fake import Answer

POLICY = """
version: 1
routes:
  - {name: cased, match: "GET /any/cased", cache: {ttl: 60s}}
  - {name: any, match: "/any/{id}", cache: {ttl: origin, tags: ["any:{id}"]}}
  - {name: plain, match: "/plain/{id}"}
"""
FOR_GET = (("content-location", "/any/1"), ("cache-control", "max-age=60"))


def ok(body: bytes, *fields: tuple[str, str], status: int = 200) -> Answer:
    """An answer that is complete at once."""
    return Answer(status=status, fields=Fields.of(*fields), body=body)


@pytest.fixture
def house(build):
    """One that caches whatever method its routes take."""
    return build(POLICY)


async def test_what_a_post_brought_answers_gets(house) -> None:
    """With its own target as Content-Location and a lifetime of its own, and its client gets the origin's words."""
    house.origin.script("/any/1", ok(b"old", ("cache-control", "max-age=60")), ok(b"posted", *FOR_GET, ("x-only", "1")))
    await house.ask("/any/1")
    posted = await house.ask("/any/1", ("if-none-match", "*"), method="POST", body=b"x")
    assert (200, b"posted", "1") == (posted.status, posted.body, posted["x-only"])
    assert "cacheproxy; fwd=method; fwd-status=200; stored" == posted["cache-status"]
    got = await house.ask("/any/1")
    assert (b"posted", "HIT", 2) == (got.body, got["x-cache"], house.origin.count())
    await house.purge("any:1")
    assert [b"posted", "MISS"] == [(got := await house.ask("/any/1")).body, got["x-cache"]]


async def test_a_body_that_is_still_arriving_goes_both_ways(house, dripping) -> None:
    """To the client as it comes, and into the store when it is whole."""
    drip, answer = dripping(*FOR_GET)
    house.origin.script("/any/1", answer)
    posting = house.asking("/any/1", method="POST", body=b"x")
    await house.quiet()
    drip.drop(b"po", b"st", None)
    assert b"post" == (await posting).body
    await house.quiet()
    assert "HIT" == (await house.ask("/any/1"))["x-cache"]


@pytest.mark.parametrize(
    ("target", "fields"),
    [
        pytest.param("/any/1", FOR_GET[:1], id="no-lifetime"),
        pytest.param("/any/1", FOR_GET[1:], id="no-content-location"),
        pytest.param("/any/1", (("content-location", "/any/2"), FOR_GET[1]), id="of-another-target"),
        pytest.param("/any/1", (*FOR_GET, ("set-cookie", "a=1")), id="a-cookie"),
        pytest.param("/any/1", (*FOR_GET, ("cache-tag", "t" * 20_000)), id="too-many-tags"),
        pytest.param("/any/cased", (("content-location", "/any/cased"), FOR_GET[1]), id="gets-go-elsewhere"),
        pytest.param("/plain/1", (("content-location", "/plain/1"), FOR_GET[1]), id="nothing-is-cached"),
    ],
)
async def test_what_is_no_answer_to_a_get_is_not_kept(house, target, fields) -> None:
    """All conditions hold, or the next GET asks the origin."""
    house.origin.script(target, ok(b"posted", *fields), ok(b"got"))
    assert b"posted" == (await house.ask(target, method="POST", body=b"x")).body
    assert b"got" == (await house.ask(target)).body


@pytest.mark.parametrize(
    ("tag", "then"),
    [("any:1", b"got"), ("of-the-response", b"got"), ("*", b"got"), ("something:else", b"posted")],
)
async def test_a_purge_while_the_origin_worked_forbids_it(house, tag, then) -> None:
    """If it named what the answer carries: that may be older, and its own purge would hide it."""
    house.origin.script("/any/1", ok(b"posted", *FOR_GET, ("cache-tag", "of-the-response")), ok(b"got"))
    house.origin.hold()
    posting = house.asking("/any/1", method="POST", body=b"x")
    await house.quiet()
    await house.purge(tag)
    house.origin.release()
    assert b"posted" == (await posting).body
    assert then == (await house.ask("/any/1")).body


async def test_of_two_writes_at_once_neither_is_kept_if_the_other_came_between(house) -> None:
    """The one that is answered first may be kept, until the other's purge."""
    house.origin.script("/any/1", ok(b"one", *FOR_GET), ok(b"two", *FOR_GET), ok(b"got"))
    house.origin.hold()
    writes = [house.asking("/any/1", method="POST", body=b"x") for _ in range(2)]
    await house.quiet()
    house.origin.release()
    assert {b"one", b"two"} == {(await write).body for write in writes}
    assert b"got" == (await house.ask("/any/1")).body


@pytest.mark.parametrize("failing", ["begin", "purge_soon"])
async def test_without_the_tag_clock_nothing_is_kept(house, failing) -> None:
    """The write goes through all the same, if the clock fails before it or leaves its purge for later."""
    house.origin.script("/any/1", ok(b"posted", *FOR_GET), ok(b"got"))
    if failing == "begin":
        house.purger.fails.add("begin")
    else:
        house.purger.inner.purge_soon = _later
    assert b"posted" == (await house.ask("/any/1", method="POST", body=b"x")).body
    house.purger.fails.clear()
    assert b"got" == (await house.ask("/any/1")).body


async def _later(_purge: object, _watch: object) -> None:
    return


async def test_a_post_that_failed_keeps_and_purges_nothing(house) -> None:
    """An error makes nothing untrue."""
    house.origin.script("/any/1", ok(b"old", FOR_GET[1]), UpstreamError(502, "closed-early", sent=True))
    await house.ask("/any/1")
    assert 502 == (await house.ask("/any/1", method="POST", body=b"x")).status
    assert "HIT" == (await house.ask("/any/1"))["x-cache"]


async def test_purges_that_a_response_may_not_ask_for_are_counted(house) -> None:
    """The write's own purges hold even so."""
    house.origin.script("/any/1", ok(b"old", FOR_GET[1]), ok(b"", ("cacheproxy-purge", "bad tag")), ok(b"new"))
    await house.ask("/any/1")
    await house.ask("/any/1", method="POST", body=b"x")
    assert 1 == house.notes.events["event-dropped", "bad-tag"]
    assert b"new" == (await house.ask("/any/1")).body

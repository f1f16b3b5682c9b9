"""Requests that go past the cache, and what they make untrue."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from cacheproxy.errors import ClientError, UpstreamError
from cacheproxy.semantics.fields import Fields
from cacheproxy.upstream.fake import Answer


def ok(body: bytes = b"ok", *fields: tuple[str, str], status: int = 200) -> Answer:
    """An answer that is complete at once."""
    return Answer(status=status, fields=Fields.of(*fields), body=body)


class BrokenBody:
    """A request body whose client leaves midway."""

    length = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Half of it."""
        yield b"half"
        raise ClientError(400, "client-gone")


async def filled(house, *targets: str) -> None:
    """Have ``targets`` stored."""
    for target in targets:
        house.origin.script(target, ok(b"old"))
        assert "MISS" == (await house.ask(target))["x-cache"]


async def state(house, target: str) -> str | None:
    """How a GET is answered."""
    return (await house.ask(target))["x-cache"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("status", [200, 201, 204, 303])
async def test_a_write_purges_before_its_client_knows(house, method: str, status: int) -> None:
    """After the answer to an unsafe request nobody gets what was there before (RFC 9111 §4.4)."""
    await filled(house, "/items/1", "/any/1")
    for target in ("/items/1", "/any/1"):
        house.origin.script(target, ok(b"", status=status), ok(b"new"))
        answer = await house.ask(target, method=method, body=b"x")
        assert (status, "BYPASS") == (answer.status, answer["x-cache"])
        assert b"new" == (await house.ask(target)).body
    assert 2 == house.notes.events["invalidation", "write"]


async def test_a_write_purges_the_tags_of_its_route(house) -> None:
    """The policy's tags go too: a list that shows the item."""
    await filled(house, "/items/1", "/items/2", "/swr/1")
    await house.ask("/items/1", method="PUT", body=b"x")
    assert ["MISS", "MISS", "HIT"] == [await state(house, target) for target in ("/items/1", "/items/2", "/swr/1")]


@pytest.mark.parametrize(
    ("fields", "purged"),
    [
        ([("location", "/swr/1")], True),
        ([("content-location", "http://example.com/swr/1")], True),
        ([("location", "http://elsewhere.example/swr/1")], False),
        ([("cacheproxy-purge", "shelf")], True),
        ([("cache-group-invalidation", '"shelf"')], True),
    ],
    ids=["location", "content-location", "another-origin", "cacheproxy-purge", "cache-group-invalidation"],
)
async def test_a_writes_answer_names_what_else_is_untrue(house, fields: list[tuple[str, str]], purged: bool) -> None:
    """URIs of the same origin (RFC 9111 §4.4), groups (RFC 9875 §3), and tags of ours; none of it is passed on."""
    house.origin.script("/swr/1", ok(b"old", ("cache-tag", "shelf")))
    await house.ask("/swr/1")
    house.origin.script("/plain/1", ok(b"", *fields))
    answer = await house.ask("/plain/1", method="POST")
    assert (None, None) == (answer["cacheproxy-purge"], answer["cache-group-invalidation"])
    assert ("MISS" if purged else "HIT") == await state(house, "/swr/1")


@pytest.mark.parametrize(
    ("method", "status"), [("PUT", 400), ("PUT", 500), ("OPTIONS", 200)], ids=["refused", "failed", "safe"]
)
async def test_what_changed_nothing_purges_nothing(house, method: str, status: int) -> None:
    """A failed write, or a safe method, leaves what is stored (RFC 9111 §4.4)."""
    await filled(house, "/items/1")
    house.origin.script("/items/1", ok(b"", ("cacheproxy-purge", "items"), status=status))
    await house.ask("/items/1", method=method)
    assert "HIT" == await state(house, "/items/1")


async def test_what_was_read_while_a_write_was_under_way_is_not_kept(house) -> None:
    """The origin may have answered the read before it carried the write out."""
    house.origin.script("/items/1", ok(b"written"), ok(b"old"), ok(b"new"))
    house.origin.hold()
    writing = house.asking("/items/1", method="PUT")
    await house.origin.arrived(1)
    reading = house.asking("/items/1")
    await house.origin.arrived(2)
    house.origin.release()
    assert [b"written", b"old"] == [answer.body for answer in await asyncio.gather(writing, reading)]
    assert b"new" == (await house.ask("/items/1")).body


async def test_a_write_purges_though_its_client_left(house, dripping) -> None:
    """The origin carried it out, so what is stored is untrue; the answer's body is closed."""
    drip, answer = dripping()
    await filled(house, "/items/1")
    house.origin.script("/items/1", answer, ok(b"new"))
    house.origin.hold()
    writing = house.asking("/items/1", method="PUT", body=b"x")
    await house.origin.arrived(2)
    writing.cancel()
    await house.quiet()
    house.origin.release()
    await house.quiet()
    assert (True, b"new") == (drip.closed, (await house.ask("/items/1")).body)


async def test_a_write_that_fails_after_its_client_left_is_nobodys_error(house) -> None:
    """No exception is left behind in a task that nobody awaits."""
    house.origin.script("/items/1", UpstreamError(502, "closed-early", sent=True))
    house.origin.hold()
    writing = house.asking("/items/1", method="PUT")
    await house.origin.arrived(1)
    writing.cancel()
    await house.quiet()
    house.origin.release()
    await house.quiet()
    assert {} == house.leaks()


async def test_a_writes_answer_is_streamed(house, dripping) -> None:
    """Its body is passed on as it comes."""
    drip, answer = dripping()
    house.origin.script("/items/1", answer)
    reply = await house.handle("/items/1", method="PUT")
    chunks = aiter(reply.body)
    drip.drop(b"first")
    assert b"first" == await anext(chunks)
    drip.drop(None)
    assert [] == [chunk async for chunk in chunks]
    await reply.body.aclose()


@pytest.mark.parametrize("method", ["PUT", "REPORT"], ids=["unsafe", "safe"])
async def test_a_body_that_its_client_did_not_finish_is_the_clients_error(house, method: str) -> None:
    """400, whether or not anybody is there to read it."""
    answer = await house.ask("/plain/1", method=method, content=BrokenBody())
    assert (400, "BYPASS") == (answer.status, answer["x-cache"])

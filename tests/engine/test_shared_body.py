"""A body that is kept while it is passed on."""

import asyncio

import pytest

from cacheproxy.engine.shared_body import SharedBody
from cacheproxy.errors import UpstreamError
from cacheproxy.upstream.bodies import PartsBody


async def read(body: SharedBody) -> bytes:
    """All that its reader gets."""
    return b"".join([chunk async for chunk in body])


async def test_reader_and_store_both_get_the_whole() -> None:
    """What is gathered is what was streamed."""
    body = SharedBody(PartsBody([b"a", b"bc"]), 10)
    gathered, streamed = await asyncio.gather(body.gather(), read(body))
    assert (b"abc", b"abc") == (gathered, streamed)


async def test_it_is_gathered_when_the_reader_leaves() -> None:
    """A client that hangs up costs the others nothing."""
    body = SharedBody(PartsBody([b"a", b"bc"]), 10)
    reader = aiter(body)
    gathering = asyncio.create_task(body.gather())
    assert b"a" == await anext(reader)
    await reader.aclose()
    await body.aclose()
    assert b"abc" == await gathering


async def test_past_its_bound_it_goes_to_the_reader_alone() -> None:
    """A body over the bound is not kept, and loses no byte on its way to the client."""
    parts = PartsBody([b"12345"] * 9)
    body = SharedBody(parts, 12)
    gathered, streamed = await asyncio.gather(body.gather(), read(body))
    assert (None, b"12345" * 9) == (gathered, streamed)
    await body.aclose()
    assert parts.closed


async def test_past_its_bound_without_a_reader_the_origin_is_let_go() -> None:
    """Nobody reads on for nobody."""
    for read in (True, False):
        parts = PartsBody([b"12345"] * 9)
        body = SharedBody(parts, 12, read=read)
        await body.aclose()
        assert await body.gather() is None
        assert parts.closed


async def test_a_broken_body_breaks_for_both() -> None:
    """Neither the store nor the client takes half a body for a whole one."""
    broken = UpstreamError(502, "truncated", sent=True)
    body = SharedBody(PartsBody([b"a"], error=broken), 10)
    gathered, streamed = await asyncio.gather(body.gather(), read(body), return_exceptions=True)
    assert (broken, broken) == (gathered, streamed)


async def test_a_reader_that_came_late_gets_all() -> None:
    """The reader may start after the end."""
    body = SharedBody(PartsBody([b"a", b"b"]), 10)
    await body.gather()
    assert b"ab" == await read(body)


@pytest.mark.parametrize("limit", [3, 4])
async def test_the_bound_is_inclusive(limit: int) -> None:
    """A body of exactly the bound is kept."""
    assert b"abc" == await SharedBody(PartsBody([b"abc"]), limit).gather()

"""Who may hold a connection while a request's body is still on its way."""

import asyncio

import pytest

from cacheproxy.errors import UpstreamError
from cacheproxy.upstream.bodies import PartsBody
from cacheproxy.upstream.uploads import NO_LEAVE, Leave, Uploads


class Arriving(PartsBody):
    """A body that tells when it is here."""

    def __init__(self) -> None:
        """Nothing came yet."""
        super().__init__([])
        self.tell = lambda: None

    def when_arrived(self, tell) -> None:
        """Keep ``tell``."""
        self.tell = tell


async def waiting(uploads: Uploads, body=None) -> "asyncio.Task[Leave]":
    """Somebody who waits for a place."""
    task = asyncio.create_task(uploads.enter(body or Arriving()))
    await asyncio.sleep(0)
    assert not task.done()
    return task


async def test_a_place_goes_to_whoever_waited_longest() -> None:
    """Places are given out in order, and none is lost."""
    uploads = Uploads(1, 5)
    leave = await uploads.enter(Arriving())
    first, second = await waiting(uploads), await waiting(uploads)
    leave.give_back()
    leave.give_back()
    (await first).give_back()
    (await second).give_back()
    assert await asyncio.wait_for(uploads.enter(Arriving()), 1)


async def test_a_body_that_has_come_needs_no_place() -> None:
    """Who was slow no more goes on, though all places are taken by slower ones."""
    uploads, body = Uploads(1, 5), Arriving()
    await uploads.enter(Arriving())
    one = await waiting(uploads, body)
    body.tell()
    assert NO_LEAVE is await one


async def test_the_wait_is_bounded() -> None:
    """Where no place becomes free the request fails as where no connection does, and was not sent."""
    uploads = Uploads(1, 0.01)
    await uploads.enter(Arriving())
    with pytest.raises(UpstreamError) as raised:
        await uploads.enter(PartsBody([]))
    assert (503, "pool-exhausted", False) == (raised.value.status, raised.value.reason, raised.value.sent)


@pytest.mark.parametrize("granted", [False, True])
async def test_who_leaves_takes_no_place_along(granted) -> None:
    """A client that goes while it waits, or in the moment in which it is let in, leaves its place to the next."""
    uploads = Uploads(1, 5)
    leave = await uploads.enter(Arriving())
    leaving, next_one = await waiting(uploads), await waiting(uploads)
    if granted:
        leave.give_back()
    leaving.cancel()
    await asyncio.wait([leaving])
    leave.give_back()
    assert await asyncio.wait_for(next_one, 1)

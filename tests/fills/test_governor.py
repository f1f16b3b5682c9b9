"""A purge of many hot keys is refilled a few at a time."""

import asyncio

import pytest

from cacheproxy.fills.governor import Governor


class Origin:
    """Counts how many ask it at once."""

    def __init__(self) -> None:
        """Closed until told."""
        self.now = self.most = self.total = 0
        self.opened = asyncio.Event()
        self.two = asyncio.Event()

    async def ask(self) -> None:
        """Wait for an answer."""
        self.now += 1
        self.total += 1
        self.most = max(self.most, self.now)
        if self.now == 2:
            self.two.set()
        await self.opened.wait()
        self.now -= 1


async def fill(governor: Governor, origin: Origin, patience_s: float = 60.0) -> bool:
    """One fill by the governor's leave."""
    async with governor.turn(patience_s) as had_place:
        await origin.ask()
    return had_place


async def test_a_storm_reaches_the_origin_a_few_at_a_time():
    """Ten thousand refreshes at once: never more than the limit at the origin, and all are done."""
    governor, origin = Governor(at_once=8), Origin()
    fills = [asyncio.create_task(fill(governor, origin)) for _ in range(10_000)]
    for _ in range(3):
        await asyncio.sleep(0)
    assert origin.now == 8
    origin.opened.set()
    assert all(await asyncio.gather(*fills))
    assert (origin.most, origin.total) == (8, 10_000)


async def test_no_request_waits_longer_than_its_patience():
    """Whoever is waited for goes on without a place, rather than fail."""
    governor, origin = Governor(at_once=1), Origin()
    first = asyncio.create_task(fill(governor, origin))
    await asyncio.sleep(0)
    impatient = asyncio.create_task(fill(governor, origin, patience_s=0.01))
    await origin.two.wait()
    origin.opened.set()
    assert await asyncio.gather(first, impatient) == [True, False]
    async with governor.turn(0) as had_place:
        assert had_place


async def test_the_queue_is_bounded():
    """Past its bound there is no room, which a refresh may heed."""
    governor, origin = Governor(at_once=1, waiting=2), Origin()
    fills = [asyncio.create_task(fill(governor, origin)) for _ in range(3)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not governor.has_room
    origin.opened.set()
    await asyncio.gather(*fills)
    assert governor.has_room


@pytest.mark.parametrize("while_waiting", [True, False])
async def test_whoever_is_cancelled_gives_its_place_back(while_waiting):
    """Waiting or running, a fill that ends early leaves no place taken for ever."""
    governor, origin = Governor(at_once=1), Origin()
    first = asyncio.create_task(fill(governor, origin))
    second = asyncio.create_task(fill(governor, origin))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    cancelled, other = (second, first) if while_waiting else (first, second)
    cancelled.cancel()
    origin.opened.set()
    assert await other
    async with governor.turn(0) as had_place:
        assert had_place


async def test_the_limit_may_change_while_fills_run():
    """Those that run go on, and those that wait follow the new limit."""
    governor, origin = Governor(at_once=2), Origin()
    fills = [asyncio.create_task(fill(governor, origin)) for _ in range(6)]
    for _ in range(3):
        await asyncio.sleep(0)
    governor.at_once = 1
    origin.opened.set()
    assert all(await asyncio.gather(*fills))
    assert (origin.most, origin.now) == (2, 0)
    origin.opened.clear()
    fills = [asyncio.create_task(fill(governor, origin)) for _ in range(3)]
    for _ in range(3):
        await asyncio.sleep(0)
    assert origin.now == 1
    origin.opened.set()
    await asyncio.gather(*fills)

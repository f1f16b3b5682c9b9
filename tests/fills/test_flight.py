"""One fill per key in a process."""

import asyncio

import pytest

from cacheproxy.fills.flight import AbandonedError, Flights


class Gate:
    """Work that waits until the test lets it go on."""

    def __init__(self, result=None, error=None) -> None:
        """Ends with ``result`` or ``error``."""
        self.runs = 0
        self._open = asyncio.Event()
        self._result, self._error = result, error

    async def work(self):
        """The work."""
        self.runs += 1
        await self._open.wait()
        if self._error is not None:
            raise self._error
        return self._result

    def open(self) -> None:
        """Let it go on."""
        self._open.set()


@pytest.fixture
def flights() -> Flights[str]:
    """No flights yet."""
    return Flights()


async def test_all_who_come_meanwhile_find_the_same_work(flights):
    """While work for a key is under way it is found; afterwards it is not."""
    gate = Gate("body")
    leader = flights.start("k", gate.work())
    followers = [flights.find("k") for _ in range(100)]
    assert set(followers) == {leader}
    assert flights.find("other") is None
    gate.open()
    assert await asyncio.gather(*map(asyncio.shield, followers)) == ["body"] * 100
    assert (gate.runs, len(flights), flights.find("k")) == (1, 0, None)


async def test_an_error_is_every_waiters(flights):
    """The work's error reaches all who wait, and is no noise where nobody does."""
    gate = Gate(error=OSError("origin gone"))
    waits = [asyncio.shield(flights.start("k", gate.work())), asyncio.shield(flights.find("k"))]
    gate.open()
    errors = await asyncio.gather(*waits, return_exceptions=True)
    assert [str(error) for error in errors] == ["origin gone"] * 2


async def test_a_waiter_that_hangs_up_harms_nobody(flights):
    """The leader's client leaves; the work goes on for the others."""
    gate = Gate("body")
    flights.start("k", gate.work())

    async def wait():
        return await asyncio.shield(flights.find("k"))

    leader, follower = asyncio.create_task(wait()), asyncio.create_task(wait())
    await asyncio.sleep(0)
    leader.cancel()
    await asyncio.wait([leader])
    gate.open()
    assert await follower == "body"
    assert leader.cancelled()


async def test_beyond_the_limit_each_works_alone():
    """Too many keys at once are still served, only not shared; memory stays bounded."""
    flights: Flights[str] = Flights(max_flights=1)
    gate = Gate("body")
    first, second = flights.start("a", gate.work()), flights.start("b", gate.work())
    assert flights.find("a") is first
    assert flights.find("b") is None
    gate.open()
    assert await asyncio.gather(first, second) == ["body", "body"]
    assert len(flights) == 0


async def test_a_second_start_does_not_hide_the_first(flights):
    """Work begun for a key that has some already is nobody's to find, and ends without a trace."""
    one, two = Gate("one"), Gate("two")
    first, second = flights.start("k", one.work()), flights.start("k", two.work())
    two.open()
    assert await second == "two"
    assert flights.find("k") is first
    one.open()
    await first
    assert flights.find("k") is None


async def test_shutdown_lets_work_end(flights):
    """Draining waits for what is under way."""
    gate = Gate("body")
    task = flights.start("k", gate.work())
    draining = asyncio.create_task(flights.drain(60))
    await asyncio.sleep(0)
    assert not draining.done()
    gate.open()
    await draining
    assert task.result() == "body"


async def test_shutdown_cuts_short_what_does_not_end(flights):
    """Who waits for work that is cut short gets an error, not a cancellation that looks like its own."""
    waits = asyncio.shield(flights.start("k", Gate().work()))
    await flights.drain(0.01)
    with pytest.raises(AbandonedError):
        await waits
    assert len(flights) == 0


async def test_draining_nothing_is_nothing(flights):
    """A process without work shuts down at once."""
    await flights.drain(60)


async def test_work_that_is_cut_short_before_it_began_is_abandoned_too(flights):
    """Its waiters get an error of ours, and Python has nothing to warn of."""
    waits = asyncio.shield(flights.start("k", Gate().work()))
    [task] = flights._tasks
    task.cancel()
    with pytest.raises(AbandonedError):
        await waits
    assert (len(flights), flights.find("k")) == (0, None)


async def test_what_somebody_does_himself_is_found_until_it_lands(flights):
    """No task of ours is needed for others to wait for it."""
    flight = flights.open("k")
    assert (flights.find("k"), len(flights)) == (flight, 1)
    flights.land("k", flight, "body")
    assert (flights.find("k"), len(flights), await flight) == (None, 0, "body")


async def test_what_somebody_hands_on_ends_by_itself(flights):
    """Who waits for it notices nothing; from then on it is drained like all work."""
    flight, gate = flights.open("k"), Gate("body")
    flights.hand_on("k", flight, gate.work())
    assert (flights.find("k"), len(flights)) == (flight, 1)
    gate.open()
    assert await flight == "body"
    assert (flights.find("k"), len(flights)) == (None, 0)


async def test_what_is_opened_beside_other_work_is_nobodys_to_find(flights):
    """It hides nothing, and takes nothing along when it ends."""
    gate = Gate("one")
    first, second = flights.start("k", gate.work()), flights.open("k")
    flights.land("k", second, "two")
    assert (flights.find("k"), await second) == (first, "two")
    gate.open()
    assert await first == "one"

"""Those who ask the same in one turn of the event loop share one answer, and nobody gets one from before they asked."""

import asyncio

import pytest

from cacheproxy.errors import StateError
from cacheproxy.storage.joint import Joint


class Place:
    """Somewhere to ask, which counts that and answers when it is let."""

    def __init__(self) -> None:
        """Answer ``said``, or fail with ``error``."""
        self.asked = 0
        self.said = "first"
        self.error: Exception | None = None
        self.answering = asyncio.Event()
        self._joint: Joint[str] = Joint()

    def asking(self, question: str = "k") -> "asyncio.Task[str]":
        """Somebody who asks."""
        return asyncio.create_task(self._joint.ask(question, self._answer))

    async def _answer(self) -> str:
        self.asked += 1
        said = self.said
        await self.answering.wait()
        if self.error is not None:
            raise self.error
        return said


@pytest.fixture
async def place() -> Place:
    """A slow place."""
    return Place()


async def test_a_herd_asks_once(place) -> None:
    """A hundred of one turn, one question, and all have the answer."""
    herd = [place.asking() for _ in range(100)]
    await asyncio.sleep(0)
    place.answering.set()
    assert set(await asyncio.gather(*herd)) == {"first"}
    assert place.asked == 1


async def test_who_comes_a_turn_later_asks_anew(place) -> None:
    """What was asked before they came may be out of date by now."""
    early = place.asking()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    place.said = "second"
    late = place.asking()
    place.answering.set()
    assert (await early, await late, place.asked) == ("first", "second", 2)


async def test_other_questions_are_other_answers(place) -> None:
    """Each is asked."""
    place.answering.set()
    await asyncio.gather(place.asking("a"), place.asking("b"))
    assert place.asked == 2


async def test_a_first_that_leaves_harms_nobody(place) -> None:
    """The others ask for themselves; and one of them that leaves takes nobody along."""
    first, second, third = (place.asking() for _ in range(3))
    await asyncio.sleep(0)
    second.cancel()
    first.cancel()
    place.answering.set()
    assert await third == "first"
    assert (first.cancelled(), second.cancelled(), place.asked) == (True, True, 2)


async def test_all_learn_that_there_was_no_answer(place) -> None:
    """One of them asked, and none needs to try the same again at the same time."""
    place.error = StateError("timeout")
    herd = [place.asking() for _ in range(3)]
    place.answering.set()
    outcomes = await asyncio.gather(*herd, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StateError] * 3
    assert place.asked == 1

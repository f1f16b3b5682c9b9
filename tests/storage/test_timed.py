"""What is recorded of store operations."""

import pytest

from cacheproxy.errors import StateError
from cacheproxy.semantics.fields import Fields
from cacheproxy.storage.memory import MemoryStore
from cacheproxy.storage.tiered import NoStore, TieredStore
from cacheproxy.storage.timed import TimedStore

ANY = Fields()


class Ticking:
    """A monotonic clock that goes on by a quarter of a second each time it is read."""

    def __init__(self):
        """Begin at nought."""
        self.at = 0.0

    def __call__(self):
        """Seconds."""
        self.at += 0.25
        return self.at


@pytest.fixture
def seen():
    """What was recorded."""
    return []


@pytest.fixture
def timed(memory, seen):
    """A timed L1."""
    return TimedStore(memory, lambda name, seconds: seen.append((name, seconds)), Ticking())


async def test_each_operation_is_recorded_under_its_name(timed, seen, entry):
    """With the time it took."""
    await timed.write(entry())
    assert (await timed.read("k", ANY)).entry == entry()
    assert await timed.variants("k") == [entry()]
    assert await timed.delete("k") == 1
    assert seen == [("set", 0.25), ("get", 0.25), ("get", 0.25), ("delete", 0.25)]


async def test_a_look_up_is_recorded_once(timed, seen, entry):
    """In memory alone by a peek; where there may be more than memory has, the trip that follows is the look-up."""
    assert timed.peek("k", ANY) is None
    await timed.write(entry())
    assert timed.peek("k", ANY) is not None
    assert [name for name, _ in seen] == ["get", "set", "get"]
    tiered = TimedStore(TieredStore(MemoryStore(0), NoStore()), lambda name, _: seen.append((name, 0)), Ticking())
    assert tiered.peek("k", ANY) is None
    assert await tiered.read("k", ANY) is None
    assert len(seen) == 4


async def test_a_write_at_once_is_recorded_if_it_was_one(timed, seen, entry):
    """Where it was not, the write that follows is."""
    assert timed.write_now(entry())
    assert seen == [("set", 0.25)]
    tiered = TimedStore(TieredStore(MemoryStore(0), NoStore()), lambda name, _: seen.append(name), Ticking())
    assert not tiered.write_now(entry())
    assert len(seen) == 1


async def test_a_failure_is_recorded_too(seen):
    """A Redis that times out is slow, and must be seen to be."""

    class Down(NoStore):
        async def read(self, *_args):
            raise StateError("timeout")

    timed = TimedStore(Down(), lambda name, seconds: seen.append((name, seconds)), Ticking())
    with pytest.raises(StateError):
        await timed.read("k", ANY)
    assert seen == [("get", 0.25)]

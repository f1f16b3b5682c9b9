"""Keys that are not worth waiting for."""

from dataclasses import dataclass

import pytest

from cacheproxy.fills.hit_for_miss import HitForMiss


@dataclass
class Time:
    """A clock that stands still."""

    at: float = 100.0

    def now(self) -> float:
        """Epoch seconds."""
        return self.at

    def monotonic(self) -> float:
        """The same."""
        return self.at


@pytest.fixture
def time() -> Time:
    """Time that stands still until told."""
    return Time()


def test_a_key_is_remembered_for_a_minute(time):
    """For its time and no longer, counted from the last response that could not be shared."""
    memory = HitForMiss(time)
    assert not memory.remembers("k")
    memory.remember("k")
    time.at += 59.9
    assert memory.remembers("k")
    memory.remember("k")
    time.at += 59.9
    assert memory.remembers("k")
    time.at += 0.1
    assert not memory.remembers("k")
    assert len(memory) == 0


def test_a_response_that_was_stored_clears_it(time):
    """A key that became cacheable is waited for again at once."""
    memory = HitForMiss(time)
    memory.remember("k")
    memory.forget("k")
    memory.forget("k")
    assert not memory.remembers("k")


def test_it_is_bounded(time):
    """Past the limit the key that was remembered longest ago makes room."""
    memory = HitForMiss(time, max_keys=2)
    for key in ("a", "b", "a", "c"):
        memory.remember(key)
    assert [memory.remembers(key) for key in "abc"] == [True, False, True]
    assert len(memory) == 2

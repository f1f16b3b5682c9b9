"""How many share a limit, by a clock that only tests move."""

import pytest

from cacheproxy.limits.replicas import ASKED_EVERY_S, SETTLES_S, Replicas


class Heard:
    """So many as a test says, and how often it was asked."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.times = 0

    def __call__(self) -> int:
        """Count the call."""
        self.times += 1
        return self.number


@pytest.fixture
def heard() -> Heard:
    """Three."""
    return Heard(3)


def test_nobody_heard_of_is_one(clock) -> None:
    """Whoever counts is there."""
    assert 1 == Replicas(Heard(0), clock)()


def test_it_grows_at_once(clock, heard) -> None:
    """Another replica has its share from the moment it is heard of."""
    replicas = Replicas(heard, clock)
    assert 3 == replicas()
    heard.number = 4
    clock.pass_s(ASKED_EVERY_S)
    assert 4 == replicas()


def test_it_shrinks_when_that_has_lasted(clock, heard) -> None:
    """One that was not heard of for a moment keeps its share; one that is gone leaves it to the others."""
    replicas = Replicas(heard, clock)
    replicas()
    for number, passed_s in ((1, 1.0), (3, 1.0), (2, SETTLES_S / 2), (2, SETTLES_S / 2)):
        heard.number = number
        assert 3 == replicas()
        clock.pass_s(passed_s)
    assert 2 == replicas()


def test_it_asks_rarely(clock, heard) -> None:
    """Every request may want to know."""
    replicas = Replicas(heard, clock)
    assert {3} == {replicas() for _ in range(1000)}
    assert 1 == heard.times

"""One lazy timer."""

from collections.abc import Callable

import pytest

from cacheproxy.server.deadline import Deadline


class Timer:
    """A call to come."""

    def __init__(self, at: float, call: Callable[[], None]) -> None:
        self.at, self.call, self.cancelled = at, call, False

    def when(self) -> float:
        """Its moment."""
        return self.at

    def cancel(self) -> None:
        """Never call."""
        self.cancelled = True


class Loop:
    """As much of an event loop as a deadline needs, with a clock that only the test moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[Timer] = []

    def time(self) -> float:
        """The test's own time."""
        return self.now

    def call_at(self, at: float, call: Callable[[], None]) -> Timer:
        """Keep the call for ``pass_to``."""
        timer = Timer(at, call)
        self.timers.append(timer)
        return timer

    def pass_to(self, now: float) -> None:
        """Let time pass."""
        self.now = now
        while due := [timer for timer in self.timers if not timer.cancelled and timer.at <= now]:
            self.timers.remove(due[0])
            due[0].call()


@pytest.fixture
def loop() -> Loop:
    """A loop at 0."""
    return Loop()


def test_it_expires_once(loop: Loop) -> None:
    """What takes longer than allowed is told once."""
    expired: list[float] = []
    Deadline(loop, lambda: expired.append(loop.now)).allow(5)  # type: ignore[arg-type]
    loop.pass_to(4.9)
    assert [] == expired
    loop.pass_to(5)
    loop.pass_to(50)
    assert [5] == expired


def test_moving_it_on_makes_no_timer(loop: Loop) -> None:
    """A later limit reuses the timer that is set, and is kept to."""
    expired: list[float] = []
    deadline = Deadline(loop, lambda: expired.append(loop.now))  # type: ignore[arg-type]
    for now in range(100):
        loop.now = now / 100
        deadline.allow(5)
    assert 1 == len(loop.timers)
    loop.pass_to(5)
    assert [] == expired
    loop.pass_to(5.99)
    assert [5.99] == expired


def test_a_nearer_limit_is_kept_to(loop: Loop) -> None:
    """After a long limit a short one counts."""
    expired: list[float] = []
    deadline = Deadline(loop, lambda: expired.append(loop.now))  # type: ignore[arg-type]
    deadline.allow(75)
    deadline.allow(10)
    loop.pass_to(10)
    assert [10] == expired


@pytest.mark.parametrize("stop", [Deadline.lift, Deadline.cancel])
def test_lifted_it_never_expires(loop: Loop, stop: Callable[[Deadline], None]) -> None:
    """What is limited by something else is left alone."""
    expired: list[float] = []
    deadline = Deadline(loop, lambda: expired.append(loop.now))  # type: ignore[arg-type]
    deadline.allow(5)
    stop(deadline)
    loop.pass_to(100)
    assert [] == expired

"""The breaker alone, with time as an argument."""

from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.redis_link.breaker import Breaker, Position


def test_it_opens_after_failures_in_a_row() -> None:
    """An answer in between starts the count anew."""
    breaker = Breaker(threshold=3)
    for _ in range(2):
        assert not breaker.failed(0)
    breaker.answered()
    for _ in range(2):
        assert not breaker.failed(0)
    assert breaker.closed
    assert breaker.failed(0)
    assert not breaker.closed


def test_opening_is_told_once() -> None:
    """Of many failures only the one that opened it says so."""
    breaker = Breaker(threshold=1)
    assert [breaker.failed(0), breaker.failed(0), breaker.trip(0)] == [True, False, False]


def test_one_probe_at_a_time_and_not_before_it_is_due() -> None:
    """While open one probe may go once the wait is over; until it ends, no other."""
    breaker = Breaker(first_wait_s=0.25)
    assert not breaker.begin_probe(0)
    breaker.trip(10)
    assert not breaker.begin_probe(10.2)
    assert [breaker.begin_probe(10.25), breaker.begin_probe(10.3)] == [True, False]
    assert breaker.position is Position.HALF_OPEN


def test_a_failed_probe_waits_twice_as_long_up_to_a_bound() -> None:
    """Waits are 0.25, 0.5, 1, 2, 2 seconds: gentle to a server in trouble, and never long."""
    breaker = Breaker(first_wait_s=0.25, longest_wait_s=2)
    breaker.trip(0)
    now, waits = 0.0, []
    for _ in range(5):
        waits.append(breaker.probe_at - now)
        now = breaker.probe_at
        assert breaker.begin_probe(now)
        breaker.probed(now, answered=False)
    assert waits == [0.25, 0.5, 1, 2, 2]


def test_an_answered_probe_closes_it_for_good() -> None:
    """After it the count starts at none, and the next outage begins with the short wait."""
    breaker = Breaker(threshold=2, first_wait_s=0.25)
    breaker.trip(0)
    breaker.begin_probe(1)
    breaker.probed(1, answered=True)
    assert breaker.closed
    assert not breaker.failed(2)
    breaker.trip(3)
    assert breaker.probe_at == 3.25


def test_a_stray_answer_does_not_close_it() -> None:
    """An answer that was under way when it opened says nothing of now."""
    breaker = Breaker(threshold=1)
    breaker.failed(0)
    breaker.answered()
    assert not breaker.closed


@given(st.lists(st.sampled_from(["failed", "trip", "answered", "begin", "good", "bad"])))
def test_whatever_happens_a_closed_breaker_has_few_failures(events: list[str]) -> None:
    """Closed means fewer failures than the threshold; not closed means that a probe is due or on its way."""
    breaker, now, probing = Breaker(threshold=3), 0.0, False
    for event in events:
        now += 1
        if event == "failed":
            breaker.failed(now)
        elif event == "trip":
            breaker.trip(now)
        elif event == "answered":
            breaker.answered()
        elif event == "begin":
            probing |= breaker.begin_probe(now)
        elif probing:
            breaker.probed(now, answered=event == "good")
            probing = False
        assert probing == (breaker.position is Position.HALF_OPEN)
        assert not breaker.closed or breaker.failures < 3
        assert breaker.position is not Position.OPEN or breaker.probe_at <= now + 2

"""What a replica remembers of the purges it followed."""

from cacheproxy.invalidation.contract import Applied, Purge, PurgeMode
from cacheproxy.invalidation.outbox import EVERYTHING
from cacheproxy.invalidation.passed import Passed


def passed(*records: tuple[int, str], at_most: int = 100) -> Passed:
    """Records after that of 10, each with what it purges; "" for an event that purges nothing."""
    made = Passed(at_most)
    made.restart(10)
    for at_us, tag in records:
        made.step(at_us)
        if tag:
            made.note(Applied(epoch="e", at_us=at_us, tags=(tag,), mode=PurgeMode.HARD))
    return made


def test_what_came_after_a_record_is_told_in_one_purge():
    """Each tag once."""
    made = passed((12, "a"), (14, "b"), (16, ""), (18, "c"), (20, "b"))
    assert made.after(12) == [Purge(tags=("b", "c"))]
    assert made.after(20) == []


def test_beyond_its_bound_the_oldest_are_forgotten():
    """And whoever asks from before that gets everything."""
    made = passed(*((at_us, f"t{at_us}") for at_us in range(11, 31)), at_most=10)
    assert made.after(12) == [EVERYTHING]
    assert made.after(29) == [Purge(tags=("t30",))]


def test_a_purge_of_a_record_that_was_not_followed_is_not_kept():
    """A replica's own purge, applied before the bus brought it: its record comes, and it is noted then."""
    made = passed()
    made.note(Applied(epoch="e", at_us=12, tags=("a",), mode=PurgeMode.HARD))
    assert made.after(10) == []

"""Stamps that are taken from what was heard."""

import pytest

from cacheproxy.invalidation.contract import Applied, PurgeMode
from cacheproxy.invalidation.heard import HeardClock
from cacheproxy.semantics.tag_clock import Stamp


class Watch:
    """A clock that a test moves."""

    at = 100.0

    def now(self) -> float:
        """The same as ``monotonic``."""
        return self.at

    def monotonic(self) -> float:
        """Seconds."""
        return self.at


@pytest.fixture
def watch() -> Watch:
    """Time stands still."""
    return Watch()


@pytest.fixture
def heard(watch: Watch) -> HeardClock:
    """Trusted for ten seconds, in the epoch ``e``, from 500 on."""
    clock = HeardClock(watch)
    clock.trust(trusted=True, epoch="e", base_us=500, until=110.0)
    return clock


def purge(at_us: int, epoch: str = "e") -> Applied:
    """A purge of something."""
    return Applied(epoch=epoch, at_us=at_us, tags=("t",), mode=PurgeMode.HARD)


def test_nothing_heard_is_no_stamp() -> None:
    """Before the bus has said anything a stamp must be asked for."""
    assert HeardClock().stamp() is None


def test_a_stamp_is_the_moment_after_the_last_purge(heard: HeardClock) -> None:
    """So that it does not refuse what is fetched after it; an older one that comes late changes nothing."""
    assert heard.stamp() == Stamp("e", 501)
    heard.apply(purge(700))
    heard.apply(purge(600))
    assert heard.stamp() == Stamp("e", 701)


def test_there_is_none_while_the_bus_is_lost(heard: HeardClock, watch: Watch) -> None:
    """Whether it says so, or nobody says anything any more."""
    watch.at = 110.0
    assert heard.stamp() is None
    heard.trust(trusted=True, epoch="e", base_us=500, until=120.0)
    heard.trust(trusted=False)
    assert heard.stamp() is None


def test_a_purge_of_another_epoch_is_none_of_its_time(heard: HeardClock) -> None:
    """The clock was made anew: its times say nothing until the bus names the epoch, which begins at its own."""
    heard.apply(purge(900, "f"))
    assert heard.stamp() is None
    heard.trust(trusted=True, epoch="f", base_us=3, until=110.0)
    assert heard.stamp() == Stamp("f", 4)


def test_what_is_trusted_again_goes_on_where_it_was(heard: HeardClock) -> None:
    """The base grows by compaction alone, and may be far behind."""
    heard.apply(purge(700))
    heard.clear()
    heard.trust(trusted=True, epoch="e", base_us=500, until=110.0)
    assert heard.stamp() == Stamp("e", 701)


def test_a_heartbeat_keeps_stamps_young(heard: HeardClock) -> None:
    """Long after the last purge they are not as old as that: the next one drops what began longer ago than it may."""
    heard.beat("e", 90_000)
    assert heard.stamp() == Stamp("e", 90_001)
    heard.apply(purge(90_500))
    assert heard.stamp() == Stamp("e", 90_501)


def test_the_last_heartbeat_counts_though_it_be_the_earlier(heard: HeardClock) -> None:
    """A clock that went back gives its next purge a time that must not be before what is fetched now."""
    heard.beat("e", 90_000)
    heard.beat("e", 80_000)
    assert heard.stamp() == Stamp("e", 80_001)


def test_a_heartbeat_of_another_epoch_says_nothing(heard: HeardClock) -> None:
    """Its time is another clock's, and so is what was heard of this one once the bus names that."""
    heard.beat("f", 90_000)
    assert heard.stamp() == Stamp("e", 501)
    heard.beat("e", 80_000)
    heard.trust(trusted=True, epoch="f", base_us=3, until=110.0)
    assert heard.stamp() == Stamp("f", 4)

"""How far a replica has followed, and when it may answer: no server, no time but the test's."""

from dataclasses import dataclass

import pytest

from cacheproxy.errors import StateError
from cacheproxy.invalidation.contract import Applied, Purge, PurgeMode
from cacheproxy.invalidation.follower import Follower
from cacheproxy.invalidation.messages import BeatSaid, EventRecord, PurgeRecord
from cacheproxy.invalidation.mirrors import Mirrors
from cacheproxy.invalidation.observer import Unobserved
from cacheproxy.invalidation.outbox import EVERYTHING
from cacheproxy.invalidation.replay import History
from cacheproxy.invalidation.tag_clock import Beat


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


def purge(at_us: int, after_us: int, epoch: str = "e") -> PurgeRecord:
    """A record of a purge."""
    applied = Applied(epoch=epoch, at_us=at_us, tags=("a",), mode=PurgeMode.HARD)
    return PurgeRecord(applied=applied, after_us=after_us)


def beat(last_us: int, epoch: str = "e", base_us: int = 0) -> Beat:
    """The first word of a connection."""
    return Beat(epoch=epoch, now_us=last_us + 5, base_us=base_us, last_us=last_us, mapped_us=None, broken=False)


def said(last_us: int, epoch: str = "e") -> BeatSaid:
    """A heartbeat on the bus."""
    return BeatSaid(replica="one", number=1, epoch=epoch, at_us=last_us + 5, base_us=0, last_us=last_us)


def history(last_us: int, *records: PurgeRecord) -> History:
    """What the stream has, up to ``last_us``."""
    return History.of(records, last_us)


@pytest.fixture
def time() -> Time:
    """Time that stands still until told."""
    return Time()


@pytest.fixture
async def follower(ledger, time) -> Follower:
    """A follower at record 10 of epoch e."""
    made = Follower(Mirrors([ledger]), 2.0, time, Unobserved())
    made.begin(beat(10), history(10))
    return made


async def test_a_new_follower_vouches_for_nothing_before_it_listened(follower, ledger):
    """It knows of no purge before the record it began at, so what began by then is dead to its mirrors."""
    follower.trust(sent_at=100.0, base_us=3)
    assert (ledger.epoch, ledger.base_us, ledger.until) == ("e", 10, 102.0)


async def test_trust_lasts_for_one_lease_from_the_sending_of_the_heartbeat(follower, ledger, time):
    """Not from its arrival: what was purged in between might be on its way still."""
    time.at = 101.5
    follower.trust(sent_at=100.0, base_us=0)
    assert ledger.until == 102.0


async def test_a_heartbeat_that_was_too_long_on_its_way_earns_no_trust(follower, ledger, time):
    """A process that was stopped and goes on reads old heartbeats first."""
    follower.distrust()
    time.at = 103.0
    follower.trust(sent_at=100.0, base_us=0)
    assert not follower.trusted
    assert ledger.until < time.at


async def test_records_are_followed_one_after_the_other(follower):
    """Each once; one that was passed already is nothing new."""
    assert follower.follow(purge(12, after_us=10))
    assert not follower.follow(purge(12, after_us=10))
    assert not follower.follow(purge(9, after_us=8))
    assert follower.follow(EventRecord(epoch="e", at_us=15, after_us=12, payload=b""))
    assert follower.position.at_us == 15


async def test_a_missing_record_ends_the_connection(follower):
    """The record before it was never heard."""
    with pytest.raises(StateError):
        follower.follow(purge(15, after_us=12))


async def test_a_heartbeat_tells_of_a_missing_last_record(follower):
    """Even where no other record follows, within a second."""
    follower.check(said(10))
    follower.check(said(9))  # sent before this replica asked where the clock is
    with pytest.raises(StateError):
        follower.check(said(12))


@pytest.mark.parametrize("word", ["record", "heartbeat"])
async def test_a_new_epoch_empties_memory(follower, ledger, word):
    """The clock was lost: all that was judged by it is forgotten, and the new one is followed from there."""
    clears = ledger.clears
    follower.trust(sent_at=100.0, base_us=0)
    if word == "record":
        assert follower.follow(purge(7, after_us=4, epoch="f"))
    else:
        follower.check(said(4, epoch="f"))
    assert ledger.clears == clears + 1
    assert (ledger.epoch, ledger.base_us) == ("f", 4)
    assert not follower.trusted


async def test_a_reconnection_that_misses_nothing_keeps_memory(follower, ledger):
    """The stream has all that came meanwhile."""
    clears = ledger.clears
    follower.begin(beat(14), history(14, purge(12, 10), purge(14, 12)))
    assert ledger.clears == clears
    assert follower.position.at_us == 10


@pytest.mark.parametrize(
    ("first", "records"),
    [
        pytest.param(beat(14), (purge(14, 12),), id="the-older-ones-are-gone"),
        pytest.param(beat(14), (purge(12, 10),), id="the-newest-one-is-gone"),
        pytest.param(beat(14), (), id="all-are-gone"),
        pytest.param(beat(14), (purge(11, 10), purge(14, 12)), id="one-in-between-is-gone"),
        pytest.param(beat(14, epoch="f"), (purge(12, 10), purge(14, 12)), id="another-epoch"),
        pytest.param(beat(8), (), id="a-clock-that-is-behind-us"),
    ],
)
async def test_a_reconnection_with_a_gap_empties_memory(follower, ledger, first, records):
    """A purge may have passed that nobody can tell of any more."""
    clears = ledger.clears
    follower.begin(first, history(first.last_us, *records))
    assert ledger.clears == clears + 1
    assert follower.position.since_us == follower.position.at_us == first.last_us


async def test_held_mirrors_follow_and_do_not_answer(ledger):
    """While a purge is known here alone, trust is kept for later; purges of a new epoch are not missed."""
    mirrors = Mirrors([ledger])
    mirrors.hold()
    mirrors.trust(True, epoch="f", base_us=3)
    assert ledger.epoch == "f"
    assert not ledger.trusted
    mirrors.let_go()
    assert ledger.trusted
    mirrors.trust(False)
    mirrors.hold()
    mirrors.let_go()
    assert not ledger.trusted


async def test_a_clock_that_went_back_is_told_what_it_lost(follower):
    """Redis came back from an older copy: what this replica saw purged since is purged again, and nothing else."""
    for at_us, after_us, tag in ((12, 10, "kept"), (14, 12, "lost"), (16, 14, "too")):
        follower.follow(purge(at_us, after_us))
        follower.apply(Applied(epoch="e", at_us=at_us, tags=(tag,), mode=PurgeMode.HARD), "purge")
    assert follower.begin(beat(12), history(12)) == [Purge(tags=("lost", "too"))]
    assert follower.position.at_us == 12


async def test_a_clock_that_went_back_and_on_is_followed_from_where_it_is(follower):
    """Others have purged since: the stream goes past this replica's place without having it, and is no gap to mend."""
    follower.follow(purge(12, after_us=10))
    follower.apply(Applied(epoch="e", at_us=12, tags=("lost",), mode=PurgeMode.SOFT), "purge")
    lost = follower.begin(beat(15), history(15, purge(15, after_us=10)))
    assert lost == [Purge(tags=("lost",), mode=PurgeMode.SOFT)]
    assert follower.follow(purge(17, after_us=15))


@pytest.mark.parametrize("place", [5, 11])
async def test_a_clock_that_went_back_further_than_is_remembered_loses_everything(follower, place):
    """Before this replica listened, or to a record that it never saw: anything may have been purged since."""
    follower.follow(purge(12, after_us=10))
    assert follower.begin(beat(place), history(place)) == [EVERYTHING]


async def test_an_epoch_that_comes_back_loses_everything(follower):
    """What was purged in between was judged by another clock; one that is new has nothing to lose."""
    assert not follower.begin(beat(3, epoch="f"), history(3))
    assert follower.begin(beat(10), history(10)) == [EVERYTHING]

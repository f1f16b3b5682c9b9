"""Who has applied a purge, and from when on silence is as good."""

import asyncio
from dataclasses import dataclass

import pytest

from cacheproxy.invalidation.receipts import MARGIN_S, Receipts


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


@pytest.fixture
def receipts(time) -> Receipts:
    """Those of replica ``one``, with a lease that no test waits out by mistake."""
    return Receipts("one", lease_s=30.0, clock=time)


async def test_all_who_are_live_are_waited_for(receipts):
    """The registry's replicas and those whose heartbeats were heard, whichever knows of them."""
    receipts.hear_from("two")
    with receipts.waiter() as waiter:
        waiting = asyncio.create_task(receipts.collect(waiter, ["three"], 20))
        await asyncio.sleep(0)
        receipts.acknowledge(waiter.token, "two")
        await asyncio.sleep(0)
        assert not waiting.done()
        receipts.acknowledge(waiter.token, "three")
        outcome = await waiting
    assert outcome.acknowledged == ("one", "three", "two")


async def test_an_acknowledgement_may_outrun_the_purges_own_reply(receipts):
    """The waiter is there before the purge is sent."""
    with receipts.waiter() as waiter:
        receipts.acknowledge(waiter.token, "two")
        outcome = await receipts.collect(waiter, ["two"], 20)
    assert outcome.silent == ()


async def test_who_does_not_answer_in_time_is_named(receipts):
    """Within the lease a silent replica may still answer from memory."""
    with receipts.waiter() as waiter:
        outcome = await receipts.collect(waiter, ["two"], 0.01)
    assert (outcome.acknowledged, outcome.silent) == (("one",), ("two",))


async def test_after_a_lease_silence_is_as_good_as_a_word():
    """No replica trusts its memory for longer than a lease after a purge that it has not heard."""
    receipts = Receipts("one", lease_s=0.01)
    with receipts.waiter() as waiter:
        outcome = await receipts.collect(waiter, ["two"], 20)
    assert (outcome.acknowledged, outcome.silent) == (("one", "two"), ())


async def test_the_dead_are_not_waited_for(receipts, time):
    """Whoever has not been heard of in a lease of listening is off, though the registry has its name still."""
    receipts.listen()
    time.at += receipts.lease_s + 2 * MARGIN_S
    receipts.hear_from("two")
    with receipts.waiter() as waiter:
        waiting = asyncio.create_task(receipts.collect(waiter, ["two", "dead"], 20))
        await asyncio.sleep(0)
        receipts.came_round(waiter.token)
        receipts.acknowledge(waiter.token, "two")
        outcome = await waiting
    assert (outcome.acknowledged, outcome.silent) == (("one", "two"), ())


async def test_the_registry_is_believed_until_a_lease_was_listened_for(receipts, time):
    """A replica not heard of may have sent its heartbeat while we could not hear it: before we began, or in a break."""
    for _ in range(2):
        receipts.listen()
        time.at += receipts.lease_s
        with receipts.waiter() as waiter:
            receipts.came_round(waiter.token)
            outcome = await receipts.collect(waiter, ["two"], 0.01)
        assert outcome.silent == ("two",)


async def test_late_and_foreign_acknowledgements_are_nobodys(receipts):
    """A waiter that has left, or that another replica waits by, is not known here."""
    with receipts.waiter() as waiter:
        pass
    receipts.acknowledge(waiter.token, "two")
    receipts.acknowledge("another", "two")
    assert receipts._waiting == {}


def test_live_is_who_was_heard_within_a_lease(receipts, time):
    """Whoever is silent for longer answers nothing from memory; after a long time it is forgotten."""
    receipts.hear_from("two")
    time.at += 30.0 + MARGIN_S / 2
    receipts.hear_from("three")
    assert receipts.live() == {"two", "three"}
    time.at += MARGIN_S
    assert receipts.live() == {"three"}
    time.at += 1000
    assert receipts.live() == set()
    receipts.hear_from("four")
    assert receipts.live() == {"four"}
    assert set(receipts._heard_at) == {"four"}


async def test_an_emptied_registry_forgets_nobody(receipts, time):
    """Whoever was heard of before Redis lost its memory is waited for, though nobody is registered any more."""
    receipts.hear_from("two")
    time.at += 31.0
    receipts.hear_from("one")
    with receipts.waiter() as waiter:
        waiting = asyncio.create_task(receipts.collect(waiter, ["one"], 20))
        await asyncio.sleep(0)
        assert not waiting.done()
        receipts.acknowledge(waiter.token, "two")
        assert (await waiting).acknowledged == ("one", "two")


def test_who_was_live_before_a_silence_stays_known(receipts, time):
    """While nobody is heard of, the last known replicas are those that were live then, however long it lasts."""
    receipts.hear_from("gone")
    time.at += 31.0
    receipts.hear_from("two")
    receipts.hear_from("three")
    for _ in range(3):
        assert receipts.last_known() == {"two", "three"}
        assert len(receipts.live()) <= 2
        time.at += 10_000


def test_who_is_alone_has_heard_of_no_other_for_long(receipts, time):
    """It takes a minute of listening, whatever is heard of ourselves; another that is heard of ends it at once."""
    time.at += 10_000
    assert not receipts.alone()
    receipts.listen()
    time.at += 30 * 30.0 - 1
    receipts.hear_from("one")
    assert not receipts.alone()
    time.at += 1
    assert receipts.alone()
    receipts.hear_from("two")
    assert not receipts.alone()
    time.at += 30 * 30.0
    assert receipts.alone()
    receipts.listen()
    assert not receipts.alone()

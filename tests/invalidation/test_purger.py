"""One contract for purgers with Redis and without; then what only Redis can do wrong."""

import asyncio
from dataclasses import dataclass

import pytest
from redis.asyncio import Redis

from cacheproxy.client import Publisher
from cacheproxy.client.wire import Layout
from cacheproxy.errors import StateError
from cacheproxy.invalidation.contract import Applied, Purge, PurgeMode, Purger, Watch
from cacheproxy.invalidation.local import LocalPurger
from cacheproxy.invalidation.outbox import Outbox
from cacheproxy.semantics.tag_clock import PurgeTimes, Verdict, judge

LAYOUT = Layout("test")


@dataclass
class Subject:
    """A purger and the mirror that it keeps."""

    purger: Purger
    ledger: object


class Time:
    """A wall clock that goes back at every look."""

    def __init__(self) -> None:
        """Some day in 2025."""
        self.at = 1_763_640_000.0

    def now(self) -> float:
        """Epoch seconds."""
        self.at -= 1
        return self.at

    monotonic = now


@pytest.fixture(params=["local", "redis"])
async def subject(request, valkey, replica, ledger):
    """Each kind of purger in turn."""
    if request.param == "local":
        return Subject(LocalPurger(ledger, "one", 3600, Time()), ledger)
    one = replica(valkey, "one")
    await one.ready()
    return Subject(one.purger, one.ledger)


def verdict(stamp, applied: list[Applied], *tags: str) -> Verdict:
    """What the rule says of a fill under ``stamp`` after the purges in ``applied``."""
    purges: dict[str, PurgeTimes] = {}
    for purge in applied:
        hard, soft = (0, purge.at_us) if purge.mode is PurgeMode.SOFT else (purge.at_us, 0)
        for tag in purge.tags:
            known = purges.get(tag, PurgeTimes())
            purges[tag] = PurgeTimes(max(known.hard_us, hard), max(known.soft_us, soft))
    return judge(stamp, tags, epoch=applied[-1].epoch, base_us=0, purges=purges)


async def test_a_fill_that_began_before_a_purge_is_dead(subject, hard):
    """Whatever was in flight when the purge came is dead on arrival; what began after it is not."""
    before = await subject.purger.begin()
    receipt = await subject.purger.purge(hard("a"))
    after = await subject.purger.begin()
    assert before.began_at_us < receipt.at_us < after.began_at_us
    assert verdict(before, subject.ledger.applied, "a") is Verdict.DEAD
    assert verdict(before, subject.ledger.applied, "b") is Verdict.VALID
    assert verdict(after, subject.ledger.applied, "a") is Verdict.VALID


async def test_a_soft_purge_makes_stale(subject, soft):
    """What it names may still be served while it is refreshed."""
    before = await subject.purger.begin()
    await subject.purger.purge(soft("a"))
    assert verdict(before, subject.ledger.applied, "a") is Verdict.STALE


async def test_stamps_grow_strictly(subject):
    """No two fills or purges have the same time, and none goes back, whatever the wall clock does."""
    stamps = [await subject.purger.begin() for _ in range(50)]
    assert len({stamp.epoch for stamp in stamps}) == 1
    times = [stamp.began_at_us for stamp in stamps]
    assert times == sorted(set(times))


async def test_purge_soon_is_a_purge(subject, hard):
    """With nothing in the way it is done at once, and there is nothing left to settle."""
    receipt = await subject.purger.purge_soon(hard("a"))
    assert receipt is not None
    assert subject.purger.settled
    assert subject.ledger.tags == ["a"]


@pytest.mark.parametrize(
    ("between", "undisturbed"), [((), True), (("b",), True), (("a",), False), (("w",), False), (("b", "a"), False)]
)
async def test_a_receipt_tells_whether_what_is_watched_was_purged_since(subject, hard, soft, between, undisturbed):
    """Of any tag that is watched, hard or softly; purges of others, earlier ones and stamps do not count."""
    for make in (hard, soft):
        await subject.purger.purge(make("a", "w"))
        began = await subject.purger.begin()
        await subject.purger.begin()
        for tag in between:
            await subject.purger.purge(make(tag))
        receipt = await subject.purger.purge_soon(hard("a"), Watch(began, ("a", "w")))
        assert (receipt.undisturbed, receipt.epoch) == (undisturbed, began.epoch)
    assert not (await subject.purger.purge_soon(hard("a"))).undisturbed


async def test_waiting_names_at_least_oneself(subject, hard):
    """A replica that is alone acknowledges its own purge."""
    receipt = await subject.purger.purge(hard("a"), wait_s=5)
    assert receipt.acknowledged == ("one",)
    assert receipt.silent == ()


async def test_the_mirror_is_trusted_in_the_purgers_epoch(subject):
    """Memory answers by the clock that stamps the fills."""
    assert subject.ledger.trusted
    assert subject.ledger.epoch == (await subject.purger.begin()).epoch


def test_a_purge_that_names_nothing_is_an_error():
    """It is a mistake, and never means everything."""
    with pytest.raises(ValueError, match="at least one tag"):
        Purge(tags=())


async def test_a_local_purger_lets_its_mirror_forget(ledger, hard):
    """Purges older than any entry concern nobody: the mirror is told, once in a while."""

    class Days(Time):
        def now(self) -> float:
            self.at += 86_400
            return self.at

    purger = LocalPurger(ledger, "one", 3600, Days())
    receipts = [await purger.purge(hard("a")) for _ in range(3)]
    assert ledger.base_us == receipts[-1].at_us - 3_600_000_000
    await purger.aclose()


# -- Redis gone


async def test_a_purge_that_was_not_recorded_is_an_error(fresh_valkey, replica, hard):
    """Whoever asks for a purge is told that there was none."""
    one = replica(fresh_valkey.url, start=False)
    fresh_valkey.kill()
    with pytest.raises(StateError):
        await one.purger.purge(hard("a"))
    with pytest.raises(StateError):
        await one.purger.begin()
    assert one.ledger.applied == []


async def test_a_purge_outlives_the_connection_it_was_sent_on(fresh_valkey, replica, hard):
    """A call that was given less time cuts off the connection on which Redis is slow: the purge goes by another."""
    one = replica(fresh_valkey.url, "one")
    await one.ready()
    fresh_valkey.pause()
    loop = asyncio.get_running_loop()
    purging = asyncio.create_task(one.purger.purge(hard("a"), wait_s=20))
    await asyncio.sleep(0)
    for wire in one.roles.bus._wires:
        loop.call_later(0.05, wire.drop, StateError("timeout", "another's call waited in full"))
    loop.call_later(0.2, fresh_valkey.resume)
    assert (await purging).silent == ()


async def test_purges_wait_for_redis_and_memory_rests_meanwhile(fresh_valkey, replica, hard, soft):
    """While Redis does not know of a purge nothing is answered from memory; then it is told, merged, in order."""
    one = replica(fresh_valkey.url, start=False)
    one.mirrors.trust(True, epoch="e")
    fresh_valkey.kill()
    for purge in (hard("a", "b"), soft("c"), hard("b", "d")):
        assert await one.purger.purge_soon(purge) is None
    assert not one.purger.settled
    assert not one.ledger.trusted
    fresh_valkey.start()
    await one.ledger.until_true(lambda: one.purger.settled)
    assert one.ledger.trusted
    assert [(purge.tags, purge.mode) for purge in one.ledger.applied] == [
        (("a", "b", "d"), PurgeMode.HARD),
        (("c",), PurgeMode.SOFT),
    ]
    assert set(await one.roles.bus.call("HKEYS", LAYOUT.clock)) >= {b"t:a", b"t:b", b"t:c", b"t:d"}


async def test_closing_gives_up_what_waits(fresh_valkey, replica, hard):
    """A purger that is closed while Redis is gone ends, with a word about it in the log."""
    one = replica(fresh_valkey.url, start=False)
    fresh_valkey.kill()
    await one.purger.purge_soon(hard("a"))
    await asyncio.wait_for(one.purger.aclose(), 5)


def test_an_outbox_that_is_full_purges_everything(hard, soft):
    """Too many names to remember are remembered as all of them, once and for both modes."""
    outbox = Outbox(limit=3)
    outbox.put(hard("a", "b", "a"))
    outbox.put(soft("c"))
    assert len(outbox) == 3
    outbox.put(hard("d"))
    assert outbox.take() == [Purge(tags=("*",))]
    assert outbox.take() == []


# -- what the purger lets go of


async def test_a_purger_that_retries_does_not_lose_what_fails_again(replica, fresh_valkey, hard):
    """A purge that fails on its second try waits for the third."""
    one = replica(fresh_valkey.url, start=False)
    refused = iter([StateError("timeout"), StateError("timeout")])
    record = one.clock.purge

    async def purge(asked, **how):
        error = next(refused, None)
        if error is not None:
            raise error
        return await record(asked, **how)

    one.clock.purge = purge
    assert await one.purger.purge_soon(hard("a")) is None
    await one.ledger.until_true(lambda: one.purger.settled)
    assert one.ledger.tags == ["a"]


async def test_an_event_that_is_not_mapped_yet_disturbs(valkey, replica, hard):
    """Nobody can tell here what it will purge, at its own time."""
    one = replica(valkey, "one", start=False)
    began = await one.purger.begin()
    async with Redis.from_url(valkey) as service:
        await Publisher(service, "test").publish({"type": "article.updated", "data": {"id": 1}})
    assert not (await one.purger.purge_soon(hard("a"), Watch(began, ("a",)))).undisturbed
    again = await one.purger.begin()
    assert (await one.purger.purge_soon(hard("a"), Watch(again, ("a",)))).undisturbed


async def test_a_local_purger_remembers_so_many_purges(ledger, hard):
    """Beyond that it cannot tell, and says so."""
    purger = LocalPurger(ledger, "one", 3600, Time())
    began = await purger.begin()
    for number in range(300):
        await purger.purge(hard(f"other:{number}"))
    assert not (await purger.purge_soon(hard("a"), Watch(began, ("a",)))).undisturbed

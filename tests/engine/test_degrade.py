"""Life without shared state: whatever cannot be asked, the request is answered."""

import asyncio

import pytest
from structlog.testing import capture_logs

from cacheproxy.engine.degrade import Degrade
from cacheproxy.engine.recorder import NullRecorder
from cacheproxy.errors import StateError
from cacheproxy.fills.lease import MemoryLeases
from cacheproxy.redis_link.contract import Role
from cacheproxy.semantics.fields import Fields
from cacheproxy.storage.memory import MemoryStore
from cacheproxy.upstream.fake import Answer

ETAG = ("etag", '"1"')
SID = ("cookie", "sid=s-ann")
CALLS = [
    ("store", "read", "cache"),
    ("store", "write", "cache"),
    ("store", "variants", "cache"),
    ("store", "delete", "cache"),
    ("leases", "acquire", "cache"),
    ("leases", "release", "cache"),
    ("purger", "begin", "cache"),
    ("limiter", "admit", "limits"),
    ("sessions", "load", "sessions"),
]


def ok(body: bytes = b"ok", *fields: tuple[str, str], status: int = 200) -> Answer:
    """An answer that is complete at once."""
    return Answer(status=status, fields=Fields.of(*fields), body=body)


def confirming(whole: Answer, confirmation: Answer):
    """A step that confirms where it is asked whether something still holds, and gives it whole where not."""
    return lambda received: confirmation if b"if-none-match" in received.head.fields else whole


async def everything(house) -> list[tuple[int, bytes]]:
    """A request of every kind, and what each was answered."""
    vary = ("vary", "accept-language")
    house.origin.script("/items/1", confirming(ok(b"one", ETAG, vary), ok(b"", ETAG, status=304)))
    private = ok(b"", ("cache-control", "private"), status=304)
    house.origin.script("/items/2", confirming(ok(b"two", ETAG), private))
    house.origin.script("/items/3", ok(b"put"))
    house.origin.script("/each/1", ok(b"each"))
    answers = [
        await house.ask("/items/1", SID),
        await house.ask("/items/2", method="HEAD"),
        await house.ask("/items/2"),
    ]
    house.clock.pass_s(61)
    answers += [await house.ask("/items/1"), await house.ask("/items/2"), await house.ask("/items/2", method="HEAD")]
    answers += [await house.ask("/items/3", method="PUT", body=b"x"), await house.ask("/each/1")]
    return [(answer.status, answer.body) for answer in answers]


@pytest.mark.parametrize(("part", "call", "role"), CALLS, ids=lambda each: each)
async def test_a_call_that_fails_costs_no_request(house, part: str, call: str, role: str) -> None:
    """Each request is answered as the origin would; the failure is counted under its role."""
    house.leases.inner = MemoryLeases(house.purger.begin, 30.0)
    getattr(house, part).fails.add(call)
    answers = await everything(house)
    assert {200} <= {status for status, _ in answers} <= {200, 304}
    assert (b"put", b"each") == (answers[6][1], answers[7][1])
    assert 0 < getattr(house, part).calls[call] == house.notes.events["state-error", role, "refused"]


async def test_an_answer_that_cannot_be_stamped_is_not_stored(house) -> None:
    """Without the tag clock nobody could tell later whether a purge came after it."""
    house.origin.script("/items/1", ok(b"one"))
    house.purger.fails.add("begin")
    answer = await house.ask("/items/1")
    assert (b"one", "cacheproxy; fwd=uri-miss; fwd-status=200") == (answer.body, answer["cache-status"])
    house.purger.fails.clear()
    assert ["MISS", "HIT"] == [(await house.ask("/items/1"))["x-cache"] for _ in range(2)]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_an_answer_that_cannot_be_stamped_drops_nothing(house, method: str) -> None:
    """A confirmation during an outage is passed on; what is stored is revalidated again after it."""
    house.origin.script("/items/1", ok(b"one", ETAG), ok(b"", ETAG, status=304 if method == "GET" else 200))
    await house.ask("/items/1")
    house.clock.pass_s(61)
    house.purger.fails.add("begin")
    assert 200 == (await house.ask("/items/1", method=method)).status
    house.purger.fails.clear()
    house.origin.script("/items/1", ok(b"", ETAG, status=304))
    assert b"one" == (await house.ask("/items/1")).body


async def test_what_could_not_be_read_at_first_is_not_served_stale_at_second(house) -> None:
    """A look-up that failed, and then finds what is long stale, is no leave to serve it."""
    house.origin.script("/items/1", ok(b"old", ETAG), ok(b"new"))
    await house.ask("/items/1")
    house.clock.pass_s(61)
    seen = house.store.inner
    house.store.inner = Blind(seen)
    assert b"new" == (await house.ask("/items/1")).body


class Blind:
    """A store that does not say the first time."""

    def __init__(self, inner: MemoryStore) -> None:
        """Pass everything on to ``inner``, later."""
        self._inner = inner
        self._asked = False

    def peek(self, key: str, request: Fields, tags: object = ()) -> None:
        """Nothing at hand."""

    async def read(self, *args: object) -> object:
        """StateError, then what there is."""
        if not self._asked:
            self._asked = True
            raise StateError("timeout")
        return await self._inner.read(*args)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> object:
        """The rest."""
        return getattr(self._inner, name)


async def test_followers_in_an_outage_are_answered(house) -> None:
    """What may not be stored is not shared either: each asks for itself, and gets an answer."""
    house.origin.script("/items/1", ok(b"one"))
    house.leases.fails.add("acquire")
    house.origin.hold()
    asking = [house.asking("/items/1") for _ in range(3)]
    await house.quiet()
    house.origin.release()
    assert [b"one"] * 3 == [answer.body for answer in await asyncio.gather(*asking)]


async def _says(result: str) -> str:
    return result


async def _fails(reason: str) -> str:
    raise StateError(reason, "OOM command not allowed")


async def test_only_changes_are_logged(house) -> None:
    """One line when commands begin to be refused and one when they cease, though some are taken in between."""
    degrade = Degrade(NullRecorder(), house.clock)
    with capture_logs() as lines:
        for asked in (_says("a"), _fails("error"), _says("b"), _fails("error"), _says("c")):
            await degrade.instead(Role.CACHE, asked, None)
        assert len(lines) == 1
        house.clock.pass_s(10)
        for asked in (_says("d"), _says("e")):
            await degrade.instead(Role.CACHE, asked, None)
        assert await degrade.instead(Role.LIMITS, _says("d"), None) == "d"
    told = [(line["role"], line.get("reason"), line.get("detail")) for line in lines]
    assert told == [("cache", "error", "OOM command not allowed"), ("cache", None, None)]


@pytest.mark.parametrize("reason", ["refused", "timeout", "lost", "readonly", "loading", "open"])
async def test_an_outage_is_told_of_once(house, reason: str) -> None:
    """The link says ``redis_lost`` and ``redis_back``: nothing is to be said twice."""
    degrade = Degrade(NullRecorder(), house.clock)
    with capture_logs() as lines:
        for asked in (_fails(reason), _says("back")):
            await degrade.instead(Role.CACHE, asked, None)
            house.clock.pass_s(10)
    assert [] == lines


async def test_other_errors_are_not_hidden() -> None:
    """Only shared state's silence is carried on from; a bug is a bug."""

    async def bug() -> None:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        await Degrade(NullRecorder()).instead(Role.CACHE, bug(), None)


def without_tag_clock(house) -> None:
    """Neither a lease nor a stamp is to be had, and to find that out takes a while."""

    async def a_while(name: str) -> None:
        house.clock.pass_s(0.01 * (name == "acquire"))

    house.leases.before = a_while
    house.purger.fails.add("begin")
    house.leases.fails.add("acquire")


async def test_without_the_tag_clock_a_cold_key_is_still_asked_for_once(house) -> None:
    """Those who waited for a response share it though it cannot be stored: an outage is no stampede."""
    without_tag_clock(house)
    house.origin.script("/items/1", ok(b"one"))
    house.origin.hold()
    asked = [asyncio.create_task(house.ask("/items/1")) for _ in range(10)]
    await house.origin.arrived(1)
    house.origin.release()
    answers = [await each for each in asked]
    assert {b"one"} == {answer.body for answer in answers}
    assert 1 == house.origin.count("/items/1")
    assert all(b"stored" not in answer["cache-status"].encode() for answer in answers)


async def test_what_could_not_be_stamped_is_for_those_who_came_before_it_was_asked_for(house) -> None:
    """Who came later may be due something newer, of whose purge nothing was heard. They ask once for all of them."""
    without_tag_clock(house)
    house.origin.script("/items/1", ok(b"old"), ok(b"new"))
    house.origin.hold()
    early = [asyncio.create_task(house.ask("/items/1")) for _ in range(3)]
    await house.origin.arrived(1)
    house.clock.pass_s(1)
    late = [asyncio.create_task(house.ask("/items/1")) for _ in range(3)]
    await house.quiet()
    house.origin.release()
    assert [b"old"] * 3 + [b"new"] * 3 == [(await each).body for each in (*early, *late)]
    assert 2 == house.origin.count("/items/1")


async def test_who_came_before_the_origin_was_asked_need_not_look_it_up(house) -> None:
    """Nothing that was purged before they came can be in it; who came later looks up whether it was purged since."""

    async def a_while(name: str) -> None:
        house.clock.pass_s(0.01 * (name == "acquire"))

    house.leases.before = a_while
    house.origin.script("/items/1", ok(b"old"), ok(b"new"))
    house.origin.hold()
    early = [asyncio.create_task(house.ask("/items/1")) for _ in range(3)]
    await house.origin.arrived(1)
    house.clock.pass_s(1)
    late = [asyncio.create_task(house.ask("/items/1")) for _ in range(3)]
    await house.quiet()
    await house.purge("items")
    looked_up = house.store.calls["read"]
    house.origin.release()
    assert [b"old"] * 3 + [b"new"] * 3 == [(await each).body for each in (*early, *late)]
    # each of those late; the one of them who asks again has at hand whatever there is, for it is alone
    assert looked_up + 3 == house.store.calls["read"]


async def test_no_follower_waits_for_a_store_that_is_slow(house) -> None:
    """Who came before the origin was asked is answered as soon as its answer is here, whatever storing it takes."""
    stored = asyncio.Event()

    async def a_while(name: str) -> None:
        house.clock.pass_s(0.01 * (name == "acquire"))

    async def slow(name: str) -> None:
        if name == "write":
            await stored.wait()

    house.leases.before, house.store.before = a_while, slow
    house.origin.script("/items/1", ok(b"one"))
    answers = await asyncio.gather(*(house.ask("/items/1") for _ in range(3)))
    assert [b"one"] * 3 == [answer.body for answer in answers]
    assert not stored.is_set()
    stored.set()
    await house.quiet()

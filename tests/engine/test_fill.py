"""One fill per key: who joins it, what each gets of it, and what outlives whom."""

import asyncio
from collections.abc import Callable

import pytest

from cacheproxy.engine.fill import MAX_FOLLOWED
from cacheproxy.engine.permit import PATIENCE_S
from cacheproxy.errors import UpstreamError
from cacheproxy.fills.contract import Held, Waited
from cacheproxy.fills.governor import Governor
from cacheproxy.fills.lease import MemoryLeases
from cacheproxy.invalidation.local import LocalPurger
from cacheproxy.invalidation.mirrors import Mirrors
from cacheproxy.semantics.fields import Fields
from cacheproxy.storage.memory import MemoryStore
from cacheproxy.storage.tiered import TieredStore
from cacheproxy.upstream.fake import Answer, Received

GONE = UpstreamError(502, "closed-early", sent=True)
KEY = "test:tenant-global:{}:v1:~h=example.com"
PRIVATE = ("cache-control", "private")


def ok(body: bytes = b"ok", *fields: tuple[str, str], status: int = 200) -> Answer:
    """An answer that is complete at once."""
    return Answer(status=status, fields=Fields.of(*fields), body=body)


def in_language(received: Received) -> Answer:
    """An answer in the language asked for."""
    language = received.head.fields.get(b"accept-language") or b"-"
    return ok(language, ("vary", "accept-language"))


@pytest.fixture(params=[False, True], ids=["", "at-once"])
def house(request, house):
    """An engine whose origin has, or has not, an idle connection for each request."""
    house.origin.at_once = request.param
    return house


async def together(house, target: str, count: int, *fields: tuple[str, str]) -> list:
    """``count`` clients that ask at once, while the origin holds its answers back."""
    house.origin.hold()
    asking = [house.asking(target, *fields) for _ in range(count)]
    await house.quiet()
    return asking


# --- fills in their leader's own task


async def test_a_fill_at_once_needs_no_task(house) -> None:
    """Its leader carries it, others find it, and what it brings is stored before anybody has it."""
    house.origin.at_once = True
    house.origin.script("/items/1", ok(b"one"))
    leader, follower = await together(house, "/items/1", 2)
    assert (set(), 1) == (house.flights._tasks, len(house.flights))
    house.origin.release()
    assert [b"one", b"one"] == [(await each).body for each in (leader, follower)]
    assert (0, 1) == (len(house.flights), house.origin.count())
    assert "HIT" == (await house.ask("/items/1"))["x-cache"]


async def test_a_fill_at_once_outlives_its_leader(house) -> None:
    """A client that leaves hands on what is on its way: the origin is not asked again, and others get it."""
    house.origin.at_once = True
    house.origin.script("/items/1", ok(b"one"))
    leader, follower = await together(house, "/items/1", 2)
    leader.cancel()
    await house.quiet()
    assert 1 == len(house.flights._tasks)
    house.origin.release()
    assert b"one" == (await follower).body
    assert ("HIT", 1) == ((await house.ask("/items/1"))["x-cache"], house.origin.count())


async def test_a_store_that_is_slow_keeps_no_leader_waiting(house) -> None:
    """He has the response while it is still being kept; those who came after him find it once it is."""
    house.origin.at_once = True
    house.store.write_now = lambda _: False
    kept = asyncio.Event()

    async def slowly(name: str) -> None:
        if name == "write":
            await kept.wait()

    house.store.before = slowly
    house.origin.script("/items/1", ok(b"one"))
    leader, follower = await together(house, "/items/1", 2)
    house.origin.release()
    assert b"one" == (await leader).body
    assert (1, False) == (len(house.flights), follower.done())
    kept.set()
    assert b"one" == (await follower).body
    assert (0, 1) == (len(house.flights), house.origin.count())


async def test_a_store_that_breaks_leaves_no_fill_open(house, monkeypatch) -> None:
    """A fault of ours is everybody's error who waited for that fill, and the next request has a fill of its own."""
    house.origin.at_once = True
    house.origin.script("/items/1", ok(b"one"), ok(b"two"))

    def broken(_: object) -> bool:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(house.store.inner, "keep", broken)
        leader, follower = await together(house, "/items/1", 2)
        house.origin.release()
        async with asyncio.timeout(5):
            failed = await asyncio.gather(leader, follower, return_exceptions=True)
    assert [MemoryError] * 2 == [type(each) for each in failed]
    assert 0 == len(house.flights)
    assert b"two" == (await house.ask("/items/1")).body


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(ok(b"p", PRIVATE), id="private"),
        pytest.param(ok(b"t", ("cache-tag", "@")), id="tags-refused"),
        pytest.param(Answer(status=500, body=b"e"), id="error"),
        pytest.param(UpstreamError(502, "closed-early", sent=True), id="no-answer"),
        pytest.param(Answer(parts=(b"1", b"2")), id="in-parts"),
    ],
)
async def test_what_is_not_plain_goes_the_same_way_from_there(house, answer) -> None:
    """The answer that came is judged as ever: the origin is not asked a second time for it."""
    house.origin.script("/swr/1", answer)
    one = await house.ask("/swr/1")
    assert (1, 0) == (house.origin.count(), len(house.flights))
    house.origin.at_once = not house.origin.at_once
    house.origin.script("/swr/2", answer)
    other = await house.ask("/swr/2")
    assert (one.status, one.body, one["cache-status"]) == (other.status, other.body, other["cache-status"])


# --- followers


async def test_many_clients_cost_one_request(house) -> None:
    """However many ask for a cold key, the origin is asked once, and all get the same."""
    house.origin.script("/items/1", ok(b"one"))
    asking = await together(house, "/items/1", 200)
    house.origin.release()
    answers = await asyncio.gather(*asking)
    assert ({b"one"}, 1) == ({answer.body for answer in answers}, house.origin.count())
    assert "cacheproxy; fwd=uri-miss; fwd-status=200; ttl=60; stored" == answers[0]["cache-status"]
    assert {"cacheproxy; fwd=uri-miss; ttl=60; collapsed"} == {answer["cache-status"] for answer in answers[1:]}
    assert 199 == house.notes.events["collapsed", "flight"]


async def test_followers_that_differ_in_what_vary_names_share_a_second_fill(house) -> None:
    """A leader's German is no English: those who wanted that ask once for all of them."""
    house.origin.script("/items/1", in_language)
    german = await together(house, "/items/1", 3, ("accept-language", "de"))
    english = await together(house, "/items/1", 3, ("accept-language", "en"))
    house.origin.release()
    answers = await asyncio.gather(*german, *english)
    assert [b"de"] * 3 + [b"en"] * 3 == [answer.body for answer in answers]
    assert 2 == house.origin.count()


async def test_nobody_waits_for_one_fill_after_the_other(house) -> None:
    """Where every client differs, they wait for two fills, and then ask all at once."""
    house.origin.script("/items/1", in_language)
    for language in ("a", "b", "c", "d", "e"):
        await together(house, "/items/1", 1, ("accept-language", language))
    for _ in range(MAX_FOLLOWED):
        house.origin.release()
        house.origin.hold()
        await house.quiet()
    assert 5 == house.origin.count()
    house.origin.release()
    assert [b"a", b"b", b"c", b"d", b"e"] == [answer.body for answer in await asyncio.gather(*house.asked)]


async def test_an_answer_for_one_alone_is_shared_with_nobody(house) -> None:
    """Followers of a response that may not be shared ask for themselves."""
    house.origin.script("/items/1", *(ok(b"%d" % n, PRIVATE) for n in range(5)))
    asking = await together(house, "/items/1", 5)
    house.origin.release()
    answers = await asyncio.gather(*asking)
    assert {b"0", b"1", b"2", b"3", b"4"} == {answer.body for answer in answers}
    assert all(answer["cache-status"].endswith("detail=private") for answer in answers)


async def test_a_key_that_gives_nothing_to_share_is_remembered(house) -> None:
    """The next clients do not stand in line for what each must fetch anyway (hit-for-miss); for a minute."""
    house.origin.script("/items/1", ok(b"", PRIVATE))
    await house.ask("/items/1")
    await together(house, "/items/1", 3)
    assert (4, 3) == (house.origin.count(), house.notes.events["hit-for-miss",])
    house.origin.release()
    await asyncio.gather(*house.asked)
    house.clock.pass_s(60)
    await together(house, "/items/1", 3)
    assert 5 == house.origin.count()
    house.origin.release()
    await asyncio.gather(*house.asked)


async def test_a_key_is_shared_again_once_it_gives_something_to_share(house) -> None:
    """A response that can be stored ends hit-for-miss at once."""
    house.origin.script("/items/1", ok(b"", PRIVATE), ok(b"all"))
    await house.ask("/items/1")
    await house.ask("/items/1")
    await house.purge("items")
    asking = await together(house, "/items/1", 3)
    assert 3 == house.origin.count()
    house.origin.release()
    await asyncio.gather(*asking)


@pytest.mark.parametrize(
    ("method", "field"),
    [("HEAD", ("a", "b")), ("GET", ("authorization", "Basic eA==")), ("GET", ("range", "bytes=99-"))],
    ids=["head", "authorization", "range"],
)
async def test_what_lies_in_one_request_does_not_keep_others_from_sharing(house, method, field) -> None:
    """A HEAD, a request with Authorization or a range says nothing about what others may share."""
    house.origin.script("/items/1", ok(b"", status=416 if field[0] == "range" else 200), ok(b"all"))
    await house.ask("/items/1", field, method=method)
    asking = await together(house, "/items/1", 9)
    house.origin.release()
    await asyncio.gather(*asking)
    assert 2 == house.origin.count()


@pytest.mark.parametrize(
    ("method", "field"),
    [("HEAD", ("a", "b")), ("GET", ("range", "bytes=0-1")), ("GET", ("authorization", "Basic eA=="))],
    ids=["head", "range", "authorization"],
)
async def test_who_asks_for_something_else_is_not_answered_by_anothers_fill(house, method, field) -> None:
    """HEAD and Range do not wait for a fill; a request with Authorization takes nothing from an anonymous one."""
    house.origin.script("/items/1", ok(b"all"), ok(b"else"))
    await together(house, "/items/1", 1)
    other = house.asking("/items/1", field, method=method)
    await house.quiet()
    house.origin.release()
    await other
    assert 2 == house.origin.count()
    await house.asked[0]


async def test_a_fetch_of_a_part_is_found_by_nobody(house) -> None:
    """Those who want the whole have a fill of their own, and it is one."""
    house.origin.script("/items/1", ok(b"all"))
    [part] = await together(house, "/items/1", 1, ("range", "bytes=0-1"))
    asking = await together(house, "/items/1", 3)
    house.origin.release()
    await asyncio.gather(part, *asking)
    assert 2 == house.origin.count()


async def test_a_response_without_a_lifetime_serves_only_its_leader(house) -> None:
    """What must be validated each time is not handed to others unvalidated (RFC 9111 §5.2.2.4)."""
    house.origin.script("/items/1", ok(b"one", ("cache-control", "no-cache"), ("etag", '"1"')))
    asking = await together(house, "/items/1", 3)
    house.origin.release()
    await asyncio.gather(*asking)
    assert 3 == house.origin.count()


@pytest.mark.parametrize(
    ("error", "requests"), [(UpstreamError(504, "first-byte-timeout", sent=True), 1), (GONE, 2)], ids=["late", "broken"]
)
async def test_an_origin_that_fails_is_not_asked_by_each(house, error, requests) -> None:
    """Its error is every follower's: at once, or, where an odd request might be to blame, after one more try."""
    house.origin.script("/items/1", error)
    asking = await together(house, "/items/1", 9)
    house.origin.release()
    assert {error.status} == {answer.status for answer in await asyncio.gather(*asking)}
    assert requests == house.origin.count()


async def test_a_leader_that_breaks_the_origin_breaks_it_for_itself(house) -> None:
    """What an odd request brings about is not the answer to the others, who share one more fill."""
    house.origin.script("/items/1", GONE, ok(b"fine"))
    leader, *followers = await together(house, "/items/1", 5)
    house.origin.release()
    assert 502 == (await leader).status
    assert {b"fine"} == {answer.body for answer in await asyncio.gather(*followers)}
    assert 2 == house.origin.count()


# --- who leaves


async def test_a_leader_that_leaves_takes_nobody_along(house) -> None:
    """Its followers and the store get the response all the same."""
    house.origin.script("/items/1", ok(b"one"))
    leader, *followers = await together(house, "/items/1", 3)
    leader.cancel()
    await house.quiet()
    house.origin.release()
    assert [b"one", b"one"] == [answer.body for answer in await asyncio.gather(*followers)]
    assert ("HIT", 1) == ((await house.ask("/items/1"))["x-cache"], house.origin.count())


async def test_a_follower_that_leaves_takes_nobody_along(house) -> None:
    """The others get their response."""
    house.origin.script("/items/1", ok(b"one"))
    leader, leaving, staying = await together(house, "/items/1", 3)
    leaving.cancel()
    await house.quiet()
    house.origin.release()
    assert [b"one", b"one"] == [answer.body for answer in await asyncio.gather(leader, staying)]


async def test_the_origins_body_is_closed_if_its_only_reader_left_before_it_came(house, dripping) -> None:
    """A response for the leader alone is let go of when the leader is gone."""
    drip, answer = dripping(PRIVATE)
    house.origin.script("/items/1", answer)
    [leader] = await together(house, "/items/1", 1)
    leader.cancel()
    await house.quiet()
    house.origin.release()
    await house.quiet()
    assert drip.closed


async def test_the_origins_body_is_closed_if_its_only_reader_left_as_it_came(house, dripping) -> None:
    """Also if the leader goes in the very moment in which it was told."""
    drip, answer = dripping(PRIVATE)
    house.origin.script("/items/1", answer)
    [leader] = await together(house, "/items/1", 1)
    house.origin.release()
    for _ in range(20):
        told = drip in [body._inner for body in house.origin.bodies]
        if told:
            break
        await asyncio.sleep(0)
    leader.cancel()
    await house.quiet()
    assert (True, True) == (drip.closed, leader.cancelled())


async def test_a_reader_that_leaves_a_body_midway_stops_nobody(house, dripping) -> None:
    """What is to be stored is taken in to its end, whoever reads along."""
    drip, answer = dripping()
    house.origin.script("/items/1", answer)
    leader = house.asking("/items/1")
    drip.drop(b"a")
    await house.quiet()
    leader.cancel()
    await house.quiet()
    drip.drop(b"b", None)
    await house.quiet()
    assert b"ab" == (await house.ask("/items/1")).body
    assert (1, True) == (house.origin.count(), drip.closed)


async def test_a_fill_cut_short_by_shutdown_is_an_answer(house) -> None:
    """Who waited for it is told to come back: 503, not a fault of ours."""
    house.origin.at_once = False  # else it would be the request itself that is cut
    house.origin.script("/items/1", ok())
    asking = await together(house, "/items/1", 2)
    await house.flights.drain(0)
    assert [503, 503] == [answer.status for answer in await asyncio.gather(*asking)]


# --- bodies on their way


async def test_the_leader_streams_while_followers_wait(house, dripping) -> None:
    """The first byte is not held back for the store; followers get the whole once it is stored."""
    drip, answer = dripping()
    house.origin.script("/items/1", answer)
    reply = await house.handle("/items/1")
    follower = house.asking("/items/1")
    chunks = aiter(reply.body)
    drip.drop(b"first ")
    assert b"first " == await anext(chunks)
    await house.quiet()
    assert not follower.done()
    drip.drop(b"last", None)
    assert b"last" == await anext(chunks)
    assert b"first last" == (await follower).body
    assert "cacheproxy; fwd=uri-miss; fwd-status=200; stored" == _status(reply)
    await chunks.aclose()
    await reply.body.aclose()


async def test_a_body_that_outgrows_its_bound_goes_to_its_reader_alone(house, dripping) -> None:
    """No byte is lost; nothing is stored; followers ask for themselves."""
    drip, answer = dripping()
    house.origin.script("/small/1", answer, ok(b"small"))
    leader, follower = house.asking("/small/1"), house.asking("/small/1")
    drip.drop(b"12345", b"67890", b"end", None)
    assert (b"1234567890end", b"small") == ((await leader).body, (await follower).body)
    assert 1 == house.notes.events["not-stored", "too-large"]


async def test_a_body_that_outgrows_its_bound_without_a_reader_is_closed(house, dripping) -> None:
    """Nobody is left to want the rest."""
    drip, answer = dripping()
    house.origin.script("/small/1", answer)
    leader = house.asking("/small/1")
    await house.origin.arrived(1)
    await house.quiet()
    leader.cancel()
    await house.quiet()
    drip.drop(b"12345", b"67890")
    await house.quiet()
    assert drip.closed


@pytest.mark.parametrize("fields", [(), (("content-length", "9"),)], ids=["found-out", "declared"])
async def test_a_body_over_the_bound_is_forwarded(house, fields) -> None:
    """It is passed on whole, and asked for each time."""
    house.origin.script("/small/1", ok(b"123456789", *fields))
    for _ in range(2):
        answer = await house.ask("/small/1")
        assert (b"123456789", True) == (answer.body, answer["cache-status"].endswith("detail=too-large"))
    assert 2 == house.origin.count()


async def test_a_body_that_breaks_off_breaks_off_for_all(house, dripping) -> None:
    """Half a body is neither stored nor given to anybody as a whole one."""
    drip, answer = dripping()
    house.origin.script("/items/1", answer, ok(b"whole"))
    leader, follower = house.asking("/items/1"), house.asking("/items/1")
    drip.drop(b"half", GONE)
    with pytest.raises(UpstreamError):
        await leader
    assert (b"whole", True) == ((await follower).body, drip.closed)


async def test_a_body_cut_short_by_shutdown_breaks_off(house, dripping) -> None:
    """Its reader must not take what came for the whole."""
    drip, answer = dripping()
    house.origin.script("/items/1", answer)
    leader = house.asking("/items/1")
    drip.drop(b"half")
    await house.quiet()
    await house.flights.drain(0)
    with pytest.raises(UpstreamError):
        await leader
    assert drip.closed


# --- purges race fills


@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
async def test_a_fill_that_began_before_a_purge_is_dead_on_arrival(house, soft: bool) -> None:
    """What the origin said before the purge is not there after it."""
    house.origin.script("/items/1", ok(b"old"), ok(b"new"))
    [early] = await together(house, "/items/1", 1)
    await house.purge("item:1", soft=soft)
    house.origin.release()
    assert b"old" == (await early).body
    assert b"new" == (await house.ask("/items/1")).body


@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
async def test_who_asks_after_a_purge_gets_nothing_from_before(house, soft: bool) -> None:
    """A fill under way since before the purge is no answer to a request that came after it."""
    house.origin.script("/items/1", ok(b"old"), ok(b"new"))
    await together(house, "/items/1", 1)
    await house.purge("item:1", soft=soft)
    late = await together(house, "/items/1", 3)
    house.origin.release()
    assert [b"new"] * 3 == [answer.body for answer in await asyncio.gather(*late)]
    assert 2 == house.origin.count()
    await house.asked[0]


async def test_a_304_does_not_bring_back_what_was_purged_meanwhile(build) -> None:
    """Purged between the look-up and the fetch, the old body is not offered to the origin for confirmation."""
    house = build()
    house.origin.script("/items/1", ok(b"old", ("etag", '"1"')), ok(b"new", ("etag", '"1"')))
    await house.ask("/items/1")
    house.clock.pass_s(61)

    async def purged(name: str) -> None:
        if name == "acquire":
            await house.purge("item:1")

    house.leases.before = purged
    assert b"new" == (await house.ask("/items/1")).body
    assert b"if-none-match" not in house.origin.received[1].head.fields


async def test_a_304_to_a_fill_that_a_purge_overtook_is_dead_on_arrival(house) -> None:
    """The origin's confirmation is from before the purge."""
    house.origin.script("/items/1", ok(b"old", ("etag", '"1"')), ok(b"", status=304), ok(b"new"))
    await house.ask("/items/1")
    house.clock.pass_s(61)
    [early] = await together(house, "/items/1", 1)
    await house.purge("item:1")
    house.origin.release()
    await early
    assert b"new" == (await house.ask("/items/1")).body


# --- in the background


async def test_a_refresh_that_fails_leaves_what_there_is(house) -> None:
    """The stale response is served on, and the next client sets off another try."""
    house.origin.script("/swr/1", ok(b"old"), GONE, ok(b"new"))
    await house.ask("/swr/1")
    house.clock.pass_s(61)
    for expected in (b"old", b"old", b"new"):
        assert expected == (await house.ask("/swr/1")).body
        await house.quiet()


async def test_a_refresh_is_of_the_whole(house) -> None:
    """A range that meets a stale response has all of it replaced."""
    house.origin.script("/swr/1", ok(b"old"), ok(b"new"))
    await house.ask("/swr/1")
    house.clock.pass_s(61)
    answer = await house.ask("/swr/1", ("range", "bytes=0-0"))
    assert (206, b"o", "STALE") == (answer.status, answer.body, answer["x-cache"])
    await house.quiet()
    answer = await house.ask("/swr/1")
    assert (b"new", "HIT", 2) == (answer.body, answer["x-cache"], house.origin.count())


async def test_a_refresh_by_head_keeps_nobody_waiting(house) -> None:
    """A GET does not take a HEAD's refresh for a fill of its own key."""
    house.origin.script("/swr/1", ok(b"old"), ok(b""), ok(b"new"))
    await house.ask("/swr/1")
    house.clock.pass_s(61)
    house.origin.hold()
    for _ in range(2):
        assert "STALE" == (await house.ask("/swr/1", method="HEAD"))["x-cache"]
    assert "STALE" == (await house.ask("/swr/1"))["x-cache"]
    await house.quiet()
    assert ["GET", "HEAD", "GET"] == [received.head.method for received in house.origin.received]
    house.origin.release()
    await house.quiet()
    assert b"new" == (await house.ask("/swr/1")).body


async def test_a_purge_of_many_keys_is_refilled_a_few_at_a_time(build) -> None:
    """Stale answers cost nothing, and the origin never sees more refreshes at once than the policy lets it."""
    house = build(governor=Governor(at_once=2))
    for number in range(6):
        house.origin.script(f"/swr/{number}", ok(b"old"), ok(b"new"))
        await house.ask(f"/swr/{number}")
    await house.purge("swr:*", soft=True)
    house.origin.hold()
    for _ in range(2):
        answers = [await house.ask(f"/swr/{number}") for number in range(6)]
        assert {(b"old", "STALE")} == {(answer.body, answer["x-cache"]) for answer in answers}
    await house.quiet()
    assert 6 + 2 == house.origin.count()
    house.origin.release()
    await house.quiet()
    assert {b"new"} == {(await house.ask(f"/swr/{number}")).body for number in range(6)}
    assert 6 + 6 == house.origin.count()


async def test_no_request_waits_for_a_refresh_to_have_its_turn(build) -> None:
    """Who finds nothing to be served fetches at once, and the refresh in the queue finds that done."""
    house = build(governor=Governor(at_once=1))
    for number in range(2):
        house.origin.script(f"/swr/{number}", ok(b"old"), ok(b"new"))
        await house.ask(f"/swr/{number}")
    house.clock.pass_s(61)
    house.origin.hold()
    await house.ask("/swr/0")
    await house.ask("/swr/1")
    await house.purge("swr:*")
    waited_for = house.asking("/swr/1")
    await house.quiet()
    assert 4 == house.origin.count()
    house.origin.release()
    assert b"new" == (await waited_for).body
    await house.quiet()
    assert 4 == house.origin.count()


async def test_a_refresh_without_shared_state_asks_nobody(build) -> None:
    """Nothing could be stored, and nobody waits for it."""
    house = build()
    house.origin.script("/swr/1", ok(b"old"), ok(b"new"))
    await house.ask("/swr/1")
    house.clock.pass_s(61)
    house.leases.fails.add("acquire")
    assert "STALE" == (await house.ask("/swr/1"))["x-cache"]
    await house.quiet()
    assert 1 == house.origin.count()


# --- before the end (XFetch)


def taking(house, seconds: float, body: bytes) -> Callable[[Received], Answer]:
    """An answer that takes its time."""

    def answer(_: Received) -> Answer:
        house.clock.pass_s(seconds)
        return ok(body)

    return answer


@pytest.mark.parametrize(("draw", "refreshed"), [(0.0, False), (0.5, False), (0.95, True)])
async def test_a_hot_response_is_refreshed_before_it_is_stale(build, draw, refreshed) -> None:
    """Two seconds before its end what took a second to fetch has a chance of about e^-2."""
    house = build(draw=lambda: draw)
    house.origin.script("/hot/1", taking(house, 1.0, b"old"), taking(house, 1.0, b"new"))
    await house.ask("/hot/1")
    house.clock.pass_s(58)
    answer = await house.ask("/hot/1")
    assert (b"old", "HIT") == (answer.body, answer["x-cache"])
    await house.quiet()
    assert (b"new" if refreshed else b"old") == (await house.ask("/hot/1")).body


async def test_the_express_lane_leaves_early_refreshes_their_chance(build) -> None:
    """Where a refresh may begin, each request is decided anew; long before that, none needs to be."""
    house = build(draw=lambda: 0.0)
    house.origin.script("/hot/1", taking(house, 1.0, b"old"))
    await house.ask("/hot/1")
    shelved = (await house.handle("/hot/1")).shelved
    assert shelved is not None
    assert 9.0 < shelved.stale_at - shelved.until < 10.0
    house.clock.pass_s(52)
    assert (await house.handle("/hot/1")).shelved is None


async def test_one_replica_refreshes_early_for_all(build, clock) -> None:
    """The other, whose memory still has the old response, takes the new one and asks nobody."""
    shared = MemoryStore(1 << 20, clock=clock)
    shelves = [MemoryStore(1 << 20, clock=clock) for _ in range(2)]
    purger = LocalPurger(Mirrors([shared, *shelves]), "both", 86_400.0, clock)
    common = {"purger": purger, "leases": MemoryLeases(purger.begin, 30.0), "draw": lambda: 0.999}
    one, two = (build(store=TieredStore(shelf, shared, clock), shelf=shelf, **common) for shelf in shelves)
    one.origin.script("/hot/1", taking(one, 1.0, b"old"), taking(one, 1.0, b"new"))
    await one.ask("/hot/1")
    assert "HIT" == (await two.ask("/hot/1"))["x-cache"]
    clock.pass_s(56)
    assert b"old" == (await one.ask("/hot/1")).body
    await one.quiet()
    assert b"old" == (await two.ask("/hot/1")).body
    await two.quiet()
    assert b"new" == (await two.ask("/hot/1")).body
    assert (2, 0) == (one.origin.count(), two.origin.count())


# --- two replicas: leases


@pytest.fixture
def pair(build, clock):
    """Two replicas with leases and a store in common, as over one Redis."""
    store = MemoryStore(1 << 20, clock=clock)
    purger = LocalPurger(store, "both", 86_400.0, clock)
    leases = MemoryLeases(purger.begin, 30.0)
    one = build(store=store, purger=purger, leases=leases)
    return one, build(store=store, purger=purger, leases=leases, origin=one.origin)


async def test_two_replicas_make_one_request(pair) -> None:
    """Who does not get the lease waits for it, and takes what the other stored."""
    one, two = pair
    one.origin.script("/items/1", ok(b"one"))
    asking = [*(await together(one, "/items/1", 5)), *(await together(two, "/items/1", 5))]
    one.origin.release()
    assert {b"one"} == {answer.body for answer in await asyncio.gather(*asking)}
    assert (1, 1) == (one.origin.count(), two.notes.events["collapsed", "lease"])


async def test_what_another_replica_fetched_has_its_age(pair) -> None:
    """It is told as old as it is, not as old as it was when it came."""
    one, two = pair
    one.origin.script("/items/1", ok(b"one"))

    async def late(name: str) -> None:
        if name == "acquire":
            await one.ask("/items/1")
            two.clock.pass_s(3)

    two.leases.before = late
    answer = await two.ask("/items/1")
    assert ("3", "cacheproxy; fwd=uri-miss; ttl=57") == (answer["age"], answer["cache-status"])
    assert 1 == one.origin.count()


async def test_the_other_replicas_private_answer_is_not_waited_for_twice(pair) -> None:
    """GAVE_UP: fetch for oneself, and remember it."""
    one, two = pair
    one.origin.script("/items/1", ok(b"", PRIVATE))
    first = await together(one, "/items/1", 1)
    second = await together(two, "/items/1", 1)
    one.origin.release()
    await asyncio.gather(*first, *second)
    assert (2, True) == (one.origin.count(), two.hit_for_miss.remembers(KEY.format("items:1")))


async def test_who_must_ask_for_itself_takes_no_lease(pair) -> None:
    """Followers of a private answer are at the origin all at once, not one after the other."""
    one, _ = pair
    one.origin.script("/items/1", ok(b"", PRIVATE))
    asking = await together(one, "/items/1", 5)
    one.origin.release()
    one.origin.hold()
    await one.quiet()
    assert 5 == one.origin.count()
    one.origin.release()
    await asyncio.gather(*asking)


async def test_a_replica_whose_fill_failed_makes_way(pair) -> None:
    """LOST: those who waited compete again, and the winner asks the origin."""
    one, two = pair
    one.origin.script("/items/1", GONE, ok(b"two"))
    [first] = await together(one, "/items/1", 1)
    [second] = await together(two, "/items/1", 1)
    one.origin.release()
    assert (502, b"two") == ((await first).status, (await second).body)


async def test_what_another_replica_filled_and_a_purge_killed_is_fetched(pair) -> None:
    """FILLED says to look, not to trust."""
    one, two = pair
    one.origin.script("/items/1", ok(b"old"), ok(b"new"))
    [first] = await together(one, "/items/1", 1)
    [second] = await together(two, "/items/1", 1)
    await one.purge("item:1")
    one.origin.release()
    assert (b"old", b"new") == ((await first).body, (await second).body)


async def test_patience_with_another_replica_ends(pair) -> None:
    """WAITED_OUT: fetch without storing, for the other still may."""
    one, two = pair
    one.origin.script("/items/1", ok(b"mine"))
    assert isinstance(await one.leases.acquire(KEY.format("items:1")), Held)

    async def patience_ends(name: str) -> None:
        two.clock.pass_s(PATIENCE_S)

    two.leases.before = patience_ends
    answer = await two.ask("/items/1")
    assert (b"mine", "cacheproxy; fwd=uri-miss; fwd-status=200") == (answer.body, answer["cache-status"])
    two.leases.before = lambda name: asyncio.sleep(0)
    assert two.store.inner.peek(KEY.format("items:1"), Fields()) is None


async def test_a_lease_is_given_back_whatever_became_of_the_fill(pair) -> None:
    """Filled, given up, failed, or filled by somebody else: nobody waits for a fill that is over."""
    one, _ = pair
    one.origin.script("/items/1", ok(b"one"), GONE)
    one.origin.script("/items/2", ok(b"", PRIVATE))
    for target in ("/items/1", "/items/2"):
        await one.ask(target)
    await one.purge("item:1")
    await one.ask("/items/1")
    assert {} == one.leases.inner._leases
    outcomes = list(one.leases.inner._waiters._outcomes.values())
    assert [Waited.FILLED, Waited.GAVE_UP, Waited.LOST] == outcomes


def _status(reply) -> str:
    return (reply.fields.get(b"cache-status") or b"").decode()

"""What becomes of the origin's answer: stored, confirmed, put together, refused, stood in for."""

import asyncio
from dataclasses import replace

import pytest

from cacheproxy.errors import UpstreamError
from cacheproxy.semantics.fields import Fields
from cacheproxy.upstream.fake import Answer, Received

GONE = UpstreamError(502, "connect-refused", sent=False)
ETAG = ("etag", '"1"')
WHOLE = b"0123456789"
KEY = "test:tenant-global:{}:v1:~h=example.com"


def ok(body: bytes = b"ok", *fields: tuple[str, str], status: int = 200) -> Answer:
    """An answer that is complete at once."""
    return Answer(status=status, fields=Fields.of(*fields), body=body)


def part(first: int, last: int, *fields: tuple[str, str]) -> Answer:
    """Bytes of WHOLE, both ends included."""
    return ok(
        WHOLE[first : last + 1], ("content-range", f"bytes {first}-{last}/{len(WHOLE)}"), ETAG, *fields, status=206
    )


def ranged(received: Received) -> Answer:
    """The part of WHOLE that is asked for, or all of it."""
    asked = received.head.fields.get(b"range")
    if asked is None:
        return ok(WHOLE, ETAG)
    first, _, last = asked.removeprefix(b"bytes=").partition(b"-")
    return part(int(first), int(last or len(WHOLE) - 1))


# --- tags


async def test_a_response_is_purged_by_the_tags_that_it_names(house) -> None:
    """What the origin says in its own fields is added to the policy's tags, and not passed on."""
    house.origin.script("/items/1", ok(b"one", ("cache-tag", "red, blue"), ("surrogate-key", "green")))
    for tag in ("red", "blue", "green", "items"):
        answer = await house.ask("/items/1")
        assert ("MISS", None, None) == (answer["x-cache"], answer["cache-tag"], answer["surrogate-key"])
        await house.purge(tag)


async def test_a_response_whose_tags_cannot_be_kept_is_not_stored(house) -> None:
    """A purge by one of them would miss it. The answer says so."""
    house.origin.script("/items/1", ok(b"one", ("cache-tag", "@route/item")))
    for _ in range(2):
        answer = await house.ask("/items/1")
        assert b"one" == answer.body
        assert "cacheproxy; fwd=uri-miss; fwd-status=200; detail=tags-refused" == answer["cache-status"]
    assert 2 == house.notes.events["not-stored", "tags-refused"]


async def test_a_304_adds_its_tags(house) -> None:
    """The confirmed response can be purged by what either named."""
    for tag in ("old", "new"):
        house.origin.script("/items/1", ok(b"", ETAG, ("cache-tag", "old")), ok(b"", ("cache-tag", "new"), status=304))
        await house.ask("/items/1")
        house.clock.pass_s(61)
        assert "REVALIDATED" == (await house.ask("/items/1"))["x-cache"]
        await house.purge(tag)
        assert "MISS" == (await house.ask("/items/1"))["x-cache"]
        await house.purge("items")


async def test_a_304_whose_tags_cannot_be_kept_ends_what_is_stored(house) -> None:
    """The client gets its answer; nobody else does."""
    house.origin.script("/items/1", ok(b"one", ETAG), ok(b"", ("cache-tag", "@x"), status=304), ok(b"two"))
    await house.ask("/items/1")
    house.clock.pass_s(61)
    assert b"one" == (await house.ask("/items/1")).body
    assert b"two" == (await house.ask("/items/1")).body


# --- 304


async def test_a_304_that_ends_storing_answers_its_client_alone(house) -> None:
    """What turned private is passed to whoever asked, and dropped (RFC 9111 §4.3.4)."""
    house.origin.script("/items/1", ok(b"one", ETAG), ok(b"", ("cache-control", "private"), status=304), ok(b"two"))
    await house.ask("/items/1")
    house.clock.pass_s(61)
    house.origin.hold()
    leader, follower = house.asking("/items/1"), house.asking("/items/1")
    await house.quiet()
    house.origin.release()
    assert ((200, b"one"), b"two") == (((await leader).status, (await leader).body), (await follower).body)


async def test_a_304_confirms_every_variant_that_it_names(house) -> None:
    """All stored responses with its entity tag are fresh again (RFC 9111 §4.3.4)."""
    vary = ("vary", "accept-language")
    house.origin.script("/items/1", ok(b"same", ETAG, vary), ok(b"same", ETAG, vary), ok(b"", ETAG, status=304))
    for language in ("de", "en"):
        await house.ask("/items/1", ("accept-language", language))
    house.clock.pass_s(61)
    assert "REVALIDATED" == (await house.ask("/items/1", ("accept-language", "de")))["x-cache"]
    assert b'"1"' == house.origin.received[2].head.fields.get(b"if-none-match")
    assert "HIT" == (await house.ask("/items/1", ("accept-language", "en")))["x-cache"]


async def test_a_304_that_confirms_nothing_is_asked_again(house) -> None:
    """An entity tag that nobody offered confirms none of several: the origin is asked without conditions."""
    vary = ("vary", "accept-language")
    odd = ok(b"", ("etag", '"odd"'), status=304)
    house.origin.script("/items/1", ok(b"a", ETAG, vary), ok(b"b", ("etag", '"2"'), vary), odd, ok(b"new"))
    for language in ("de", "en"):
        await house.ask("/items/1", ("accept-language", language))
    house.clock.pass_s(61)
    assert b"new" == (await house.ask("/items/1", ("accept-language", "de"))).body
    assert b"if-none-match" not in house.origin.received[3].head.fields


async def test_a_304_that_nobody_asked_for_is_malformed(house) -> None:
    """A client that sent no condition could not use it, so it is never passed on, and not stored."""
    house.origin.script("/items/1", ok(b"", status=304))
    assert [502, 502] == [(await house.ask("/items/1")).status for _ in range(2)]


async def test_a_304_may_change_what_varies(house) -> None:
    """A response that begins to vary is kept under the variance of the request that confirmed it."""
    house.origin.script("/items/1", ok(b"one", ETAG), ok(b"", ("vary", "accept-language"), status=304), ok(b"englisch"))
    await house.ask("/items/1")
    house.clock.pass_s(61)
    await house.ask("/items/1", ("accept-language", "de"))
    assert "HIT" == (await house.ask("/items/1", ("accept-language", "de")))["x-cache"]
    assert b"englisch" == (await house.ask("/items/1", ("accept-language", "en"))).body


# --- conditional requests of clients


@pytest.mark.parametrize("before", [0, 1], ids=["miss", "hit"])
@pytest.mark.parametrize("field", [("if-none-match", '"1"'), ("if-modified-since", "Tue, 14 Nov 2023 22:13:20 GMT")])
async def test_a_client_that_has_it_gets_304(house, before: int, field: tuple[str, str]) -> None:
    """The origin is asked for all of it, so that it can be stored; the client is told that nothing changed."""
    house.origin.script("/items/1", ok(b"one", ETAG, ("last-modified", "Mon, 13 Nov 2023 00:00:00 GMT")))
    for _ in range(before):
        await house.ask("/items/1")
    answer = await house.ask("/items/1", field)
    assert (304, b"", '"1"', None) == (answer.status, answer.body, answer["etag"], answer["content-type"])
    assert field[0].encode() not in house.origin.received[0].head.fields
    assert b"one" == (await house.ask("/items/1")).body


async def test_a_client_that_has_another_gets_all(house) -> None:
    """A condition on another entity tag is no reason for a 304."""
    house.origin.script("/items/1", ok(b"one", ETAG))
    assert (200, b"one") == ((answer := await house.ask("/items/1", ("if-none-match", '"2"'))).status, answer.body)


# --- HEAD


async def test_head_is_answered_from_a_stored_get(house) -> None:
    """The fields, with the length that a GET would have, and no body (RFC 9111 §4)."""
    house.origin.script("/items/1", ok(b"one", ETAG))
    await house.ask("/items/1")
    answer = await house.ask("/items/1", method="HEAD")
    assert (b"", "3", '"1"', "HIT") == (answer.body, answer["content-length"], answer["etag"], answer["x-cache"])
    assert 1 == house.origin.count()


async def test_head_on_a_miss_is_forwarded_and_not_stored(house) -> None:
    """A response without a body is no answer to a GET."""
    house.origin.script("/items/1", ok(b"one"))
    answer = await house.ask("/items/1", method="HEAD")
    assert ("HEAD", "MISS") == (house.origin.received[0].head.method, answer["x-cache"])
    assert "cacheproxy; fwd=uri-miss; fwd-status=200; detail=method" == answer["cache-status"]
    assert b"one" == (await house.ask("/items/1")).body


async def test_head_that_describes_what_is_stored_freshens_it(house) -> None:
    """Same validator, same length: the GET's response is fresh again (RFC 9111 §4.3.5)."""
    modified = ("last-modified", "Mon, 13 Nov 2023 00:00:00 GMT")
    house.origin.script("/items/1", ok(b"one", modified), ok(b"", modified, ("content-length", "3"), ("x-new", "1")))
    await house.ask("/items/1")
    house.clock.pass_s(61)
    await house.ask("/items/1", method="HEAD")
    answer = await house.ask("/items/1")
    assert ("HIT", b"one", "1", 2) == (answer["x-cache"], answer.body, answer["x-new"], house.origin.count())


@pytest.mark.parametrize(
    "field",
    [("etag", '"2"'), ("content-length", "4"), ("cache-control", "private")],
    ids=["other-validator", "other-length", "not-to-be-stored"],
)
async def test_head_that_describes_something_else_ends_what_is_stored(house, field) -> None:
    """The stored response is out of date, and gone (RFC 9111 §4.3.5)."""
    fields = [field] if field[0] == "etag" else [ETAG, field]
    house.origin.script("/items/1", ok(b"one", ETAG), ok(b"", *fields), ok(b"two"))
    await house.ask("/items/1")
    house.clock.pass_s(61)
    await house.ask("/items/1", method="HEAD")
    assert house.store.inner.peek(KEY.format("items:1"), Fields()) is None


async def test_head_without_a_validator_confirms_nothing(build) -> None:
    """Else a response would live for ever that the origin never confirmed."""
    house = build()
    house.origin.script("/sie/1", ok(b"one"), ok(b""), ok(b"two"))
    await house.ask("/sie/1")
    house.clock.pass_s(61)
    await house.ask("/sie/1", method="HEAD")
    assert b"two" == (await house.ask("/sie/1")).body


async def test_head_that_fails_says_nothing_of_what_is_stored(house) -> None:
    """A 404 to HEAD leaves the stored response to be revalidated."""
    house.origin.script("/items/1", ok(b"one", ETAG), ok(b"", status=404), ok(b"", ETAG, status=304))
    await house.ask("/items/1")
    house.clock.pass_s(61)
    await house.ask("/items/1", method="HEAD")
    assert "REVALIDATED" == (await house.ask("/items/1"))["x-cache"]


async def test_head_may_be_confirmed_by_304(house) -> None:
    """A HEAD revalidates as a GET does, and answers without a body."""
    house.origin.script("/items/1", ok(b"one", ETAG), ok(b"", ETAG, status=304))
    await house.ask("/items/1")
    house.clock.pass_s(61)
    answer = await house.ask("/items/1", method="HEAD")
    assert (b"", "3", "REVALIDATED") == (answer.body, answer["content-length"], answer["x-cache"])
    assert "HIT" == (await house.ask("/items/1"))["x-cache"]


# --- ranges


async def test_a_range_is_cut_from_what_is_stored(house) -> None:
    """206 with the bytes asked for, 416 where there are none (RFC 9110 §14)."""
    house.origin.script("/items/1", ok(WHOLE, ETAG))
    await house.ask("/items/1")
    answer = await house.ask("/items/1", ("range", "bytes=2-4"))
    assert (206, b"234", "bytes 2-4/10") == (answer.status, answer.body, answer["content-range"])
    beyond = await house.ask("/items/1", ("range", "bytes=10-"))
    assert (416, "bytes */10", 1) == (beyond.status, beyond["content-range"], house.origin.count())


async def test_parts_are_put_together(house) -> None:
    """Two parts with one strong validator make the whole (RFC 9111 §3.4)."""
    house.origin.script("/items/1", ranged)
    first = await house.ask("/items/1", ("range", "bytes=0-4"))
    again = await house.ask("/items/1", ("range", "bytes=1-2"))
    second = await house.ask("/items/1", ("range", "bytes=5-9"))
    whole = await house.ask("/items/1")
    assert [(206, b"01234"), (206, b"12"), (206, b"56789")] == [(a.status, a.body) for a in (first, again, second)]
    assert ("HIT", "HIT", 200, WHOLE) == (again["x-cache"], whole["x-cache"], whole.status, whole.body)
    assert 2 == house.origin.count()


async def test_what_lacks_of_a_part_is_fetched(house) -> None:
    """Who asks for all is given the stored part and the rest, which alone is asked for."""
    house.origin.script("/items/1", ranged)
    await house.ask("/items/1", ("range", "bytes=0-6"))
    answer = await house.ask("/items/1")
    sent = house.origin.received[1].head.fields
    assert (b"bytes=7-", b'"1"') == (sent.get(b"range"), sent.get(b"if-range"))
    assert (200, WHOLE, "10") == (answer.status, answer.body, answer["content-length"])
    assert "cacheproxy; fwd=partial; fwd-status=206; ttl=60; stored" == answer["cache-status"]
    assert "HIT" == (await house.ask("/items/1"))["x-cache"]


async def test_what_was_put_together_is_purged_by_the_tags_of_either_part(house) -> None:
    """A tag that only the first part named still purges the whole."""
    house.origin.script("/items/1", part(0, 6, ("cache-tag", "first")), part(7, 9), ok(b"new"))
    await house.ask("/items/1", ("range", "bytes=0-6"))
    assert WHOLE == (await house.ask("/items/1")).body
    await house.purge("first")
    assert b"new" == (await house.ask("/items/1")).body


@pytest.mark.parametrize(
    "rest",
    [
        pytest.param(part(8, 9), id="a-gap"),
        pytest.param(ok(b"789", ("content-range", "bytes 7-9/10"), ("etag", '"2"'), status=206), id="another-version"),
        pytest.param(ok(b"789", ("content-range", "bytes 7-9/*"), ETAG, status=206), id="of-unknown-length"),
        pytest.param(ok(b"789", ETAG, status=206), id="of-unknown-place"),
        pytest.param(ok(b"--x", ("content-type", "multipart/byteranges; boundary=x"), ETAG, status=206), id="several"),
        pytest.param(ok(b"", ("content-range", "bytes */5"), status=416), id="shorter-by-now"),
    ],
)
async def test_a_rest_that_does_not_fit_is_fetched_again_as_a_whole(house, rest) -> None:
    """Bytes of two versions are never mixed, and nobody who asked for all is given a part."""
    house.origin.script("/items/1", part(0, 6), rest, ok(b"all anew"))
    await house.ask("/items/1", ("range", "bytes=0-6"))
    assert (200, b"all anew", 3) == (
        (answer := await house.ask("/items/1")).status,
        answer.body,
        house.origin.count(),
    )


def in_parts(answer: Answer) -> Answer:
    """The same, with a body that comes in two parts."""
    half = len(answer.body) // 2
    return replace(answer, body=b"", parts=(answer.body[:half], answer.body[half:]))


async def test_a_rest_that_takes_its_time_is_waited_for(house) -> None:
    """Who asked for everything is not sent the rest as it comes, for all there is."""
    house.origin.script("/items/1", part(0, 6), in_parts(part(7, 9)))
    await house.ask("/items/1", ("range", "bytes=0-6"))
    answer = await house.ask("/items/1")
    assert (200, WHOLE, None) == (answer.status, answer.body, answer["content-range"])
    assert "HIT" == (await house.ask("/items/1"))["x-cache"]


@pytest.mark.parametrize(
    "rest",
    [
        pytest.param(part(7, 9, ("cache-tag", "@route/item")), id="tags-that-cannot-be-kept"),
        pytest.param(part(7, 9, ("cache-control", "private")), id="private"),
        pytest.param(part(7, 9, ("set-cookie", "a=b")), id="set-cookie"),
    ],
)
async def test_a_rest_that_may_not_be_kept_is_nobodys_whole(house, rest) -> None:
    """All of it is fetched for who asked for all."""
    house.origin.script("/items/1", part(0, 6), in_parts(rest), ok(WHOLE))
    await house.ask("/items/1", ("range", "bytes=0-6"))
    answer = await house.ask("/items/1")
    assert (200, WHOLE, 3) == (answer.status, answer.body, house.origin.count())


async def test_a_part_that_nobody_asked_for_is_a_failure(house) -> None:
    """9110-15.3.7: half an answer is not to pass for the whole; the origin is asked once for each client."""
    house.origin.script("/items/1", part(0, 6))
    for count in (1, 2):
        answer = await house.ask("/items/1")
        assert (502, count) == (answer.status, house.origin.count())
        assert "malformed-response" in answer.body.decode()


async def test_a_206_that_is_no_part_is_passed_on_and_not_stored(house) -> None:
    """A service may use the status for something of its own; without Content-Range nobody takes it for a part."""
    house.origin.script("/items/1", ok(b"some of them", status=206))
    for count in (1, 2, 3, 4):
        answer = await house.ask("/items/1")
        assert (206, b"some of them", count) == (answer.status, answer.body, house.origin.count())


async def test_a_range_on_a_miss_is_stored_whole_if_that_is_what_came(house) -> None:
    """An origin may ignore Range: the client still gets its part, and the rest is kept."""
    house.origin.script("/items/1", ok(WHOLE, ETAG))
    answer = await house.ask("/items/1", ("range", "bytes=0-1"))
    assert (206, b"01") == (answer.status, answer.body)
    assert "HIT" == (await house.ask("/items/1"))["x-cache"]


# --- stale-if-error


@pytest.mark.parametrize(
    "failure", [GONE, ok(b"down", status=500), ok(b"down", status=503)], ids=["gone", "500", "503"]
)
async def test_what_is_stored_stands_in_for_an_error(house, failure) -> None:
    """Within stale-if-error nobody sees that the origin fails (RFC 5861 §4); beyond it everybody does."""
    house.origin.script("/sie/1", ok(b"old"), failure)
    await house.ask("/sie/1")
    house.clock.pass_s(60 + 299)
    answer = await house.ask("/sie/1")
    assert (200, b"old", "STALE", "359") == (answer.status, answer.body, answer["x-cache"], answer["age"])
    assert answer["cache-status"].startswith("cacheproxy; fwd=stale; ")
    assert answer["cache-status"].endswith("ttl=-299; detail=stale-if-error")
    assert not house.notes.requests[-1]["hit"]
    house.clock.pass_s(2)
    assert 500 <= (await house.ask("/sie/1")).status


async def test_the_body_of_an_error_that_is_stood_in_for_is_closed(house, dripping) -> None:
    """Nobody reads it."""
    drip, answer = dripping(status=503)
    house.origin.script("/sie/1", ok(b"old"), answer)
    await house.ask("/sie/1")
    house.clock.pass_s(61)
    assert b"old" == (await house.ask("/sie/1")).body
    assert drip.closed


async def test_followers_of_a_fill_that_failed_are_stood_in_for_too(house) -> None:
    """Each has what it found stored to fall back on."""
    house.origin.script("/sie/1", ok(b"old"), GONE)
    await house.ask("/sie/1")
    house.clock.pass_s(61)
    house.origin.hold()
    asking = [house.asking("/sie/1") for _ in range(3)]
    await house.quiet()
    house.origin.release()
    assert ["STALE"] * 3 == [answer["x-cache"] for answer in await asyncio.gather(*asking)]


@pytest.mark.parametrize("failure", [GONE, ok(b"down", status=503)], ids=["gone", "503"])
async def test_a_part_does_not_stand_in_for_the_whole(house, failure) -> None:
    """A 206 is no answer to who asked for everything, though the origin fails."""
    house.origin.script("/sie/1", part(0, 6), failure)
    await house.ask("/sie/1", ("range", "bytes=0-6"))
    assert 500 <= (await house.ask("/sie/1")).status


@pytest.mark.parametrize("directive", ["must-revalidate", "no-cache", "s-maxage=60"])
async def test_what_may_not_be_served_stale_stands_in_for_nothing(house, directive: str) -> None:
    """The origin forbade it (RFC 9111 §4.2.4)."""
    house.origin.script("/sie/1", ok(b"old", ETAG, ("cache-control", directive)), GONE)
    await house.ask("/sie/1")
    house.clock.pass_s(61)
    assert 502 == (await house.ask("/sie/1")).status


# --- what others must not see


async def test_a_cookie_set_for_one_is_not_shared(house) -> None:
    """A response with Set-Cookie goes to its client alone (and says so)."""
    house.origin.script("/items/1", ok(b"", ("set-cookie", "a=1")))
    for _ in range(2):
        answer = await house.ask("/items/1")
        assert ("a=1", True) == (answer["set-cookie"], answer["cache-status"].endswith("detail=set-cookie"))


async def test_a_cookie_set_by_a_304_is_not_kept(house) -> None:
    """It is for the client whose request was confirmed, if for anybody."""
    house.origin.script("/items/1", ok(b"one", ETAG), ok(b"", ("set-cookie", "a=1"), status=304))
    await house.ask("/items/1")
    house.clock.pass_s(61)
    await house.ask("/items/1")
    answer = await house.ask("/items/1")
    assert ("HIT", None) == (answer["x-cache"], answer["set-cookie"])


@pytest.mark.parametrize("parts", [None, (b"hello s-someone", b" there")], ids=["at-once", "in-parts"])
async def test_a_response_that_names_its_caller_is_not_shared(house, parts) -> None:
    """Wherever an origin has it from: what names whoever asked goes to nobody else, and the key is remembered."""
    house.sessions.inner.known["s-someone"] = {}
    house.origin.script("/items/1", Answer(body=b"hello s-someone there", parts=parts), ok(b"hello"))
    answer = await house.ask("/items/1", ("cookie", "sid=s-someone"))
    assert b"hello s-someone there" == answer.body
    await house.quiet()
    assert 1 == house.notes.events["not-stored", "personalised"]
    assert house.hit_for_miss.remembers(KEY.format("items:1"))
    assert b"hello" == (await house.ask("/items/1")).body

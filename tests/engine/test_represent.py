"""One stored body in several codings: what each client gets of it, and what it is told about that."""

import gzip

import brotli
import pytest

from cacheproxy.semantics.dates import format_http_date
from cacheproxy.semantics.fields import Fields
from cacheproxy.upstream.fake import Answer

POLICY = """
version: 1
limits: {once: {rate: 1/hour, by: [client_ip], on_limit: stale_else_reject}}
routes:
  - {name: doc, match: "GET /doc/{id}", cache: {ttl: 60s, key: "doc:{id}", encode: true, stale_while_revalidate: 1h}}
  - {name: scarce, match: "GET /scarce", limits: [once], cache: {ttl: 60s, key: "scarce", encode: true}}
  - {name: plain, match: "GET /plain", cache: {ttl: 60s, key: "plain"}}
"""
TEXT = b"It was the best of times, it was the worst of times. " * 40
GZIP, BR = ("accept-encoding", "gzip"), ("accept-encoding", "gzip;q=0.5, br")
NOW = 1_700_000_000.0
HOUR_AGO = format_http_date(NOW - 3600).decode()
TYPE = ("content-type", "text/plain")


def doc(*fields: tuple[str, str], body: bytes = TEXT) -> Answer:
    """A document that shrinks."""
    return Answer(status=200, fields=Fields.of(TYPE, ("etag", '"1"'), *fields), body=body)


@pytest.fixture
def house(build):
    """An engine whose routes encode."""
    house = build(POLICY)
    house.origin.script("/doc/1", doc())
    return house


async def test_each_client_gets_what_it_likes_best(house) -> None:
    """On the miss as on hits, from one fetch; and who names nothing gets the origin's bytes."""
    for coding, lines, decoded in (("gzip", [GZIP], gzip.decompress), ("br", [BR], brotli.decompress)):
        for _ in range(2):
            answer = await house.ask("/doc/1", *lines)
            assert (coding, TEXT) == (answer["content-encoding"], decoded(answer.body))
            assert ("Accept-Encoding", 'W/"1"') == (answer["vary"], answer["etag"])
    plain = await house.ask("/doc/1")
    assert (None, TEXT) == (plain["content-encoding"], plain.body)
    assert ("Accept-Encoding", '"1"') == (plain["vary"], plain["etag"])
    assert 1 == house.origin.count()


async def test_a_route_that_does_not_say_so_encodes_nothing(house) -> None:
    """It is off unless the policy turns it on."""
    house.origin.script("/plain", doc())
    for _ in range(2):
        answer = await house.ask("/plain", GZIP)
        assert (TEXT, None, None) == (answer.body, answer["content-encoding"], answer["vary"])


@pytest.mark.parametrize("lines", [[GZIP], []], ids=["coded", "identity"])
@pytest.mark.parametrize("tag", ['"1"', 'W/"1"', '"0", W/"1"', "*"])
async def test_what_a_client_has_is_not_sent_again(house, lines: list[tuple[str, str]], tag: str) -> None:
    """If-None-Match compares weakly: the tag of either form gives 304, with what the 200 would say (§15.4.5)."""
    whole = await house.ask("/doc/1", *lines)
    answer = await house.ask("/doc/1", *lines, ("if-none-match", tag))
    assert (304, b"", None) == (answer.status, answer.body, answer["content-encoding"])
    assert (whole["etag"], whole["vary"]) == (answer["etag"], answer["vary"])


@pytest.mark.parametrize("lines", [[GZIP], [BR], []], ids=["gzip", "br", "identity"])
async def test_head_says_what_get_would(house, lines: list[tuple[str, str]]) -> None:
    """The same fields, and the length of the form that GET would bring (RFC 9110 §9.3.2)."""
    got = await house.ask("/doc/1", *lines)
    head = await house.ask("/doc/1", *lines, method="HEAD")
    assert (200, str(len(got.body))) == (head.status, head["content-length"])
    for name in ("content-encoding", "vary", "etag", "content-type"):
        assert got[name] == head[name]


async def test_a_range_is_one_of_the_identity(house) -> None:
    """Whatever else is accepted: its validator is strong, so that parts can be put together."""
    await house.ask("/doc/1", GZIP)
    for lines in ([], [("if-range", '"1"')]):
        part = await house.ask("/doc/1", GZIP, ("range", "bytes=7-10"), *lines)
        assert (206, TEXT[7:11], None) == (part.status, part.body, part["content-encoding"])
        assert ('"1"', "Accept-Encoding") == (part["etag"], part["vary"])


@pytest.mark.parametrize("condition", ['W/"1"', HOUR_AGO], ids=["of-the-coded-form", "of-either-form"])
async def test_a_range_of_a_coded_form_is_refused(house, condition: str) -> None:
    """Who holds a part of the coded form, or may, gets all of it: never a piece of another (RFC 9110 §14.2)."""
    house.origin.script("/doc/1", doc(("last-modified", HOUR_AGO)))
    await house.ask("/doc/1")
    answer = await house.ask("/doc/1", GZIP, ("range", "bytes=7-10"), ("if-range", condition))
    assert (200, TEXT) == (answer.status, answer.body)


@pytest.mark.parametrize(
    ("field", "body"),
    [
        pytest.param(("cache-control", "max-age=60, no-transform"), TEXT, id="9111-5.2.2.6"),
        pytest.param(("content-encoding", "gzip"), gzip.compress(TEXT * 99), id="coded-by-the-origin"),
        pytest.param(("content-digest", "sha-256=:x:"), TEXT, id="9530-digest"),
        pytest.param(("x-any", "x"), TEXT[:1024], id="small"),
    ],
)
async def test_what_must_stay_as_it_is_does(house, field: tuple[str, str], body: bytes) -> None:
    """Neither its bytes nor its fields are touched."""
    house.origin.script("/doc/1", doc(field, body=body))
    for _ in range(2):
        answer = await house.ask("/doc/1", GZIP)
        assert (body, None, '"1"') == (answer.body, answer["vary"], answer["etag"])
        assert answer["content-encoding"] == (field[1] if field[0] == "content-encoding" else None)


async def test_a_client_may_want_it_untouched(house) -> None:
    """Cache-Control: no-transform in a request (RFC 9111 §5.2.1.6)."""
    answer = await house.ask("/doc/1", GZIP, ("cache-control", "no-transform"))
    assert (TEXT, "Accept-Encoding") == (answer.body, answer["vary"])


async def test_what_is_still_arriving_goes_on_as_it_is(house) -> None:
    """Nobody waits for the end of a body to get its beginning; that later clients may get another form is said."""
    house.origin.script("/doc/1", Answer(status=200, fields=Fields.of(TYPE), parts=(TEXT[:9], TEXT[9:])))
    first, second = await house.ask("/doc/1", GZIP), await house.ask("/doc/1", GZIP)
    assert (TEXT, None, "Accept-Encoding") == (first.body, first["content-encoding"], first["vary"])
    assert (gzip.decompress(second.body), "HIT") == (TEXT, second["x-cache"])


async def test_followers_get_their_own_form(house) -> None:
    """Of those who wait for one fetch each is answered as it likes."""
    herd = [house.asking("/doc/1", *lines) for lines in ([GZIP], [BR], [], [GZIP])]
    codings = [(await each)["content-encoding"] for each in herd]
    assert (["gzip", "br", None, "gzip"], 1) == (codings, house.origin.count())


async def test_a_new_version_is_coded_anew(house) -> None:
    """A purge takes the forms with it."""
    await house.ask("/doc/1", GZIP)
    house.origin.script("/doc/1", doc(body=TEXT[::-1]))
    await house.purge("*")
    assert gzip.decompress((await house.ask("/doc/1", GZIP)).body) == TEXT[::-1]


async def test_what_is_confirmed_keeps_its_forms(house) -> None:
    """After a 304 the same bytes are given out, made no second time, and named by the same tag."""
    first = await house.ask("/doc/1", GZIP)
    house.clock.pass_s(3661)
    house.origin.script("/doc/1", Answer(status=304, fields=Fields.of(("etag", '"1"')), body=b""))
    second = await house.ask("/doc/1", GZIP)
    assert "REVALIDATED" == second["x-cache"]
    assert first.body is second.body
    assert '"1"' == house.origin.received[-1].head.fields.get(b"if-none-match").decode()


async def test_a_stale_answer_is_coded_too(house) -> None:
    """While it is refreshed behind the client's back."""
    await house.ask("/doc/1")
    house.clock.pass_s(61)
    answer = await house.ask("/doc/1", GZIP)
    assert ("STALE", "gzip", 'W/"1"') == (answer["x-cache"], answer["content-encoding"], answer["etag"])
    await house.quiet()


async def test_over_a_limit_what_is_stored_is_coded_too(house) -> None:
    """Where something stored is better than a refusal."""
    house.origin.script("/scarce", doc())
    await house.ask("/scarce", GZIP)
    answer = await house.ask("/scarce", GZIP)
    assert (200, "gzip") == (answer.status, answer["content-encoding"])


async def test_what_came_meanwhile_is_not_taken_for_what_was_answered(house, monkeypatch) -> None:
    """A form is waited for; what takes the entry's place in that time is not repeated with the old answer."""
    await house.ask("/doc/1", GZIP)

    async def purge(_: str) -> None:
        house.origin.script("/doc/1", doc(body=TEXT * 2))
        await house.purge("*")
        await house.ask("/doc/1")

    house.forms.before = purge
    reply = await house.handle("/doc/1", BR)
    store = house.store.inner
    assert reply.shelved is None or not store.unchanged(reply.shelved.place, house.clock.monotonic())

"""Requests for many ids: answered in order from single entries, and what is missing fetched in one request."""

import asyncio
import gzip
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cacheproxy.errors import UpstreamError
from cacheproxy.fills.governor import Governor
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.head import RequestHead, ResponseHead
from cacheproxy.upstream.bodies import BytesBody
from cacheproxy.upstream.fake import Answer, Received

POLICY = """
version: 1
session: {cookie: sid, identity: {X-User-Id: user_id, X-Org-Id: org_id}}
tenant: {from: session.org_id}
limits:
  misses: {rate: 1/minute, by: [client_ip], count: miss}
routes:
  - {name: me, match: GET /users/me}
  - name: user
    match: GET /users/{id:int}
    cache: {ttl: 60s, ttl_by_status: {404: 30s}, key: "users:{id}", tags: ["user:{id}"], stale_if_error: 1h}
  - {name: users, match: GET /users, batch: {param: ids, item: "users:{id}", max_ids: 5}}
  - {name: doc, match: "GET /docs/{id}", cache: {ttl: 60s, key: "docs:{id}", stale_while_revalidate: 60s}}
  - {name: docs, match: GET /docs, batch: {param: id, item: "docs:{id}", absent: "null", id_field: meta.id}}
  - {name: note, match: "GET /notes/{id}", session: required, cache: {ttl: 60s, key: "notes:{id}", scope: user}}
  - {name: notes, match: GET /notes, session: required, batch: {param: ids, item: "notes:{id}"}}
  - name: asset
    match: GET /orgs/{org}/assets/{id}
    cache: {ttl: origin, key: "assets:{org}:{id}", client_cache_control: honor, store_when: {header.x-draft: absent}}
  - name: assets
    match: GET /orgs/{org}/assets
    batch: {param: ids, item: "assets:{org}:{id}"}
    cache: {key: "assets:{org}"}
  - {name: rare, match: "GET /rare/{id}", cache: {key: "rare:{id}", lookup_when: {header.x-fresh: absent}}}
  - {name: rares, match: GET /rare, limits: [misses], batch: {param: ids, item: "rare:{id}"}}
"""
JSON = ("content-type", "application/json")
ANN, BOB = ("cookie", "sid=s-ann"), ("cookie", "sid=s-bob")


@dataclass
class Things:
    """An origin of things that have ids: single ones, and those that ``?ids=`` names, as a service would write them."""

    known: set[str] = field(default_factory=lambda: {str(number) for number in range(1, 10)})
    version: int = 1
    fields: tuple[tuple[str, str], ...] = (JSON,)
    nested: bool = False

    def thing(self, one: str, received: Received) -> Any:
        """One thing, and for whom it is."""
        user = (received.head.fields.get(b"x-user-id") or b"").decode()
        number: Any = int(one) if one.isdigit() else one
        if self.nested:
            return {"meta": {"id": number}, "v": self.version}
        return {"id": number, "v": self.version, **({"for": user} if user else {})}

    def __call__(self, received: Received) -> Answer:
        """The answer to a request."""
        path, _, query = received.head.target.decode().partition("?")
        if not query:
            one = path.rpartition("/")[2]
            if one not in self.known:
                return Answer(status=404, fields=Fields.of(JSON), body=b'{"detail":"not found"}')
            return self._said(self.thing(one, received))
        ids = [each for _, value in parse_qsl(query) for each in value.split(",")]
        return self._said([self.thing(each, received) for each in sorted(ids) if each in self.known])

    def _said(self, value: Any) -> Answer:
        body = json.dumps(value, separators=(",", ":")).encode()
        return Answer(status=200, fields=Fields.of(*self.fields), body=body)


@pytest.fixture
def things() -> Things:
    """An origin of nine things."""
    return Things()


@pytest.fixture
def house(build, things: Things):
    """An engine in front of it."""
    house = build(POLICY)
    house.origin._otherwise = things
    return house


def targets(house: Any) -> list[str]:
    """What the origin was asked for, in order."""
    return [received.head.target.decode() for received in house.origin.received]


def ids_of(answer: Any) -> list[int | None]:
    """The ids of the elements of an answer."""
    return [None if each is None else each["id"] for each in json.loads(answer.body)]


# --- what is fetched, and what is not


async def test_only_what_is_missing_is_fetched_in_one_request(house) -> None:
    """The array is in the order of the request, whatever was stored and whatever the origin's order."""
    await house.ask("/users/2")
    some = await house.ask("/users?ids=3,2,1")
    assert ["/users/2", "/users?ids=3,1"] == targets(house)
    assert [3, 2, 1] == ids_of(some)
    assert ("MISS", "cacheproxy; fwd=partial; fwd-status=200; ttl=60; stored") == (
        some["x-cache"],
        some["cache-status"],
    )
    again = await house.ask("/users?ids=1,2,3")
    assert ("HIT", "cacheproxy; hit; ttl=60", 2) == (again["x-cache"], again["cache-status"], house.origin.count())
    assert b'[{"id":1,"v":1},{"id":2,"v":1},{"id":3,"v":1}]' == again.body


async def test_single_requests_profit_from_batches(house) -> None:
    """What is stored for one of many is what the single route would have answered: text, type and tags."""
    await house.ask("/users?ids=4,5")
    one = await house.ask("/users/4")
    assert (b'{"id":4,"v":1}', "application/json", "HIT", 1) == (
        one.body, one["content-type"], one["x-cache"], house.origin.count())  # fmt: skip


async def test_a_parameter_for_each_id_is_a_batch_too(house) -> None:
    """``ids=1&ids=2``, as FastAPI reads lists; the origin is asked in the client's own manner."""
    await house.ask("/users/2")
    some = await house.ask("/users?ids=1&ids=2&ids=3")
    assert [1, 2, 3] == ids_of(some)
    assert "/users?ids=1&ids=3" == targets(house)[-1]


async def test_where_all_is_missing_the_clients_own_target_is_sent(house) -> None:
    """Spelled as it was: nobody knows what else the origin makes of it."""
    await house.ask("/users?ids=1%2C2")
    assert ["/users?ids=1%2C2"] == targets(house)


async def test_the_origin_is_asked_for_an_array_in_no_coding_and_without_conditions(house) -> None:
    """What comes must be readable, and whole."""
    conditions = (("if-none-match", '"x"'), ("range", "bytes=0-1"), ("accept-encoding", "gzip"))
    assert 200 == (await house.ask("/users?ids=1,2", *conditions)).status
    fields = house.origin.received[0].head.fields
    assert (b"identity", None, None) == (
        fields.get(b"accept-encoding"), fields.get(b"if-none-match"), fields.get(b"range"))  # fmt: skip


async def test_a_batch_route_without_ids_takes_its_ordinary_way(house) -> None:
    """The list itself is not a batch; with a cache it is stored as any response."""
    first, second = await house.ask("/orgs/red/assets"), await house.ask("/orgs/red/assets")
    assert [404, 404] == [first.status, second.status]
    assert (
        "cacheproxy; fwd=bypass; fwd-status=404; detail=no-cache-policy" == (await house.ask("/users"))["cache-status"]
    )


# --- ids


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("/users?ids=", "empty"),
        ("/users?ids=1,,2", "one is empty"),
        ("/users?ids=1,2&ids=3", "two manners at once"),
        ("/users?ids=1,2&sort=v", "another parameter"),
        ("/users?ids=1;2", "a separator to some"),
        ("/users?ids=1,2,3,4,5,6", "more than max_ids"),
        ("/users?ids=" + ",".join(map(str, range(10_000))), "ten thousand"),
        ("/users?ids=1,me", "another route"),
        ("/users?ids=1,x", "no number"),
        ("/users?ids=01,2", "not as the single route spells it"),
        ("/users?ids=1,..", "a path of its own"),
        ("/users?ids=1,2%2F3", "a slash"),
        ("/%75sers?ids=1,2", "another spelling of the path"),
    ],
)
async def test_what_cannot_be_taken_apart_is_forwarded_as_it_is(house, target: str, why: str) -> None:
    """And says so; nothing of it is stored."""
    answers = [await house.ask(target) for _ in range(2)]
    assert [target, target] == targets(house), why
    assert all(
        answer["cache-status"] == f"cacheproxy; fwd=bypass; fwd-status={answer.status}; detail=batch-whole"
        for answer in answers
    )


@pytest.mark.parametrize("target", ["/users/?ids=1,2", "//users?ids=1,2", "/users;x?ids=1,2"])
async def test_a_path_that_is_nearly_the_routes_is_none_of_it(house, target: str) -> None:
    """Nobody knows what the origin answers there: the cache has no part in it, and neither has the batch."""
    house.origin.script(target, Answer(fields=Fields.of(JSON), body=b'[{"id":1,"v":"other"},{"id":2}]'))
    await house.ask(target)
    assert b'[{"id":1,"v":1},{"id":2,"v":1}]' == (await house.ask("/users?ids=1,2")).body


@pytest.mark.parametrize("method", ["HEAD", "POST"])
async def test_other_methods_are_forwarded(house, method: str) -> None:
    """A batch is a GET."""
    await house.ask("/users?ids=1,2", method=method)
    assert ["/users?ids=1,2"] == targets(house)


async def test_repeated_ids_are_one_element_as_in_a_query(house) -> None:
    """And the origin is asked once for each."""
    assert [2, 1] == ids_of(await house.ask("/users?ids=2,1,2,2"))
    assert ["/users?ids=2,1"] == targets(house)


async def test_unknown_ids_are_left_out(house) -> None:
    """As a query would; they are asked for again, as nothing is stored for them."""
    assert [1, 2] == ids_of(await house.ask("/users?ids=77,1,2"))
    second = await house.ask("/users?ids=2,77,1")
    assert ([2, 1], "/users?ids=77") == (ids_of(second), targets(house)[-1])
    assert "cacheproxy; fwd=partial; fwd-status=200; ttl=60; stored" == second["cache-status"]


async def test_all_unknown_is_an_empty_array(house) -> None:
    """With the fields that the origin gave it."""
    answer = await house.ask("/users?ids=77,78")
    assert (b"[]", "application/json", 200) == (answer.body, answer["content-type"], answer.status)


async def test_a_stored_404_says_that_an_id_is_unknown(house) -> None:
    """Where the single route stores it; then nobody is asked."""
    await house.ask("/users/77")
    await house.ask("/users?ids=1,2")
    answer = await house.ask("/users?ids=1,77,2")
    assert ([1, 2], 2, "cacheproxy; hit; ttl=30") == (ids_of(answer), house.origin.count(), answer["cache-status"])


async def test_with_null_the_array_has_a_place_for_each_id(house, things: Things) -> None:
    """In the order of the request, repeated as there, ``null`` for what is unknown; ids may be nested, and words."""
    things.nested = True
    things.known = {"a", "b"}
    for _ in range(2):
        answer = await house.ask("/docs?id=b,zz,a,b")
        assert ["b", None, "a", "b"] == [each and each["meta"]["id"] for each in json.loads(answer.body)]
    assert ["/docs?id=b,zz,a", "/docs?id=zz"] == targets(house)


async def test_nulls_of_the_origin_are_unknown_ids_where_the_policy_has_them(house) -> None:
    """An origin that answers in places says so itself."""
    house.origin.script("/docs?id=a,b", Answer(fields=Fields.of(JSON), body=b'[null, {"meta": {"id": "b"}}]'))
    answer = await house.ask("/docs?id=a,b")
    assert b'[null,{"meta": {"id": "b"}}]' == answer.body


# --- freshness


async def test_age_and_ttl_are_those_of_the_oldest_part(house) -> None:
    """Nobody behind us takes the whole for fresher than its stalest element."""
    await house.ask("/users/1")
    house.clock.pass_s(20)
    await house.ask("/users?ids=1,2")
    house.clock.pass_s(5)
    answer = await house.ask("/users?ids=1,2")
    assert ("25", "cacheproxy; hit; ttl=35") == (answer["age"], answer["cache-status"])


async def test_what_comes_from_the_origin_just_now_has_no_age_of_ours(house, things: Things) -> None:
    """However old its Date is; but an Age that it came with is told."""
    things.fields = (JSON, ("date", "Tue, 14 Nov 2023 22:13:17 GMT"))
    assert None is (await house.ask("/users?ids=1,2"))["age"]
    things.fields = (JSON, ("age", "7"))
    assert "7" == (await house.ask("/users?ids=3,4"))["age"]


async def test_parts_of_one_cache_control_keep_it(house, things: Things) -> None:
    """With the age of the oldest it is right for each of them."""
    things.fields = (JSON, ("cache-control", "max-age=100"))
    await house.ask("/users/1")
    house.clock.pass_s(10)
    answer = await house.ask("/users?ids=1,2")
    assert ("max-age=100", "10") == (answer["cache-control"], answer["age"])


async def test_parts_that_disagree_are_not_for_caches_behind_us(house, things: Things) -> None:
    """No single lifetime would be true."""
    await house.ask("/users/1")
    things.fields = (JSON, ("cache-control", "max-age=100"), ("x-of", "the batch"))
    answer = await house.ask("/users?ids=1,2")
    assert ("no-cache", None) == (answer["cache-control"], answer["x-of"])


async def test_fields_that_all_have_are_those_of_the_array(house, things: Things) -> None:
    """But for what is true of one representation alone."""
    things.fields = (
        JSON, ("x-frame-options", "DENY"), ("vary", "accept"), ("content-length", "31"), ("cache-tag", "all"),
        ("etag", '"1"'), ("last-modified", "Mon, 01 Jan 2024 00:00:00 GMT"),
    )  # fmt: skip
    answer = await house.ask("/users?ids=1,2")
    assert ("DENY", "accept") == (answer["x-frame-options"], answer["vary"])
    assert [None] * 4 == [answer[name] for name in ("etag", "last-modified", "content-length", "cache-tag")]
    assert None is (await house.ask("/users/1"))["etag"]


async def test_what_differs_in_vary_is_joined(house, things: Things) -> None:
    """A cache behind us must tell apart what any of the parts was chosen by."""
    things.fields = (JSON, ("vary", "accept"))
    await house.ask("/users/1")
    things.fields = (JSON, ("vary", "accept-language"))
    assert "accept, accept-language" == (await house.ask("/users?ids=1,2"))["vary"]


async def test_stale_parts_are_fetched_with_the_missing(house, things: Things) -> None:
    """One request for both."""
    await house.ask("/users/1")
    house.clock.pass_s(61)
    things.version = 2
    assert b'[{"id":1,"v":2},{"id":2,"v":2}]' == (await house.ask("/users?ids=1,2")).body
    assert "/users?ids=1,2" == targets(house)[-1]


async def test_stale_parts_are_served_and_refreshed_behind(house, things: Things) -> None:
    """Within stale-while-revalidate, in one request for all of them."""
    things.nested = True
    await house.ask("/docs?id=1,2")
    await house.quiet()
    house.clock.pass_s(61)
    things.version = 2
    stale = await house.ask("/docs?id=1,2")
    assert "cacheproxy; hit; ttl=-1; detail=stale-while-revalidate" == stale["cache-status"]
    assert b'"v":1' in stale.body
    await house.quiet()
    fresh = await house.ask("/docs?id=2,1")
    assert ("HIT", 2) == (fresh["x-cache"], house.origin.count())
    assert b'"v":2' in fresh.body
    assert b'"v":1' not in fresh.body


async def test_nobody_waits_for_a_refresh_that_waits_for_its_turn(build, things: Things) -> None:
    """What was purged meanwhile is fetched at once, and the same batch is refreshed once."""
    governor = Governor(at_once=1)
    house = build(POLICY, governor=governor)
    house.origin._otherwise = things
    things.nested = True
    await house.ask("/docs?id=1,2")
    await house.quiet()
    house.clock.pass_s(61)
    async with governor.turn(0):
        for _ in range(2):
            assert "STALE" == (await house.ask("/docs?id=1,2"))["x-cache"]
        await house.purge("docs:*")
        assert "MISS" == (await house.ask("/docs/1"))["x-cache"]
        assert "MISS" == (await house.ask("/docs?id=2,3"))["x-cache"]
        assert ["/docs?id=1,2", "/docs/1", "/docs?id=2,3"] == targets(house)
    await house.quiet()
    assert "/docs?id=1,2" == targets(house)[-1]
    assert 4 == house.origin.count()


@pytest.mark.parametrize(
    "failure",
    [UpstreamError(502, "connect-refused", sent=False), Answer(status=503, body=b"down")],
    ids=["no-answer", "503"],
)
async def test_stale_parts_stand_in_for_an_error(house, failure: Any) -> None:
    """Where stale-if-error allows it for all that is missing."""
    await house.ask("/users?ids=1,2")
    house.clock.pass_s(61)
    house.origin.script("/users?ids=1,2", failure)
    answer = await house.ask("/users?ids=1,2")
    assert ([1, 2], "STALE") == (ids_of(answer), answer["x-cache"])
    assert (answer["cache-status"] or "").endswith("detail=stale-if-error")


async def test_an_error_is_one_where_a_part_has_nothing_to_stand_in(house) -> None:
    """Half an array would be a wrong answer."""
    await house.ask("/users?ids=1,2")
    house.clock.pass_s(61)
    house.origin.script("/users?ids=1,2,3", UpstreamError(502, "connect-refused", sent=False))
    assert 502 == (await house.ask("/users?ids=1,2,3")).status


async def test_what_was_purged_does_not_stand_in(house) -> None:
    """It is looked up anew when the origin has failed."""
    await house.ask("/users?ids=1,2")
    house.clock.pass_s(61)
    house.origin.script("/users?ids=1,2", UpstreamError(502, "connect-refused", sent=False))
    house.origin.hold()
    asked = house.asking("/users?ids=1,2")
    await house.quiet()
    await house.purge("user:2")
    house.origin.release()
    assert 502 == (await asked).status


# --- purges


async def test_a_purge_of_one_between_two_batches_is_seen(house, things: Things) -> None:
    """It alone is fetched again: single entries carry their own tags, whoever brought them."""
    await house.ask("/users?ids=1,2,3")
    things.version = 2
    await house.purge("user:2")
    assert b'[{"id":1,"v":1},{"id":2,"v":2},{"id":3,"v":1}]' == (await house.ask("/users?ids=1,2,3")).body
    assert "/users?ids=2" == targets(house)[-1]


async def test_a_purge_while_a_batch_is_fetched_is_not_lost(house, things: Things) -> None:
    """Its stamp was taken before the origin was asked: what it brought for that id is dead on arrival."""
    house.origin.hold()
    asked = house.asking("/users?ids=1,2")
    await house.quiet()
    await house.purge("user:2")
    house.origin.release()
    await asked
    things.version = 2
    assert b'[{"id":1,"v":1},{"id":2,"v":2}]' == (await house.ask("/users?ids=1,2")).body


async def test_tags_of_the_answer_are_on_each_element(house, things: Things) -> None:
    """What the origin names by a field is purged by it, one by one or all."""
    things.fields = (JSON, ("cache-tag", "team"))
    await house.ask("/users?ids=1,2")
    await house.purge("team")
    await house.ask("/users/1")
    assert 2 == house.origin.count()


async def test_a_soft_purge_makes_elements_stale(house, things: Things) -> None:
    """They are served while they are refreshed, where the single route does so."""
    things.nested = True
    await house.ask("/docs?id=1,2")
    await house.quiet()
    await house.purge("docs:*", soft=True)
    assert "STALE" == (await house.ask("/docs?id=1,2"))["x-cache"]
    await house.quiet()
    assert "HIT" == (await house.ask("/docs?id=1,2"))["x-cache"]


# --- whose it is


async def test_nobody_gets_anothers_elements(house) -> None:
    """Single entries are in their user's scope, in a batch as alone."""
    ann, bob = await house.ask("/notes?ids=1,2", ANN), await house.ask("/notes?ids=2,1", BOB)
    assert [b'"for":"ann"' in ann.body, b'"for":"bob"' in bob.body, b"ann" in bob.body] == [True, True, False]
    assert b'{"id":1,"v":1,"for":"ann"}' == (await house.ask("/notes/1", ANN)).body
    assert b'{"id":1,"v":1,"for":"bob"}' == (await house.ask("/notes/1", BOB)).body
    assert (401, 2) == ((await house.ask("/notes?ids=1,2")).status, house.origin.count())


async def test_tenants_have_elements_of_their_own(house) -> None:
    """The tenant is in every key."""
    await house.ask("/users?ids=1,2", ANN)
    await house.ask("/users?ids=1,2", BOB)
    assert 2 == house.origin.count()


async def test_hosts_have_elements_of_their_own(house) -> None:
    """So is the host, where the single route has it."""
    await house.ask("/users?ids=1,2")
    key = "test:tenant-global:users:1:v1:~h=example.com"
    assert house.store.inner.peek(key, Fields()) is not None


async def test_the_origin_is_not_told_who_asks_for_what_is_for_many(house) -> None:
    """As for a single request: neither the identity nor the cookies."""
    await house.ask("/users?ids=1,2", ANN, ("x-a", "b"))
    fields = house.origin.received[0].head.fields
    assert (None, None, b"b") == (fields.get(b"x-user-id"), fields.get(b"cookie"), fields.get(b"x-a"))


async def test_what_nobody_in_particular_is_refused_is_asked_for_in_full(house, things: Things) -> None:
    """An answer that is for one alone is no use to the caller when it was made for nobody."""
    things.fields = (JSON, ("cache-control", "private"))
    answer = await house.ask("/users?ids=1,2", ANN)
    assert b'"for":"ann"' in answer.body
    assert (2, "private") == (house.origin.count(), (answer["cache-status"] or "").rpartition("detail=")[2])


async def test_an_element_that_names_its_caller_is_not_shared(house, things: Things) -> None:
    """The others are: the leak guard looks at each."""
    house.sessions.inner.known["s-ann-0815"] = {"user_id": "ann-0815"}
    body = b'[{"id":1,"owner":"ann-0815"},{"id":2}]'
    house.origin.script("/users?ids=1,2", Answer(fields=Fields.of(JSON), body=body))
    answer = await house.ask("/users?ids=1,2", ("cookie", "sid=s-ann-0815"))
    assert (body, False) == (answer.body, "stored" in (answer["cache-status"] or ""))
    await house.ask("/users?ids=1,2")
    assert "/users?ids=1" == targets(house)[-1]


# --- what is not an array of elements


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"items": []}', "application/json"),
        (b'[{"id": 1}, {"id": 2}', "application/json"),
        (b'[{"id": 1}, {"id": 2}] x', "application/json"),
        (b'[{"id": 1},, {"id": 2}]', "application/json"),
        (b'[{"id": 1} {"id": 2}]', "application/json"),
        (b'[{"id": 1}, {"id": 2},]', "application/json"),
        (b'[{"id": 1}, {"name": "x"}]', "application/json"),
        (b'[{"id": 1}, {"id": true}]', "application/json"),
        (b'[{"id": 1}, {"id": 1}]', "application/json"),
        (b'[{"id": 1}, {"id": 3}]', "application/json"),
        (b'[{"id": 1}, null]', "application/json"),
        (b"[1, 2]", "application/json"),
        (b'[{"id": NaN}]', "application/json"),
        (b'[{"id": 1, "x": "\xff"}]', "application/json"),
        (b"[" * 100_000, "application/json"),
        (b"", "application/json"),
        (b'[{"id": 1}, {"id": 2}]', "text/html"),
        (b'[{"id": 1}, {"id": 2}]', "application/jsonlines"),
    ],
)
async def test_what_is_no_array_of_elements_is_passed_on(house, body: bytes, kind: str) -> None:
    """As it came, byte by byte; nothing of it is stored."""
    house.origin.script("/users?ids=1,2", Answer(fields=Fields.of(("content-type", kind)), body=body))
    for _ in range(2):
        answer = await house.ask("/users?ids=1,2")
        assert (body, kind) == (answer.body, answer["content-type"])
        assert "cacheproxy; fwd=uri-miss; fwd-status=200; detail=batch-unusable" == answer["cache-status"]
    assert 2 == house.origin.count()


@pytest.mark.parametrize("status", [206, 304, 412, 416])
async def test_an_answer_to_what_was_not_asked_is_for_nobody(house, status: int) -> None:
    """The origin got no condition and no range from us; the client's own request may have them."""
    house.origin.script("/users?ids=1,2", Answer(status=status), Answer(fields=Fields.of(JSON), body=b"[]"))
    answer = await house.ask("/users?ids=1,2", ("if-none-match", '"1"'))
    assert (200, b"[]", 2) == (answer.status, answer.body, house.origin.count())
    assert b'"1"' == house.origin.received[-1].head.fields.get(b"if-none-match")


@pytest.mark.parametrize(
    "unusable",
    [
        Answer(fields=Fields.of(JSON), body=b'{"items": []}'),
        Answer(status=422, fields=Fields.of(JSON), body=b"{}"),
        Answer(status=503),
        Answer(fields=Fields.of(JSON, ("content-encoding", "gzip")), body=b"..."),
        Answer(fields=Fields.of(JSON), parts=(b"[", b" " * (4 << 20), b"]")),
    ],
    ids=["object", "422", "503", "coded", "too-large"],
)
async def test_what_lacks_some_of_the_ids_is_never_passed_on(house, unusable: Answer) -> None:
    """Where some elements were stored, the origin is asked for all that the client asked for."""
    await house.ask("/users/1")
    house.origin.script("/users?ids=2", unusable)
    answer = await house.ask("/users?ids=1,2")
    assert (b'[{"id":1,"v":1},{"id":2,"v":1}]', "/users?ids=1,2") == (answer.body, targets(house)[-1])
    assert "cacheproxy; fwd=partial; fwd-status=200; detail=batch-unusable" == answer["cache-status"]


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ((("cache-control", "no-store"),), "no-store"),
        ((("set-cookie", "a=b"),), "set-cookie"),
        ((("vary", "*"),), "vary-star"),
        ((("cache-tag", "@mine"),), "tags-refused"),
    ],
)
async def test_what_may_not_be_stored_is_passed_on(
    house, things: Things, fields: tuple[tuple[str, str], ...], detail: str
) -> None:
    """Whole and with all its fields, for this client alone."""
    things.fields = (JSON, *fields)
    for _ in range(2):
        answer = await house.ask("/users?ids=2,1")
        assert [1, 2] == ids_of(answer)
        assert f"cacheproxy; fwd=uri-miss; fwd-status=200; detail={detail}" == answer["cache-status"]
    assert (2, things.fields[1][1] if detail == "set-cookie" else None) == (house.origin.count(), answer["set-cookie"])


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"not json", "application/json"),
        (b'{"id": 2}', "application/json"),
        (b'[{"id": 1}]', "application/json"),
        (b'{"id": 1}', "text/plain"),
        ('{"id": 1}'.encode("utf-16"), "application/json"),
    ],
)
async def test_a_single_entry_that_is_no_element_is_fetched_with_the_missing(house, body: bytes, kind: str) -> None:
    """Whatever the single route stored, an array is never made of something else."""
    house.origin.script("/users/1", Answer(fields=Fields.of(("content-type", kind)), body=body))
    await house.ask("/users/1")
    assert b'[{"id":1,"v":1},{"id":2,"v":1}]' == (await house.ask("/users?ids=1,2")).body


async def test_an_entry_that_varies_answers_those_it_fits(house, things: Things) -> None:
    """In a batch as alone; but the coding of the array is no coding of an element."""
    things.fields = (JSON, ("vary", "accept-encoding, accept-language"))
    await house.ask("/users?ids=1,2", ("accept-language", "de"), ("accept-encoding", "gzip"))
    await house.ask("/users/1", ("accept-language", "de"), ("accept-encoding", "br"))
    assert 1 == house.origin.count()
    await house.ask("/users?ids=1,2", ("accept-language", "en"))
    assert 2 == house.origin.count()


async def test_single_entries_that_came_by_gzip_are_elements(house) -> None:
    """As services answer browsers; the array itself is in no coding, and says so to everybody."""
    for one in ("1", "2"):
        fields = Fields.of(JSON, ("content-encoding", "gzip"), ("vary", "accept-encoding"))
        body = gzip.compress(b'{"id":%b,"v":"zipped"}' % one.encode())
        house.origin.script(f"/users/{one}", Answer(fields=fields, body=body))
        await house.ask(f"/users/{one}", ("accept-encoding", "gzip"))
    answer = await house.ask("/users?ids=1,2", ("accept-encoding", "gzip"))
    assert (b'[{"id":1,"v":"zipped"},{"id":2,"v":"zipped"}]', None, "HIT") == (
        answer.body, answer["content-encoding"], answer["x-cache"])  # fmt: skip


async def test_elements_that_are_too_large_are_answered_and_not_stored(build, things: Things) -> None:
    """``max_body`` is that of the single route, for each."""
    house = build(POLICY.replace("stale_if_error: 1h", "max_body: 20B"))
    body = b'[{"id":1},{"id":2,"text":"0123456789"}]'
    house.origin.script("/users?ids=1,2", Answer(fields=Fields.of(JSON), body=body))
    house.origin.script("/users?ids=2", Answer(fields=Fields.of(JSON), body=b'[{"id":2,"text":"0123456789"}]'))
    assert [body, body] == [(await house.ask("/users?ids=1,2")).body for _ in range(2)]
    assert ["/users?ids=1,2", "/users?ids=2"] == targets(house)


# --- conditions, limits, preconditions


async def test_conditions_of_the_single_route_hold_for_its_elements(house, things: Things) -> None:
    """Who may not store uses what is stored, and leaves nothing; who may not look up asks for all, and stores."""
    things.fields = (JSON, ("cache-control", "max-age=60"))
    await house.ask("/orgs/red/assets/1")
    draft = await house.ask("/orgs/red/assets?ids=1,2", ("x-draft", "1"))
    assert ([1, 2], "/orgs/red/assets?ids=2") == (ids_of(draft), targets(house)[-1])
    await house.ask("/orgs/red/assets/2")
    assert "/orgs/red/assets/2" == targets(house)[-1]
    await house.ask("/rare/1")
    await house.ask("/rare?ids=1,2", ("x-fresh", "1"))
    assert "/rare?ids=1,2" == targets(house)[-1]


async def test_a_precondition_is_for_the_origin(house) -> None:
    """Only it can tell whether it holds for the whole."""
    await house.ask("/users?ids=1,2")
    answer = await house.ask("/users?ids=1,2", ("if-match", '"x"'))
    assert (2, b'"x"') == (house.origin.count(), house.origin.received[-1].head.fields.get(b"if-match"))
    assert "cacheproxy; fwd=bypass; fwd-status=200; detail=batch-whole" == answer["cache-status"]


async def test_only_if_cached_is_obeyed_where_clients_are(house, things: Things) -> None:
    """504 where one element is missing."""
    things.fields = (JSON, ("cache-control", "max-age=60"))
    await house.ask("/orgs/red/assets?ids=1,2")
    only = ("cache-control", "only-if-cached")
    assert [200, 504] == [(await house.ask(f"/orgs/red/assets?ids={ids}", only)).status for ids in ("1,2", "1,3")]
    assert 1 == house.origin.count()


async def test_a_batch_counts_as_a_miss_if_one_element_is(house) -> None:
    """And as one request, against the limits of its own route."""
    assert [200, 200, 429] == [
        (await house.ask(target)).status for target in ("/rare?ids=1,2", "/rare?ids=2,1", "/rare?ids=1,3")
    ]


async def test_batches_are_counted_under_the_elements(house) -> None:
    """A hit rate of users counts those who asked for many."""
    await house.ask("/users?ids=1,2")
    await house.ask("/users?ids=1,2")
    assert [("users", False), ("users", True)] == [
        (said["resource_type"], said["hit"]) for said in house.notes.requests
    ]


# --- company


async def test_a_herd_of_batches_makes_one_request(house) -> None:
    """Those that come while it is under way wait for it, whatever their order."""
    house.origin.hold()
    herd = [house.asking(f"/users?ids={ids}") for ids in ("1,2,3", "3,1", "2")]
    await house.quiet()
    house.origin.release()
    assert [[1, 2, 3], [3, 1], [2]] == [ids_of(await each) for each in herd]
    assert ["/users?ids=1,2,3"] == targets(house)
    assert "cacheproxy; fwd=uri-miss; ttl=60; collapsed" == herd[1].result()["cache-status"]


async def test_single_requests_wait_for_a_batch_and_batches_for_them(house) -> None:
    """A fill is a fill, whoever began it."""
    house.origin.hold()
    single = house.asking("/users/1")
    await house.quiet()
    many = house.asking("/users?ids=1,2")
    other = house.asking("/users?ids=3")
    await house.quiet()
    third = house.asking("/users/3")
    await house.quiet()
    house.origin.release()
    assert b'{"id":3,"v":1}' == (await third).body
    assert ([1, 2], b'{"id":1,"v":1}', [3]) == (ids_of(await many), (await single).body, ids_of(await other))
    assert ["/users/1", "/users?ids=3", "/users?ids=2"] == targets(house)


async def test_who_came_after_the_origin_was_asked_looks_it_up(house, things: Things) -> None:
    """As with single fills: what was purged in between is not served from them."""
    house.origin.hold()
    first = house.asking("/users?ids=1,2")
    await house.quiet()
    house.clock.pass_s(1)
    await house.purge("user:1")
    later = house.asking("/users?ids=1,2")
    await house.quiet()
    house.origin.release()
    await first
    await later
    assert ["/users?ids=1,2", "/users?ids=1"] == targets(house)


async def test_followers_of_a_batch_that_failed_ask_for_themselves(house) -> None:
    """A batch may fail for reasons that single requests do not have."""
    house.origin.script("/users?ids=1,2", UpstreamError(504, "first-byte-timeout", sent=True))
    house.origin.hold()
    batch = house.asking("/users?ids=1,2")
    await house.quiet()
    single = house.asking("/users/1")
    await house.quiet()
    house.origin.release()
    assert (504, 200) == ((await batch).status, (await single).status)


async def test_a_follower_gets_nothing_of_an_answer_that_was_no_array(house) -> None:
    """It asks for itself."""
    house.origin.script("/users?ids=1,2", Answer(fields=Fields.of(JSON), body=b"{}"))
    house.origin.hold()
    batch = house.asking("/users?ids=1,2")
    await house.quiet()
    single = house.asking("/users/1")
    await house.quiet()
    house.origin.release()
    assert (b"{}", b'{"id":1,"v":1}') == ((await batch).body, (await single).body)


async def test_a_client_that_leaves_harms_nobody(house) -> None:
    """The fetch goes on, and what it brings is stored."""
    house.origin.hold()
    leaver = house.asking("/users?ids=1,2")
    await house.quiet()
    leaver.cancel()
    house.origin.release()
    await house.quiet()
    assert ("HIT", 1) == ((await house.ask("/users?ids=1,2"))["x-cache"], house.origin.count())


# --- without Redis


async def test_without_the_tag_clock_nothing_is_stored(house) -> None:
    """Nobody could tell a later purge; the client is answered all the same."""
    house.purger.fails = {"begin"}
    answer = await house.ask("/users?ids=1,2")
    assert ([1, 2], False) == (ids_of(answer), "stored" in (answer["cache-status"] or ""))
    await house.ask("/users?ids=1,2")
    assert 2 == house.origin.count()


async def test_a_store_that_does_not_answer_costs_hits_alone(house) -> None:
    """Reads and writes fail, requests do not."""
    house.store.fails = {"read", "write"}
    assert [1, 2] == ids_of(await house.ask("/users?ids=1,2"))


# --- whatever is stored


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_an_answer_never_depends_on_what_is_stored(assemble, data: st.DataObject) -> None:
    """Any requests, single or for many, with purges in between: each answer is what the origin would say now."""
    asyncio.run(_any_order(assemble, data))


async def _any_order(assemble: Any, data: st.DataObject) -> None:
    things = Things()
    house = assemble(POLICY)
    house.origin._otherwise = things
    for _ in range(data.draw(st.integers(1, 8))):
        ids = data.draw(st.lists(st.sampled_from(["1", "2", "3", "4", "77"]), min_size=1, max_size=5))
        match data.draw(st.sampled_from(["many", "one", "change"])):
            case "many":
                asked = list(dict.fromkeys(each for each in ids if each in things.known))
                want = [{"id": int(each), "v": things.version} for each in asked]
                assert want == json.loads((await house.ask(f"/users?ids={','.join(ids)}")).body)
            case "one":
                await house.ask(f"/users/{ids[0]}")
            case "change":
                things.version += 1
                await house.purge("users:*")
    await house.quiet()
    assert {} == house.leaks()


class Slow:
    """An origin that looks things up when asked, and answers when told: what it says may be long out of date."""

    def __init__(self) -> None:
        """Every thing is in version 0."""
        self.versions = dict.fromkeys("1234", 0)
        self.held: list[asyncio.Future[None]] = []
        self.fails = False

    async def send(self, request: RequestHead, *_: object) -> tuple[ResponseHead, BytesBody]:
        """What it knew when it was asked."""
        ids = [each for _, value in parse_qsl(request.query.decode()) for each in value.split(",")]
        said = [{"id": int(each), "v": self.versions[each]} for each in ids or [request.path.decode()[-1]]]
        self.held.append(asyncio.get_running_loop().create_future())
        await self.held[-1]
        body = json.dumps(said if ids else said[0]).encode()
        return ResponseHead(200, Fields.of(JSON)), BytesBody(body)

    def begin(self, *_: object) -> None:
        """Never at once."""


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_nothing_purged_is_served_whatever_the_order(assemble, data: st.DataObject) -> None:
    """Nobody sees what was purged before they came, be it in a batch or alone, and however late the origin answers."""
    asyncio.run(_any_interleaving(assemble, data))


async def _any_interleaving(assemble: Any, data: st.DataObject) -> None:
    origin = Slow()
    house = assemble(POLICY, origin=origin)
    asked: list[tuple[dict[str, int], asyncio.Task[Any]]] = []
    for _ in range(data.draw(st.integers(2, 14))):
        ids = data.draw(st.lists(st.sampled_from("1234"), min_size=1, max_size=4))
        match data.draw(st.sampled_from(["many", "many", "one", "change", "answer", "answer", "later"])):
            case "many":
                asked.append((dict(origin.versions), house.asking(f"/users?ids={','.join(ids)}")))
            case "one":
                asked.append((dict(origin.versions), house.asking(f"/users/{ids[0]}")))
            case "change":
                origin.versions[ids[0]] += 1
                await house.purge(f"user:{ids[0]}")
            case "answer" if origin.held:
                origin.held.pop(data.draw(st.integers(0, len(origin.held) - 1))).set_result(None)
            case _:
                house.clock.pass_s(data.draw(st.sampled_from([0.001, 61.0])))
        await house.quiet()
    while not all(task.done() for _, task in asked) or origin.held:
        while origin.held:
            origin.held.pop().set_result(None)
        await house.quiet()
    for least, task in asked:
        said = json.loads(task.result().body)
        for each in said if isinstance(said, list) else [said]:
            assert each["v"] >= least[str(each["id"])]
    assert 0 == len(house.flights)

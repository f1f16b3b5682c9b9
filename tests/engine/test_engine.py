"""A request's way, step by step, and each kind of plan."""

import pytest

from cacheproxy.errors import UpstreamError
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.head import ResponseHead
from cacheproxy.upstream.fake import Answer

REFUSED = UpstreamError(502, "connect-refused", sent=False)
AMBIGUOUS = "/items/%2e%2e/1"
STRICT = """
version: 1
routes:
  - {name: strict, match: "/strict/{id}", refuse_body: true}
  - {name: shy, match: "GET /shy/{id}", cache: {key: "shy:{id}", bypass: {query: [preview]}}}
"""
LIMITED = """
version: 1
limits: {each: {rate: 100/minute, by: [client_ip], cost: {hit: 1, miss: 5}}}
routes: [{name: many, match: "GET /many/{id}", limits: [each], cache: {ttl: 60s, key: "many:{id}"}}]
"""


def ok(body: bytes = b"ok", *fields: tuple[str, str], status: int = 200) -> Answer:
    """An answer that is complete at once."""
    return Answer(status=status, fields=Fields.of(*fields), body=body)


async def test_a_miss_is_fetched_and_stored(house) -> None:
    """The first request goes to the origin, the second does not."""
    house.origin.script("/items/1", ok(b"one"))
    first, second = await house.ask("/items/1"), await house.ask("/items/1")
    assert (b"one", b"one", 1) == (first.body, second.body, house.origin.count())
    assert ("MISS", "HIT") == (first["x-cache"], second["x-cache"])


async def test_a_hit_says_its_age_and_what_is_left(house) -> None:
    """Age grows from the moment it was received, and ``ttl`` shrinks (RFC 9111 §5.1, RFC 9211 §2.5)."""
    house.origin.script("/items/1", ok(b"one", ("age", "7")))
    assert "7" == (await house.ask("/items/1"))["age"]
    house.clock.pass_s(12.5)
    hit = await house.ask("/items/1")
    assert ("19", "cacheproxy; hit; ttl=47") == (hit["age"], hit["cache-status"])


async def test_what_comes_from_the_origin_just_now_has_no_age_of_ours(house) -> None:
    """An Age is added to what was stored, never to what was not (RFC 9111 §5.1)."""
    house.origin.script("/items/1", ok())
    assert (await house.ask("/items/1"))["age"] is None


# --- step 2: routes


@pytest.mark.parametrize(
    ("target", "detail"), [("/nowhere", "no-route"), ("/plain/x", "no-cache-policy")], ids=["no-route", "no-cache"]
)
async def test_what_has_no_cache_is_forwarded(house, target: str, detail: str) -> None:
    """Without a route, or a cache in it, each request goes to the origin and says why."""
    house.origin.script(target, ok(b"there"))
    for _ in range(2):
        answer = await house.ask(target)
        assert (b"there", "BYPASS") == (answer.body, answer["x-cache"])
        assert f"cacheproxy; fwd=bypass; fwd-status=200; detail={detail}" == answer["cache-status"]
    assert 2 == house.origin.count(target)


async def test_a_path_that_two_readers_route_differently_is_refused(house) -> None:
    """Nobody may reach a route by a spelling that only the origin understands."""
    answer = await house.ask(AMBIGUOUS)
    assert (400, "BYPASS", 0) == (answer.status, answer["x-cache"], house.origin.count())


async def test_a_body_where_the_route_takes_none_is_refused(build) -> None:
    """413, and the origin hears nothing of it."""
    house = build(STRICT)
    house.origin.script("/strict/1", ok())
    assert 413 == (await house.ask("/strict/1", method="POST", body=b"x")).status
    assert 200 == (await house.ask("/strict/1", method="POST")).status
    assert 1 == house.origin.count()


# --- step 5: keys


async def test_a_request_without_a_key_bypasses_the_cache(build) -> None:
    """What the policy takes past the cache is neither stored nor answered from it, and says why."""
    house = build(STRICT)
    house.origin.script("/shy/1?preview=1", ok(b"draft"))
    house.origin.script("/shy/1", ok(b"public"))
    draft = await house.ask("/shy/1?preview=1")
    assert "cacheproxy; fwd=bypass; fwd-status=200; detail=bypass-asked" == draft["cache-status"]
    assert b"public" == (await house.ask("/shy/1")).body


@pytest.mark.parametrize("body", [None, b"x"], ids=["without-body", "with-body"])
async def test_another_method_is_forwarded(house, body: bytes | None) -> None:
    """A method that the cache has no part in says so (RFC 9211 §2.2: ``method``)."""
    house.origin.script("/any/1", ok(b"posted"))
    for _ in range(2):
        answer = await house.ask("/any/1", method="POST", body=body)
        assert (b"posted", "cacheproxy; fwd=method; fwd-status=200") == (answer.body, answer["cache-status"])


async def test_a_get_with_a_body_bypasses_the_cache(house) -> None:
    """The body is no part of the key, so nothing may be shared (RFC 9110 §9.3.1)."""
    house.origin.script("/items/1", ok(b"answer"))
    for _ in range(2):
        answer = await house.ask("/items/1", body=b"question")
        assert "cacheproxy; fwd=bypass; fwd-status=200" == answer["cache-status"]
    assert [b"question"] * 2 == [received.body for received in house.origin.received]


# --- step 7: each kind of plan


async def test_stale_is_served_while_it_is_refreshed(house) -> None:
    """Within stale-while-revalidate the client does not wait for the origin, which is asked once (RFC 5861 §3)."""
    house.origin.script("/swr/1", ok(b"old"), ok(b"new"))
    await house.ask("/swr/1")
    house.clock.pass_s(61)
    house.origin.hold()
    stale = [await house.ask("/swr/1") for _ in range(3)]
    assert [b"old"] * 3 == [answer.body for answer in stale]
    assert ("STALE", "61") == (stale[0]["x-cache"], stale[0]["age"])
    assert "cacheproxy; hit; ttl=-1; detail=stale-while-revalidate" == stale[0]["cache-status"]
    house.origin.release()
    await house.quiet()
    assert (b"new", 2) == ((await house.ask("/swr/1")).body, house.origin.count())


async def test_a_stale_response_with_a_validator_is_revalidated(house) -> None:
    """A 304 makes it fresh again, with the fields that came with it (RFC 9111 §4.3)."""
    house.origin.script("/items/1", ok(b"one", ("etag", '"1"'), ("x-rev", "a")), ok(b"", ("x-rev", "b"), status=304))
    await house.ask("/items/1")
    house.clock.pass_s(61)
    answer = await house.ask("/items/1")
    assert b'"1"' == house.origin.received[1].head.fields.get(b"if-none-match")
    assert (200, b"one", "b") == (answer.status, answer.body, answer["x-rev"])
    assert "REVALIDATED" == answer["x-cache"]
    assert "cacheproxy; fwd=stale; fwd-status=304; ttl=60; stored" == answer["cache-status"]
    assert "HIT" == (await house.ask("/items/1"))["x-cache"]


async def test_a_revalidation_that_brings_another_response_replaces_it(house) -> None:
    """A 200 to a conditional request is the new stored response (RFC 9111 §4.3.3)."""
    house.origin.script("/items/1", ok(b"one", ("etag", '"1"')), ok(b"two", ("etag", '"2"')))
    await house.ask("/items/1")
    house.clock.pass_s(61)
    answer = await house.ask("/items/1")
    assert (b"two", "MISS") == (answer.body, answer["x-cache"])
    assert "cacheproxy; fwd=stale; fwd-status=200; ttl=60; stored" == answer["cache-status"]
    assert b"two" == (await house.ask("/items/1")).body


async def test_a_revalidation_that_fails_is_the_origins_error(house) -> None:
    """Without stale-if-error a 5xx goes to the client, and the next request asks again."""
    house.origin.script("/items/1", ok(b"one", ("etag", '"1"')), ok(b"down", status=503), ok(b"two"))
    await house.ask("/items/1")
    house.clock.pass_s(61)
    failed = await house.ask("/items/1")
    assert (503, b"down", "MISS") == (failed.status, failed.body, failed["x-cache"])
    assert b"two" == (await house.ask("/items/1")).body


async def test_only_if_cached_is_refused_where_nothing_is(house) -> None:
    """504, and the origin is not asked (RFC 9111 §5.2.1.7)."""
    answer = await house.ask("/asked/1", ("cache-control", "only-if-cached"))
    assert (504, "MISS", 0) == (answer.status, answer["x-cache"], house.origin.count())
    assert "cacheproxy; detail=only-if-cached" == answer["cache-status"]


async def test_only_if_cached_is_no_hit_where_what_is_stored_is_stale(house) -> None:
    """A 504 is not told, nor counted, as a hit though something was found."""
    house.origin.script("/asked/1", ok())
    await house.ask("/asked/1")
    house.clock.pass_s(61)
    answer = await house.ask("/asked/1", ("cache-control", "only-if-cached"))
    assert (504, "cacheproxy; detail=only-if-cached") == (answer.status, answer["cache-status"])
    assert not house.notes.requests[-1]["hit"]


async def test_a_client_may_take_what_is_stale(house) -> None:
    """max-stale is granted where the policy heeds clients (RFC 9111 §5.2.1.2)."""
    house.origin.script("/asked/1", ok(b"old", ("etag", '"1"')))
    await house.ask("/asked/1")
    house.clock.pass_s(70)
    answer = await house.ask("/asked/1", ("cache-control", "max-stale=20"))
    assert ("STALE", "cacheproxy; hit; ttl=-10; detail=max-stale") == (answer["x-cache"], answer["cache-status"])
    assert 1 == house.origin.count()


async def test_a_client_may_ask_for_what_is_fresh(house) -> None:
    """no-cache asks the origin though a fresh response is stored (RFC 9111 §5.2.1.4)."""
    house.origin.script("/asked/1", ok(b"old", ("etag", '"1"')), ok(b"", ("etag", '"1"'), status=304))
    await house.ask("/asked/1")
    answer = await house.ask("/asked/1", ("cache-control", "no-cache"))
    assert (b"old", "REVALIDATED", 2) == (answer.body, answer["x-cache"], house.origin.count())
    assert "cacheproxy; fwd=request; fwd-status=304; ttl=60; stored" == answer["cache-status"]


@pytest.mark.parametrize(
    ("field", "detail"),
    [(("cache-control", "no-store"), "request-no-store"), (("if-match", '"1"'), "precondition")],
    ids=["no-store", "if-match"],
)
async def test_what_may_not_be_stored_at_all_goes_past_the_cache(house, field: tuple[str, str], detail: str) -> None:
    """Such a request goes on as it came, and its answer is shared with nobody."""
    house.origin.script("/asked/1", ok(b"yours"))
    answer = await house.ask("/asked/1", field)
    assert ("BYPASS", detail) == (answer["x-cache"], answer["cache-status"].rpartition("=")[2])
    assert field[1].encode() == house.origin.received[0].head.fields.get(field[0].encode())
    assert "MISS" == (await house.ask("/asked/1"))["x-cache"]


async def test_what_one_asked_for_with_authorization_is_not_for_others(house) -> None:
    """Without the origin's leave it is not stored (RFC 9111 §3.5)."""
    house.origin.script("/items/1", ok(b"yours"), ok(b"everybody's"))
    answer = await house.ask("/items/1", ("authorization", "Basic eA=="))
    assert ("MISS", "authorization") == (answer["x-cache"], answer["cache-status"].rpartition("=")[2])
    assert b"everybody's" == (await house.ask("/items/1")).body


async def test_a_request_with_authorization_is_not_answered_from_the_store(house) -> None:
    """What is stored for everybody is not given to whom the origin may answer otherwise."""
    house.origin.script("/items/1", ok(b"everybody's"), ok(b"yours"))
    await house.ask("/items/1")
    answer = await house.ask("/items/1", ("authorization", "Basic eA=="))
    assert (b"yours", 2) == (answer.body, house.origin.count())


# --- every exit is dressed


async def _nothing(house) -> None:
    return


async def _filled(house) -> None:
    await house.ask("/items/1")
    await house.ask("/swr/1")
    await house.ask("/sie/1")


async def _filled_long_ago(house) -> None:
    await _filled(house)
    house.clock.pass_s(65)


async def _limited(house) -> None:
    await house.ask("/each/1")
    await house.ask("/each/2")


async def _origin_gone(house) -> None:
    await _filled_long_ago(house)
    for path in ("items", "swr", "sie"):
        house.origin.script(f"/{path}/1", REFUSED)


EXITS = [
    pytest.param(_filled, "GET", "/items/1", 200, "HIT", True, id="hit"),
    pytest.param(_filled_long_ago, "GET", "/swr/1", 200, "STALE", True, id="stale"),
    pytest.param(_filled_long_ago, "GET", "/items/1", 200, "MISS", False, id="expired"),
    pytest.param(_origin_gone, "GET", "/sie/1", 200, "STALE", True, id="stale-if-error"),
    pytest.param(_origin_gone, "GET", "/items/1", 502, "MISS", False, id="bad-gateway"),
    pytest.param(_nothing, "GET", "/items/1", 200, "MISS", False, id="miss"),
    pytest.param(_filled, "HEAD", "/items/1", 200, "HIT", True, id="head"),
    pytest.param(_nothing, "PUT", "/items/1", 200, "BYPASS", False, id="write"),
    pytest.param(_nothing, "GET", "/plain/1", 200, "BYPASS", False, id="no-cache"),
    pytest.param(_nothing, "GET", "/mine/1", 401, "BYPASS", False, id="no-session"),
    pytest.param(_nothing, "GET", AMBIGUOUS, 400, "BYPASS", False, id="ambiguous"),
    pytest.param(_limited, "GET", "/each/3", 429, "BYPASS", False, id="limited"),
]


@pytest.mark.parametrize(("before", "method", "target", "status", "x_cache", "aged"), EXITS)
async def test_every_exit_is_dressed(house, before, method, target, status, x_cache, aged) -> None:
    """Whatever the answer, it says what the cache did, and under which name it was logged; the origin's is replaced."""
    for path in ("/items/1", "/swr/1", "/sie/1", "/each/1", "/each/2", "/plain/1"):
        house.origin.script(path, ok(b"there", ("x-cache", "theirs"), ("x-request-id", "theirs")))
    await before(house)
    answer = await house.ask(target, ("x-request-id", "abc"), method=method)
    assert (status, x_cache, "abc") == (answer.status, answer["x-cache"], answer["x-request-id"])
    assert answer["cache-status"].startswith("cacheproxy")
    assert aged == (answer["age"] is not None)


async def test_cache_status_is_added_to_that_of_caches_behind(house) -> None:
    """Ours comes last: it is nearest to the client (RFC 9211 §2)."""
    house.origin.script("/plain/1", ok(b"", ("cache-status", "Inner; hit")))
    answer = await house.ask("/plain/1")
    assert answer["cache-status"].startswith("Inner; hit, cacheproxy; fwd=bypass")


async def test_the_origins_error_is_a_problem_with_its_reason(house) -> None:
    """A body, a log line and a metric that name the same reason code; nobody may keep it."""
    house.origin.script("/plain/1", REFUSED)
    answer = await house.ask("/plain/1")
    assert (502, "application/problem+json", "no-store") == (
        answer.status,
        answer["content-type"],
        answer["cache-control"],
    )
    assert b'"connect-refused"' in answer.body
    assert 1 == house.notes.events["upstream", "connect-refused"]


async def test_an_overloaded_pool_asks_to_come_back(house) -> None:
    """503 says when to try again."""
    house.origin.script("/plain/1", UpstreamError(503, "pool-exhausted", sent=False))
    answer = await house.ask("/plain/1")
    assert (503, "1") == (answer.status, answer["retry-after"])


async def test_hop_by_hop_fields_end_here(house) -> None:
    """What is for one connection goes neither on nor back, and Via tells of this hop (RFC 9110 §7.6)."""
    house.origin.script("/plain/1", ok(b"", ("connection", "x-hop"), ("x-hop", "1"), ("x-end", "2")))
    answer = await house.ask("/plain/1", ("connection", "x-mine"), ("x-mine", "1"), ("x-stays", "2"))
    sent = house.origin.received[0].head.fields
    assert (None, None, "2") == (answer["connection"], answer["x-hop"], answer["x-end"])
    assert (None, b"2", b"1.1 cacheproxy") == (sent.get(b"x-mine"), sent.get(b"x-stays"), sent.get(b"via"))


async def test_interim_responses_reach_the_client(house) -> None:
    """Early hints are passed on before the answer, less what is for one hop (RFC 8297)."""
    hint = ResponseHead(103, Fields.of(("link", "</a.css>"), ("connection", "x"), ("x", "1")))
    house.origin.script("/plain/1", Answer(interim=(hint,)))
    heard: list[ResponseHead] = []
    await house.ask("/plain/1", on_interim=heard.append)
    assert [ResponseHead(103, Fields.of(("link", "</a.css>")))] == heard


# --- WebSocket handshakes


async def test_a_tunnel_is_identified_and_limited(build) -> None:
    """Steps 1 to 4 hold for a handshake: it goes on with its identity, or is refused."""
    from contextlib import ExitStack

    from cacheproxy.engine.engine import Client
    from cacheproxy.engine.reply import Reply
    from cacheproxy.semantics.head import RequestHead

    house = build("""
version: 1
session: {cookie: sid, identity: {X-User-Id: user_id}}
limits: {each: {rate: 1/minute, by: [client_ip]}}
routes: [{name: ws, match: "GET /ws", session: required, limits: [each]}]
""")

    def handshake(cookie: str) -> RequestHead:
        fields = Fields.of(("cookie", cookie), ("x-user-id", "forged"))
        return RequestHead(method="GET", target=b"/ws", fields=fields, authority=b"example.com")

    client = Client(address="192.0.2.1")
    admitted = await house.engine.admit_tunnel(handshake("sid=s-ann"), client, ExitStack())
    assert isinstance(admitted, RequestHead)
    assert [b"ann"] == admitted.fields.all(b"x-user-id")
    refusals = [
        await house.engine.admit_tunnel(handshake(cookie), client, ExitStack()) for cookie in ("sid=s-ann", "sid=x")
    ]
    assert [429, 401] == [refusal.status for refusal in refusals if isinstance(refusal, Reply)]
    assert all(b"x-request-id" in refusal.fields for refusal in refusals if isinstance(refusal, Reply))


async def test_what_was_replaced_while_limits_were_asked_about_is_not_repeated(build) -> None:
    """The answer is of what was looked up: hung on the entry in its place by now, it would outlive a purge."""
    house = build(LIMITED)
    house.origin.script("/many/1", ok(b"old"), ok(b"new"))
    await house.ask("/many/1")
    asked = []

    async def replaced(name: str) -> None:
        asked.append(name)
        if len(asked) == 1:
            await house.purge("*")
            await house.ask("/many/1")

    house.limiter.before = replaced
    reply = await house.handle("/many/1")
    assert reply.body == b"old"
    assert reply.shelved is None or not house.store.inner.unchanged(reply.shelved.place, house.clock.monotonic())

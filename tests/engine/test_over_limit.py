"""Over a limit: what is stored, a wait, or a place among those in flight; and the seal over what the origin is told."""

import asyncio

import pytest

from cacheproxy.client.seal import SEAL_FIELD, verify_seal
from cacheproxy.errors import UpstreamError
from cacheproxy.semantics.fields import Fields
from cacheproxy.upstream.fake import Answer

POLICY = """
version: 1
session: {cookie: sid, seal_secret: "a secret of some length", identity: {X-User-Id: user_id}}
limit_headers: standard
limits:
  one: {rate: 1/minute, by: [client_ip], on_limit: stale_else_reject}
  strict: {rate: 1/minute, by: [route]}
  miss: {rate: 1/minute, by: [client_ip], on_limit: stale_else_reject, count: miss}
  stale-costs: {rate: 10/minute, by: [client_ip], cost: {hit: 0, stale: 4, miss: 2}}
  alone: {concurrency: 1, by: [client_ip]}
  alone-at-the-origin: {concurrency: 1, by: [client_ip], count: miss}
  both: {concurrency: 1, rate: 2/minute, by: [client_ip]}
routes:
  - {name: one, match: "GET /one/{id}", limits: [one], cache: {ttl: 60s, key: "one:{id}", stale_if_error: 1h}}
  - {name: two, match: "GET /two/{id}", limits: [one, strict], cache: {ttl: 60s, key: "two:{id}"}}
  - name: miss
    match: "GET /miss/{id}"
    limits: [miss]
    cache: {ttl: 60s, key: "miss:{id}", stale_if_error: 1h, client_cache_control: honor}
  - name: costly
    match: "GET /costly/{id}"
    limits: [stale-costs]
    cache: {ttl: 60s, key: "costly:{id}", stale_while_revalidate: 1h}
  - {name: alone, match: "/alone/{id}", limits: [alone], cache: {ttl: 60s, key: "alone:{id}"}}
  - {name: alone-there, match: "/there/{id}", limits: [alone-at-the-origin], cache: {ttl: 60s, key: "there:{id}"}}
  - {name: both, match: "/both/{id}", limits: [both]}
  - {name: page, match: "/page/{id}", session: required, session_redirect: "/login?to={target}"}
  - {name: me, match: "/me"}
"""


@pytest.fixture
def house(build):
    """An engine with this policy, and something at each target."""
    house = build(POLICY)
    for target in ("/one/1", "/two/1", "/miss/1", "/miss/2", "/costly/1", "/there/1", "/me", "/one/1?b"):
        house.origin.script(target, Answer(body=b"there"))
    return house


# --- stale_else_reject


async def test_a_fresh_response_is_served_over_the_limit(house) -> None:
    """It costs nobody anything, and says that the limit was reached."""
    await house.ask("/one/1")
    answer = await house.ask("/one/1")
    assert (200, "HIT", "cacheproxy; hit; ttl=60; detail=limited") == (
        answer.status,
        answer["x-cache"],
        answer["cache-status"],
    )
    assert '"one";r=0;t=60' == answer["ratelimit"]


async def test_a_stale_one_too_and_nothing_is_fetched_for_it(house) -> None:
    """However old, as long as it is stored and the response itself does not forbid it."""
    await house.ask("/one/1")
    house.clock.pass_s(59)
    assert 200 == (await house.ask("/one/1")).status
    house.clock.pass_s(30)
    house.origin.script("/one/1", Answer(body=b"newer"))
    await house.ask("/one/1?b")  # takes the permit that has come back meanwhile
    answer = await house.ask("/one/1")
    assert (b"there", "STALE", "89") == (answer.body, answer["x-cache"], answer["age"])
    assert "cacheproxy; hit; ttl=-29; detail=limited" == answer["cache-status"]
    assert 1 == house.origin.count("/one/1")


async def test_where_nothing_is_stored_it_is_refused(house) -> None:
    """The origin is spared."""
    await house.ask("/one/1")
    assert (429, 0) == ((await house.ask("/one/2")).status, house.origin.count("/one/2"))


async def test_what_must_be_revalidated_is_not_served_stale(house) -> None:
    """``must-revalidate`` binds us whatever the policy says (RFC 9111 §5.2.2.2)."""
    house.origin.script("/miss/1", Answer(fields=Fields.of(("cache-control", "max-age=60, must-revalidate"))))
    await house.ask("/miss/1")
    house.clock.pass_s(60)
    await house.ask("/miss/2")
    assert 429 == (await house.ask("/miss/1")).status


async def test_who_asks_for_what_is_fresh_is_refused(house) -> None:
    """A client that wants the origin's word gets no stored one in its place."""
    await house.ask("/miss/1")
    assert 200 == (await house.ask("/miss/1")).status
    assert 429 == (await house.ask("/miss/1", ("cache-control", "no-cache"))).status


async def test_who_asks_for_what_is_fresh_is_given_nothing_stale_either(house) -> None:
    """Stale responses are for clients that put up with them, over a limit as under it (RFC 9111 §5.2.1)."""
    await house.ask("/miss/1")
    house.clock.pass_s(59)
    house.origin.script("/miss/2", Answer(fields=Fields.of(("cache-control", "max-age=0")), body=b"x"))
    house.clock.pass_s(1.5)
    await house.ask("/miss/2")  # takes the permit that has come back meanwhile
    assert "STALE" == (await house.ask("/miss/1"))["x-cache"]
    for asked in ("no-cache", "max-age=5", "min-fresh=1"):
        assert 429 == (await house.ask("/miss/1", ("cache-control", asked))).status


async def test_a_rule_that_rejects_has_the_last_word(house) -> None:
    """Over both, the answer is 429, though something is stored."""
    await house.ask("/two/1")
    answer = await house.ask("/two/1")
    assert (429, "cacheproxy") == (answer.status, answer["cache-status"])


# --- costs by outcome


async def test_each_outcome_has_its_cost(house) -> None:
    """Of ten: a miss takes two, a hit nothing, a stale answer four; then there is no room for another."""
    left = []
    for passed_s in (0, 0, 60.5, 0, 0):
        house.clock.pass_s(passed_s)
        house.origin.hold()
        if not left:
            house.origin.release()
        answer = await house.ask("/costly/1")
        left.append((answer.status, answer["ratelimit"]))
    house.origin.release()
    assert [(200, '"stale-costs";r=8;t=12'), (200, None), (200, '"stale-costs";r=6;t=24')] == left[:3]
    assert [(200, '"stale-costs";r=2;t=48'), (429, '"stale-costs";r=0;t=12')] == left[3:]


# --- what is said of limits


async def test_the_older_fields_tell_of_one_limit(build) -> None:
    """Where the origin has limits of its own, ours stand in their place, and are a member of the list beside theirs."""
    house = build("""
version: 1
limits: {each: {rate: 5/minute, by: [client_ip]}}
routes: [{name: each, match: "GET /each", limits: [each]}]
""")
    theirs = Fields.of(("x-ratelimit-limit", "9"), ("ratelimit", '"origin";r=1;t=2'), ("x-ratelimit-scope", "app"))
    house.origin.script("/each", Answer(fields=theirs))
    answer = await house.ask("/each")
    assert ("5", "app") == (answer["x-ratelimit-limit"], answer["x-ratelimit-scope"])
    assert '"origin";r=1;t=2, "each";r=4;t=12' == answer["ratelimit"]


# --- in flight


async def test_so_many_in_flight(house, dripping) -> None:
    """The second is refused while the first is being answered, and let in when that is over."""
    drip, answer = dripping()
    house.origin.script("/alone/1", answer, Answer(body=b"whole"))
    first = await house.handle("/alone/1", method="POST")
    refused = await house.ask("/alone/1", method="POST")
    assert (429, "1", None) == (refused.status, refused["retry-after"], refused["ratelimit"])
    drip.drop(b"a", None)
    assert b"a" == b"".join([chunk async for chunk in first.body])
    await first.body.aclose()
    assert b"whole" == (await house.ask("/alone/1", method="POST")).body


@pytest.mark.parametrize("target", ["/there/1", "/there/2"])
async def test_hits_need_no_place_where_only_the_origin_is_spared(house, dripping, target) -> None:
    """``count: miss``: what is stored is served though the origin is as busy as it may be."""
    await house.ask("/there/1")
    _, answer = dripping()
    house.origin.script("/there/busy", answer)
    busy = await house.handle("/there/busy", method="POST")
    assert (200 if target == "/there/1" else 429) == (await house.ask(target)).status
    await busy.body.aclose()


async def test_refused_by_its_rate_it_holds_no_place(house) -> None:
    """A rule with both: what the rate refuses is in flight no more."""
    house.origin.script("/both/1", Answer())
    assert [200, 200, 429] == [(await house.ask("/both/1")).status for _ in range(3)]
    house.clock.pass_s(60)
    assert 200 == (await house.ask("/both/1")).status


async def test_an_error_of_the_origin_makes_room(house) -> None:
    """No way out keeps a place."""
    house.origin.script("/alone/1", UpstreamError(502, "connect-refused", sent=False))
    for _ in range(2):
        assert 502 == (await house.ask("/alone/1", method="POST")).status


async def test_who_is_cancelled_makes_room(house) -> None:
    """A client that leaves before its answer begins."""
    house.origin.script("/alone/1", Answer())
    house.origin.hold()
    leaving = house.asking("/alone/1", method="POST")
    await house.quiet()
    assert 429 == (await house.ask("/alone/1", method="POST")).status
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    house.origin.release()
    await house.quiet()
    assert 200 == (await house.ask("/alone/1", method="POST")).status


# --- who asks


@pytest.mark.parametrize(("method", "status"), [("GET", 303), ("HEAD", 303), ("POST", 401), ("DELETE", 401)])
async def test_readers_are_sent_to_log_in(house, method: str, status: int) -> None:
    """And hear where from they came."""
    answer = await house.ask("/page/1?a=b", method=method)
    place = "/login?to=%2Fpage%2F1%3Fa%3Db" if status == 303 else None
    assert (status, place, "no-store") == (answer.status, answer["location"], answer["cache-control"])


async def test_a_handshake_is_not_sent_elsewhere(house) -> None:
    """No WebSocket follows a redirect."""
    assert 401 == (await house.ask("/page/1", ("upgrade", "websocket"), ("connection", "upgrade"))).status


@pytest.mark.parametrize("cookie", ["sid=s-ann", "sid=unknown"])
@pytest.mark.parametrize("target", ["/me", "/one/1"])
async def test_what_the_origin_is_told_is_sealed(house, cookie: str, target: str) -> None:
    """It verifies, whether the request is for one caller, for nobody, or for all of them."""
    await house.ask(target, ("cookie", cookie), ("x-user-id", "forged"))
    head = house.origin.received[-1].head
    assert 1 == len(head.fields.all(SEAL_FIELD))
    assert ([b"ann"] if (cookie, target) == ("sid=s-ann", "/me") else []) == head.fields.all(b"x-user-id")
    for target_seen, believed in ((head.target, True), (b"/other", False)):
        assert believed is verify_seal(
            "a secret of some length",
            method=head.method,
            target=target_seen,
            fields=head.fields,
            identity={b"x-user-id"},
            now=house.clock.now(),
        )

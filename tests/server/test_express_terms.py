"""The express lane under sessions and limits: a sidecar that has it is, to its clients, one that has not."""

import asyncio
import re
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cacheproxy.engine.recorder import Event
from cacheproxy.invalidation.contract import Purge
from cacheproxy.limits.contract import Admitted, Check, Limited
from cacheproxy.limits.delaying import DelayingLimiter
from cacheproxy.limits.fallback import FallbackLimiter
from cacheproxy.limits.in_flight import InFlight
from cacheproxy.limits.leased import LeasedLimiter
from cacheproxy.limits.memory import MemoryLimiter
from cacheproxy.limits.refusals import RefusalMemory
from cacheproxy.policy.load import load_policy
from cacheproxy.policy.route import Policy
from cacheproxy.policy.router import Router
from cacheproxy.redis_link.contract import Budget
from cacheproxy.semantics.dates import format_http_date
from cacheproxy.semantics.fields import Fields
from cacheproxy.server.wire import render_head
from cacheproxy.sessions.contract import Session
from cacheproxy.sessions.memory import SessionMemory
from cacheproxy.settings import Settings
from cacheproxy.upstream.fake import Answer, ScriptedOrigin
from cacheproxy.wiring import origin as origin_wiring
from cacheproxy.wiring import state as state_wiring
from cacheproxy.wiring.application import assemble
from cacheproxy.wiring.limiting import Limiting

from ..clocks import FakeClock  # noqa: TID252 - of all tests, whatever their root is called

POLICY = """
version: 1
session: {cookie: sid, identity: {X-User-Id: user_id}}
limits:
  few: {rate: 5/10s, by: [client_ip]}
  mine: {rate: 7/10s, by: [session.user_id], algorithm: sliding_log}
  batches: {rate: 40/10s, by: [client_ip], precision: leased}
  watched: {rate: 3/10s, by: [client_ip], mode: shadow}
  stale: {rate: 4/10s, by: [client_ip], on_limit: stale_else_reject}
  misses: {rate: 2/10s, by: [client_ip], count: miss}
  weighed: {rate: 9/10s, by: [client_ip], cost: {hit: 2, miss: 3}}
  alone: {concurrency: 1, by: [client_ip]}
  home: {rate: 2/10s, by: [path], exempt: {networks: [192.0.2.2/32]}}
routes:
  - {name: few, match: "GET /few/{id}", limits: [few], cache: {ttl: 9s, key: "few:{id}", tags: [x]}}
  - {name: both, match: "GET /both/{id}", limits: [few, mine], cache: {ttl: 9s, key: "both:{id}", tags: [x]}}
  - name: user
    match: "GET /user/{id}"
    session: required
    limits: [mine]
    cache: {ttl: 9s, key: "user:{id}", scope: user, tags: [x]}
  - {name: plain, match: "GET /plain/{id}", cache: {ttl: 9s, key: "plain:{id}", scope: session, tags: [x]}}
  - {name: batches, match: "GET /batches/{id}", limits: [batches, watched], cache: {ttl: 9s, key: "batches:{id}"}}
  - {name: stale, match: "GET /stale/{id}", limits: [stale], cache: {ttl: 2s, key: "stale:{id}", stale_if_error: 1h}}
  - {name: misses, match: "GET /misses/{id}", limits: [misses, few], cache: {ttl: 9s, key: "misses:{id}", tags: [x]}}
  - {name: weighed, match: "GET /weighed/{id}", limits: [weighed], cache: {ttl: 9s, key: "weighed:{id}", tags: [x]}}
  - {name: alone, match: "GET /alone/{id}", limits: [alone, few], cache: {ttl: 9s, key: "alone:{id}", tags: [x]}}
  - {name: home, match: "GET /home/{id}", limits: [home], cache: {ttl: 9s, key: "home:{id}", tags: [x]}}
  - {name: uncached, match: "GET /uncached/{id}", limits: [few]}
"""
ROUTES = ("few", "both", "user", "plain", "batches", "stale", "misses", "weighed", "alone", "home", "uncached")
COOKIES = ("", "Cookie: sid=ann\r\n", "Cookie: sid=bob\r\n", "Cookie: sid=nobody\r\n")
PEERS = ("192.0.2.1", "192.0.2.2")
OWN_ID = re.compile(rb"(x-request-id: )[^\r]*")


class Elsewhere(MemoryLimiter):
    """A limiter that has to be asked, as Redis has."""

    async def admit(self, checks: Sequence[Check], budget: Budget | None = None) -> Admitted | Limited:
        """After a turn of the event loop."""
        await asyncio.sleep(0)
        return self.decide(checks)

    def admit_now(self, checks: Sequence[Check]) -> None:
        """Nothing is known here."""

    def refusal_now(self, checks: Sequence[Check]) -> None:
        """Nothing is known here."""


@dataclass
class Accounts:
    """Sessions that have to be asked for, and may change."""

    users: dict[str, str] = field(default_factory=lambda: {"ann": "1", "bob": "2"})

    async def load(self, session_id: str, budget: Budget | None = None) -> Session | None:
        """After a turn of the event loop."""
        await asyncio.sleep(0)
        user = self.users.get(session_id)
        return None if user is None else Session(session_id, {"user_id": user})

    def peek(self, session_id: str) -> None:
        """Nothing is known here."""


@dataclass
class House:
    """A sidecar without sockets; with or without an express lane."""

    application: object
    clock: FakeClock
    origin: ScriptedOrigin
    accounts: Accounts
    laned: bool
    taken: int = 0

    async def ask(self, raw: bytes, peer: str) -> bytes:
        """What a client gets, as the edge would find it."""
        lane, trusted, asked = self.application.edge.lane, self.application.edge.trusts(peer), None
        if self.laned:
            written = lane.answer(raw, trusted=trusted, peer=peer)
            known = lane.asking(raw, trusted=trusted, peer=peer) if written is None else None
            answer = written if known is None else await lane.ask(known)
            if isinstance(answer, tuple):
                self.taken += 1
                return b"".join(answer)
            asked = answer
        arrived = self.application.edge.read(raw, "http", peer)
        reply = await self.application.edge.handle(arrived.request, None, arrived.client, lambda _: None, asked)
        method = arrived.request.method
        head, _, _ = render_head(
            reply, head_only=method == "HEAD", date=format_http_date(self.clock.now()), close=False
        )
        if self.laned:
            lane.learn(raw, reply, head, method=method, trusted=trusted, peer=peer)
        return head + (b"" if method == "HEAD" or reply.status == 304 else reply.body)

    def counted(self) -> dict[tuple[str, ...], int]:
        """The decisions of limits, and the requests by route and outcome, as the metrics have them."""
        metrics = self.application.metrics
        requests = {labels: sum(spread.counts) for labels, spread in metrics.requests.items()}
        return metrics.events[Event.RATE_LIMIT] | requests | metrics.hits


@cache
def _loaded(text: str) -> tuple[Policy, Router]:
    return load_policy(text, "test.yaml", {})


async def build(stack: AsyncExitStack, *, laned: bool, text: str = POLICY) -> House:
    """A house with one origin, sessions and limits in memory, each of which has to be asked."""
    clock, origin, accounts = FakeClock(1_800_000_000.25), ScriptedOrigin(), Accounts()
    policy, router = _loaded(text)
    memory = SessionMemory(accounts, policy.session or _loaded(POLICY)[0].session, clock)
    memory.trust(True)
    fallback = FallbackLimiter(LeasedLimiter(RefusalMemory(Elsewhere(clock), clock), clock), clock, lambda: 1)
    limits = Limiting(limiter=DelayingLimiter(fallback, clock), in_flight=InFlight(lambda: 1), degraded=lambda: False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(origin_wiring, "HttpOrigin", lambda _rules: origin)
        patch.setattr(state_wiring, "NoSessions", lambda: memory)
        patch.setattr(state_wiring, "limiting_alone", lambda _clock: limits)
        given = Settings.load(redis="none", access_log="off")
        return House(await assemble(given, policy, router, stack, clock), clock, origin, accounts, laned)


def script(house: House, version: int) -> None:
    """Let the origin answer everything with this version from now on."""
    fields = Fields.of(("etag", f'"{version}"'), ("content-type", "text/plain"))
    for route in ROUTES:
        house.origin.script(f"/{route}/1", Answer(status=200, fields=fields, body=b"version %d" % version))


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("ask"),
            st.tuples(
                st.sampled_from(ROUTES),
                st.sampled_from(COOKIES),
                st.sampled_from(PEERS),
                st.sampled_from(["GET", "HEAD"]),
                st.integers(1, 6),
            ),
        ),
        st.tuples(st.just("pass"), st.floats(min_value=0.0, max_value=3.0)),
        st.tuples(st.just("change"), st.none()),
        st.tuples(st.just("purge"), st.none()),
        st.tuples(st.just("logout"), st.sampled_from(["ann", "bob"])),
        st.tuples(st.just("login"), st.tuples(st.sampled_from(["ann", "bob"]), st.sampled_from("123"))),
    ),
    max_size=30,
)


async def carry_out(houses: list[House], steps) -> None:
    """Do the same to each house, and hold their answers against each other."""
    for number, (what, detail) in enumerate(steps):
        if what == "ask":
            route, cookie, peer, method, times = detail
            raw = f"{method} /{route}/1 HTTP/1.1\r\nHost: a\r\n{cookie}\r\n".encode()
            for _ in range(times):
                answers = {OWN_ID.sub(rb"\1", await house.ask(raw, peer)) for house in houses}
                assert 1 == len(answers), answers
        for house in houses:
            if what == "pass":
                house.clock.at += detail
            elif what == "change":
                script(house, number)
            elif what == "purge":
                await house.application.state.purger.purge(Purge(tags=("x",)))
            elif what == "logout":
                house.accounts.users.pop(detail, None)
                await house.application.state.purger.purge(Purge(tags=(f"session:{detail}",)))
                house.application.state.sessions.apply(Purge(tags=(f"session:{detail}",)))
            elif what == "login":
                house.accounts.users[detail[0]] = detail[1]
    assert houses[0].counted() == houses[1].counted()


def run(steps) -> int:
    """Carry out ``steps`` in a house with an express lane and one without; how many answers were the lane's."""

    async def main() -> int:
        async with AsyncExitStack() as stack:
            houses = [await build(stack, laned=laned) for laned in (True, False)]
            for house in houses:
                script(house, 0)
            await carry_out(houses, steps)
            return houses[0].taken

    return asyncio.run(main())


@settings(max_examples=50, deadline=None)
@given(STEPS)
def test_with_sessions_and_limits_it_never_disagrees_with_the_ordinary_way(steps) -> None:
    """Same answers, same counts: for any order of requests, logins, logouts, changes, purges and time."""
    run(steps)


def asks(route: str, cookie: str, times: int) -> tuple[str, tuple[str, str, str, str, int]]:
    """A step that asks so often."""
    return "ask", (route, cookie, PEERS[0], "GET", times)


@pytest.mark.parametrize(
    ("route", "cookie", "times", "taken"),
    [
        pytest.param("plain", COOKIES[1], 10, 8, id="session-at-hand"),
        pytest.param("few", COOKIES[0], 5, 3, id="limit-asked-elsewhere"),
        pytest.param("few", COOKIES[0], 25, 22, id="over-the-limit"),
        pytest.param("user", COOKIES[1], 7, 5, id="session-and-limit"),
        pytest.param("batches", COOKIES[0], 20, 18, id="permits-in-hand"),
        pytest.param("home", COOKIES[0], 12, 9, id="by-network"),
        pytest.param("plain", COOKIES[3], 10, 0, id="unknown-session"),
        pytest.param("misses", COOKIES[0], 4, 2, id="limit-on-misses-too"),
        pytest.param("alone", COOKIES[0], 5, 0, id="in-flight"),
        pytest.param("uncached", COOKIES[0], 5, 0, id="not-stored"),
    ],
)
def test_what_takes_it(route: str, cookie: str, times: int, taken: int) -> None:
    """A miss and the first hit, or the first refusal, are decided; the lane repeats the others where it may."""
    assert taken == run([asks(route, cookie, times)])


def test_a_whole_second_left_is_one_for_no_time_at_all() -> None:
    """The ttl that both ways tell is rounded down, so the first one is over at once."""
    assert 2 == run([asks("few", COOKIES[0], 3), ("pass", 0.5), asks("few", COOKIES[0], 1)])


def test_a_logout_ends_it_at_once() -> None:
    """The lane knows the session as long as the ordinary way does, and not a request longer."""
    steps = [asks("user", COOKIES[1], 4), ("logout", "ann"), asks("user", COOKIES[1], 1)]
    assert 2 == run(steps)


def test_another_client_with_the_same_head_has_its_own_limit() -> None:
    """What is known of one peer's quota says nothing of another's, though their heads are the same bytes."""
    other = ("ask", ("few", COOKIES[0], PEERS[1], "GET", 3))
    assert 17 == run([asks("few", COOKIES[0], 20)])
    assert 17 + 2 == run([asks("few", COOKIES[0], 20), other])


ADDRESSED = """
version: 1
trusted_proxies: [10.0.0.0/8]
limits: {each: {rate: 4/10s, by: [route]}, told: {rate: 4/10s, by: [header.X-Real-IP]}}
routes:
  - {name: told, match: "GET /told/{id}", cache: {ttl: 9s, key: "told:{id}%s"}}
"""


@pytest.mark.parametrize(
    ("text", "vary"),
    [
        pytest.param(ADDRESSED % ":{header.X-Real-IP}", "", id="real-ip-in-the-key"),
        pytest.param(ADDRESSED % ":{header.x-forwarded-for}", "", id="forwarded-for-in-the-key"),
        pytest.param((ADDRESSED % "").replace("cache:", "limits: [told], cache:"), "", id="limit-by-real-ip"),
        pytest.param((ADDRESSED % "").replace("by: [header.X-Real-IP]", "by: [route]"), "X-Real-IP", id="vary"),
    ],
)
def test_what_hangs_on_a_field_that_tells_addresses_hangs_on_who_sends_it(text: str, vary: str) -> None:
    """We write these fields ourselves, of the peer and what a proxy says: a line in the head says little."""
    callers = [("192.0.2.1", ""), ("192.0.2.2", ""), ("10.0.0.1", "203.0.113.1"), ("10.0.0.1", "203.0.113.2")]
    fields = Fields.of(("content-type", "text/plain"), *([("vary", vary)] if vary else []))

    async def main() -> None:
        async with AsyncExitStack() as stack:
            houses = [await build(stack, laned=laned, text=text) for laned in (True, False)]
            for house in houses:
                house.origin.script("/told/1", Answer(status=200, fields=fields, body=b"to one"))
            for peer, told in [caller for caller in callers for _ in range(3)]:
                hops = f"X-Forwarded-For: {told}\r\n" if told else ""
                raw = f"GET /told/1 HTTP/1.1\r\nHost: a\r\n{hops}\r\n".encode()
                answers = {OWN_ID.sub(rb"\1", await house.ask(raw, peer)) for house in houses}
                assert 1 == len(answers), answers
            assert houses[0].taken > 0

    asyncio.run(main())

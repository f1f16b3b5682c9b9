"""The express lane says what the ordinary way says, or nothing."""

import asyncio
import gzip
import re
from contextlib import AsyncExitStack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cacheproxy.engine.active import Active
from cacheproxy.engine.record import AccessLog, Journal
from cacheproxy.engine.recorder import NullRecorder
from cacheproxy.engine.reply import Reply, Shelved
from cacheproxy.invalidation.contract import Purge, PurgeMode
from cacheproxy.policy.load import load_policy
from cacheproxy.semantics.dates import format_http_date
from cacheproxy.semantics.fields import Fields
from cacheproxy.server.express import ExpressLane
from cacheproxy.server.known import LARGE_BYTES
from cacheproxy.server.lines import MAX_HEAD_BYTES
from cacheproxy.server.wire import render_head
from cacheproxy.settings import Settings
from cacheproxy.upstream.fake import Answer, ScriptedOrigin
from cacheproxy.wiring import origin as origin_wiring
from cacheproxy.wiring.application import assemble

from ..clocks import FakeClock  # noqa: TID252 - of all tests, whatever their root is called

POLICY = """
version: 1
routes:
  - {name: item, match: "GET /items/{id}", cache: {ttl: 9s, key: "items:{id}", tags: ["item:{id}"]}}
  - {name: swr, match: "GET /swr/{id}", cache: {ttl: 3s, key: "swr:{id}", stale_while_revalidate: 5s, tags: [swr]}}
  - {name: address, match: "GET /address/{id}", cache: {ttl: 9s, key: "address:{id}:{client_ip}"}}
  - {name: coded, match: "GET /coded/{id}", cache: {ttl: 9s, key: "coded:{id}", tags: [swr], encode: {above: 9B}}}
  - {name: spoken, match: "GET /spoken/{id}", cache: {ttl: 9s, key: "spoken:{id}", tags: ["item:{id}"]}}
"""
HEADS = [
    b"GET /items/1 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /items/1 HTTP/1.1\r\nHost: a\r\nAccept-Language: de\r\n\r\n",
    b'GET /items/1 HTTP/1.1\r\nHost: a\r\nIf-None-Match: "1"\r\n\r\n',
    b"GET /items/1 HTTP/1.1\r\nHost: b\r\nX-Request-ID: mine\r\n\r\n",
    b"HEAD /items/1 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /items/1 HTTP/1.1\r\nHost: a\r\nRange: bytes=0-1\r\n\r\n",
    b"GET /swr/1 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /address/1 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /coded/1 HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n",
    b'GET /coded/1 HTTP/1.1\r\nHost: a\r\nIf-None-Match: W/"1"\r\n\r\n',
    b"HEAD /coded/1 HTTP/1.1\r\nHost: a\r\nAccept-Encoding: br\r\n\r\n",
]
NOISE = (
    b"User-Agent: one\r\n", b"User-Agent: two\r\n", b"user-agent: one\r\nUser-Agent:two\r\n", b"Accept: text/html\r\n",
    b"Accept-Language: de\r\n", b"Accept-Language: en\r\n", b"Cookie: a=1\r\n", b"X-Forwarded-For: 198.51.100.7\r\n",
    b"X-Request-ID: mine\r\n", b"X-Request-ID: \xff\r\n", b"Connection: user-agent\r\n", b"Traceparent: 00-1-2-03\r\n",
    b"Cache-Control: max-age=1\r\n", b"Accept-Encoding: gzip\r\n",
    b"Cache-Control: no-transform\r\n", b"Origin: https://a.example\r\n", b"X-Unknown: 1\r\n",
)  # fmt: skip
"""What browsers and balancers send beside."""
TICKING = re.compile(rb"(x-request-id: )(?!mine)[^\r]*")


class House:
    """A sidecar without sockets: heads in, bytes out, by either way."""

    def __init__(self, application, clock: FakeClock, origin: ScriptedOrigin) -> None:
        self.application, self.clock, self.origin = application, clock, origin
        self.lane: ExpressLane = application.edge.lane

    async def ordinary(self, raw: bytes, peer: str = "192.0.2.1") -> bytes:
        """What the ordinary way answers, as the edge writes it and lets the lane learn it."""
        arrived = self.application.edge.read(raw, "http", peer)
        reply = await self.application.edge.handle(arrived.request, None, arrived.client, lambda _: None)
        method = arrived.request.method
        head, _, _ = render_head(
            reply, head_only=method == "HEAD", date=format_http_date(self.clock.now()), close=False
        )
        self.lane.learn(raw, reply, head, method=method, trusted=arrived.client.trusted)
        return head + (b"" if method == "HEAD" or reply.status == 304 else reply.body)

    def express(self, raw: bytes) -> bytes | None:
        """What the express lane answers."""
        answer = self.lane.answer(raw, trusted=False)
        return None if answer is None else b"".join(answer)


def run(steps, check_answers) -> None:
    """Carry out ``check_answers(house, steps)`` in a sidecar with one origin in memory."""

    async def main() -> None:
        clock, origin = FakeClock(1_800_000_000.25), ScriptedOrigin()
        patch = pytest.MonkeyPatch()
        patch.setattr(origin_wiring, "HttpOrigin", lambda _rules: origin)
        try:
            async with AsyncExitStack() as stack:
                policy, router = load_policy(POLICY, "test.yaml", {})
                given = Settings.load(redis="none", access_log="off")
                await check_answers(House(await assemble(given, policy, router, stack, clock), clock, origin), steps)
        finally:
            patch.undo()

    asyncio.run(main())


BESIDE = st.lists(st.sampled_from(NOISE), max_size=3, unique=True)
STEPS = st.lists(
    st.one_of(
        # Several clients one after the other, each so often that the lane may know its head
        st.tuples(st.just("ask"), st.tuples(st.sampled_from(HEADS), st.lists(BESIDE, min_size=1, max_size=3))),
        st.tuples(st.just("pass"), st.floats(min_value=0.0, max_value=4.0)),
        st.tuples(st.just("change"), st.sampled_from(["vary", "agent", "plain", "private"])),
        st.tuples(st.just("purge"), st.sampled_from(list(PurgeMode))),
    ),
    max_size=40,
)


def script(origin: ScriptedOrigin, version: int, kind: str) -> None:
    """Let the origin answer everything with this version from now on."""
    fields = [("etag", f'"{version % 3}"'), ("content-type", "text/plain"), ("date", "Fri, 15 Jan 2027 08:00:00 GMT")]
    told = {
        "vary": [("vary", "accept-language")],
        "agent": [("vary", "user-agent, x-request-id")],
        "private": [("cache-control", "private")],
    }
    fields += told.get(kind, [])
    answer = Answer(status=200, fields=Fields.of(*fields), body=b"version %d" % version)
    for target in ("/items/1", "/swr/1", "/address/1"):
        origin.script(target, answer)
    origin.script("/coded/1", Answer(status=200, fields=Fields.of(*fields), body=b"version %d " % version * 20))


def with_lines(head: bytes, *lines: bytes) -> bytes:
    """A head with field lines of its own, before and behind those it has."""
    first, _, rest = head.partition(b"\r\n")
    return b"%b\r\n%b%b%b\r\n" % (first, b"".join(lines[::2]), rest[:-2], b"".join(lines[1::2]))


async def compare(house: House, steps) -> None:
    """At each request the two ways agree, but for the request's own name."""
    script(house.origin, 0, "plain")
    for number, (what, detail) in enumerate(steps):
        if what == "pass":
            house.clock.at += detail
        elif what == "change":
            script(house.origin, number, detail)
        elif what == "purge":
            await house.application.state.purger.purge(Purge(tags=("item:1", "swr"), mode=detail))
        else:
            head, clients = detail
            for lines in [*clients, *clients]:
                await agree(house, with_lines(head, *lines))


async def agree(house: House, raw: bytes) -> None:
    """What the lane says, if anything, is what the ordinary way says."""
    express, ordinary = house.express(raw), await house.ordinary(raw)
    if express is not None:
        assert TICKING.sub(rb"\1", ordinary) == TICKING.sub(rb"\1", express)
    await asyncio.sleep(0)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_it_never_disagrees_with_the_ordinary_way(steps) -> None:
    """Same status, fields and body, for any order of requests, changes, purges and time."""
    run(steps, compare)


def test_a_hit_takes_it_and_ages() -> None:
    """The second hit of a head is the lane's; Age and ttl go on by the second."""

    async def ages(house: House, _steps) -> None:
        script(house.origin, 1, "plain")
        for _ in range(2):
            await house.ordinary(HEADS[0])
        for age in (0, 1, 2, 8):
            house.clock.at = 1_800_000_000.25 + age
            answer = house.express(HEADS[0])
            assert answer is not None
            assert b"\r\nage: %d\r\n" % age in answer
            assert b"hit; ttl=%d\r\n" % (9 - age) in answer
        house.clock.at += 1
        assert house.express(HEADS[0]) is None

    run([], ages)


def test_a_coded_hit_takes_it() -> None:
    """A body in the coding that a client likes is repeated too."""

    async def coded(house: House, _steps) -> None:
        script(house.origin, 1, "plain")
        for _ in range(2):
            answer = await house.ordinary(HEADS[8])
        assert TICKING.sub(b"", house.express(HEADS[8]) or b"") == TICKING.sub(b"", answer)
        assert gzip.decompress(answer.partition(b"\r\n\r\n")[2]) == b"version 1 " * 20

    run([], coded)


@pytest.mark.parametrize("head", [HEADS[0], HEADS[8]], ids=["identity", "coded"])
def test_l1_alone_keeps_a_body_alive(head: bytes) -> None:
    """What the lane knows of a hit lets go of the body, or its coded form, as soon as L1 does."""

    async def held(house: House, _steps) -> None:
        script(house.origin, 1, "plain")
        await house.ordinary(head)
        arrived = house.application.edge.read(head, "http", "192.0.2.1")
        reply = await house.application.edge.handle(arrived.request, None, arrived.client, lambda _: None)
        assert isinstance(reply.shelved, Shelved)
        assert reply.shelved.slot.body is reply.body
        house.application.state.l1.clear()
        assert reply.shelved.slot.body == b""

    run([], held)


def test_each_answer_has_an_id_of_its_own_unless_the_client_named_it() -> None:
    """A request id is never repeated by the lane; a client's own is kept."""

    async def ids(house: House, _steps) -> None:
        script(house.origin, 1, "plain")
        for head in (HEADS[0], HEADS[3]):
            for _ in range(2):
                await house.ordinary(head)
        first, second = house.express(HEADS[0]), house.express(HEADS[0])
        assert first is not None
        assert second is not None
        assert first != second
        assert b"x-request-id: mine\r\n" in (house.express(HEADS[3]) or b"")

    run([], ids)


def test_clients_that_differ_in_what_nobody_reads_share_an_answer() -> None:
    """One of them was answered the ordinary way; the lane has the others, each with its own request's id."""

    async def shared(house: House, _steps) -> None:
        script(house.origin, 1, "plain")
        for _ in range(2):
            await house.ordinary(with_lines(HEADS[0], b"User-Agent: one\r\n", b"Cookie: a=1\r\n"))
        other = house.express(with_lines(HEADS[0], b"user-agent: two\r\nReferer: /\r\n", b"X-Request-ID: mine\r\n"))
        assert other is not None
        assert other.endswith(b"version 1")
        assert b"\r\nx-request-id: mine\r\n" in other

    run([], shared)


@pytest.mark.parametrize(
    "lines",
    [
        b"X-Unknown: 1\r\n",
        b"Accept-Encoding: gzip\r\n",
        b"Host: a\r\n",
        b"User-Agent: \0\r\n",
        b"User-Agent: one\r\n folded\r\n",
        b"User-Agent: one\nX: 1\r\n",
        b"User-Agent : one\r\n",
        b"X-Request-ID: 1\r\nX-Request-ID: 2\r\n",
        b"User-Agent: one\r\n" * 256,
        b"Content-Length: 1\r\n",
        b"User-Agent: one\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n",
    ],
)
def test_any_other_difference_goes_the_ordinary_way(lines: bytes) -> None:
    """The lane neither guesses what a field means nor passes over what is malformed."""

    async def ordinary(house: House, _steps) -> None:
        script(house.origin, 1, "plain")
        for _ in range(2):
            await house.ordinary(HEADS[0])
        assert house.express(HEADS[0]) is not None
        assert house.express(with_lines(HEADS[0], lines)) is None

    run([], ordinary)


def test_what_an_earlier_policy_answered_is_not_learnt() -> None:
    """A request that was under way when the policy was replaced teaches nothing."""

    async def late(house: House, _steps) -> None:
        script(house.origin, 1, "plain")
        await house.ordinary(HEADS[0])
        engine = house.application.engine
        engine.active, before = Active(*load_policy(POLICY, "test.yaml", {})), engine.active
        arrived = house.application.edge.read(HEADS[0], "http", "192.0.2.1")
        engine.active, after = before, engine.active
        reply = await house.application.edge.handle(arrived.request, None, arrived.client, lambda _: None)
        engine.active = after
        head, _, _ = render_head(reply, head_only=False, date=b"now", close=False)
        house.lane.learn(HEADS[0], reply, head, method="GET", trusted=False)
        assert isinstance(reply.shelved, Shelved)
        assert house.express(HEADS[0]) is None

    run([], late)


@pytest.mark.parametrize("head", [HEADS[5], HEADS[7]], ids=["range", "address-in-the-key"])
def test_what_hangs_on_more_than_the_head_goes_the_ordinary_way(head: bytes) -> None:
    """Ranges, and keys that name the client's address, are never repeated."""

    async def never(house: House, _steps) -> None:
        script(house.origin, 1, "plain")
        for _ in range(3):
            await house.ordinary(head)
        assert house.express(head) is None

    run([], never)


GET = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"


class Shelf:
    """L1 in which nothing changes."""

    def unchanged(self, place: object, monotonic: float) -> bool:
        """Always."""
        return True


class Slot:
    """A place in it."""

    visited = False
    body = b""


class Gate:
    """Lets everybody pass: nothing here hangs on sessions or limits."""

    def knows(self, session: object) -> bool:
        """Always."""
        return True


def lane(lines: AccessLog = AccessLog.OFF, **bounds: int) -> ExpressLane:
    """A lane over that shelf."""
    clock = FakeClock(1_800_000_000.25)
    return ExpressLane(Shelf(), Gate(), Journal(NullRecorder(), clock, lines), clock, lambda: None, **bounds)


def taught(to: ExpressLane, raw: bytes, body: bytes = b"body") -> bool:
    """Whether the lane answers ``raw`` after it was shown an answer."""
    head = (
        b"HTTP/1.1 200 OK\r\nage: 0\r\ncache-status: cacheproxy; hit; ttl=9\r\nx-cache: HIT\r\n"
        b"x-request-id: 1\r\ncontent-length: 4\r\n\r\n"
    )
    shelved = Shelved(
        key="k",
        slot=Slot(),
        place=(None, 0),
        born_at=1_800_000_000,
        stale_at=1_800_000_009,
        until=1_800_000_009,
        route="r",
        resource_type="",
    )
    reply = Reply(200, Fields.of(("x-request-id", "1")), body, shelved)
    to.learn(raw, reply, head, method="GET", trusted=False)
    return to.answer(raw, trusted=False) is not None


def test_it_is_bounded_in_bytes() -> None:
    """Past its bound it forgets the oldest first, and a head that is too long is never learnt."""
    small = lane(max_bytes=4000)
    assert all(taught(small, GET % number) for number in range(50))
    known = [number for number in range(50) if small.answer(GET % number, trusted=False)]
    assert known == list(range(50 - len(known), 50))
    assert 0 < len(known) < 10
    assert not taught(small, GET % 0 + b"x" * MAX_HEAD_BYTES)


def test_a_large_body_is_sent_beside_its_head() -> None:
    """It is not copied for each answer."""
    large, body = lane(), b"x" * LARGE_BYTES
    assert taught(large, GET % 0, body)
    head, beside = large.answer(GET % 0, trusted=False) or (b"", b"")
    assert head.endswith(b"\r\n\r\n")
    assert beside is body


def test_what_is_known_of_a_proxy_is_not_said_to_a_client() -> None:
    """The same bytes may mean something else from somebody who is believed."""
    known = lane()
    assert taught(known, GET % 0)
    assert known.answer(GET % 0, trusted=True) is None
    known.clear()
    assert known.answer(GET % 0, trusted=False) is None


def test_a_sampled_log_gets_its_lines() -> None:
    """After each hundred hits one goes the ordinary way, which writes its line."""
    clock = FakeClock(1_800_000_000.25)
    journal = Journal(NullRecorder(), clock, AccessLog.SAMPLED)
    sampled = ExpressLane(Shelf(), Gate(), journal, clock, lambda: None)
    assert taught(sampled, GET % 0)
    answered = [sampled.answer(GET % 0, trusted=False) is not None for _ in range(200)]
    assert [98, 198] == [number for number, is_answered in enumerate(answered) if not is_answered]

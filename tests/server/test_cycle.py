"""One request and its response: every kind of reply, and every way in which it ends early."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from cacheproxy.engine.engine import Client
from cacheproxy.engine.reply import Reply, Shelved
from cacheproxy.errors import UpstreamError
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.head import RequestHead, ResponseHead
from cacheproxy.server.adapter import Arrived
from cacheproxy.server.cycle import Cycle
from cacheproxy.server.edge import Edge
from cacheproxy.server.head import Framing

GET = RequestHead(method="GET", target=b"/secret?token=1", fields=Fields.of(("host", "a")))
HEAD = RequestHead(method="HEAD", target=b"/x", fields=Fields.of(("host", "a")))
OLD = RequestHead(method="GET", target=b"/x", fields=Fields.of(("host", "a")), http_version="1.0")
OK = Reply(200, Fields.of(("x", "y")), b"body")
SHELVED = Shelved(
    key="k", slot=cast("Any", None), place=(None, 0), born_at=0.0, stale_at=1.0, until=1.0, route="r", resource_type="t"
)
GONE = UpstreamError(502, "body-truncated", sent=True)


class Parts:
    """A body in parts that ends with ``error``, if there is one; asks ``before`` each."""

    def __init__(self, *parts: bytes, length: int | None = None, error: BaseException | None = None) -> None:
        """``length`` as announced."""
        self._parts = parts
        self._error = error
        self.length = length
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The parts."""
        for part in self._parts:
            yield part
        if self._error is not None:
            raise self._error

    async def aclose(self) -> None:
        """Note it."""
        self.closed = True


class Line:
    """An outlet that keeps what is written."""

    def __init__(self) -> None:
        """Nothing yet; there is room."""
        self.written = b""
        self.aborted = False
        self.room = asyncio.Event()
        self.room.set()

    def write(self, data: bytes) -> None:
        """Keep ``data``."""
        self.written += data

    def date(self) -> bytes:
        """Some day."""
        return b"today"

    async def drained(self) -> None:
        """Wait for room."""
        await self.room.wait()

    def abort(self) -> None:
        """Note it."""
        self.aborted = True

    @property
    def body(self) -> bytes:
        """What came after the head."""
        return self.written.partition(b"\r\n\r\n")[2]

    @property
    def head(self) -> bytes:
        """The head."""
        return self.written.partition(b"\r\n\r\n")[0]


class Lane:
    """An express lane that keeps what it is taught."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.learnt: list[tuple[bytes, Reply, dict[str, Any]]] = []

    def learn(self, raw: bytes, reply: Reply, head: bytes, **how: Any) -> None:
        """Keep it."""
        self.learnt.append((raw, reply, how))

    def asking(self, raw: bytes, **how: Any) -> None:
        """Nothing is known whose limits would have to be asked."""


class Upload:
    """A request body."""

    def __init__(self, *, ended: bool) -> None:
        """Whether all of it came."""
        self.ended = ended


class Street:
    """A cycle and all around it."""

    def __init__(self, reply: Any, request: RequestHead = GET, **how: Any) -> None:
        """Answer ``request`` with ``reply``, or what it does."""
        self.line, self.lane = Line(), Lane()
        self.reply = reply
        self.interim: ResponseHead | None = how.get("interim")
        self.edge = Edge(
            handle=self.handle,
            read=cast("Any", None),
            lane=cast("Any", self.lane),
            pass_lane=cast("Any", None),
            trusts=lambda _: False,
        )
        self.edge.draining = how.get("draining", False)
        framing = Framing(
            length=0,
            keep_alive=how.get("keep_alive", True),
            expects_continue=how.get("expects", False),
            upgrades=False,
        )
        arrived = Arrived(request=request, framing=framing, client=Client(address="192.0.2.1", trusted=True))
        self.cycle = Cycle(self.edge, cast("Any", self.line), b"raw", arrived, how.get("body"))

    async def handle(self, request: RequestHead, body: Any, client: Client, on_interim: Any) -> Reply:
        """The engine."""
        if self.interim is not None:
            on_interim(self.interim)
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply


async def test_a_reply_at_hand_is_written_at_once() -> None:
    """Head and body, and the connection may be used again."""
    street = Street(OK)
    assert await street.cycle.run()
    assert b"HTTP/1.1 200 OK\r\ndate: today\r\ncontent-length: 4\r\nx: y\r\n\r\nbody" == street.line.written


@pytest.mark.parametrize(("request_head", "status"), [(HEAD, 200), (GET, 204), (GET, 304)], ids=["head", "204", "304"])
@pytest.mark.parametrize("arriving", [False, True], ids=["at-hand", "arriving"])
async def test_a_reply_without_content_has_none(request_head: RequestHead, status: int, arriving: bool) -> None:
    """No byte follows the head, and a body that is still arriving is let go of (RFC 9112 §6.3)."""
    body = Parts(b"body") if arriving else b"body"
    street = Street(Reply(status, Fields(), body), request_head)
    assert await street.cycle.run()
    assert b"" == street.line.body
    assert isinstance(body, bytes) or body.closed


async def test_a_body_that_is_arriving_is_sent_in_chunks() -> None:
    """Each as it comes, and the end (RFC 9112 §7.1)."""
    body = Parts(b"one", b"sixteen bytes ..")
    street = Street(Reply(200, Fields(), body))
    assert await street.cycle.run()
    assert b"3\r\none\r\n10\r\nsixteen bytes ..\r\n0\r\n\r\n" == street.line.body
    assert body.closed


async def test_an_empty_part_is_no_chunk() -> None:
    """It would end the body for the client, and the rest would be another response."""
    street = Street(Reply(200, Fields(), Parts(b"a", b"", b"b")))
    assert await street.cycle.run()
    assert b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n" == street.line.body


async def test_a_body_of_an_announced_length_is_sent_as_it_is() -> None:
    """No chunks where the length is known."""
    street = Street(Reply(200, Fields(), Parts(b"a", b"bc", length=3)))
    assert await street.cycle.run()
    assert (b"abc", False) == (street.line.body, street.line.aborted)


async def test_an_old_client_reads_until_the_end_of_the_connection() -> None:
    """HTTP/1.0 knows no chunks, so the connection closes."""
    street = Street(Reply(200, Fields(), Parts(b"a", b"bc")), OLD)
    assert not await street.cycle.run()
    assert (b"abc", True) == (street.line.body, b"connection: close" in street.line.head)


@pytest.mark.parametrize(
    "body",
    [Parts(b"a", error=GONE), Parts(b"ab", length=3), Parts(b"ab", b"cd", length=3)],
    ids=["breaks-off", "too-short", "too-long"],
)
async def test_a_body_that_is_not_what_was_announced_breaks_the_connection(body: Parts) -> None:
    """No client, and no cache between, takes it for whole; nothing follows it on the connection."""
    street = Street(Reply(200, Fields(), body))
    with capture_logs():
        assert not await street.cycle.run()
    assert (True, True) == (street.line.aborted, body.closed)
    assert len(street.line.body.removeprefix(b"1\r\na\r\n")) <= 2


async def test_a_body_that_breaks_off_is_logged_without_its_query() -> None:
    """What is in a query may be secret."""
    with capture_logs() as lines:
        await Street(Reply(200, Fields(), Parts(error=GONE))).cycle.run()
    assert [("response_cut_off", "/secret")] == [(line["event"], line["path"]) for line in lines]


async def test_a_fault_of_ours_while_streaming_leaves_no_connection_open() -> None:
    """The client is cut off rather than left waiting, and the error is not hidden."""
    body = Parts(b"a", error=KeyError("bug"))
    street = Street(Reply(200, Fields(), body))
    with pytest.raises(KeyError):
        await street.cycle.run()
    assert (True, True) == (street.line.aborted, body.closed)


async def test_a_client_that_leaves_midway_is_let_go() -> None:
    """The body is closed, so that the origin is, too."""
    body = Parts(b"a", b"b")
    street = Street(Reply(200, Fields(), body))
    street.line.room.clear()
    running = asyncio.create_task(street.cycle.run())
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait([running])
    assert (True, True, True) == (running.cancelled(), body.closed, street.line.aborted)


async def test_a_slow_client_is_waited_for() -> None:
    """Nothing more is read from the body before the client took what there is."""
    street = Street(Reply(200, Fields(), Parts(b"a", b"b")))
    street.line.room.clear()
    running = asyncio.create_task(street.cycle.run())
    await asyncio.sleep(0)
    assert b"1\r\na\r\n" == street.line.body
    street.line.room.set()
    assert await running


async def test_a_fault_of_ours_is_a_500() -> None:
    """With a traceback in the log, and nothing of it, nor of the query, in the answer."""
    street = Street(KeyError("bug"))
    with capture_logs() as lines:
        assert await street.cycle.run()
    assert street.line.written.startswith(b"HTTP/1.1 500 ")
    assert (b"bug" not in street.line.written, "/secret") == (True, lines[0]["path"])


@pytest.mark.parametrize(
    "how",
    [{"keep_alive": False}, {"draining": True}, {"body": Upload(ended=False)}],
    ids=["client-closes", "draining", "unread-body"],
)
async def test_a_connection_that_may_not_go_on_says_so(how: dict[str, Any]) -> None:
    """Also where a request body was not read: what follows would be taken for a request."""
    street = Street(OK, **how)
    assert not await street.cycle.run()
    assert b"\r\nconnection: close" in street.line.head


async def test_a_connection_whose_request_was_read_goes_on() -> None:
    """A body that came whole is no reason to close."""
    assert await Street(OK, body=Upload(ended=True)).cycle.run()


HINT = ResponseHead(103, Fields.of(("link", "</a>")))


@pytest.mark.parametrize(("request_head", "told"), [(GET, True), (OLD, False)], ids=["1.1", "1.0"])
async def test_interim_responses_go_to_who_understands_them(request_head: RequestHead, told: bool) -> None:
    """HTTP/1.0 knows none (RFC 9110 §15.2)."""
    street = Street(OK, request_head, interim=HINT)
    await street.cycle.run()
    assert told == street.line.written.startswith(b"HTTP/1.1 103 ")


async def test_nothing_interim_comes_after_the_final_response() -> None:
    """It would be the answer to the next request."""
    street = Street(OK, expects=True)
    await street.cycle.run()
    written = street.line.written
    street.cycle._interim(HINT)
    street.cycle.continue_()
    assert written == street.line.written


@pytest.mark.parametrize("expects", [True, False])
async def test_a_client_is_told_to_go_on_if_it_asked(expects: bool) -> None:
    """100 Continue is for those who expect it (RFC 9110 §10.1.1)."""
    street = Street(OK, expects=expects)
    street.cycle.continue_()
    assert (b"HTTP/1.1 100 Continue\r\n\r\n" if expects else b"") == street.line.written


async def test_the_express_lane_learns_what_hangs_on_the_head_alone() -> None:
    """With the head's own bytes."""
    reply = Reply(200, Fields(), b"", SHELVED)
    street = Street(reply, RequestHead(method="GET", target=b"/x", fields=Fields()))
    await street.cycle.run()
    assert [(b"raw", reply, {"method": "GET", "trusted": True, "peer": ""})] == street.lane.learnt


@pytest.mark.parametrize(
    ("reply", "request_head", "how"),
    [
        (OK, GET, {}),
        (Reply(200, Fields(), b"", SHELVED), OLD, {}),
        (Reply(200, Fields(), b"", SHELVED), GET, {"keep_alive": False}),
    ],
    ids=["not-shelved", "1.0", "closes"],
)
async def test_the_express_lane_learns_nothing_else(reply: Reply, request_head: RequestHead, how: Any) -> None:
    """An answer that is framed otherwise next time is not to be repeated."""
    street = Street(reply, request_head, **how)
    await street.cycle.run()
    assert [] == street.lane.learnt

"""One request on a connection, and its response as it arrives."""

import asyncio
from collections.abc import Callable
from functools import partial

from cacheproxy.errors import UpstreamError
from cacheproxy.policy.route import Timeouts
from cacheproxy.semantics.head import ResponseHead
from cacheproxy.upstream.bodies import BytesBody
from cacheproxy.upstream.connection import Connection
from cacheproxy.upstream.contract import OnInterim, RequestBody, ResponseBody
from cacheproxy.upstream.limits import HELD_BODY_BYTES
from cacheproxy.upstream.read_ahead import ReadAhead
from cacheproxy.upstream.reasons import Reason, failure
from cacheproxy.upstream.response_reader import ResponseReader, whole_response
from cacheproxy.upstream.sender import Sender, Spawn
from cacheproxy.upstream.stream import StreamBody

Response = tuple[ResponseHead, ResponseBody]


class Exchange:
    """Turns what a connection brings into one response. However it ends, the connection is then idle or closed."""

    __slots__ = (
        "_ahead",
        "_connection",
        "_held",
        "_method",
        "_on_interim",
        "_outcome",
        "_over",
        "_reader",
        "_sender",
        "_stream",
        "_tell",
        "_times",
        "_told",
    )

    def __init__(
        self, connection: Connection, method: str, times: Timeouts, on_interim: OnInterim | None, ahead: ReadAhead
    ) -> None:
        """Use ``connection`` for one request of ``method``; ``ahead`` lends memory for a body that nobody takes yet."""
        self._connection = connection
        self._ahead = ahead
        self._times = times
        self._on_interim = on_interim
        self._method = method
        self._reader: ResponseReader | None = None
        """None until bytes came that are not the response, and all of it."""
        self._sender: Sender | None = None
        self._stream: StreamBody | None = None
        self._held = b""
        self._told = 0
        self._outcome: Response | Exception | None = None
        self._tell: Callable[[], None] | None = None
        self._over = False
        connection.begin(self)

    @property
    def untouched(self) -> bool:
        """Whether the origin gave no byte and took nothing that could not be sent again."""
        begun = self._reader is not None and self._reader.begun
        return not begun and (self._sender is None or not self._sender.started)

    def send(self, head: bytes, body: RequestBody | None, *, expects: bool, spawn: Spawn) -> None:
        """Write the request. A ``body`` that is not here whole, or ``expects`` leave, follows in a task of its own."""
        if body is None:
            self.send_whole(head)
        elif isinstance(body, BytesBody) and not expects:
            self.send_whole(head + body.content)
        else:
            self._connection.write(head)
            self._sender = Sender(self._connection, body, expects=expects, on_end=self._sent, spawn=spawn)

    def send_whole(self, request: bytes) -> None:
        """Write all of ``request``, and expect its answer."""
        self._connection.write(request)
        if not self._connection.stalled:
            self._connection.limit(Reason.FIRST_BYTE_TIMEOUT, self._times.first_byte_s)

    @property
    def whole(self) -> tuple[ResponseHead, bytes] | None:
        """See ``Sent.whole``."""
        if self._outcome is None or isinstance(self._outcome, Exception):
            return None
        if self._reader is not None and (self._reader.interim or self.met_timeout):
            return None
        head, body = self._outcome
        return (head, body.content) if isinstance(body, BytesBody) else None

    def met_closing(self, error: UpstreamError) -> bool:
        """Whether ``error`` says no more than that the origin was just closing a connection used before."""
        return error.reason == Reason.CLOSED_EARLY and self._connection.served > 1 and self.untouched

    @property
    def met_timeout(self) -> bool:
        """Whether what came is a 408 and a close, for a request that was sent whole on a connection used before.

        The origin gave up waiting for it, so it has not acted on it (RFC 9110 §15.5.9).
        """
        reader = self._reader
        if reader is None or reader.head is None or reader.head.status != 408 or reader.keep_alive or reader.interim:
            return False
        return self._connection.served > 1 and self._sender is None

    def when_told(self, tell: Callable[[], None]) -> None:
        """See ``Sent.when_told``."""
        self._tell = tell

    def follow(self, on_interim: OnInterim | None) -> None:
        """Tell ``on_interim`` of the interim responses from now on, and of those that came before anybody asked."""
        self._on_interim = on_interim
        if on_interim is not None and self._reader is not None:
            for head in self._reader.interim:
                if head.status != 100:
                    on_interim(head)

    async def response(self) -> Response:
        """Wait for the final response. UpstreamError where none comes; cancelled, it closes the connection."""
        while self._outcome is None:
            told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._tell = partial(_wake, told)
            try:
                await told
            except asyncio.CancelledError:
                self.abandon()
                raise
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome

    def abandon(self) -> None:
        """Give up, as nobody waits for the rest any more. Who begins to wait all the same is told so."""
        self._tell = None
        if self._stream is not None:
            self._stream.give_back()  # its reader, who would do that, may never have been told of it
        if not self._over:
            self._outcome = self._outcome or failure(Reason.SHUT_DOWN)
            self._end()
            self._connection.abort()

    # called by the connection

    def feed(self, data: bytes) -> None:
        """Take bytes of the response."""
        try:
            if self._reader is None and self._take_whole(data):
                return
            reader = self._reading()
            content = reader.feed(data)
        except UpstreamError as error:
            self.fail(error)
            return
        if self._told < len(reader.interim):
            self._tell_interim(reader)
        if reader.head is None:
            return
        done = reader.done
        if not done:
            self._connection.limit(Reason.IDLE_TIMEOUT, self._times.idle_s)
        if self._stream is None:
            self._answer(reader, reader.head, content)
        else:
            self._stream.push(content)
        if done:
            self._finish(reader)
        if self._tell is not None and self._outcome is not None:
            self._tell_once()

    def end(self) -> None:
        """Take note that the origin sends no more: right for a close-delimited body, else an error."""
        reader = self._reading()
        try:
            reader.end()
        except UpstreamError as error:
            self.fail(error)
        else:
            self._finish(reader)

    def lost(self, detail: str) -> None:
        """Take note that the connection broke."""
        self.fail(failure(Reason.CLOSED_EARLY if self._head is None else Reason.BODY_TRUNCATED, detail))

    def fail(self, error: Exception) -> None:
        """End with ``error``: the request fails, or the body breaks off where it is being read already."""
        if self._over:
            return
        self._end()
        self._connection.abort()
        if self._stream is not None:
            self._stream.fail(error)
        elif self._outcome is None:
            self._outcome = error
            self._tell_once()

    def flushed(self) -> None:
        """Wait for the response, now that the origin has taken the request in."""
        if self._connection.stalled or (self._sender is not None and not self._sender.complete):
            return
        if self._head is None:
            self._connection.limit(Reason.FIRST_BYTE_TIMEOUT, self._times.first_byte_s)
        elif self._connection.reading:
            self._connection.limit(Reason.IDLE_TIMEOUT, self._times.idle_s)

    # called by the body's reader

    def pause(self) -> None:
        """Read no more for now."""
        self._connection.pause()

    def resume(self) -> None:
        """Read on, and expect the origin to go on."""
        if self._connection.resume():
            self._connection.limit(Reason.IDLE_TIMEOUT, self._times.idle_s)

    @property
    def _head(self) -> ResponseHead | None:
        """The final head, once it is here."""
        return None if self._reader is None else self._reader.head

    def _reading(self) -> ResponseReader:
        if self._reader is None:
            self._reader = ResponseReader(self._method)
        return self._reader

    def _take_whole(self, data: bytes) -> bool:
        """Take the first bytes that came for all of the response, as most are; False where they are not just that."""
        whole = None if self._sender is not None else whole_response(self._method, data)
        if whole is None:
            return False
        self._over = True
        self._outcome = whole[0], BytesBody(whole[1])
        self._connection.finish()
        if self._tell is not None:
            self._tell_once()
        return True

    def _tell_interim(self, reader: ResponseReader) -> None:
        for head in reader.interim[self._told :]:
            if head.status == 100:
                if self._sender is not None:
                    self._sender.go_on()
            elif self._on_interim is not None:
                self._on_interim(head)
        self._told = len(reader.interim)
        self.flushed()
        if self._on_interim is None and reader.head is None:
            self._tell_once()

    def _answer(self, reader: ResponseReader, head: ResponseHead, content: bytes) -> None:
        if self._held:
            content = self._held + content
        if reader.done:
            body: ResponseBody = BytesBody(content, reader.trailers)
        elif reader.length is not None and reader.length <= HELD_BODY_BYTES:
            self._held = content
            return
        else:
            body = self._stream = StreamBody(self, reader.length, self.abandon, self._ahead)
            self._stream.push(content)
        self._outcome = head, body

    def _tell_once(self) -> None:
        """Let whoever waits know, between events of the connection: it may be used for the next request by then."""
        tell, self._tell = self._tell, None
        if tell is not None:
            tell()

    def _finish(self, reader: ResponseReader) -> None:
        sent = self._sender is None or self._sender.complete
        self._end()
        if self._stream is not None:
            self._stream.finish(reader.trailers)
        if sent and reader.reusable:
            self._connection.finish()
        else:
            self._connection.abort()

    def _end(self) -> None:
        self._over = True
        if self._sender is not None:
            self._sender.stop()

    def _sent(self, error: BaseException | None) -> None:
        if error is None:
            self.flushed()
        elif isinstance(error, Exception):
            self.fail(error)


def _wake(told: "asyncio.Future[None]") -> None:
    if not told.done():
        told.set_result(None)

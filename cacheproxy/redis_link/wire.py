"""One connection to a Redis server, on which any number of callers wait for their replies in order."""

import asyncio
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

from hiredis import HiredisError, ProtocolError, PushNotification, Reader, pack_command

from cacheproxy.errors import StateError
from cacheproxy.redis_link.contract import Command
from cacheproxy.redis_link.errors import Lost

_UNFINISHED = object()
"""What the reader gives while a reply is incomplete; its default, False, is also a RESP3 reply."""
_ENDLESS = rb"(?:[*%~>|][0-9]{7,}|[$=!][0-9]{10,})"
"""The head of a part of a reply with more members, or bytes, than any has that we ask for.

The reader would make room for the members at once: for 10^9 of them it takes gigabytes, and blocks for seconds.
"""
_ENDLESS_FIRST = re.compile(_ENDLESS)
_ENDLESS_LATER = re.compile(rb"\r\n" + _ENDLESS)
_HEAD_CUT_OFF = re.compile(rb"(?:\r|[-+:(,#_]?[*%~>|$=!][0-9]{0,20}\r?|[-+:(,#_])\Z")
_LONGEST_CUT = 23


def pack(command: Command) -> bytes:
    """One command in RESP."""
    packed: bytes = pack_command(command)  # type: ignore[arg-type]  # its stub takes tuples of one
    return packed


class Due:
    """The ``count`` replies that one caller waits for: the future gives the reply, or the list if ``listed``."""

    __slots__ = ("_left", "_replies", "deadline", "future", "sent_at")

    def __init__(
        self, future: "asyncio.Future[Any]", sent_at: float, deadline: float, count: int | None = None
    ) -> None:
        """Wait for one reply, or for a list of ``count``."""
        self.future = future
        self.sent_at = sent_at
        self.deadline = deadline
        self._left = 1 if count is None else count
        self._replies: list[Any] | None = None if count is None else []

    def take(self, reply: Any) -> bool:
        """Take the next reply; True if it was the last. A caller who has left (time-out, cancel) is not disturbed."""
        self._left -= 1
        if self._replies is not None:
            self._replies.append(reply)
        if self._left:
            return False
        if not self.future.done():
            self.future.set_result(reply if self._replies is None else self._replies)
        return True

    def fail(self, error: StateError) -> None:
        """Tell the caller that no reply will come, if it still waits."""
        if not self.future.done():
            self.future.set_exception(error)


class Wire(asyncio.Protocol):
    """A connection that sends at once and matches replies to callers in order (RESP pipelining)."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """A wire that is not connected yet; the event loop connects it."""
        self._loop = loop
        self._reader = Reader(notEnoughData=_UNFINISHED)
        self._held = b""
        """What came last, where it may be a part of a head: no reply ends there."""
        self._transport: asyncio.Transport | None = None
        self.due: deque[Due] = deque()
        self.heard_at = loop.time()
        self.closed = False
        self.has_shards = False
        """Whether the server has sharded channels: a cluster from 7.0 on."""
        self.lost_by: StateError | None = None
        self.on_lost: Callable[[Wire], None] | None = None
        self.on_push: Callable[[list[Any]], None] | None = None

    def send(self, payload: bytes, due: Iterable[Due]) -> None:
        """Send packed commands whose replies are for ``due``, in order."""
        if self._transport is None or self.closed:
            for each in due:
                each.fail(StateError(Lost.LOST, "not connected"))
            return
        self.due.extend(due)
        self._transport.write(payload)

    def silent_s(self, now: float) -> float:
        """Seconds for which replies have been due and not a byte has come."""
        return now - max(self.heard_at, self.due[0].sent_at) if self.due else 0.0

    def drop(self, error: StateError) -> None:
        """Close without ceremony; whoever waits gets ``error``."""
        if self.closed:
            return
        self.closed = True
        self.lost_by = error
        if self._transport is not None:
            self._transport.abort()
        if self.on_lost is not None:
            self.on_lost(self)
        while self.due:
            self.due.popleft().fail(error)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport (asyncio.Protocol)."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name

    def data_received(self, data: bytes) -> None:
        """Hand each complete reply to the caller whose turn it is (asyncio.Protocol)."""
        self.heard_at = self._loop.time()
        if self._held:
            data, self._held = self._held + data, b""
        if data[-1:] != b"\n":
            data = self._hold_back(data)
        try:
            self._feed(data)
        except (HiredisError, IndexError) as error:
            # IndexError: a reply that nobody asked for. Either way replies can no longer be matched to callers.
            self.drop(StateError(Lost.LOST, f"not a Redis reply: {error}"))

    def _hold_back(self, data: bytes) -> bytes:
        """``data`` without a head that is cut off at its end, which waits for its rest."""
        cut = _HEAD_CUT_OFF.search(data, max(0, len(data) - _LONGEST_CUT))
        if cut is None:
            return data
        self._held = data[cut.start() :]
        return data[: cut.start()]

    def _feed(self, data: bytes) -> None:
        """Hand over the replies in ``data``. ProtocolError where one announces too much.

        What looks like such a head is one where the reader has understood all that came before; else it is a piece of
        somebody's body.
        """
        start = 0
        for at in _suspects(data):
            self._reader.feed(data[start:at])
            self._deliver()
            start = at
            if not self._reader.has_data():
                raise ProtocolError("it announces more than anybody asked for")
        self._reader.feed(data[start:] if start else data)
        self._deliver()

    def _deliver(self) -> None:
        gets, due = self._reader.gets, self.due
        while (reply := gets()) is not _UNFINISHED:
            if type(reply) is PushNotification:
                if self.on_push is not None:
                    self.on_push(reply)
            elif due[0].take(reply):
                due.popleft()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail whoever waits (asyncio.Protocol)."""
        self.drop(StateError(Lost.LOST, str(exc) if exc else "closed by the server"))


def _suspects(data: bytes) -> Iterator[int]:
    """Where in ``data`` there may be the head of something endless."""
    if _ENDLESS_FIRST.match(data):
        yield 0
    for found in _ENDLESS_LATER.finditer(data):
        yield found.start() + 2

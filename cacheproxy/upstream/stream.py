"""A response body that is still arriving, with back-pressure towards the origin."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from cacheproxy.semantics.fields import Fields
from cacheproxy.upstream.bodies import NO_FIELDS
from cacheproxy.upstream.limits import AHEAD_BYTES, HIGH_WATER_BYTES
from cacheproxy.upstream.read_ahead import ReadAhead


class Source(Protocol):
    """Where the bytes come from."""

    def pause(self) -> None:
        """Send no more for now."""
        ...

    def resume(self) -> None:
        """Send on."""
        ...


class _Nowhere:
    """A source that has ended."""

    __slots__ = ()

    def pause(self) -> None:
        """Nothing comes anyway."""

    resume = pause


_NOWHERE = _Nowhere()


class StreamBody:
    """Chunks as they arrive, one for each read from the connection; at most the high-water mark is held unread.

    As long as ``ahead`` has memory to lend, that is more: a short body is then taken in, however slow its reader.
    """

    __slots__ = (
        "_abandon",
        "_ahead",
        "_borrowed_bytes",
        "_chunks",
        "_ended",
        "_error",
        "_held_bytes",
        "_length",
        "_resume_at_bytes",
        "_source",
        "_trailers",
        "_wakeup",
    )

    def __init__(self, source: Source, length: int | None, abandon: Callable[[], None], ahead: ReadAhead) -> None:
        """Hold what ``source`` brings; ``abandon`` is called where the reader lets go before the end."""
        self._source = source
        self._ahead = ahead
        self._borrowed_bytes = 0
        self._resume_at_bytes = 0
        self._abandon = abandon
        self._length = length
        self._chunks: deque[bytes] = deque()
        self._held_bytes = 0
        self._wakeup: asyncio.Future[None] | None = None
        self._ended = False
        self._error: Exception | None = None
        self._trailers = NO_FIELDS

    # the reader's side

    @property
    def complete(self) -> bytes | None:
        """What is left of the body if all of it is here, else None."""
        if not self._ended or self._error is not None:
            return None
        self._settle(0)  # whoever asks may keep it
        return b"".join(self._chunks)

    @property
    def length(self) -> int | None:
        """Bytes as declared by Content-Length, or None."""
        return self._length

    @property
    def trailers(self) -> Fields:
        """Trailer fields, once the end was read."""
        return self._trailers

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Give out the chunks as they arrive. UpstreamError where the body breaks off, after what came of it."""
        while True:
            while self._chunks:
                yield self._take()
            if self._error is not None:
                raise self._error
            if self._ended:
                return
            await self._more()

    async def aclose(self) -> None:
        """Let go: closes the connection unless the end has arrived."""
        self._chunks.clear()
        self._held_bytes = 0
        self._settle(0)
        if not self._ended:
            abandon = self._abandon
            self._end()
            abandon()

    def _take(self) -> bytes:
        chunk = self._chunks.popleft()
        self._held_bytes -= len(chunk)
        if self._borrowed_bytes:
            self._settle(self._held_bytes - HIGH_WATER_BYTES)
        if not self._ended and self._held_bytes <= self._resume_at_bytes:
            self._source.resume()
        return chunk

    def _settle(self, needed_bytes: int) -> None:
        """Give back what was borrowed beyond ``needed_bytes``."""
        surplus_bytes = self._borrowed_bytes - max(0, needed_bytes)
        if surplus_bytes > 0:
            self._borrowed_bytes -= surplus_bytes
            self._ahead.give_back(surplus_bytes)

    def _has_room(self) -> bool:
        """Whether more than is held by now may be held, borrowed memory included."""
        needed_bytes = self._held_bytes - HIGH_WATER_BYTES
        if needed_bytes <= self._borrowed_bytes:
            return True
        if self._held_bytes > AHEAD_BYTES or not self._ahead.take(needed_bytes - self._borrowed_bytes):
            return False
        self._borrowed_bytes = needed_bytes
        return True

    async def _more(self) -> None:
        self._wakeup = asyncio.get_running_loop().create_future()
        try:
            await self._wakeup
        finally:
            self._wakeup = None

    # the connection's side

    def give_back(self) -> None:
        """Give back what was borrowed: no more will come, and nobody may read what did. Idempotent."""
        self._settle(0)

    def push(self, chunk: bytes) -> None:
        """Take ``chunk`` in."""
        if not chunk:
            return
        self._chunks.append(chunk)
        self._held_bytes += len(chunk)
        if not self._has_room():
            # soon: the origin, too, may have a limit on how long nobody reads
            full = self._held_bytes > AHEAD_BYTES
            self._resume_at_bytes = AHEAD_BYTES - 2 * HIGH_WATER_BYTES if full else HIGH_WATER_BYTES // 2
            self._source.pause()
        self._wake()

    def finish(self, trailers: Fields) -> None:
        """Mark the end."""
        self._end()
        self._trailers = trailers
        self._wake()

    def fail(self, error: Exception) -> None:
        """Break off with ``error``, once what came has been read."""
        if not self._ended:
            self._end()
            self._error = error
            self._wake()

    def _end(self) -> None:
        """Let go of the exchange, which holds this body: together they would stay until the next garbage collection."""
        self._ended = True
        self._source = _NOWHERE
        self._abandon = _NOWHERE.pause

    def _wake(self) -> None:
        if self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)

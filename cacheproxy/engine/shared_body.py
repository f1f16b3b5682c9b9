"""A response body that is kept while it is passed on."""

import asyncio
from collections.abc import AsyncIterator

from cacheproxy.errors import UpstreamError
from cacheproxy.upstream.contract import ResponseBody


class SharedBody:
    """Gathers a body up to a bound, for the store, while one reader streams it as it arrives.

    ``gather`` runs in the fill's own task: the reader may leave at any time. A body that outgrows the bound is handed
    over to the reader, which takes the rest from the origin at its own pace.
    """

    __slots__ = ("_arriving", "_body", "_chunks", "_done", "_error", "_handed_over", "_left", "_limit_bytes", "_wake")

    def __init__(self, body: ResponseBody, limit_bytes: int, *, read: bool = True) -> None:
        """Keep ``body`` if it has at most ``limit_bytes``; ``read`` says whether there is a reader."""
        self._body = body
        self._arriving = aiter(body)
        """The one iterator over the body: whoever takes it over goes on where the other stopped."""
        self._limit_bytes = limit_bytes
        self._chunks: list[bytes] = []
        self._done = False
        self._handed_over = False
        self._error: UpstreamError | None = None
        self._left = not read
        """Whether the reader has gone."""
        self._wake: asyncio.Future[None] | None = None

    @property
    def length(self) -> int | None:
        """Bytes as the origin declared them, or None."""
        return self._body.length

    async def gather(self) -> bytes | None:
        """The whole body, or None if it outgrew the bound and went to the reader alone. UpstreamError if it broke."""
        room = self._limit_bytes
        try:
            async for chunk in self._arriving:
                self._chunks.append(chunk)
                room -= len(chunk)
                if room < 0:
                    await self._hand_over()
                    return None
                self._notify()
        except BaseException as error:
            # Also where the fill is cut short: the reader must not take half a body for all of it.
            self._error = error if isinstance(error, UpstreamError) else UpstreamError(503, "shut-down", sent=True)
            raise
        finally:
            self._done = not self._handed_over
            self._notify()
            if self._done:
                await self._body.aclose()
        return b"".join(self._chunks)

    async def _hand_over(self) -> None:
        self._handed_over = True
        if self._left:
            await self._body.aclose()

    def _notify(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The chunks as they arrive. UpstreamError where the origin broke off."""
        position = 0
        while True:
            while position < len(self._chunks):
                position += 1
                yield self._chunks[position - 1]
            if self._handed_over:
                break
            if self._error is not None:
                raise self._error
            if self._done:
                return
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake
        self._chunks.clear()
        async for chunk in self._arriving:
            yield chunk

    async def aclose(self) -> None:
        """The reader leaves; the body is still gathered to its end if it is to be kept."""
        self._left = True
        if self._handed_over:
            await self._body.aclose()

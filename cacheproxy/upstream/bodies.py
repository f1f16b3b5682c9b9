"""Bodies that are here already, or are made of parts at hand."""

from collections.abc import AsyncIterator, Sequence

from cacheproxy.errors import UpstreamError
from cacheproxy.semantics.fields import Fields
from cacheproxy.upstream.contract import RequestBody

NO_FIELDS = Fields()


class BytesBody:
    """A whole body in memory: a ``RequestBody`` that can be sent again, and a ``ResponseBody`` that is complete."""

    __slots__ = ("content", "trailers")

    def __init__(self, content: bytes = b"", trailers: Fields = NO_FIELDS) -> None:
        """Hold ``content`` and the ``trailers`` that came after it."""
        self.content = content
        self.trailers = trailers

    @property
    def complete(self) -> bytes:
        """The content."""
        return self.content

    @property
    def length(self) -> int:
        """Bytes of the content."""
        return len(self.content)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The content in one chunk, or nothing if it is empty."""
        if self.content:
            yield self.content

    async def aclose(self) -> None:
        """Nothing to let go of."""


class PartsBody:
    """A body that arrives in parts: read once, as from a connection, and broken by ``error`` where one is given."""

    __slots__ = ("_error", "_parts", "_trailers", "closed", "length", "trailers")

    def __init__(
        self,
        parts: Sequence[bytes],
        *,
        length: int | None = None,
        trailers: Fields = NO_FIELDS,
        error: UpstreamError | None = None,
    ) -> None:
        """Give out ``parts`` in order, then raise ``error`` or end with ``trailers``."""
        self._parts = iter(parts)
        self._trailers = trailers
        self._error = error
        self.length = length
        self.trailers = NO_FIELDS
        self.closed = False

    @property
    def complete(self) -> None:
        """Never: a body in parts must be awaited."""
        return

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The parts that were not yet given out."""
        for part in self._parts:
            yield part
        if self._error is not None:
            raise self._error
        self.trailers = self._trailers

    async def aclose(self) -> None:
        """Note that the reader let go."""
        self.closed = True


def at_hand(body: RequestBody | None) -> RequestBody | None:
    """Return ``body`` as bytes if it says, by a ``complete`` like a response body's, that all of it is here.

    Then it goes out with its head, without a task, and again where the first attempt met a dying connection. Asked
    once for each request, before its head is rendered: a body that became complete later is framed otherwise.
    """
    whole: bytes | None = getattr(body, "complete", None)
    return body if whole is None or isinstance(body, BytesBody) else BytesBody(whole)

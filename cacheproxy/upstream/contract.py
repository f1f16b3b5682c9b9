"""What may be asked of the origin."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol

from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.head import RequestHead, ResponseHead

OnInterim = Callable[[ResponseHead], None]
"""Called with each interim response (1xx other than 100 and 101) as it arrives."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request that is sent again and again, each time with fields and content of its own."""

    method: str
    head: bytes
    """The part of its head that stays the same, as bytes: without what frames it, and the empty line at its end."""


class RequestBody(Protocol):
    """A request body that is read as it is sent on."""

    @property
    def length(self) -> int | None:
        """Bytes, or None where only the end tells (chunked)."""
        ...

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The chunks, once. Reading the first one answers a client's ``Expect: 100-continue``."""
        ...


class ResponseBody(Protocol):
    """A response body as it arrives. Must be read to its end or closed."""

    @property
    def complete(self) -> bytes | None:
        """The whole body if it is here already (so nothing need be awaited), else None."""
        ...

    @property
    def length(self) -> int | None:
        """Bytes as declared by Content-Length, or None."""
        ...

    @property
    def trailers(self) -> Fields:
        """Trailer fields, once the end was read."""
        ...

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The chunks as they arrive. UpstreamError if it ends early or falls silent."""
        ...

    async def aclose(self) -> None:
        """Let go: the connection is reused if the body was read to its end, else closed. Idempotent."""
        ...


class Sent(Protocol):
    """A request that is on its way. To be given to ``Origin.send``, or abandoned, unless its answer is whole."""

    @property
    def whole(self) -> tuple[ResponseHead, bytes] | None:
        """The response and its content, if it is here from its first byte to its last; else None."""
        ...

    def when_told(self, tell: Callable[[], None]) -> None:
        """Call ``tell``, once, as soon as there is anything to be known of the response."""
        ...

    def abandon(self) -> None:
        """Give it up. Idempotent."""
        ...


class Origin(Protocol):
    """Sends requests to the upstream service."""

    async def send(
        self,
        request: RequestHead,
        body: RequestBody | None = None,
        on_interim: OnInterim | None = None,
        begun: Sent | None = None,
    ) -> tuple[ResponseHead, ResponseBody]:
        """The origin's final response. ``request`` is sent as it is, less framing, which follows from ``body``.

        ``begun`` is what ``begin`` sent of it already.
        UpstreamError where none came: 502, 503 or 504 with its reason.
        """
        ...

    def begin(self, prepared: Prepared, fields: bytes, content: bytes) -> Sent | None:
        """Send what is ``prepared`` at once; None where a connection would have to be waited for.

        ``fields`` are the lines that are this request's own, each with its end, and fit to stand in a head;
        ``content`` is its body, empty if it has none.
        """
        ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...

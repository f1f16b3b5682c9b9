"""What may be asked of the origin."""

from collections.abc import AsyncIterator, Callable
from typing import Protocol

from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.head import RequestHead, ResponseHead

OnInterim = Callable[[ResponseHead], None]
"""Called with each interim response (1xx other than 100 and 101) as it arrives."""


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


class Origin(Protocol):
    """Sends requests to the upstream service."""

    async def send(
        self, request: RequestHead, body: RequestBody | None = None, on_interim: OnInterim | None = None
    ) -> tuple[ResponseHead, ResponseBody]:
        """The origin's final response. ``request`` is sent as it is, less framing, which follows from ``body``.

        UpstreamError where none came: 502, 503 or 504 with its reason.
        """
        ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...

"""A connection to the admin port: uvicorn's own, with an end to how large a request head is and how late a request."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from cacheproxy.server.deadline import Deadline

MAX_HEAD_BYTES = 64 * 1024
REQUEST_S = 30.0
"""From a connection's start, or a request's first byte, to the request's last."""


class AdminProtocol(HttpToolsProtocol):
    """uvicorn would keep any number of bytes of a head, for as long as its client likes, and ask for no token first."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """As uvicorn makes it."""
        super().__init__(*args, **kwargs)
        self._head_bytes = 0
        self._in_head = True
        self._deadline = Deadline(self.loop, self._expire)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client connected, and should now ask for something."""
        super().connection_made(transport)
        self._deadline.allow(REQUEST_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._deadline.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        if self._in_head and self._head_bytes > MAX_HEAD_BYTES:
            self.send_400_response("The request head is too large.")
            return
        self._head_bytes += len(data)
        super().data_received(data)

    def on_message_begin(self) -> None:
        """A request begins."""
        self._in_head, self._head_bytes = True, 0
        self._deadline.allow(REQUEST_S)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Its head is here."""
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """All of it is here: what its answer takes is not the client's doing."""
        self._deadline.lift()
        super().on_message_complete()

    def _expire(self) -> None:
        self.transport.abort()

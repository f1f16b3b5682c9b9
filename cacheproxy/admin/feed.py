"""What happens, as it happens: purges and changes of state as server-sent events (``GET /api/v1/events``)."""

import asyncio
import json
from collections.abc import AsyncGenerator

from cacheproxy.errors import ClientError

MAX_LISTENERS = 32
BACKLOG = 256
"""Events kept for a listener that does not keep up. What comes beyond is dropped, and it is told how many."""
KEEPALIVE_S = 15.0


_END = b""


class _Listener:
    """One reader's backlog."""

    def __init__(self, backlog: int) -> None:
        self._waiting: asyncio.Queue[bytes] = asyncio.Queue(backlog + 1)
        self._backlog = backlog
        self._missed = 0

    def put(self, event: bytes) -> None:
        if self._waiting.qsize() < self._backlog:
            self._waiting.put_nowait(event)
        else:
            self._missed += 1

    def end(self) -> None:
        if not self._waiting.full():  # else it is told to end already
            self._waiting.put_nowait(_END)

    async def next(self, keepalive_s: float) -> bytes:
        if self._missed and self._waiting.empty():
            missed, self._missed = self._missed, 0
            return _event("missed", {"events": missed})
        try:
            async with asyncio.timeout(keepalive_s):
                return await self._waiting.get()
        except TimeoutError:
            return b":\n\n"


class Feed:
    """Passes events on to whoever listens. Telling never waits, and costs nothing where nobody does."""

    def __init__(
        self, *, max_listeners: int = MAX_LISTENERS, backlog: int = BACKLOG, keepalive_s: float = KEEPALIVE_S
    ) -> None:
        """Nobody listens yet."""
        self._max_listeners = max_listeners
        self._backlog = backlog
        self._keepalive_s = keepalive_s
        self._listeners: set[_Listener] = set()

    def __len__(self) -> int:
        """How many listen."""
        return len(self._listeners)

    def tell(self, kind: str, **members: object) -> None:
        """Something of ``kind`` has happened."""
        if self._listeners:
            event = _event(kind, members)
            for listener in self._listeners:
                listener.put(event)

    def close(self) -> None:
        """Nothing more will happen: every stream ends."""
        for listener in self._listeners:
            listener.end()

    def listen(self) -> AsyncGenerator[bytes, None]:
        """What happens from now on, as the bytes of an event stream. ClientError(503) where too many listen."""
        if len(self._listeners) >= self._max_listeners:
            raise ClientError(503, "too-many-listeners", f"{self._max_listeners} listen already")
        return self._stream()

    async def _stream(self) -> AsyncGenerator[bytes, None]:
        listener = _Listener(self._backlog)
        self._listeners.add(listener)
        try:
            yield b"retry: 1000\n\n"
            while (event := await listener.next(self._keepalive_s)) is not _END:
                yield event
        finally:
            self._listeners.discard(listener)


def _event(kind: str, members: dict[str, object]) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(members)}\n\n".encode()

"""Leave to hold a connection to the origin while a request's body is still on its way here.

A client may take its time over a body. As many of them as there are connections would leave none to anybody else; so
only some may hold one meanwhile. The others are waited for until theirs has arrived whole, and then hold nobody up.
"""

import asyncio
from collections import deque
from typing import Self

from cacheproxy.upstream.contract import RequestBody
from cacheproxy.upstream.reasons import Reason, failure


class Leave:
    """One place among the uploads, until it is given back; none in particular where ``uploads`` is None."""

    __slots__ = ("_uploads",)

    def __init__(self, uploads: "Uploads | None" = None) -> None:
        """A place of ``uploads``."""
        self._uploads = uploads

    def __enter__(self) -> Self:
        """Use it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Give it back at the latest now."""
        self.give_back()

    def give_back(self, _: object = None) -> None:
        """Let another in. Idempotent."""
        uploads, self._uploads = self._uploads, None
        if uploads is not None:
            uploads.leave()


NO_LEAVE = Leave()
"""For what needs none."""


class Uploads:
    """Places for requests whose body is not here yet, taken in order."""

    def __init__(self, places: int, wait_s: float) -> None:
        """Let ``places`` in at once, and the next one wait for ``wait_s``."""
        self._places = places
        self._free = places
        self._wait_s = wait_s
        self._waiters: deque[asyncio.Future[Leave]] = deque()

    async def enter(self, body: RequestBody) -> Leave:
        """Leave to send ``body``, as soon as there is a place, or it says, by its ``when_arrived``, that it needs none.

        UpstreamError where neither happens in time.
        """
        if self._free:
            self._free -= 1
            return Leave(self)
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Leave] = loop.create_future()
        self._waiters.append(waiter)
        timer = loop.call_later(self._wait_s, self._give_up, waiter)
        when_arrived = getattr(body, "when_arrived", None)
        if when_arrived is not None:
            when_arrived(lambda: _let_in(waiter, NO_LEAVE))
        try:
            return await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled() and waiter.exception() is None:
                waiter.result().give_back()
            raise
        finally:
            timer.cancel()
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def leave(self) -> None:
        """A place is free: it passes straight to whoever has waited longest."""
        while self._waiters:
            if _let_in(self._waiters.popleft(), Leave(self)):
                return
        self._free += 1

    def _give_up(self, waiter: "asyncio.Future[Leave]") -> None:
        if not waiter.done():
            detail = f"{self._places} bodies are on their way, and no other was let in for {self._wait_s:g} s"
            waiter.set_exception(failure(Reason.POOL_EXHAUSTED, detail))


def _let_in(waiter: "asyncio.Future[Leave]", leave: Leave) -> bool:
    if waiter.done():
        return False
    waiter.set_result(leave)
    return True

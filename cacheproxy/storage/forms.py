"""Coded forms of the bodies in L1: each is made once, when a client first asks for it, and kept beside the body."""

import asyncio
from collections.abc import Sequence

from cacheproxy.semantics.rules import Coding
from cacheproxy.storage.compression import FOR_CLIENTS, LARGEST_BYTES, compress, installed
from cacheproxy.storage.memory import MemoryStore

AT_ONCE_BYTES = 16 << 10
"""Up to this, making a form takes less than handing it to a thread and waiting for that would cost in delay."""
MAX_THREADS = 2
MAX_MAKING = 16
"""How many forms may be under way; past this clients get the body as it is."""


class Forms:
    """Makes coded forms, large ones in threads. What L1 does not hold, or cannot, has none."""

    def __init__(self, l1: MemoryStore) -> None:
        """Keep them in ``l1``, counted in its bytes."""
        self._l1 = l1
        self._turns = asyncio.Semaphore(MAX_THREADS)
        self._making: dict[tuple[int, Coding], asyncio.Task[bytes]] = {}
        """By the body's identity, which lives as long as its task."""

    def offered(self, codings: Sequence[Coding]) -> Sequence[Coding]:
        """Those of ``codings`` in which forms can be made here."""
        return installed(codings)

    async def coded(self, key: str, body: bytes, coding: Coding) -> bytes | None:
        """``body``, which is stored under ``key``, in ``coding``; None where that is not to be had, or no smaller.

        Whoever stops waiting keeps nobody else from getting it.
        """
        forms = self._l1.forms(key, body)
        if forms is None or len(body) > LARGEST_BYTES:
            return None
        form = forms.get(coding)
        if form is None and len(body) <= AT_ONCE_BYTES:
            form = _made(body, coding)
            self._l1.keep_form(key, body, coding, form)
        elif form is None:
            form = await self._wait(key, body, coding)
        return None if form is body else form

    async def aclose(self) -> None:
        """Let what is under way come to its end: threads cannot be stopped."""
        if self._making:
            await asyncio.wait(self._making.values())

    async def _wait(self, key: str, body: bytes, coding: Coding) -> bytes | None:
        making = self._making.get((id(body), coding))
        if making is None:
            if len(self._making) >= MAX_MAKING:
                return None
            making = asyncio.create_task(self._make(key, body, coding))
            self._making[id(body), coding] = making
        await asyncio.wait((making,))
        return making.result()

    async def _make(self, key: str, body: bytes, coding: Coding) -> bytes:
        try:
            async with self._turns:
                form = await asyncio.to_thread(_made, body, coding)
        finally:
            del self._making[id(body), coding]
        self._l1.keep_form(key, body, coding, form)
        return form


def _made(body: bytes, coding: Coding) -> bytes:
    """The form; ``body`` itself where that is no larger."""
    coded = compress(body, coding, FOR_CLIENTS)
    # a copy: what zstandard gives keeps the memory of the longest that it could have been
    return bytes(memoryview(coded)) if len(coded) < len(body) else body

"""Purges among workers that share no Redis: each has a tag clock of its own, so each is told.

A worker opens a door, a unix socket that only this user may use. Through it comes one purge a line, as JSON, and is
answered with the worker's name once it is in force.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from cacheproxy.invalidation.contract import Purge, PurgeMode, Purger, Receipt, Watch
from cacheproxy.redis_link.contract import Budget
from cacheproxy.semantics.tag_clock import Stamp

log = structlog.get_logger()

MAX_LINE_BYTES = 16 << 20
TELL_S = 2.0
"""How long a sibling may take. One that hangs answers nobody meanwhile, and purges before it does."""


@dataclass(frozen=True, slots=True)
class Doors:
    """A worker's own door, and those of the others."""

    own: Path
    others: tuple[Path, ...]


class SharingPurger:
    """A contract.Purger that has every sibling purge, too, before it returns."""

    def __init__(self, own: Purger, siblings: Sequence[Path]) -> None:
        """Purge with ``own``, and through the doors ``siblings``."""
        self._own = own
        self._siblings = siblings

    async def begin(self, budget: Budget | None = None) -> Stamp:
        """A stamp of this worker's own clock."""
        return await self._own.begin(budget)

    async def purge(self, purge: Purge, *, wait_s: float | None = None) -> Receipt:
        """Purge here and there."""
        receipt = await self._own.purge(purge, wait_s=wait_s)
        told = await self._tell(purge)
        return replace(receipt, acknowledged=(*receipt.acknowledged, *told))

    def purge_now(self, purge: Purge) -> bool:  # noqa: ARG002 - whatever it names
        """Never: the siblings are to know of it."""
        return False

    async def purge_soon(self, purge: Purge, watch: Watch | None = None) -> Receipt | None:
        """Purge here and there."""
        receipt = await self._own.purge_soon(purge, watch)
        await self._tell(purge)
        return receipt

    async def _tell(self, purge: Purge) -> list[str]:
        told = await asyncio.gather(*(_told(sibling, purge) for sibling in self._siblings))
        return [name for name in told if name]


@asynccontextmanager
async def door(path: Path, purger: Purger, name: str) -> AsyncIterator[None]:
    """Let siblings purge through ``path``, until left."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        members = json.loads(await reader.readline())
        await purger.purge(Purge(tags=tuple(members["tags"]), mode=PurgeMode(members["mode"])))
        writer.write(name.encode() + b"\n")
        writer.close()

    # a predecessor's socket, if one is left, makes way: asyncio removes sockets at the path
    async with await asyncio.start_unix_server(answer, path, limit=MAX_LINE_BYTES):
        yield


async def _told(sibling: Path, purge: Purge) -> str | None:
    """The name of the worker behind the door; None where there is none, and so nothing that it could keep."""
    try:
        async with asyncio.timeout(TELL_S):
            reader, writer = await asyncio.open_unix_connection(sibling)
            writer.write(json.dumps({"tags": purge.tags, "mode": purge.mode}).encode() + b"\n")
            name = await reader.readline()
            writer.close()
    except (OSError, TimeoutError) as error:
        log.warning("purge_not_acknowledged", worker=sibling.stem, reason=type(error).__name__)
        return None
    return name.decode().strip() or None

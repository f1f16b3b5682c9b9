"""The tag clock in Redis: times, purges and the stream of records, each in one script."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cacheproxy.client.wire import PURGE, STREAM_LENGTH, Layout, Recorded, clock_args, lua, purge_args, with_clock
from cacheproxy.invalidation.contract import Purge, PurgeMode, Watch
from cacheproxy.redis_link.contract import Arg, Budget, Link, Script
from cacheproxy.redis_link.scripts import load_script, script
from cacheproxy.semantics.tag_clock import Stamp

_LUA = "cacheproxy.invalidation.lua"
FORGET_US = 60_000_000
"""A replica that has not been heard of for this long is no longer in the registry."""
_PAGE = 500
_BACKGROUND_S = 1.0


def _script(name: str, *before: str) -> Script:
    source = "".join(map(lua, before)) + load_script(_LUA, name).source
    return script(name, with_clock(source))


_BEGIN = _script("begin")
_BEAT = _script("beat", "tell")
_HEAR = _script("hear", "tell", "record")
_MARK = _script("mark", "tell", "record")
_SAY = script("say", lua("tell") + load_script(_LUA, "say").source)
_PURGE = script("purge", PURGE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """For how long a replica has listened to plain messages without a break, in tag-clock time."""

    from_us: int
    to_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapped:
    """A replica has mapped all events of ``epoch`` up to ``at_us``."""

    epoch: str
    at_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """A replica's sign of life."""

    replica: str
    number: int
    digest: str
    """Names its event rules."""
    span: Span | None = None
    mapped: Mapped | None = None
    patience_us: int = 0
    """How long a break in listening may be before it is reported: another replica may bridge it."""
    mend: bool = False
    """Whether the break has been dealt with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """What the clock says at a heartbeat."""

    epoch: str
    now_us: int
    base_us: int
    last_us: int
    """When the last record was made."""
    mapped_us: int | None
    """Up to when events are mapped under our rules; None if none ever was."""
    broken: bool
    """Whether there was a time at which no replica listened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Marked:
    """What a published event purges, from the time it was published on."""

    at_us: int
    purge: Purge


class TagClock:
    """The clock under ``prefix``. No entry may live longer than ``max_lifetime_s``, stale time included.

    ``time_us`` stands in for Redis TIME in tests. Every method raises StateError where Redis did not answer.
    """

    def __init__(self, link: Link, prefix: str, max_lifetime_s: float) -> None:
        """Use ``link``, whose server holds everything under ``prefix``."""
        self.layout = Layout(prefix)
        self.time_us: int | None = None
        self._link = link
        self._lifetime_us = int(max_lifetime_s * 1_000_000)

    async def begin(self, budget: Budget | None = None) -> Stamp:
        """A stamp for a fill, to be taken before the origin is contacted."""
        epoch, now = await self._run(_BEGIN, (), (), budget)
        return Stamp(epoch.decode(), int(now))

    async def purge(
        self, purge: Purge, *, waiter: str = "", watch: Watch | None = None, budget: Budget | None = None
    ) -> Recorded:
        """Record ``purge`` and tell the replicas; those who heard it acknowledge to ``waiter`` if there is one."""
        args = purge_args(
            self.layout,
            purge.tags,
            purge.mode,
            lifetime_us=self._lifetime_us,
            waiter=waiter,
            since_us=None if watch is None else watch.stamp.began_at_us,
            watched=() if watch is None else watch.tags,
            time_us=self.time_us,
        )
        keys = (self.layout.clock, self.layout.stream, self.layout.replicas)
        return Recorded.of(await self._link.run(_PURGE, keys, args, budget))

    async def hear(self, marker: str, position: int, purges: Sequence[Purge]) -> bool:
        """Record what plain messages up to ``position`` after ``marker`` purge; False if another replica did so."""
        hard = _tags(purges, PurgeMode.HARD)
        soft = _tags(purges, PurgeMode.SOFT, without=hard)
        args: tuple[Arg, ...] = (self.layout.bus, STREAM_LENGTH, self._lifetime_us, position, len(hard), *hard, *soft)
        keys = (self.layout.replicas, self.layout.heard(marker))
        return bool(await self._run(_HEAR, keys, args, background()))

    async def mark(self, epoch: str, marked: Sequence[Marked]) -> None:
        """Note what events that were published in ``epoch`` purge."""
        args: list[Arg] = [epoch, ""]
        for each in marked:
            args += [each.at_us, each.purge.mode, len(each.purge.tags), *each.purge.tags]
        await self._link.run(_MARK, (self.layout.clock, self.layout.stream), args, background())

    async def beat(self, sign: Sign) -> Beat:
        """Show a replica's ``sign`` of life to the others, and get what the clock says."""
        span: tuple[Arg, Arg] = ("", "") if sign.span is None else (sign.span.from_us, sign.span.to_us)
        mapped: tuple[Arg, Arg] = ("", "") if sign.mapped is None else (sign.mapped.epoch, sign.mapped.at_us)
        patience: tuple[Arg, Arg] = (sign.patience_us, "1" if sign.mend else "")
        who: tuple[Arg, ...] = (self.layout.bus, sign.replica, sign.number, FORGET_US, sign.digest)
        args = (*who, *span, *patience, *mapped)
        reply = await self._run(_BEAT, (self.layout.replicas,), args, background())
        epoch, now, base, last, mapped_us, broken = reply
        return Beat(
            epoch=epoch.decode(),
            now_us=int(now),
            base_us=int(base),
            last_us=int(last),
            mapped_us=int(mapped_us) if mapped_us else None,
            broken=bool(broken),
        )

    async def leave(self, replica: str) -> None:
        """Strike ``replica`` off the registry, and tell the others, so that no purge waits for it."""
        said = json.dumps({"kind": "leave", "replica": replica})
        await asyncio.gather(
            self._link.call("HDEL", self.layout.replicas, replica, budget=background()), self._say([said])
        )

    async def records(self, after_us: int, upto_us: int) -> list[bytes]:
        """At most a page of the records made after ``after_us``, up to ``upto_us``, the oldest first."""
        span = (f"({after_us}-0", f"{upto_us}-0")
        command = ("XRANGE", self.layout.stream, *span, "COUNT", _PAGE)
        entries = await self._link.call(*command, budget=background())
        return [fields[1] for _, fields in entries]

    async def acknowledge(self, waiters: Sequence[str], replica: str) -> None:
        """Tell ``waiters`` that ``replica`` has applied their purges."""
        if waiters:
            await self._say([json.dumps({"kind": "ack", "waiter": waiter, "replica": replica}) for waiter in waiters])

    async def _say(self, messages: Sequence[str]) -> None:
        await self._link.run(_SAY, (self.layout.clock,), (self.layout.bus, *messages), background())

    async def _run(self, which: Script, keys: Sequence[str], args: Sequence[Arg], budget: Budget | None = None) -> Any:
        slot = (self.layout.clock, self.layout.stream, *keys)
        return await self._link.run(which, slot, (*clock_args(self.time_us), *args), budget)


def background() -> Budget:
    """The budget of what no request waits for."""
    return Budget(asyncio.get_running_loop().time() + _BACKGROUND_S)


def _tags(purges: Sequence[Purge], mode: PurgeMode, without: Sequence[str] = ()) -> list[str]:
    named = dict.fromkeys(tag for purge in purges if purge.mode is mode for tag in purge.tags)
    return [tag for tag in named if tag not in frozenset(without)] if without else list(named)

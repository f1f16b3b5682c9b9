"""One fill per key among all replicas: leases in Redis, in memory, and none at all."""

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from cacheproxy.client.wire import Layout, lua, with_clock
from cacheproxy.errors import StateError
from cacheproxy.fills.contract import Held, Taken, Waited
from cacheproxy.fills.waiters import Waiters
from cacheproxy.redis_link.contract import Budget, Link
from cacheproxy.redis_link.errors import Lost
from cacheproxy.redis_link.scripts import load_script, script
from cacheproxy.semantics.tag_clock import Stamp

_LUA = "cacheproxy.fills.lua"
_ACQUIRE = script("acquire", with_clock(load_script(_LUA, "acquire").source))
_RENEW = load_script(_LUA, "renew")
_RELEASE = script("release", lua("tell") + load_script(_LUA, "release").source)
_FORGO_S = 1.0
_AGAIN_S = 0.1
_MOST_OWED = 1024
_NEVER_SENT = {Lost.OPEN, Lost.REFUSED}
_RENEWALS = 3
"""In each age, so that one may fail and another be late."""

Begin = Callable[[Budget | None], Awaitable[Stamp]]
"""Where stamps come from: ``Purger.begin``."""


def _no_stamp() -> None:
    """None can be had without waiting."""


class RedisLeases:
    """A contract.Leases in Redis. A holder that dies keeps its lease for ``age_s``, and one that lives ``longest_s``.

    Owns one task while leases are held, and one while Redis may have some that are ours and have ended. ``time_us``
    stands in for Redis TIME in tests.
    """

    def __init__(
        self,
        link: Link,
        prefix: str,
        age_s: float,
        longest_s: float = 0.0,
        *,
        beside_entries: bool = False,
        alone: Callable[[], Stamp | None] = _no_stamp,
    ) -> None:
        """``hear`` must be given the bus's messages of kind ``wake``.

        ``beside_entries``: what is filled is on the one server that ``link`` leads to, under the keys of the leases.
        ``alone`` gives a stamp for a fill while there is no other replica to hold off, else None.
        """
        self.time_us: int | None = None
        self._link = link
        self._beside_entries = beside_entries
        self._alone = alone
        layout = Layout(prefix)
        self._lease, self._awaited = layout.lease, layout.awaited
        self._clock, self._bus = (layout.clock, layout.stream), layout.bus
        self._age_s = age_s
        self._longest_s = longest_s
        self._waiters = Waiters()
        self._renewed_until: dict[str, tuple[Held, float]] = {}
        """By token."""
        self._renewing: asyncio.Task[None] | None = None
        self._owed: dict[str, tuple[str, Waited]] = {}
        """By token: key and outcome of what Redis has not heard of yet."""
        self._settling: asyncio.Task[None] | None = None
        self._closed = False

    async def acquire(self, key: str, budget: Budget | None = None) -> Held | Taken:
        """The lease on ``key`` with a tag-clock stamp taken in the same step, or who has it. StateError."""
        held = self.acquire_now(key)
        if held is not None:
            return held
        token = secrets.token_hex(16)
        entry = (key,) if self._beside_entries else ()
        keys = (*self._clock, self._lease(key), self._awaited(key), *entry)
        time_us = "" if self.time_us is None else self.time_us
        try:
            # the token is random: a clock that must be made may have it for its epoch
            ours, *rest = await self._link.run(_ACQUIRE, keys, (token, time_us, token, self._age_ms), budget)
        except BaseException as error:
            if not (isinstance(error, StateError) and error.reason in _NEVER_SENT):
                self._owe(key, token, Waited.LOST)  # Redis may give it, now or late, and nobody should wait for us then
            raise
        if not ours:
            holder, left_ms = rest
            # another program's value may be any bytes: it is waited for until it runs out
            return Taken(key, holder.decode("latin-1"), expires_in_s=max(0, left_ms) / 1000)
        epoch, at_us, vacant = rest
        held = Held(key, token, Stamp(epoch.decode(), int(at_us)), vacant=bool(vacant))
        self._keep(held)
        return held

    def acquire_now(self, key: str) -> Held | None:
        """Held while there is no other replica to hold off; else None."""
        stamp = self._alone()
        return None if stamp is None else Held(key, "", stamp, vacant=True)

    async def wait(self, taken: Taken, patience_s: float) -> Waited:
        """Wait, holding no connection, until ``taken`` ends; at most ``patience_s``. Never raises StateError.

        If no word comes, the lease's own end is one: then whoever waits competes again.
        """
        return await self._waiters.wait(taken, patience_s)

    async def release(self, held: Held, outcome: Waited) -> None:
        """Give the lease back and wake those who wait with ``outcome``, behind what was written before.

        Nobody waits for that to be done. While Redis is away it is owed.
        """
        self._renewed_until.pop(held.token, None)
        lost = partial(self._owe, held.key, held.token, outcome)
        self._link.post(_RELEASE, *self._release_of(held.key, held.token, outcome), lost)

    def hear(self, members: Mapping[str, object]) -> None:
        """A message of kind ``wake`` came on the bus."""
        with contextlib.suppress(ValueError):
            self._waiters.wake(str(members.get("token")), Waited(members.get("outcome")))

    def deaf(self) -> None:
        """The bus broke, or is back after that, and a word may have been missed: whoever waits competes again."""
        self._waiters.wake_all()

    async def aclose(self) -> None:
        """Renew nothing any more."""
        self._closed = True
        ending = [task for task in (self._renewing, self._settling) if task is not None]
        if self._settling is not None:
            await asyncio.wait([self._settling], timeout=_FORGO_S)
        for task in ending:
            task.cancel()
        if ending:
            await asyncio.wait(ending)

    @property
    def _age_ms(self) -> int:
        return int(self._age_s * 1000)

    def _owe(self, key: str, token: str, outcome: Waited) -> None:
        if self._closed:
            return
        self._owed[token] = key, outcome
        if len(self._owed) > _MOST_OWED:
            del self._owed[next(iter(self._owed))]
        if self._settling is None:
            self._settling = asyncio.get_running_loop().create_task(self._settle(), name="leases owed")

    async def _settle(self) -> None:
        """A Redis that hung does what it was asked before when it goes on: it is told until it has heard."""
        try:
            while self._owed:
                token, (key, outcome) = next(iter(self._owed.items()))
                if self._link.up and await self._heard(key, token, outcome):
                    self._owed.pop(token, None)
                else:
                    await asyncio.sleep(_AGAIN_S)
        finally:
            self._settling = None

    async def _heard(self, key: str, token: str, outcome: Waited) -> bool:
        budget = Budget(asyncio.get_running_loop().time() + _FORGO_S)
        try:
            await self._link.run(_RELEASE, *self._release_of(key, token, outcome), budget)
        except StateError as error:
            return error.reason == Lost.ERROR
        return True

    def _release_of(self, key: str, token: str, outcome: Waited) -> tuple[Sequence[str], Sequence[str]]:
        """The script's keys and arguments."""
        return (self._lease(key), self._awaited(key)), (token, self._bus, outcome.value)

    def _keep(self, held: Held) -> None:
        if self._longest_s > self._age_s:
            self._renewed_until[held.token] = held, asyncio.get_running_loop().time() + self._longest_s
            if self._renewing is None:
                self._renewing = asyncio.get_running_loop().create_task(self._renew(), name="leases")

    async def _renew(self) -> None:
        try:
            while self._renewed_until:
                await asyncio.sleep(self._age_s / _RENEWALS)
                now = asyncio.get_running_loop().time()
                self._renewed_until = {token: kept for token, kept in self._renewed_until.items() if now < kept[1]}
                await asyncio.gather(*[self._renew_one(held) for held, _ in self._renewed_until.values()])
        finally:
            self._renewing = None

    async def _renew_one(self, held: Held) -> None:
        with contextlib.suppress(StateError):
            budget = Budget(asyncio.get_running_loop().time() + self._age_s / _RENEWALS)
            await self._link.run(_RENEW, (self._lease(held.key),), (held.token, self._age_ms), budget)


class MemoryLeases:
    """A contract.Leases for several engines in one process: what ``RedisLeases`` is to several replicas."""

    def __init__(self, begin: Begin, age_s: float) -> None:
        """Stamps come from ``begin``."""
        self._begin = begin
        self._age_s = age_s
        self._leases: dict[str, tuple[str, float]] = {}
        self._waiters = Waiters()

    async def acquire(self, key: str, budget: Budget | None = None) -> Held | Taken:
        """The lease on ``key`` with a stamp, or who has it. StateError if ``begin`` raises it."""
        now = asyncio.get_running_loop().time()
        token, expires_at = self._leases.get(key, ("", now))
        if expires_at > now:
            return Taken(key, token, expires_in_s=expires_at - now)
        token = secrets.token_hex(16)
        self._leases[key] = (token, now + self._age_s)
        try:
            return Held(key, token, await self._begin(budget))
        except BaseException:
            del self._leases[key]
            raise

    def acquire_now(self, key: str) -> None:  # noqa: ARG002 - as it would be among replicas
        """Never without waiting."""
        return

    async def wait(self, taken: Taken, patience_s: float) -> Waited:
        """Wait until ``taken`` ends; at most ``patience_s``."""
        return await self._waiters.wait(taken, patience_s)

    async def release(self, held: Held, outcome: Waited) -> None:
        """Give the lease back and wake those who wait with ``outcome``."""
        if self._leases.get(held.key, ("", 0.0))[0] == held.token:
            del self._leases[held.key]
        self._waiters.wake(held.token, outcome)


class NoLeases:
    """A contract.Leases that gives every lease: for a replica that is alone, whose flights suffice."""

    def __init__(self, begin: Begin, stamp: Callable[[], Stamp | None] = _no_stamp) -> None:
        """Stamps come from ``begin``, and without waiting from ``stamp``."""
        self._begin = begin
        self._stamp = stamp

    async def acquire(self, key: str, budget: Budget | None = None) -> Held:
        """Always held. StateError if ``begin`` raises it."""
        return Held(key, "", await self._begin(budget), vacant=True)

    def acquire_now(self, key: str) -> Held | None:
        """Held, if there is a stamp."""
        stamp = self._stamp()
        return None if stamp is None else Held(key, "", stamp, vacant=True)

    async def wait(self, taken: Taken, patience_s: float) -> Waited:  # noqa: ARG002 - there is nobody to wait for
        """LOST at once: nobody holds anything."""
        return Waited.LOST

    async def release(self, held: Held, outcome: Waited) -> None:
        """Nothing."""

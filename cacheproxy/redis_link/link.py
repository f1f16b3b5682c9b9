"""Redis in one role: batching, one time budget a call, and a breaker.

Callers share a few connections and never hold one, so there is no pool to leak: a call leaves its command in the
outbox, the outbox is sent at the end of the event loop's turn, and replies come back in order. Who has waited long
enough leaves; the reply, should it come, is dropped.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from hiredis import ReplyError

from cacheproxy.errors import StateError
from cacheproxy.redis_link.breaker import Breaker
from cacheproxy.redis_link.contract import Arg, Budget, Command, OnLost, Script, nobody_minds
from cacheproxy.redis_link.dial import Dial, ask
from cacheproxy.redis_link.errors import UNUSABLE, Lost, state_error
from cacheproxy.redis_link.outage import OnChange, Outage
from cacheproxy.redis_link.wire import Due, Wire, pack

CROWDED = 256
"""Replies due on the least busy connection above which another is opened, so that a large value delays fewer."""

GRACE_S = 0.001
"""One more turn of the event loop before giving up, or as long as the last one took: after a stall of our own, replies
may be here already, unread, and the server may have had no time to give them."""

LEAST_S = 0.005
"""What a call may wait though its budget is spent: in a burst it is our own event loop that spends it, not Redis. A
server that does not answer then opens the breaker, so a request cannot go on waiting by such moments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """How Redis is asked."""

    limit_s: float = 0.05
    """How long a call may wait that has no budget of its own."""
    connect_s: float = 1.0
    """How long a connection may take to make; callers do not wait for it longer than their budget."""
    connections: int = 4
    """How many there may be to one server."""


def _is_unknown(reply: object) -> bool:
    """Whether the server does not know the script that it was to run."""
    return type(reply) is ReplyError and str(reply).startswith("NOSCRIPT")


class RedisLink:
    """A contract.Link to one server (or to the master that Sentinel names), for any number of concurrent callers.

    Not for blocking commands (BLPOP, XREAD BLOCK): they would hold up everyone on their connection.
    """

    def __init__(
        self,
        dial: Dial,
        tuning: Tuning,
        *,
        role: str = "redis",
        breaker: Breaker | None = None,
        on_change: OnChange | None = None,
    ) -> None:
        """Connect by ``dial`` when first asked."""
        self.role = role
        self.dial = dial
        self._limit_s = tuning.limit_s
        self._connections = tuning.connections
        self._outage = Outage(role, self._shows_life, breaker or Breaker(), on_change)
        self._wires: list[Wire] = []
        self._outbox: list[tuple[bytes, Due]] = []
        self._sending = False
        self._dialling: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at = float("inf")
        self._closed = False
        self._posted: set[str] = set()
        """Scripts that were posted, by SHA."""

    @property
    def up(self) -> bool:
        """Whether the breaker is closed: the last calls were answered."""
        return self._outage.over

    @cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        """The event loop it is used in. To ask which one runs is a system call (until Python 3.12)."""
        return asyncio.get_running_loop()

    async def call(self, *command: Arg, budget: Budget | None = None) -> Any:
        """The reply to one command."""
        reply = await self._due(pack(command), None, budget)
        self._outage.answered()
        if type(reply) is ReplyError:
            raise self._error(reply)
        return reply

    async def batch(self, commands: Sequence[Command], budget: Budget | None = None) -> list[Any]:
        """The replies to ``commands``, sent together and in this order. StateError if any of them failed."""
        if not commands:
            return []
        replies: list[Any] = await self._due(b"".join(map(pack, commands)), len(commands), budget)
        self._outage.answered()
        for reply in replies:
            if type(reply) is ReplyError:
                raise self._error(reply)
        return replies

    async def run(
        self, script: Script, keys: Sequence[str], args: Sequence[Arg] = (), budget: Budget | None = None
    ) -> Any:
        """The reply of ``script``; where the server does not know it (restart, failover), its source is sent once."""
        operands = (len(keys), *keys, *args)
        reply = await self._due(pack(("EVALSHA", script.sha, *operands)), None, budget)
        if _is_unknown(reply):
            reply = await self._due(pack(("EVAL", script.source, *operands)), None, budget)
        self._outage.answered()
        if type(reply) is ReplyError:
            raise self._error(reply)
        return reply

    def post(self, script: Script, keys: Sequence[str], args: Sequence[Arg] = (), lost: OnLost = nobody_minds) -> None:
        """Send ``script`` behind what was asked so far; ``lost`` is called where it has not answered."""
        operands = (len(keys), *keys, *args)
        if script.sha not in self._posted:
            # its source at first, for one that is unknown would run late, behind what was asked after it
            self._posted.add(script.sha)
            self._post(("EVAL", script.source, *operands), lost)
        elif (sent := self._post(("EVALSHA", script.sha, *operands), lost)) is not None:
            sent.add_done_callback(partial(self._post_again, script, operands, lost))

    def _post(self, command: Command, lost: OnLost) -> "asyncio.Future[Any] | None":
        if not self._outage.over or self._closed:
            lost()
            return None
        sent = self._due(pack(command), None, None)
        sent.add_done_callback(partial(_came, lost))
        return sent

    def _post_again(self, script: Script, operands: tuple[Arg, ...], lost: OnLost, sent: "asyncio.Future[Any]") -> None:
        if sent.exception() is None and _is_unknown(sent.result()):
            self._post(("EVAL", script.source, *operands), lost)

    async def masters(self, budget: Budget | None = None) -> "list[RedisLink]":  # noqa: ARG002 - ClusterLink's
        """The servers that between them hold every key: this one."""
        return [self]

    async def dial_near(self, _key: str) -> Wire:
        """A connection of its own to the server, which has every key: for a subscription. StateError."""
        return await self.dial()

    async def ping(self, timeout_s: float) -> None:
        """Connect and ask for a sign of life, waiting longer than a request would. StateError if there is none."""
        now = asyncio.get_running_loop().time()
        await self.call("PING", budget=Budget(now + timeout_s))

    async def aclose(self) -> None:
        """Close every connection; whoever waits gets a StateError."""
        self._closed = True
        await self._outage.aclose()
        if self._timer is not None:
            self._timer.cancel()
        closed = StateError(Lost.LOST, "link closed")
        self._fail_unsent(closed)
        for wire in list(self._wires):
            wire.drop(closed)
        if self._dialling is not None:
            self._dialling.cancel()
            await asyncio.wait([self._dialling])

    def _due(self, payload: bytes, count: int | None, budget: Budget | None) -> "asyncio.Future[Any]":
        """The reply to ``payload``, which leaves at the end of this turn; or the list of ``count``."""
        if not self._outage.over or self._closed:
            raise StateError(Lost.OPEN, f"{self.role} is down")
        loop = self._loop
        now = loop.time()
        deadline = now + self._limit_s if budget is None else max(budget.deadline, now + LEAST_S)
        due = Due(loop.create_future(), now, deadline, count)
        self._outbox.append((payload, due))
        if not self._sending:
            self._sending = True
            loop.call_soon(self._send)
        if deadline < self._wakes_at:
            self._wake_at(deadline)
        return due.future

    def _send(self) -> None:
        self._sending = False
        wire = self._least_busy()
        if wire is None:
            self._open_another()
            return
        waiting = [(payload, due) for payload, due in self._outbox if not due.future.done()]
        self._outbox.clear()
        if waiting:
            wire.send(b"".join([payload for payload, _ in waiting]), [due for _, due in waiting])

    def _least_busy(self) -> Wire | None:
        wire = min(self._wires, key=lambda each: len(each.due), default=None)
        if wire is not None and len(wire.due) > CROWDED and len(self._wires) < self._connections:
            self._open_another()
        return wire

    def _open_another(self) -> None:
        if self._dialling is None and not self._closed:
            self._dialling = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        try:
            self._adopt(await self.dial())
        except StateError as error:
            if not self._wires:
                self._fail_unsent(error)
                self._outage.certain(error)
        finally:
            self._dialling = None
        if self._outbox:
            self._send()

    def _adopt(self, wire: Wire) -> None:
        if wire.lost_by is not None:
            raise wire.lost_by  # it went between its greeting and now, and nobody would part with it
        wire.on_lost = self._part_with
        self._wires.append(wire)

    def _part_with(self, wire: Wire) -> None:
        self._wires.remove(wire)
        error = wire.lost_by
        if error is not None and error.reason == Lost.LOST and wire.due and not self._closed:
            self._outage.failed(error)

    def _fail_unsent(self, error: StateError) -> None:
        for _, due in self._outbox:
            due.fail(error)
        self._outbox.clear()

    def _wake_at(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._wakes_at = when
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(when, self._after_grace, loop, when)

    def _after_grace(self, loop: asyncio.AbstractEventLoop, due_at: float) -> None:
        self._timer = loop.call_later(max(GRACE_S, loop.time() - due_at), self._expire, loop)

    def _expire(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        error = StateError(Lost.TIMEOUT, f"{self.role} did not answer in time")
        expired = [due for due in self._waiting() if due.deadline <= now and not due.future.done()]
        for due in expired:
            due.fail(error)
        for wire in list(self._wires):
            if wire.silent_s(now) >= (self._limit_s / 2 if self._waited_in_full(wire, expired) else self._limit_s):
                wire.drop(error)
        if expired:
            self._outage.failed(error)
        self._timer, self._wakes_at = None, float("inf")
        following = min((due.deadline for due in self._waiting() if not due.future.done()), default=None)
        if following is not None:
            self._wake_at(following)

    def _waited_in_full(self, wire: Wire, expired: list[Due]) -> bool:
        """Whether a call was given all the time there is on ``wire``, though part of it went into connecting."""
        return any(due in wire.due and due.deadline - due.sent_at > 0.9 * self._limit_s for due in expired)

    def _waiting(self) -> Iterator[Due]:
        for _, due in self._outbox:
            yield due
        for wire in self._wires:
            yield from wire.due

    def _error(self, reply: ReplyError) -> StateError:
        error = state_error(reply)
        if error.reason in UNUSABLE.values():
            for wire in list(self._wires):
                wire.drop(error)
            self._outage.certain(error)
        return error

    async def _shows_life(self) -> bool:
        try:
            wire = await self.dial()
            async with asyncio.timeout(self._limit_s):
                await ask(wire, [("PING",)])
        except (StateError, TimeoutError):
            return False
        self._adopt(wire)
        return True


def _came(lost: OnLost, sent: "asyncio.Future[Any]") -> None:
    if sent.exception() is not None or (type(reply := sent.result()) is ReplyError and not _is_unknown(reply)):
        lost()

"""Redis Cluster: a link to each master, and every command to the one that has its key.

Redirections are followed within the caller's budget. A node that fails makes the map of slots be read anew, from the
others; until one of them has taken over, its keys are a StateError and those of the others are not.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from cacheproxy.errors import StateError
from cacheproxy.redis_link.contract import Arg, Budget, Command, OnLost, Script, nobody_minds
from cacheproxy.redis_link.dial import ask, dial
from cacheproxy.redis_link.endpoint import Address, Endpoint
from cacheproxy.redis_link.errors import Lost
from cacheproxy.redis_link.link import RedisLink, Tuning
from cacheproxy.redis_link.outage import OnChange
from cacheproxy.redis_link.slots import Redirect, SlotMap, slot_of
from cacheproxy.redis_link.wire import Wire

MAX_REDIRECTS = 3
READ_AGAIN_S = 0.25
"""No sooner than this after one reading of the map does a failing node cause another."""


_Ask = Callable[[RedisLink, Budget, bool], Awaitable[Any]]
"""Asks one node; the flag says that it was named by an ASK redirection, and must be told so (ASKING)."""


async def _call(command: Command, link: RedisLink, budget: Budget, asking: bool) -> Any:  # noqa: FBT001 - an _Ask
    if not asking:
        return await link.call(*command, budget=budget)
    return (await link.batch([("ASKING",), command], budget))[1]


async def _run(
    script: Script,
    keys: Sequence[str],
    args: Sequence[Arg],
    link: RedisLink,
    budget: Budget,
    asking: bool,  # noqa: FBT001 - an _Ask
) -> Any:
    if not asking:
        return await link.run(script, keys, args, budget)
    return (await link.batch([("ASKING",), ("EVAL", script.source, len(keys), *keys, *args)], budget))[1]


class ClusterLink:
    """A contract.Link to a cluster. The keys of one script, or of one command, must share a slot."""

    def __init__(
        self,
        endpoint: Endpoint,
        tuning: Tuning,
        *,
        role: str = "redis",
        on_change: OnChange | None = None,
    ) -> None:
        """Learn the masters from any of the endpoint's addresses when first asked."""
        self.role = role
        self._endpoint = endpoint
        self._tuning = tuning
        self._on_change = on_change
        self._up = True
        self._map = SlotMap()
        self._links: dict[Address, RedisLink] = {}
        self._closed = False
        self._reading: asyncio.Task[None] | None = None
        self._read_at = float("-inf")
        self._retired: set[asyncio.Task[None]] = set()
        self._posted: set[asyncio.Task[Any]] = set()
        self._near: dict[Wire, tuple[int | None, Address]] = {}
        """Subscriptions, each with the slot it is there for and the master that had it."""

    @property
    def up(self) -> bool:
        """Whether every master answers."""
        return self._up

    async def call(self, *command: Arg, budget: Budget | None = None) -> Any:
        """The reply to one command."""
        return await self._send(slot_of(command), partial(_call, command), self._within(budget))

    async def batch(self, commands: Sequence[Command], budget: Budget | None = None) -> list[Any]:
        """The replies to ``commands``, in this order; those of one node travel together."""
        budget = self._within(budget)
        return list(await asyncio.gather(*(self.call(*command, budget=budget) for command in commands)))

    async def run(
        self, script: Script, keys: Sequence[str], args: Sequence[Arg] = (), budget: Budget | None = None
    ) -> Any:
        """The reply of ``script``, run where its first key is."""
        slot = slot_of(("EVALSHA", script.sha, len(keys), *keys))
        return await self._send(slot, partial(_run, script, keys, args), self._within(budget))

    def post(self, script: Script, keys: Sequence[str], args: Sequence[Arg] = (), lost: OnLost = nobody_minds) -> None:
        """Send ``script`` to where its first key is; ``lost`` is called where it has not answered."""
        posted = asyncio.get_running_loop().create_task(self.run(script, keys, args))
        self._posted.add(posted)
        posted.add_done_callback(partial(self._sent, lost))

    def _sent(self, lost: OnLost, posted: "asyncio.Task[Any]") -> None:
        self._posted.discard(posted)
        if not posted.cancelled() and posted.exception() is not None:
            lost()

    async def masters(self, budget: Budget | None = None) -> list[RedisLink]:
        """The servers that between them hold every key, for commands that are about no key (SCAN). StateError."""
        await self._known(self._within(budget))
        return [self._link(each) for each in self._map.masters]

    async def ping(self, timeout_s: float) -> None:
        """Learn the masters and ask each for a sign of life. StateError if one gives none."""
        budget = Budget(asyncio.get_running_loop().time() + timeout_s)
        await self._known(budget)
        await asyncio.gather(*(self._links[each].call("PING", budget=budget) for each in self._map.masters))

    async def dial_near(self, key: str) -> Wire:
        """A connection of its own to the master that has ``key`` now, for a subscription. StateError.

        It is dropped when another master has that slot: what is said there would come late to this one, or not at all.
        """
        reading = self._read_map()
        if reading is not None:
            await asyncio.wait([reading], timeout=self._tuning.connect_s)
        slot = slot_of(("GET", key))
        address = self._owner(slot)
        wire = await dial(self._endpoint.at(address), self._tuning.connect_s)
        self._near[wire] = (slot, address)
        return wire

    async def aclose(self) -> None:
        """Close every connection, and make none any more."""
        self._closed = True
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])
        await asyncio.gather(*self._retired, *(link.aclose() for link in self._links.values()))
        await asyncio.gather(*self._posted, return_exceptions=True)

    def _within(self, budget: Budget | None) -> Budget:
        return budget or Budget(asyncio.get_running_loop().time() + self._tuning.limit_s)

    async def _send(self, slot: int | None, ask_node: _Ask, budget: Budget) -> Any:
        await self._known(budget)
        address, asking = self._owner(slot), False
        for _ in range(MAX_REDIRECTS):
            try:
                return await ask_node(self._link(address), budget, asking)
            except StateError as error:
                redirect = Redirect.of(error.detail, address)
                if redirect is None:
                    self._suspect(error)
                    raise
            address, asking = redirect.address, not redirect.for_good
            if redirect.for_good:
                self._read_map()
        raise StateError(Lost.ERROR, f"{self.role}: sent from node to node")

    def _owner(self, slot: int | None) -> Address:
        owner = self._any_master() if slot is None else self._map.owner(slot)
        if owner is None:
            self._read_map()
            raise StateError(Lost.ERROR, f"{self.role}: no node has slot {slot}")
        return owner

    def _any_master(self) -> Address:
        masters = self._map.masters
        return next((each for each in masters if self._link(each).up), masters[0])

    def _link(self, address: Address) -> RedisLink:
        if address not in self._links:
            self._links[address] = RedisLink(
                partial(dial, self._endpoint.at(address), self._tuning.connect_s),
                self._tuning,
                role=f"{self.role}@{address[0]}:{address[1]}",
                on_change=self._node_changed,
            )
        return self._links[address]

    def _nodes(self) -> list[Address]:
        return list(dict.fromkeys([*self._map.masters, *self._endpoint.addresses]))

    async def _known(self, budget: Budget) -> None:
        """Wait until the masters are known at all. StateError if that takes longer than the budget."""
        if self._map.ranges:
            return
        reading = self._read_map()
        left_s = budget.deadline - asyncio.get_running_loop().time()
        if reading is not None:
            await asyncio.wait([reading], timeout=max(left_s, 0))
        if not self._map.ranges:
            raise StateError(Lost.REFUSED, f"{self.role}: no node of the cluster has told its slots yet")

    def _suspect(self, error: StateError) -> None:
        if error.reason != Lost.ERROR:
            self._read_map()

    def _read_map(self) -> "asyncio.Task[None] | None":
        loop = asyncio.get_running_loop()
        if not self._closed and self._reading is None and loop.time() >= self._read_at + READ_AGAIN_S:
            self._reading = loop.create_task(self._read_from_any())
        return self._reading

    async def _read_from_any(self) -> None:
        try:
            for address in self._nodes():
                if await self._read_from(address):
                    return
        finally:
            self._read_at = asyncio.get_running_loop().time()
            self._reading = None

    async def _read_from(self, address: Address) -> bool:
        try:
            wire = await dial(self._endpoint.at(address), self._tuning.connect_s)
        except StateError:
            return False
        try:
            async with asyncio.timeout(self._tuning.connect_s):
                (reply,) = await ask(wire, [("CLUSTER", "SLOTS")])
            self._take(SlotMap.of(reply, address))
        except (StateError, TimeoutError):
            return False
        finally:
            wire.drop(StateError(Lost.LOST, "done"))
        return bool(self._map.ranges)

    def _take(self, slots: SlotMap) -> None:
        self._map = slots
        self._follow_slots()
        for address in slots.masters:
            self._link(address)
        for address in self._links.keys() - set(slots.masters):
            retired = asyncio.get_running_loop().create_task(self._links.pop(address).aclose())
            self._retired.add(retired)
            retired.add_done_callback(self._retired.discard)
        self._node_changed(True, "")  # noqa: FBT003 - a callback's arguments have no names

    def _follow_slots(self) -> None:
        self._near = {wire: place for wire, place in self._near.items() if not wire.closed}
        for wire, (slot, address) in self._near.items():
            if slot is not None and self._map.owner(slot) not in {None, address}:
                wire.drop(StateError(Lost.LOST, f"{self.role}: slot {slot} has moved to another node"))

    def _node_changed(self, _up: bool, reason: str) -> None:  # noqa: FBT001 - a callback's arguments have no names
        up = all(link.up for link in self._links.values())
        if up != self._up:
            self._up = up
            if self._on_change is not None:
                self._on_change(up, reason)

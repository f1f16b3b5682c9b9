"""Keeps what this replica holds in process true, by listening to purges, events and heartbeats.

Three facts carry it. Redis delivers to one subscriber in the order in which it executes, so whoever hears its own
heartbeat has heard every record made before it was sent. Each record names the one before it, so a missing one is
seen. And the stream keeps them, so a replica that was away catches up before it answers from memory again.
"""

import asyncio
import contextlib
import random

import structlog

from cacheproxy.errors import StateError
from cacheproxy.invalidation.follower import Follower
from cacheproxy.invalidation.observer import Drops
from cacheproxy.invalidation.session import BusParts, Session
from cacheproxy.policy.route import EventRules

log = structlog.get_logger(__name__)

FIRST_WAIT_S = 0.05
LONGEST_WAIT_S = 2.0


class Bus:
    """Owns the connections, one after the other, and the task that listens on them."""

    def __init__(self, parts: BusParts, rules: EventRules | None = None) -> None:
        """Nothing is asked of Redis before ``start``."""
        self._parts = parts
        self._rules = rules or EventRules()
        self._follower = Follower(parts.mirrors, parts.receipts.lease_s, parts.time, parts.observer)
        self._drops = Drops(parts.observer, parts.time)
        self._task: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        """Whether mirrors are trusted now."""
        return self._follower.trusted

    def start(self) -> None:
        """Listen until closed."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="bus")

    async def follow(self, rules: EventRules) -> None:
        """Listen by new event ``rules`` from now on. Memory rests until the new connection has caught up."""
        await self._stop()
        self._rules = rules
        self.start()

    async def aclose(self) -> None:
        """Stop listening, and say so: nobody need wait for us. Memory answers nothing from now on."""
        await self._stop()
        with contextlib.suppress(StateError):
            await self._parts.clock.leave(self._parts.receipts.replica)

    async def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    async def _run(self) -> None:
        wait_s = FIRST_WAIT_S
        while True:
            try:
                await Session(self._parts, self._rules, self._follower, self._drops).run()
            except StateError as error:
                wait_s = FIRST_WAIT_S if self._follower.trusted else min(wait_s * 2, LONGEST_WAIT_S)
                self._follower.lost(error)
            except Exception:
                # a bug of ours, which must be seen, and must not keep memory off for good, nor half up to date
                wait_s = LONGEST_WAIT_S
                self._follower.position = None
                log.exception("bus_failed")
            finally:
                self._follower.distrust()
                self._parts.on_break()
            await asyncio.sleep(random.uniform(wait_s / 2, wait_s))  # noqa: S311 - spreads replicas, hides nothing

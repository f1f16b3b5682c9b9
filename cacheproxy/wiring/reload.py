"""Another policy without a restart: on SIGHUP, on ``POST /api/v1/reload``, and when the file changes.

The new policy is read and checked whole before anything changes, and then put in force in one step of the event loop.
A request keeps the policy that it began with. A policy that is refused changes nothing: the last good one stays.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import structlog

from cacheproxy.admin.feed import Feed
from cacheproxy.admin.metrics import Metrics
from cacheproxy.engine.active import Active
from cacheproxy.engine.engine import Engine
from cacheproxy.engine.recorder import Event
from cacheproxy.errors import CacheproxyError, Fault, PolicyError
from cacheproxy.fills.governor import Governor
from cacheproxy.invalidation.bus import Bus
from cacheproxy.policy.load import load_policy
from cacheproxy.policy.route import Policy
from cacheproxy.policy.router import Router
from cacheproxy.server.adapter import Adapter
from cacheproxy.server.express import ExpressLane
from cacheproxy.server.pass_lane import PassLane
from cacheproxy.settings import Settings
from cacheproxy.storage.envelope import Envelope
from cacheproxy.storage.memory import MemoryStore
from cacheproxy.wiring.origin import ReplaceableOrigin
from cacheproxy.wiring.policy_file import policy_text
from cacheproxy.wiring.watch import contents

log = structlog.get_logger()


class Reloader:
    """Replaces the policy in force."""

    def __init__(
        self,
        *,
        settings: Settings,
        engine: Engine,
        adapter: Adapter,
        lane: ExpressLane,
        pass_lane: PassLane,
        origin: ReplaceableOrigin,
        bus: Bus | None,
        governor: Governor,
        envelope: Envelope,
        l1: MemoryStore,
        metrics: Metrics,
        feed: Feed,
    ) -> None:
        """Everything it works with comes from ``wiring``; ``bus`` is None without Redis."""
        self._settings = settings
        self._engine = engine
        self._adapter = adapter
        self._lane = lane
        self._pass_lane = pass_lane
        self._origin = origin
        self._bus = bus
        self._governor = governor
        self._envelope = envelope
        self._l1 = l1
        self._metrics = metrics
        self._feed = feed
        self._turn = asyncio.Lock()
        self._asked: set[asyncio.Task[None]] = set()

    async def reload(self) -> Mapping[str, object]:
        """Read the file again and put it in force: its digest, and whether that is another one. PolicyError."""
        async with self._turn:
            before = self._engine.active.policy
            try:
                policy, router = self._read()
                _check(str(self._settings.config), before, policy)
                await self._origin.follow(policy.upstream)
            except PolicyError as error:
                self._told("error", error)
                raise
            changed = policy.digest != before.digest
            if changed:
                self._put_in_force(policy, router)
                if self._bus is not None and policy.events != before.events:
                    await self._bus.follow(policy.events)
                self._told("ok")
            return {"digest": policy.digest, "changed": changed, "routes": len(policy.routes)}

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Reload on SIGHUP and when the file's content changes, until left."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self._soon)
        watch = loop.create_task(self._watch(), name="policy file")
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGHUP)
            watch.cancel()
            await asyncio.wait([watch, *self._asked])

    def _read(self) -> tuple[Policy, Router]:
        text = policy_text(self._settings.config)
        return load_policy(text, str(self._settings.config), os.environ, upstream_url=self._settings.upstream)

    def _put_in_force(self, policy: Policy, router: Router) -> None:
        """In one step: no request sees half of it, and nothing is answered any more by what the old one knew.

        Memory has the tags of the policy that something was stored under; whoever reads L2 adds those of today's.
        """
        if _tagging(policy) != _tagging(self._engine.active.policy):
            self._l1.clear()
        self._engine.active = Active(policy, router)
        self._adapter.forget()
        self._lane.clear()
        self._pass_lane.clear()
        self._envelope.follow(policy.cache_rules)
        self._governor.at_once = policy.events.refill_concurrency
        self._metrics.loaded(policy.digest)

    def _told(self, outcome: str, error: PolicyError | None = None) -> None:
        self._metrics.event(Event.CONFIG_LOAD, outcome)
        digest = self._engine.active.policy.digest
        faults = error.lines() if error is not None else []
        self._feed.tell("policy", outcome=outcome, digest=digest, faults=faults)
        if error is None:
            log.info("policy_reloaded", digest=digest)
        else:
            log.error("policy_refused", digest=digest, faults=faults)

    def _soon(self) -> None:
        log.info("policy_reload_asked", by="SIGHUP")
        task = asyncio.get_running_loop().create_task(self._tried())
        self._asked.add(task)
        task.add_done_callback(self._asked.discard)

    async def _tried(self) -> None:
        try:
            await self.reload()
        except CacheproxyError:
            return  # reload has said so

    async def _watch(self) -> None:
        """The first content is what may have changed while we started."""
        async for _ in contents(self._settings.config):
            await self._tried()


def _tagging(policy: Policy) -> list[tuple[object, ...]]:
    """All that decides which tags a response has."""
    return [(route.name, route.match, route.key, route.tags) for route in policy.routes]


def _check(source: str, before: Policy, policy: Policy) -> None:
    """PolicyError where ``policy`` differs in what is read at start alone."""
    if policy.session != before.session:
        raise PolicyError(source, [Fault("is read at start alone: restart the sidecar to change it", "session")])

"""What an operator sees and does through the admin port, asked of the parts that know."""

from collections.abc import Mapping
from dataclasses import dataclass

from cacheproxy import __version__
from cacheproxy.admin.access import Access
from cacheproxy.admin.app import AdminDeps, Readiness
from cacheproxy.admin.feed import Feed
from cacheproxy.admin.metrics import Metrics
from cacheproxy.clock import SystemClock
from cacheproxy.engine.engine import Engine
from cacheproxy.engine.question import Question, explained
from cacheproxy.invalidation.contract import Purge
from cacheproxy.invalidation.events import Interpreter
from cacheproxy.invalidation.sweep import Sweep
from cacheproxy.policy.explain import Explanation, shown_rule
from cacheproxy.policy.route import Route
from cacheproxy.server.edge import Edge
from cacheproxy.sessions.desk import SessionDesk
from cacheproxy.settings import Settings
from cacheproxy.storage.keyspace import Keyspace
from cacheproxy.storage.timed import TimedStore
from cacheproxy.wiring.origin import ReplaceableOrigin
from cacheproxy.wiring.reload import Reloader
from cacheproxy.wiring.state import State
from cacheproxy.wiring.stored_keys import StoredKeys
from cacheproxy.wiring.warm import Warmer


@dataclass(frozen=True, slots=True, kw_only=True)
class Administration:
    """The parts that the admin port speaks for."""

    settings: Settings
    engine: Engine
    state: State
    metrics: Metrics
    feed: Feed
    origin: ReplaceableOrigin
    edge: Edge
    reloader: Reloader
    warmer: Warmer

    def deps(self) -> AdminDeps:
        """All that the admin port is given."""
        token = self.settings.admin_token
        return AdminDeps(
            access=Access.for_listener(self.settings.admin[0], "" if token is None else token.get_secret_value()),
            metrics=self.metrics,
            ready=self.ready,
            interpret=lambda event: Interpreter(self.engine.active.policy.events).interpret(event),
            purge=self.state.purger.purge,
            stats=self.stats,
            routes=lambda: [_described(route) for route in self.engine.active.policy.routes],
            explain=self._explain,
            reload=self.reloader.reload,
            warm=self.warmer.report,
            feed=self.feed,
            keys=self.keys(),
            sessions=self.sessions(),
        )

    def _explain(self, question: Question) -> Explanation:
        active = self.engine.active
        prefix, (_, port) = self.settings.prefix, self.settings.listen
        return explained(active.policy, active.router, question, prefix=prefix, port=port)

    def keys(self) -> StoredKeys | None:
        """Stored entries by key; None without Redis."""
        state = self.state
        if state.roles is None or state.l2 is None:
            return None
        timed = TimedStore(state.l2, self.metrics.operation, SystemClock.monotonic)
        keyspace = Keyspace(state.roles.cache, timed, self.settings.prefix)
        return StoredKeys(keyspace, state.purger, Sweep(state.roles.cache, state.purger, self.settings.prefix))

    def sessions(self) -> SessionDesk | None:
        """Sessions for an operator; None where the policy has none, or there is no Redis."""
        rules, roles = self.engine.active.policy.session, self.state.roles
        if rules is None or roles is None:
            return None
        return SessionDesk(
            roles.sessions, rules, SystemClock(), lambda tag: self.state.purger.purge(Purge(tags=(tag,)))
        )

    def ready(self) -> Readiness:
        """Whether new requests should come here, and the state of each part."""
        origin = {None: "unknown", True: "up", False: "down"}[self.origin.healthy]
        parts = {"origin": origin, **self.state.parts(), **self.warmer.parts}
        ready = not self.edge.draining and not self.warmer.pending
        return Readiness(ready, {**parts, "edge": "draining" if self.edge.draining else "open"})

    def stats(self) -> Mapping[str, object]:
        """What the counters do not know."""
        policy = self.engine.active.policy
        return {
            "version": __version__,
            "replica": self.settings.instance_id,
            "policy": {"file": str(self.settings.config), "digest": policy.digest, "routes": len(policy.routes)},
            "parts": dict(self.ready().parts),
        }


def _described(route: Route) -> Mapping[str, object]:
    return {
        "name": route.name,
        "match": [shown_rule(rule) for rule in route.match],
        "cache": None if route.cache is None else {"ttl_s": route.cache.ttl_s, "mode": route.cache.mode},
        "key": None if route.key is None else route.key.text,
        "batch": None if route.batch is None else {"param": route.batch.param, "of": route.batch.route},
        "scope": route.scope,
        "session": route.session,
        "limits": [rule.name for rule in route.limits],
        "purge": [template.text for template in route.purge],
    }

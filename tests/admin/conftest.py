"""An admin port without the rest: what it was asked is kept, what it is told is fixed."""

from collections.abc import Callable
from dataclasses import dataclass, field

import httpx
import pytest

from cacheproxy.admin.access import Access
from cacheproxy.admin.app import AdminDeps, Readiness, admin_app
from cacheproxy.admin.metrics import Metrics
from cacheproxy.admin.purge_request import AskedPurge
from cacheproxy.invalidation.contract import Purge, Receipt
from cacheproxy.invalidation.events import Interpreter
from cacheproxy.policy.route import EventRules
from cacheproxy.policy.templates import Template

EVENTS = EventRules(on=(("article.updated", (Template.parse("article:{data.id}"),)),))


@dataclass
class Rest:
    """Everything behind the admin port."""

    metrics: Metrics = field(default_factory=lambda: Metrics(config_hash="cafe"))
    readiness: Readiness = field(default_factory=lambda: Readiness(True, {"redis": "down"}))
    purges: list[AskedPurge] = field(default_factory=list)
    fault: Exception | None = None

    async def purge(self, purge: Purge, *, wait_s: float | None = None) -> Receipt:
        """Keep the request, or fail as told."""
        if self.fault:
            raise self.fault
        self.purges.append(AskedPurge(purge, wait_s))
        return Receipt(event_id="7-0", at_us=7, acknowledged=("a",), silent=("b",))

    def deps(self, access: Access) -> AdminDeps:
        """What the admin port is given."""
        return AdminDeps(
            access=access,
            metrics=self.metrics,
            interpret=Interpreter(EVENTS).interpret,
            ready=lambda: self.readiness,
            purge=self.purge,
            stats=lambda: {"version": "0.0.0"},
            routes=lambda: [{"name": "article"}],
        )


@pytest.fixture
def rest() -> Rest:
    """A fresh rest of the sidecar."""
    return Rest()


@pytest.fixture
def client(rest: Rest) -> Callable[..., httpx.AsyncClient]:
    """Makes a client of an admin port listening on ``host`` with ``token``."""

    def make(host: str = "127.0.0.1", token: str = "") -> httpx.AsyncClient:
        app = admin_app(rest.deps(Access.for_listener(host, token)))
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url=f"http://{host}:9090")

    return make

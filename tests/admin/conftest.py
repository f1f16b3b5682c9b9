"""An admin port without the rest: what it was asked is kept, what it is told is fixed."""

from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field

import httpx
import pytest

from cacheproxy.admin.access import Access
from cacheproxy.admin.app import AdminDeps, Readiness, admin_app
from cacheproxy.admin.feed import Feed
from cacheproxy.admin.metrics import Metrics
from cacheproxy.admin.purge_request import AskedPurge
from cacheproxy.clock import SystemClock
from cacheproxy.engine.question import Question
from cacheproxy.invalidation.contract import Purge, Receipt
from cacheproxy.invalidation.events import Interpreter
from cacheproxy.invalidation.sweep import Swept
from cacheproxy.policy.explain import Explanation
from cacheproxy.policy.route import EventRules
from cacheproxy.policy.templates import Template
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.tag_clock import Stamp
from cacheproxy.sessions.desk import Shown
from cacheproxy.storage.contract import Entry
from cacheproxy.storage.keyspace import Held, Page

EVENTS = EventRules(on=(("article.updated", (Template.parse("article:{data.id}"),)),))


@dataclass
class StoredInADict:
    """An ``admin.keys.Keys``: whole keys begin with ``k:``."""

    kept: dict[str, Entry] = field(default_factory=dict)
    fault: Exception | None = None
    asked: list[tuple[object, ...]] = field(default_factory=list)
    steps_left: int = 3
    closed: bool = False

    async def page(self, pattern: str, cursor: str, count: int) -> Page:
        """Two keys, whatever is asked for."""
        if cursor == "bad":
            raise ValueError("`bad` is not a cursor")
        self.asked.append((pattern, cursor, count))
        return Page((Held("k:1", 2.5), Held("k:2", None)), "0.7")

    async def entries(self, key: str) -> list[Entry]:
        """What was put."""
        self._check(key)
        if self.fault is not None:
            raise self.fault
        return [self.kept[key]] if key in self.kept else []

    async def put(self, key: str, fields: Fields, body: bytes, ttl_s: float) -> Entry:
        """Keep it."""
        now = SystemClock.now()
        self.kept[key] = Entry(
            key=key,
            status=200,
            fields=fields,
            body=body,
            requested_at=now,
            received_at=now,
            lifetime_s=ttl_s,
            keep_until=now + ttl_s,
            stamp=Stamp("e", 1),
            tags=("*",),
        )
        return self.kept[key]

    async def delete(self, key: str, wait_s: float | None) -> tuple[int, Receipt | None]:
        """Forget it."""
        self._check(key)
        self.asked.append(("delete", key, wait_s))
        return int(self.kept.pop(key, None) is not None), Receipt(event_id="1-0", at_us=1)

    async def sweep(self, pattern: str) -> AsyncGenerator[Swept, None]:
        """Some steps, and then the fault if there is one."""
        try:
            for step in range(1, self.steps_left + 1):
                yield Swept(looked_at=step * 500, of=1500, purged=step)
            if self.fault is not None:
                raise self.fault
        finally:
            self.closed = True

    def _check(self, key: str) -> None:
        if not key.startswith("k:"):
            raise ValueError("no whole key")


@dataclass
class SessionsInADict:
    """An ``admin.sessions.Desk``."""

    kept: dict[str, dict[str, object]] = field(default_factory=dict)

    async def show(self, session_id: str) -> Shown | None:
        """What is kept."""
        return Shown(self.kept[session_id], 60.0) if session_id in self.kept else None

    async def create(self, fields: Mapping[str, object]) -> str:
        """Keep it as ``new``."""
        if "huge" in fields:
            raise ValueError("too large")
        self.kept["new"] = dict(fields)
        return "new"

    async def update(self, session_id: str, changes: Mapping[str, object]) -> Shown | None:
        """Change it."""
        if session_id in self.kept:
            self.kept[session_id] |= changes
        return await self.show(session_id)

    async def delete(self, session_id: str) -> bool:
        """Forget it."""
        return self.kept.pop(session_id, None) is not None


@dataclass
class Rest:
    """Everything behind the admin port."""

    metrics: Metrics = field(default_factory=lambda: Metrics(config_hash="cafe"))
    readiness: Readiness = field(default_factory=lambda: Readiness(True, {"redis": "down"}))
    purges: list[AskedPurge] = field(default_factory=list)
    fault: Exception | None = None
    feed: Feed = field(default_factory=Feed)
    keys: StoredInADict | None = field(default_factory=StoredInADict)
    sessions: SessionsInADict | None = field(default_factory=SessionsInADict)
    questions: list[Question] = field(default_factory=list)
    explanation: Explanation = field(
        default_factory=lambda: Explanation(decision="look-up", reason="because", key="k:1")
    )

    def explain(self, question: Question) -> Explanation:
        """Keep the question."""
        self.questions.append(question)
        return self.explanation

    async def reload(self) -> Mapping[str, object]:
        """Done, or fail as told."""
        if self.fault:
            raise self.fault
        return {"digest": "beef", "changed": True}

    async def warm(self) -> Mapping[str, object]:
        """One request, which went well."""
        return {"warmed": 1, "failed": 0, "requests": [{"request": "GET /a", "status": 200, "cache": "MISS"}]}

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
            stats=lambda: {
                "version": "0.0.0",
                "replica": "one",
                "policy": {"digest": "beef", "routes": 1},
                "parts": {"bus": "connected"},
            },
            routes=lambda: [{"name": "article"}],
            explain=self.explain,
            reload=self.reload,
            warm=self.warm,
            feed=self.feed,
            keys=self.keys,
            sessions=self.sessions,
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

"""The admin port: health, metrics, purges, stored entries, sessions, a dashboard. It is given what it needs."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Protocol

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cacheproxy.admin import dashboard
from cacheproxy.admin.access import Access, Denied
from cacheproxy.admin.explain_request import parse_question
from cacheproxy.admin.feed import Feed
from cacheproxy.admin.http import body_of, problem
from cacheproxy.admin.keys import Keys, key_routes, shown_entry
from cacheproxy.admin.metrics import CONTENT_TYPE, Metrics
from cacheproxy.admin.purge_request import parse_purge
from cacheproxy.admin.sessions import Desk, session_routes
from cacheproxy.admin.stats import summary
from cacheproxy.clock import SystemClock
from cacheproxy.engine.question import Question
from cacheproxy.errors import ClientError, PolicyError, StateError
from cacheproxy.invalidation.contract import Purge, Receipt
from cacheproxy.invalidation.events import Refusal
from cacheproxy.policy.explain import Explanation


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether new requests should come here, and the state of each part by name (``redis: down`` is no reason not)."""

    ready: bool
    parts: Mapping[str, str] = field(default_factory=dict)


class PurgeCall(Protocol):
    """``invalidation.contract.Purger.purge``."""

    async def __call__(self, purge: Purge, *, wait_s: float | None = None) -> Receipt:
        """Purge on every replica. StateError if it was not recorded."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminDeps:
    """All that the admin port asks of the rest.

    ``stats`` is what the counters do not know (version, replicas, policy); ``routes`` one mapping for each route.
    """

    access: Access
    metrics: Metrics
    ready: Callable[[], Readiness]
    purge: PurgeCall
    interpret: Callable[[bytes], Purge | Refusal]
    """What an event purges, or why it was not understood (``invalidation.events.Interpreter``)."""
    stats: Callable[[], Mapping[str, object]]
    routes: Callable[[], Sequence[Mapping[str, object]]]
    explain: Callable[[Question], Explanation]
    reload: Callable[[], Awaitable[Mapping[str, object]]]
    """Reads the policy file again. PolicyError where it is wrong, and the one in force stays."""
    warm: Callable[[], Awaitable[Mapping[str, object]]]
    """Makes the requests that the policy names, and says what came of each."""
    feed: Feed
    keys: Keys | None = None
    """None where there is no Redis."""
    sessions: Desk | None = None
    """None where the policy has none, or there is no Redis."""


def admin_app(deps: AdminDeps) -> ASGIApp:
    """The ASGI application of the admin port."""
    api = _Api(deps)
    return Starlette(
        routes=[
            Route("/", api.page),
            Route("/livez", api.livez),
            Route("/readyz", api.readyz),
            Route("/healthz", api.readyz),
            Route("/metrics", api.metrics),
            Route("/api/v1/purge", api.purge, methods=["POST"]),
            Route("/api/v1/events", api.event, methods=["POST"]),
            Route("/api/v1/events", api.events),
            Route("/api/v1/stats", api.stats),
            Route("/api/v1/routes", api.routes),
            Route("/api/v1/explain", api.explain),
            Route("/api/v1/reload", api.reload, methods=["POST"]),
            Route("/api/v1/warm", api.warm, methods=["POST"]),
            *key_routes(deps.keys),
            *session_routes(deps.sessions),
        ],
        middleware=[Middleware(_Guard, access=deps.access)],
        exception_handlers={
            HTTPException: _on_http_exception,
            ClientError: _on_client_error,
            StateError: _on_state_error,
            PolicyError: _on_policy_error,
            Exception: _on_bug,
        },
    )


class _Api:
    def __init__(self, deps: AdminDeps) -> None:
        self._deps = deps

    async def page(self, _request: Request) -> Response:
        return Response(dashboard.PAGE, media_type="text/html", headers=dashboard.HEADERS)

    async def livez(self, _request: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def readyz(self, _request: Request) -> Response:
        readiness = self._deps.ready()
        status = "ready" if readiness.ready else "not ready"
        return JSONResponse({"status": status, "parts": dict(readiness.parts)}, 200 if readiness.ready else 503)

    async def metrics(self, _request: Request) -> Response:
        return Response(self._deps.metrics.render(), headers={"content-type": CONTENT_TYPE})

    async def purge(self, request: Request) -> Response:
        asked = parse_purge(await body_of(request))
        receipt = await self._deps.purge(asked.purge, wait_s=asked.wait_s)
        return JSONResponse(_told(receipt) | self._unknown(asked.routes))

    def _unknown(self, routes: Sequence[str]) -> dict[str, object]:
        """Those of ``routes`` that are not in the policy. Purged all the same: an earlier policy may have had them."""
        known = {route["name"] for route in self._deps.routes()} if routes else ()
        unknown = [name for name in routes if name not in known]
        return {"unknown_routes": unknown} if unknown else {}

    async def event(self, request: Request) -> Response:
        purge = self._deps.interpret(await body_of(request))
        if not isinstance(purge, Purge):
            raise ClientError(400, purge.value, f"the event was not understood: it {purge.meaning}")
        return JSONResponse(_told(await self._deps.purge(purge)))

    async def events(self, _request: Request) -> Response:
        return StreamingResponse(self._deps.feed.listen(), media_type="text/event-stream")

    async def explain(self, request: Request) -> Response:
        """The explanation, and what is stored under its key where Redis says."""
        explanation = self._deps.explain(parse_question(request.query_params))
        return JSONResponse({**asdict(explanation), "stored": await self._stored(explanation.key)})

    async def _stored(self, key: str) -> list[Mapping[str, object]] | None:
        """What is stored under ``key``. None where nobody says: the rest is told without Redis, too."""
        if not key or self._deps.keys is None:
            return None
        try:
            entries = await self._deps.keys.entries(key)
        except StateError:
            return None
        now = SystemClock.now()
        return [_summary(shown_entry(entry, now)) for entry in entries]

    async def reload(self, _request: Request) -> Response:
        return JSONResponse(dict(await self._deps.reload()))

    async def warm(self, _request: Request) -> Response:
        return JSONResponse(dict(await self._deps.warm()))

    async def stats(self, _request: Request) -> Response:
        return JSONResponse({**summary(self._deps.metrics), **self._deps.stats()})

    async def routes(self, _request: Request) -> Response:
        return JSONResponse({"routes": [dict(route) for route in self._deps.routes()]})


class _Guard:
    """Refuses what ``Access`` refuses, before anything is read, and lets nobody keep an answer."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        denied = self._access.check(request.method, scope["path"], request.headers)
        answer = self._app if denied is None else _denial(denied)
        await answer(scope, receive, _never_stored(send))


def _told(receipt: Receipt) -> dict[str, object]:
    """A receipt as operators see it."""
    shown = ("event_id", "at_us", "acknowledged", "silent")
    return {name: getattr(receipt, name) for name in shown}


def _never_stored(send: Send) -> Send:
    async def send_no_store(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update({"cache-control": "no-store", "x-content-type-options": "nosniff"})
        await send(message)

    return send_no_store


def _summary(shown: Mapping[str, object]) -> Mapping[str, object]:
    return {name: value for name, value in shown.items() if not name.startswith("body") or name == "body_bytes"}


def _denial(denied: Denied) -> Response:
    challenge = {"www-authenticate": 'Bearer realm="cacheproxy admin"'} if denied.status == 401 else None
    return problem(denied.status, denied.reason, denied.detail, challenge)


async def _on_http_exception(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    reason = error.detail.lower().replace(" ", "-")
    return problem(error.status_code, reason, error.detail, error.headers)


async def _on_client_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ClientError)
    return problem(error.status, error.reason, error.detail)


async def _on_state_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, StateError)
    return problem(503, f"redis-{error.reason}", error.detail)


async def _on_policy_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, PolicyError)
    return problem(422, "bad-policy", str(error))


async def _on_bug(_request: Request, _error: Exception) -> Response:
    return problem(500, "internal-error", "this is a fault of cacheproxy; its log has the traceback")

"""A small FastAPI service to put the sidecar in front of. It caches nothing and asks no cache: that is the point.

It writes sessions to Redis, and says by ``cacheproxy.client`` what has changed and what its pages are made of; nothing
else of it is unusual.

    uvicorn --factory cacheproxy.demo.service:create_app
"""

import asyncio
import json
import logging
import os
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Query, Response, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from redis import RedisError
from redis.asyncio import Redis
from starlette.requests import HTTPConnection

from cacheproxy.client import Publisher, verify_seal
from cacheproxy.client.fastapi import purges, tag
from cacheproxy.demo.articles import TAGS, USERS, Article, Articles, Draft, User

SESSION_S = 3600
LIST_QUERY_S = 0.180
ITEM_QUERY_S = 0.055
MAX_TARGETS = 1_000
UNCOUNTED = frozenset({"/stats", "/health"})
IDENTITY = frozenset({b"x-user-id", b"x-org-id"})
"""The fields by which the sidecar says who is asking."""

log = logging.getLogger(__name__)
api = APIRouter()


class Shelf:
    """What the endpoints share: the articles, Redis, how slow the database is, and a count of what was asked."""

    def __init__(self, redis: "Redis | None", slowness: float = 1.0, seal_secret: str | None = None) -> None:
        """``slowness`` scales the simulated queries; ``redis`` None: no sessions and no events.

        With a ``seal_secret`` (the policy's ``session.seal_secret``) callers are believed only where the sidecar sealed
        who they are.
        """
        self.articles = Articles()
        self.seal_secret = seal_secret
        self.requests: Counter[str] = Counter()
        self._redis = redis
        self._publisher = Publisher(redis) if redis is not None else None
        self._slowness = slowness

    async def query(self, seconds: float) -> None:
        """Take as long as a database would."""
        await asyncio.sleep(seconds * self._slowness)

    def count(self, target: str) -> None:
        """Count one request, up to ``MAX_TARGETS`` different ones."""
        if target in self.requests or len(self.requests) < MAX_TARGETS:
            self.requests[target] += 1

    async def publish(self, kind: str, **data: object) -> None:
        """Say what happened, to sidecars that listen later, too. A service works without any, and without Redis."""
        try:
            if self._publisher is not None:
                await self._publisher.publish({"type": kind, "data": data})
        except RedisError:
            log.warning("event %s was not published", kind)

    async def open_session(self, user: User) -> str:
        """The id of a new session of ``user``. HTTPException(503) without Redis."""
        if self._redis is None:
            raise HTTPException(503, "sessions need Redis")
        session_id = secrets.token_urlsafe(24)
        session = json.dumps({"user_id": user.id, "org_id": user.org_id, "name": user.name})
        await self._redis.set(f"session:{session_id}", session, ex=SESSION_S)
        return session_id

    async def close_session(self, session_id: str) -> None:
        """End a session here and in every cache."""
        if self._redis is not None:
            await self._redis.delete(f"session:{session_id}")
        await self.publish("user.logged_out", session_id=session_id)

    async def aclose(self) -> None:
        """Let go of Redis."""
        if self._redis is not None:
            await self._redis.aclose()


def create_app(redis_url: str | None = None, slowness: float = 1.0) -> FastAPI:
    """The service. ``redis_url`` None: that of the environment's ``REDIS_URL``, or none at all.

    Who is asking is believed without further ado, unless there is a ``SEAL_SECRET`` in the environment.
    """
    url = redis_url or os.environ.get("REDIS_URL")
    shelf = Shelf(Redis.from_url(url) if url else None, slowness, os.environ.get("SEAL_SECRET"))

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await shelf.aclose()

    app = FastAPI(title="articles", lifespan=lifespan)
    app.state.shelf = shelf
    app.include_router(api, dependencies=[Depends(_count)])
    return app


def _shelf(connection: HTTPConnection) -> Shelf:
    shelf: Shelf = connection.app.state.shelf
    return shelf


OnShelf = Annotated[Shelf, Depends(_shelf)]


def _count(connection: HTTPConnection, shelf: OnShelf) -> None:
    path, query = connection.url.path, connection.url.query
    if path not in UNCOUNTED:
        method = connection.scope.get("method", "WS")
        shelf.count(f"{method} {path}{'?' if query else ''}{query}")


def _believed(connection: HTTPConnection, shelf: OnShelf) -> None:
    """Refuse a request that went around the sidecar, and so may say who it likes. HTTPException(403)."""
    scope = connection.scope
    query = b"?" + scope["query_string"] if scope["query_string"] else b""
    if shelf.seal_secret is not None and not verify_seal(
        shelf.seal_secret,
        method=scope["method"],
        target=scope["raw_path"] + query,
        fields=scope["headers"],
        identity=IDENTITY,
        now=time.time(),
    ):
        raise HTTPException(403, "this did not come through the sidecar")


@api.get("/health")
async def health() -> dict[str, str]:
    """Answer at once while the service lives."""
    return {"status": "ok"}


@api.get("/stats")
async def stats(shelf: OnShelf) -> dict[str, object]:
    """How often each target was asked of this service: what the sidecar answered by itself is not here."""
    return {"requests": shelf.requests.total(), "by_target": dict(shelf.requests.most_common(50))}


@api.get("/articles")
async def list_articles(
    shelf: OnShelf,
    response: Response,
    skip: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    ids: Annotated[str | None, Query(pattern=r"^[0-9]{1,9}(,[0-9]{1,9})*$")] = None,
) -> list[Article]:
    """Give one page of articles, by a query of 180 ms, purged with any article on it; or those of ``ids``."""
    if ids is not None:
        await shelf.query(ITEM_QUERY_S)
        return shelf.articles.some(map(int, ids.split(",")))
    await shelf.query(LIST_QUERY_S)
    page = shelf.articles.page(skip, limit)
    tag(response, "articles:pages", *(f"article:{article.id}" for article in page))
    return page


@api.get("/articles/{number}")
async def one_article(shelf: OnShelf, number: int) -> Article:
    """Give one article, by a query of 55 ms."""
    await shelf.query(ITEM_QUERY_S)
    article = shelf.articles.by_id.get(number)
    if article is None:
        raise HTTPException(404, "no such article")
    return article


@api.post("/articles", status_code=201)
async def add_article(shelf: OnShelf, draft: Draft) -> Article:
    """Add an article."""
    article = shelf.articles.add(draft)
    await shelf.publish("article.created", id=article.id)
    return article


@api.put("/articles/{number}")
async def change_article(shelf: OnShelf, number: int, draft: Draft) -> Article:
    """Change an article, and say so."""
    if number not in shelf.articles.by_id:
        raise HTTPException(404, "no such article")
    article = shelf.articles.change(number, draft)
    await shelf.publish("article.updated", id=number)
    return article


@api.delete("/articles/{number}", status_code=204)
@purges("article:{number}", "articles:pages")
async def remove_article(shelf: OnShelf, number: int) -> None:
    """Remove an article, and say so."""
    if shelf.articles.by_id.pop(number, None) is None:
        raise HTTPException(404, "no such article")
    await shelf.publish("article.deleted", id=number)


@api.get("/tags")
async def tags(shelf: OnShelf) -> list[str]:
    """Give the tags, by a query of 55 ms."""
    await shelf.query(ITEM_QUERY_S)
    return list(TAGS)


@api.get("/users/me", dependencies=[Depends(_believed)])
async def me(shelf: OnShelf, x_user_id: Annotated[str | None, Header()] = None) -> User:
    """Give the caller, as the sidecar named them."""
    if x_user_id is None:
        raise HTTPException(401, "who are you?")
    return await one_user(shelf, x_user_id)


@api.get("/users/{number}")
async def one_user(shelf: OnShelf, number: str) -> User:
    """Give one user, by a query of 55 ms."""
    await shelf.query(ITEM_QUERY_S)
    user = USERS.get(number)
    if user is None:
        raise HTTPException(404, "no such user")
    return user


@api.get("/whoami", dependencies=[Depends(_believed)])
async def whoami(
    x_user_id: Annotated[str | None, Header()] = None, x_org_id: Annotated[str | None, Header()] = None
) -> dict[str, str | None]:
    """Show the identity fields that arrived here, whatever the client sent."""
    return {"X-User-Id": x_user_id, "X-Org-Id": x_org_id}


class Credentials(BaseModel):
    """Who logs in. A sample service asks for no password."""

    user: str


@api.post("/login")
async def login(shelf: OnShelf, credentials: Credentials, response: Response) -> User:
    """Open a session and set its cookie."""
    user = next((user for user in USERS.values() if user.name == credentials.user), None)
    if user is None:
        raise HTTPException(401, f"no such user; there are {', '.join(user.name for user in USERS.values())}")
    session_id = await shelf.open_session(user)
    response.set_cookie("session_id", session_id, max_age=SESSION_S, httponly=True, samesite="lax")
    return user


@api.post("/logout", status_code=204)
async def logout(shelf: OnShelf, connection: HTTPConnection, response: Response) -> None:
    """End the caller's session everywhere."""
    session_id = connection.cookies.get("session_id")
    if session_id is not None:
        await shelf.close_session(session_id)
    response.delete_cookie("session_id")


@api.get("/ticks")
async def ticks(n: Annotated[int, Query(ge=1, le=1000)] = 5, every_ms: Annotated[int, Query(ge=0)] = 200) -> Response:
    """Send ``n`` server-sent events, one each ``every_ms``."""

    async def events() -> AsyncIterator[str]:
        for tick in range(n):
            yield f"id: {tick}\ndata: tick {tick}\n\n"
            await asyncio.sleep(every_ms / 1000)

    return StreamingResponse(events(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


@api.websocket("/echo")
async def echo(socket: WebSocket) -> None:
    """Send every message back."""
    await socket.accept()
    try:
        while True:
            await socket.send_text(await socket.receive_text())
    except WebSocketDisconnect:
        return

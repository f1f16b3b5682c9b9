"""Stored entries by their keys: ``/api/v1/keys`` and ``/api/v1/sweep``."""

import json
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import asdict
from typing import Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from cacheproxy.admin.http import body_of, json_object, seconds, whole
from cacheproxy.clock import SystemClock
from cacheproxy.errors import ClientError, StateError
from cacheproxy.invalidation.contract import Receipt
from cacheproxy.invalidation.sweep import Swept
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.freshness import current_age
from cacheproxy.storage.contract import Entry
from cacheproxy.storage.keyspace import Page

DEFAULT_TTL_S = 300.0
MAX_TTL_S = 86_400.0
"""Past this the tag clock takes an entry for purged."""
MAX_WAIT_S = 60.0
MAX_PATTERN_BYTES = 1_024


class Keys(Protocol):
    """The stored entries. ValueError for what is no whole key, StateError where Redis does not answer."""

    async def page(self, pattern: str, cursor: str, count: int) -> Page:
        """About ``count`` keys that the glob ``pattern`` matches, from ``cursor`` on."""
        ...

    async def entries(self, key: str) -> list[Entry]:
        """What is under ``key``, one for each variant."""
        ...

    async def put(self, key: str, fields: Fields, body: bytes, ttl_s: float) -> Entry:
        """Store a response under ``key``, so that every replica answers with it."""
        ...

    async def delete(self, key: str, wait_s: float | None) -> tuple[int, Receipt | None]:
        """Drop ``key`` everywhere: how many entries there were, and the receipt of the purge."""
        ...

    def sweep(self, pattern: str) -> AsyncGenerator[Swept, None]:
        """Drop all that ``pattern`` matches, everywhere, step by step."""
        ...


def key_routes(keys: Keys | None) -> list[Route]:
    """The routes, over ``keys``; None where there is no Redis, and so nothing that is shared."""
    api = _KeysApi(keys)
    return [
        Route("/api/v1/keys", api.page),
        Route("/api/v1/keys/{key:path}", api.get),
        Route("/api/v1/keys/{key:path}", api.put, methods=["PUT"]),
        Route("/api/v1/keys/{key:path}", api.delete, methods=["DELETE"]),
        Route("/api/v1/sweep", api.sweep, methods=["POST"]),
    ]


def shown_entry(entry: Entry, now: float) -> dict[str, object]:
    """``entry`` as JSON has it; its body as text, or as ``body_base64`` where it is not UTF-8."""
    age_s = current_age(entry.initial_age_s, entry.received_at, now)
    return {
        "status": entry.status,
        "fields": [(name.decode("latin-1"), value.decode("latin-1")) for name, value in entry.fields],
        "age_s": round(age_s, 3),
        "fresh_for_s": round(entry.lifetime_s - age_s, 3),
        "kept_for_s": round(entry.keep_until - now, 3),
        "route": entry.route,
        "tags": entry.tags,
        "vary": [name.decode("latin-1") for name in entry.vary],
        "variance": entry.variance.decode("latin-1"),
        "body_bytes": len(entry.body),
        **_body(entry.body),
    }


class _KeysApi:
    def __init__(self, keys: Keys | None) -> None:
        self._given = keys

    @property
    def _keys(self) -> Keys:
        if self._given is None:
            raise ClientError(409, "no-redis", "there is no Redis: what is stored is in each process's memory alone")
        return self._given

    async def page(self, request: Request) -> Response:
        pattern = _pattern(request.query_params.get("pattern", "*"))
        count = whole(request, "count", least=1, most=1000, default=100)
        try:
            page = await self._keys.page(pattern, request.query_params.get("cursor", ""), count)
        except ValueError as error:
            raise ClientError(400, "bad-cursor", str(error)) from error
        return JSONResponse(asdict(page))

    async def get(self, request: Request) -> Response:
        key, entries = await self._entries(request)
        if not entries:
            raise ClientError(404, "not-stored", f"nothing usable is stored under {key}")
        return _entries_shown(key, entries)

    async def put(self, request: Request) -> Response:
        key, known = await self._entries(request)
        if known and "if_absent" in request.query_params:
            return _entries_shown(key, known)
        ttl_s = seconds(request, "ttl", most=MAX_TTL_S, default=DEFAULT_TTL_S)
        assert ttl_s is not None
        kind = request.headers.get("content-type", "application/json")
        fields = Fields.of(("content-type", kind.encode("latin-1")))
        entry = await self._keys.put(key, fields, await body_of(request), ttl_s)
        return _entries_shown(key, [entry], 201)

    async def delete(self, request: Request) -> Response:
        key = request.path_params["key"]
        try:
            dropped, receipt = await self._keys.delete(key, seconds(request, "wait", most=MAX_WAIT_S))
        except ValueError as error:
            raise ClientError(400, "bad-key", str(error)) from error
        return JSONResponse({"key": key, "deleted": dropped, "purge": None if receipt is None else asdict(receipt)})

    async def sweep(self, request: Request) -> Response:
        """Say after each step how far it has come, one JSON object a line; whoever hangs up ends it."""
        asked = json_object(await body_of(request))
        pattern = asked.get("pattern")
        if not isinstance(pattern, str) or asked.keys() != {"pattern"}:
            raise ClientError(400, "bad-sweep", 'write {"pattern": "articles:list:*"}')
        steps = self._keys.sweep(_pattern(pattern))
        first = await anext(steps)  # so that where nothing can be done the status says so
        return StreamingResponse(_told(first, steps), media_type="application/x-ndjson")

    async def _entries(self, request: Request) -> tuple[str, list[Entry]]:
        key = request.path_params["key"]
        try:
            return key, await self._keys.entries(key)
        except ValueError as error:
            raise ClientError(400, "bad-key", str(error)) from error


async def _told(first: Swept, steps: AsyncGenerator[Swept, None]) -> AsyncIterator[bytes]:
    async with aclosing(steps):
        swept = first
        yield _line(asdict(first))
        try:
            async for swept in steps:
                yield _line(asdict(swept))
        except StateError as error:
            yield _line({**asdict(swept), "done": False, "reason": f"redis-{error.reason}", "detail": error.detail})
            return
        yield _line({**asdict(swept), "done": True})


def _line(step: dict[str, object]) -> bytes:
    return json.dumps(step).encode() + b"\n"


def _entries_shown(key: str, entries: list[Entry], status: int = 200) -> Response:
    now = SystemClock.now()
    return JSONResponse({"key": key, "entries": [shown_entry(entry, now) for entry in entries]}, status)


def _body(body: bytes) -> dict[str, str]:
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"body_base64": b64encode(body).decode()}


def _pattern(pattern: str) -> str:
    if not pattern or len(pattern.encode("utf-8", "replace")) > MAX_PATTERN_BYTES or "\\" in pattern:
        raise ClientError(400, "bad-pattern", "write a glob without backslashes, such as articles:list:*")
    return pattern

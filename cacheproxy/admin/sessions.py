"""Sessions, for an operator: ``/api/v1/sessions``."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cacheproxy.admin.http import body_of, json_object
from cacheproxy.errors import ClientError
from cacheproxy.sessions.desk import Shown


class Desk(Protocol):
    """``sessions.desk.SessionDesk``. StateError where Redis does not answer, ValueError for what is no session."""

    async def show(self, session_id: str) -> Shown | None:
        """The session, or None."""
        ...

    async def create(self, fields: Mapping[str, object]) -> str:
        """The id of a new one."""
        ...

    async def update(self, session_id: str, changes: Mapping[str, object]) -> Shown | None:
        """The session after ``changes``, or None."""
        ...

    async def delete(self, session_id: str) -> bool:
        """Whether there was one."""
        ...


def session_routes(desk: Desk | None) -> list[Route]:
    """The routes, over ``desk``; None where the policy has no sessions, or there is no Redis for them."""
    api = _SessionsApi(desk)
    return [
        Route("/api/v1/sessions", api.create, methods=["POST"]),
        Route("/api/v1/sessions/{id}", api.show),
        Route("/api/v1/sessions/{id}", api.update, methods=["PATCH"]),
        Route("/api/v1/sessions/{id}", api.delete, methods=["DELETE"]),
    ]


class _SessionsApi:
    def __init__(self, desk: Desk | None) -> None:
        self._given = desk

    @property
    def _desk(self) -> Desk:
        if self._given is None:
            raise ClientError(409, "no-sessions", "the policy has no `session:`, or there is no Redis to keep any")
        return self._given

    async def show(self, request: Request) -> Response:
        return _shown(await self._desk.show(request.path_params["id"]))

    async def create(self, request: Request) -> Response:
        fields = json_object(await body_of(request))
        try:
            return JSONResponse({"id": await self._desk.create(fields)}, 201)
        except ValueError as error:
            raise _too_large(error) from error

    async def update(self, request: Request) -> Response:
        changes = json_object(await body_of(request))
        try:
            return _shown(await self._desk.update(request.path_params["id"], changes))
        except ValueError as error:
            raise _too_large(error) from error

    async def delete(self, request: Request) -> Response:
        return JSONResponse({"deleted": await self._desk.delete(request.path_params["id"])})


def _shown(session: Shown | None) -> Response:
    if session is None:
        raise ClientError(404, "no-session", "there is no such session, or it was changed meanwhile")
    return JSONResponse(asdict(session))


def _too_large(error: ValueError) -> ClientError:
    return ClientError(413, "session-too-large", str(error))

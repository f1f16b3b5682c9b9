"""For FastAPI services: say in a response what it is made of, and what it has changed. The sidecar does the rest.

    @app.get("/articles/{id}", dependencies=[Depends(Tagged("article:{id}"))])
    async def read(id: int) -> Article: ...

    @app.put("/articles/{id}")
    @purges("article:{id}", "articles")
    async def write(id: int, article: Article) -> Article: ...

Nothing is sent to Redis: both are fields of the response, which the sidecar reads and removes. A purge counts on a
successful answer to an unsafe method, and is in force before the client sees that answer.
"""

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, TypeVar, cast

from starlette.requests import Request
from starlette.responses import Response

from cacheproxy.client.tags import CACHE_TAG, PURGE_FIELD, checked, field_value

P = ParamSpec("P")
R = TypeVar("R")

_REQUEST = "cacheproxy_request"
_RESPONSE = "cacheproxy_response"


def tag(response: Response, *tags: str) -> None:
    """Tag ``response``, so that it can be purged by any of ``tags``. ValueError where one cannot be a tag."""
    _add(response, CACHE_TAG, checked(*tags))


def purge(response: Response, *tags: str) -> None:
    """Purge ``tags`` when ``response`` passes the sidecar. ValueError where one cannot be a tag."""
    _add(response, PURGE_FIELD, checked(*tags))


class Tagged:
    """A dependency that tags the response; ``{name}`` stands for a parameter of the path."""

    def __init__(self, *templates: str) -> None:
        """Each template gives one tag."""
        self._templates = templates

    def __call__(self, request: Request, response: Response) -> None:
        """Tag the response of ``request``. ValueError where a parameter cannot be part of a tag."""
        tag(response, *_rendered(self._templates, request))


class Purging:
    """A dependency that purges when the response passes; ``{name}`` stands for a parameter of the path."""

    def __init__(self, *templates: str) -> None:
        """Each template gives one tag."""
        self._templates = templates

    def __call__(self, request: Request, response: Response) -> None:
        """Purge by the response of ``request``. ValueError where a parameter cannot be part of a tag."""
        purge(response, *_rendered(self._templates, request))


def purges(*templates: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator for endpoints: ``Purging`` that also works where the endpoint returns a Response of its own."""

    def decorate(endpoint: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(endpoint)
        async def answer(*args: Any, **named: Any) -> Any:
            call = _Call(templates, named)
            return call.marked(await cast("Callable[..., Awaitable[Any]]", endpoint)(*args, **named))

        @functools.wraps(endpoint)
        def answer_in_thread(*args: Any, **named: Any) -> Any:
            call = _Call(templates, named)
            return call.marked(cast("Callable[..., Any]", endpoint)(*args, **named))

        wrapped: Any = answer if inspect.iscoroutinefunction(endpoint) else answer_in_thread
        wrapped.__signature__ = _with_request_and_response(inspect.signature(endpoint))
        return cast("Callable[P, R]", wrapped)

    return decorate


class _Call:
    """One call of a decorated endpoint. The tags are made first: a bad one must fail before anything is changed."""

    def __init__(self, templates: tuple[str, ...], named: dict[str, Any]) -> None:
        self._tags = _rendered(templates, named.pop(_REQUEST))
        self._response: Response = named.pop(_RESPONSE)

    def marked(self, returned: Any) -> Any:
        purge(returned if isinstance(returned, Response) else self._response, *self._tags)
        return returned


def _with_request_and_response(signature: inspect.Signature) -> inspect.Signature:
    """``signature`` with what FastAPI is to hand to us, before any ``**named``."""
    parameters = list(signature.parameters.values())
    at = len(parameters) - any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters)
    ours = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind)
        for name, kind in ((_REQUEST, Request), (_RESPONSE, Response))
    ]
    return signature.replace(parameters=[*parameters[:at], *ours, *parameters[at:]])


def _rendered(templates: tuple[str, ...], request: Request) -> tuple[str, ...]:
    return checked(*(template.format_map(request.path_params) for template in templates))


def _add(response: Response, field: str, tags: tuple[str, ...]) -> None:
    response.headers[field] = field_value(response.headers.get(field), tags)

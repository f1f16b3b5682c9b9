"""What every part of the admin API reads and answers with."""

import json
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from cacheproxy.errors import ClientError
from cacheproxy.policy.units import duration_s

MAX_BODY_BYTES = 1 << 20


async def body_of(request: Request) -> bytes:
    """The request's body. ClientError(413) once it is over ``MAX_BODY_BYTES``."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise ClientError(413, "body-too-large", f"the body is over {MAX_BODY_BYTES} bytes")
    return bytes(body)


def json_object(text: str | bytes, what: str = "the body") -> dict[str, object]:
    """The JSON object in ``text``. ClientError(400), which names it ``what``, where it is none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ClientError(400, "bad-json", f"{what} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ClientError(400, "bad-json", f"{what} must be a JSON object")
    return found


def seconds(request: Request, name: str, *, most: float, default: float | None = None) -> float | None:
    """Seconds in the query parameter ``name`` (``60s``). ClientError(400) where it is none, or over ``most``."""
    given = request.query_params.get(name)
    if given is None:
        return default
    try:
        found = duration_s(given)
    except ValueError as error:
        raise ClientError(400, "bad-query", f"{name}: {error}") from error
    if found > most:
        raise ClientError(400, "bad-query", f"{name}: at most {most:g}s")
    return found


def whole(request: Request, name: str, *, least: int, most: int, default: int) -> int:
    """The whole number in the query parameter ``name``. ClientError(400) where it is none or out of bounds."""
    given = request.query_params.get(name, str(default))
    number = int(given) if given.isdecimal() and len(given) < 10 else -1
    if not least <= number <= most:
        raise ClientError(400, "bad-query", f"{name}: a whole number from {least} to {most}")
    return number


def problem(status: int, reason: str, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """A problem document (RFC 9457), whose ``reason`` is for programs."""
    document = {"title": reason.replace("-", " "), "status": status, "reason": reason, "detail": detail}
    return JSONResponse(document, status, headers, media_type="application/problem+json")

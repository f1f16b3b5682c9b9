"""The origin of the end-to-end tests: it counts, waits and changes on demand."""

import asyncio
from collections import Counter

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

counts: Counter[str] = Counter()
values: dict[str, str] = {}


async def item(request: Request) -> Response:
    """An item's current value, or those that ``?ids=`` names; ``?wait_ms=`` makes the query behind it slow."""
    ids = request.query_params.get("ids")
    counts[f"{request.url.path}?ids={ids}" if ids else request.url.path] += 1
    await asyncio.sleep(int(request.query_params.get("wait_ms", "0")) / 1000)
    path = request.url.path
    if ids:
        return JSONResponse([_said(request, f"{path}/{each}") for each in sorted(ids.split(","))])
    if request.method == "PUT":
        values[path] = (await request.body()).decode()
    if request.method == "DELETE":
        values.pop(path, None)
    return JSONResponse(_said(request, path))


def _said(request: Request, path: str) -> dict[str, object]:
    seen = {name: value for name, value in request.headers.items() if name.startswith(("x-", "cookie"))}
    return {"path": path, "id": path.rpartition("/")[2], "value": values.get(path, "first"), "seen": seen}


async def count(request: Request) -> Response:
    """How often each path was asked for."""
    return JSONResponse(dict(counts))


async def ticks(request: Request) -> Response:
    """Server-sent events that go on until the client leaves."""

    async def endless():
        number = 0
        while True:
            yield f"data: {number}\n\n"
            number += 1
            await asyncio.sleep(0.05)

    return StreamingResponse(endless(), media_type="text/event-stream")


async def big(request: Request) -> Response:
    """``?mb=`` megabytes."""

    async def body():
        for _ in range(int(request.query_params["mb"])):
            yield b"x" * (1 << 20)

    return StreamingResponse(body(), media_type="application/octet-stream")


async def upload(request: Request) -> Response:
    """How many bytes came."""
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
    return JSONResponse({"bytes": size})


async def cookie(request: Request) -> Response:
    """A response that is for one client alone."""
    counts[request.url.path] += 1
    answer = JSONResponse({"n": counts[request.url.path]})
    answer.set_cookie("visit", str(counts[request.url.path]))
    return answer


async def echo(socket: WebSocket) -> None:
    """What was sent, back."""
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_text(f"{socket.headers.get('x-user-id', '-')}:{text}")


app = Starlette(
    routes=[
        Route("/count", count),
        Route("/ticks", ticks),
        Route("/big", big),
        Route("/upload", upload, methods=["POST"]),
        Route("/cookie/{id}", cookie),
        WebSocketRoute("/echo", echo),
        Route("/{rest:path}", item, methods=["GET", "PUT", "POST", "DELETE"]),
    ]
)

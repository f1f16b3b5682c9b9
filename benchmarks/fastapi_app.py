"""A FastAPI service that answers what the origin answers, with no cache anywhere: what uvicorn does by itself."""

from fastapi import FastAPI, Response

app = FastAPI()
ITEM = b'{"id":1,"title":"' + b"a" * 281 + b'"}'
LARGE = b"x" * 100_000


@app.get("/items/{number}")
async def item(number: int) -> Response:  # noqa: ARG001 - as a service would take it
    """300 bytes of JSON."""
    return Response(ITEM, media_type="application/json")


@app.get("/large/{number}")
async def large(number: int) -> Response:  # noqa: ARG001 - as a service would take it
    """100 KB."""
    return Response(LARGE, media_type="application/octet-stream")

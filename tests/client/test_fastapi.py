"""What a FastAPI service says to the sidecar in its responses."""

import inspect
from collections.abc import AsyncIterator

import pytest
from fastapi import Depends, FastAPI, Response
from httpx import ASGITransport, AsyncClient

from cacheproxy.client.fastapi import Purging, Tagged, purge, purges, tag

app = FastAPI()
done: list[str] = []


@app.get("/articles/{id}", dependencies=[Depends(Tagged("article:{id}", "articles"))])
async def read(id: int, response: Response) -> dict[str, int]:  # noqa: A002 - the path's own name
    """A tagged endpoint that adds a tag of its own."""
    tag(response, "käse:1")
    return {"id": id}


@app.put("/articles/{id}")
@purges("article:{id}", "articles")
async def write(id: str, limit: int = 1) -> dict[str, object]:  # noqa: A002
    """A write that purges."""
    done.append(id)
    return {"id": id, "limit": limit}


@app.delete("/articles/{id}")
@purges("article:{id}")
def delete(id: int) -> Response:  # noqa: A002
    """A write in a thread, with a response of its own."""
    return Response(status_code=204)


@app.post("/articles", dependencies=[Depends(Purging("articles"))])
async def create(response: Response) -> None:
    """A write that purges by a dependency, and by hand."""
    purge(response, "authors")


@pytest.fixture
async def service() -> AsyncIterator[AsyncClient]:
    """The service, asked as the sidecar asks it."""
    transport = ASGITransport(app, raise_app_exceptions=False)
    async with AsyncClient(transport=transport, base_url="http://service") as client:
        yield client


async def test_a_response_carries_its_tags(service):
    """Tags of the dependency and of the endpoint go into one field, in UTF-8."""
    value = (await service.get("/articles/7")).headers.raw
    assert dict(value)[b"cache-tag"] == "article:7, articles, käse:1".encode()


async def test_a_decorated_endpoint_purges_by_its_response(service):
    """The decorator adds the field and leaves the endpoint's own signature as it was."""
    answer = await service.put("/articles/7?limit=3")
    assert answer.headers["cacheproxy-purge"] == "article:7, articles"
    assert answer.json() == {"id": "7", "limit": 3}


async def test_a_response_made_by_the_endpoint_carries_it_too(service):
    """FastAPI does not merge fields into a Response that an endpoint returns; the decorator does."""
    answer = await service.delete("/articles/7")
    assert (answer.status_code, answer.headers["cacheproxy-purge"]) == (204, "article:7")


async def test_a_dependency_purges_as_well(service):
    """For whoever likes dependencies better than decorators."""
    assert (await service.post("/articles")).headers["cacheproxy-purge"] == "articles, authors"


async def test_a_client_cannot_smuggle_in_other_tags(service):
    """A path parameter with a comma would name two tags: refused, and before anything is changed."""
    done.clear()
    assert (await service.put("/articles/7,users")).status_code == 500
    assert done == []


async def test_what_fastapi_documents_does_not_show_our_parameters(service):
    """The request and response that the decorator asks for are no part of the service's own interface."""
    operation = (await service.get("/openapi.json")).json()["paths"]["/articles/{id}"]["put"]
    assert [parameter["name"] for parameter in operation["parameters"]] == ["id", "limit"]


def test_an_endpoint_that_takes_anything_by_name_can_be_decorated():
    """What FastAPI hands to us stands before its ``**named``, as Python wants it."""

    @purges("article:{id}")
    def change(id: int, **more: object) -> None: ...  # noqa: A002 - the path's own word

    assert list(inspect.signature(change).parameters)[::3] == ["id", "more"]

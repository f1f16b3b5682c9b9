"""The sample service does what an ordinary service does, and tells how often it was asked."""

import json

import httpx
import pytest

from cacheproxy.client.wire import Layout
from cacheproxy.demo.service import LIST_QUERY_S, Shelf, create_app


async def test_a_page_of_articles(service):
    """``skip`` and ``limit`` cut the list."""
    page = (await service.get("/articles", params={"skip": 10, "limit": 2})).json()
    assert [article["id"] for article in page] == [11, 12]


async def test_articles_by_their_ids(service) -> None:
    """What is there of them, in the order asked for, each as it is alone: what a batch of the sidecar is made of."""
    some = (await service.get("/articles", params={"ids": "3,999,1"})).json()
    assert [(await service.get(f"/articles/{number}")).json() for number in (3, 1)] == some
    assert 422 == (await service.get("/articles?ids=x")).status_code


async def test_a_change_is_seen_and_counted_as_a_revision(service):
    """PUT replaces the article; its revision tells an old copy from a new one."""
    changed = (await service.put("/articles/1", json={"title": "Changed"})).json()
    assert (changed["title"], changed["revision"]) == ("Changed", 2)
    assert (await service.get("/articles/1")).json() == changed


async def test_added_and_removed(service):
    """POST gives the next id; DELETE makes it 404."""
    added = (await service.post("/articles", json={"title": "New"})).json()
    assert added["id"] == 101
    assert (await service.delete("/articles/101")).status_code == 204
    assert (await service.get("/articles/101")).status_code == 404


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/articles/999"), ("PUT", "/articles/999"), ("DELETE", "/articles/999")]
)
async def test_what_is_not_there_is_404(service, method, path):
    """Nothing is made by asking for it."""
    assert (await service.request(method, path, json={"title": "x"})).status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "kind", "number"),
    [
        ("PUT", "/articles/7", "article.updated", 7),
        ("DELETE", "/articles/7", "article.deleted", 7),
        ("POST", "/articles", "article.created", 101),
    ],
)
async def test_writes_are_published(service, redis, method, path, kind, number):
    """Every change is said, for those who listen and those who will, before the writer is answered."""
    async with redis.pubsub() as heard:
        await heard.subscribe(Layout().bus)
        await service.request(method, path, json={"title": "x"})
        messages = [message async for message in _until(heard, "message")]
    assert json.loads(json.loads(messages[-1]["data"])["event"]) == {"type": kind, "data": {"id": number}}
    assert await redis.xlen(Layout().stream) == 1


async def test_a_page_is_tagged_with_what_is_on_it(service):
    """So that it can be purged by any of them."""
    page = await service.get("/articles?limit=3")
    ids = [article["id"] for article in page.json()]
    assert page.headers["cache-tag"].split(", ") == ["articles:pages", *(f"article:{number}" for number in ids)]


async def test_what_is_removed_is_purged_by_the_answer(service):
    """The sidecar reads it there, should the event be late."""
    answer = await service.delete("/articles/8")
    assert (answer.status_code, answer.headers["cacheproxy-purge"]) == (204, "article:8, articles:pages")


async def test_login_writes_a_session_that_ends_by_itself(service, redis):
    """The cookie names a JSON session in Redis with a time to live."""
    answer = await service.post("/login", json={"user": "ada"})
    key = f"session:{answer.cookies['session_id']}"
    assert json.loads(await redis.get(key)) == {"user_id": "1", "org_id": "acme", "name": "ada"}
    assert 0 < await redis.ttl(key) <= 3600
    assert "HttpOnly" in answer.headers["set-cookie"]


async def test_logout_ends_the_session(service, redis):
    """The session is gone from Redis, not only from the browser."""
    await service.post("/login", json={"user": "ada"})
    await service.post("/logout")
    assert await redis.keys("session:*") == []


async def test_an_unknown_user_may_not_log_in(service, redis):
    """No session is made."""
    assert (await service.post("/login", json={"user": "mallory"})).status_code == 401
    assert await redis.keys("session:*") == []


async def test_the_caller_is_who_the_identity_field_says(service):
    """The service trusts X-User-Id: whoever stands in front must strip a client's own."""
    assert (await service.get("/users/me")).status_code == 401
    assert (await service.get("/users/me", headers={"X-User-Id": "2"})).json()["name"] == "grace"


async def test_stats_count_targets_but_not_themselves(service):
    """Each target has its own count; asking for the counts is not counted."""
    for _ in range(2):
        await service.get("/articles?skip=5")
    await service.get("/stats")
    stats = (await service.get("/stats")).json()
    assert stats == {"requests": 2, "by_target": {"GET /articles?skip=5": 2}}


async def test_the_count_is_bounded():
    """Ten thousand targets do not fill the memory."""
    shelf = Shelf(None)
    for n in range(10_000):
        shelf.count(f"GET /articles/{n}")
    assert len(shelf.requests) == 1_000


async def test_the_list_takes_its_time(monkeypatch):
    """A simulated query takes 180 ms: less than that was answered by somebody else."""
    slept: list[float] = []

    async def note(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("cacheproxy.demo.service.asyncio.sleep", note)
    app = create_app()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        await client.get("/articles")
    assert slept == [LIST_QUERY_S]


async def test_without_redis_writes_work_and_logins_do_not(monkeypatch):
    """Redis is for sessions and events; articles need none."""
    monkeypatch.delenv("REDIS_URL", raising=False)
    app = create_app(slowness=0)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        assert (await client.put("/articles/1", json={"title": "x"})).status_code == 200
        assert (await client.post("/login", json={"user": "ada"})).status_code == 503


async def test_a_lost_redis_costs_the_event_not_the_write(monkeypatch):
    """An event that cannot be published is logged, and the article is changed all the same."""
    app = create_app("redis://127.0.0.1:1", slowness=0)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        assert (await client.put("/articles/1", json={"title": "x"})).status_code == 200


async def test_ticks_are_server_sent_events(service):
    """One event after the other, in order."""
    answer = await service.get("/ticks", params={"n": 2, "every_ms": 0})
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text == "id: 0\ndata: tick 0\n\nid: 1\ndata: tick 1\n\n"


async def test_the_echo_sends_back():
    """A WebSocket message returns as it went."""
    incoming = iter(
        [
            {"type": "websocket.connect"},
            {"type": "websocket.receive", "text": "hello"},
            {"type": "websocket.disconnect", "code": 1000},
        ]
    )
    sent: list[dict] = []

    async def receive():
        return next(incoming)

    async def send(message):
        sent.append(message)

    scope = {"type": "websocket", "path": "/echo", "query_string": b"", "headers": [], "subprotocols": []}
    await create_app()(scope, receive, send)
    assert [(message["type"], message.get("text")) for message in sent] == [
        ("websocket.accept", None),
        ("websocket.send", "hello"),
    ]


async def _until(heard, kind):
    while True:
        message = await heard.get_message(timeout=5)
        assert message, "nothing was published"
        if message["type"] == kind:
            yield message
            return

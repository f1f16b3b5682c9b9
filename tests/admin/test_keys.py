"""Stored entries on the admin port."""

import json

import pytest

from cacheproxy.errors import StateError


async def test_an_entry_is_put_read_and_deleted(client, rest):
    """By its whole key, which may hold any character; the body comes back as it was sent."""
    path = "/api/v1/keys/k%3A1%3Av1%3A~h%3Dshop%252F1"
    async with client() as admin:
        assert (await admin.get(path)).status_code == 404
        put = await admin.put(path + "?ttl=60s", content=b'{"a": 1}', headers={"content-type": "application/json"})
        got = await admin.get(path)
        assert (put.status_code, got.status_code) == (201, 200)
        assert got.json()["key"] == "k:1:v1:~h=shop%2F1"
        (entry,) = got.json()["entries"]
        assert (entry["status"], entry["body"], entry["tags"]) == (200, '{"a": 1}', ["*"])
        assert entry["fields"] == [["content-type", "application/json"]]
        assert 59 < entry["fresh_for_s"] <= 60
        assert 59 < entry["kept_for_s"] < 200
        deleted = await admin.delete(path + "?wait=2s")
        assert deleted.json()["deleted"] == 1
        assert deleted.json()["purge"]["event_id"] == "1-0"
        assert rest.keys.asked == [("delete", "k:1:v1:~h=shop%2F1", 2.0)]
        assert (await admin.delete(path)).json()["deleted"] == 0


async def test_get_or_set_keeps_what_is_there(client):
    """With ``if_absent`` the first to come is answered with its own body, all others with the first one's."""
    async with client() as admin:
        first = await admin.put("/api/v1/keys/k:1?if_absent=1", content=b"1")
        second = await admin.put("/api/v1/keys/k:1?if_absent=1", content=b"2")
        assert [(first.status_code, second.status_code)] == [(201, 200)]
        assert second.json()["entries"][0]["body"] == "1"


async def test_a_body_that_is_no_text_is_base64(client):
    """JSON cannot hold it otherwise."""
    async with client() as admin:
        await admin.put("/api/v1/keys/k:1", content=b"\xff\x00")
        (entry,) = (await admin.get("/api/v1/keys/k:1")).json()["entries"]
        assert entry["body_base64"] == "/wA="
        assert "body" not in entry


async def test_keys_are_listed_by_the_page(client, rest):
    """With the cursor to go on with."""
    async with client() as admin:
        page = (await admin.get("/api/v1/keys?pattern=a:*&cursor=0.3&count=7")).json()
        assert page == {"keys": [{"key": "k:1", "kept_s": 2.5}, {"key": "k:2", "kept_s": None}], "cursor": "0.7"}
        assert rest.keys.asked == [("a:*", "0.3", 7)]


@pytest.mark.parametrize(
    ("method", "path", "reason"),
    [
        ("GET", "/api/v1/keys/nonsense", "bad-key"),
        ("PUT", "/api/v1/keys/nonsense", "bad-key"),
        ("DELETE", "/api/v1/keys/nonsense", "bad-key"),
        ("PUT", "/api/v1/keys/k:1?ttl=60", "bad-query"),
        ("PUT", "/api/v1/keys/k:1?ttl=100000s", "bad-query"),
        ("DELETE", "/api/v1/keys/k:1?wait=1h", "bad-query"),
        ("GET", "/api/v1/keys?cursor=bad", "bad-cursor"),
        ("GET", "/api/v1/keys?count=0", "bad-query"),
        ("GET", "/api/v1/keys?count=1001", "bad-query"),
        ("GET", "/api/v1/keys?count=x", "bad-query"),
        ("GET", "/api/v1/keys?pattern=", "bad-pattern"),
        ("GET", "/api/v1/keys?pattern=a%5C", "bad-pattern"),
        ("GET", "/api/v1/keys?pattern=" + "a" * 2000, "bad-pattern"),
    ],
)
async def test_what_cannot_be_is_refused(client, method, path, reason):
    """With the reason, and nothing done."""
    async with client() as admin:
        answer = await admin.request(method, path)
        assert (answer.status_code, answer.json()["reason"]) == (400, reason)


async def test_a_body_over_the_limit_is_refused(client, rest):
    """Before it is read whole."""
    async with client() as admin:
        answer = await admin.put("/api/v1/keys/k:1", content=b"x" * ((1 << 20) + 1))
        assert answer.status_code == 413
        assert rest.keys.kept == {}


async def test_a_sweep_tells_how_far_it_has_come(client, rest):
    """One JSON object a line, the last of which says that it is done."""
    async with client() as admin:
        answer = await admin.post("/api/v1/sweep", json={"pattern": "a:*"})
        steps = [json.loads(line) for line in answer.text.splitlines()]
        assert [step["looked_at"] for step in steps] == [500, 1000, 1500, 1500]
        assert [step.get("done") for step in steps] == [None, None, None, True]
        assert rest.keys.closed


async def test_a_sweep_that_breaks_off_says_so(client, rest):
    """The status is long sent: the last line tells."""
    rest.keys.fault = StateError("timeout", "no answer")
    async with client() as admin:
        last = json.loads((await admin.post("/api/v1/sweep", json={"pattern": "a:*"})).text.splitlines()[-1])
        assert (last["done"], last["reason"], last["purged"]) == (False, "redis-timeout", 3)


async def test_a_sweep_that_cannot_begin_is_refused(client, rest):
    """503, rather than a stream that breaks off at once."""
    rest.keys.fault, rest.keys.steps_left = StateError("refused"), 0
    async with client() as admin:
        assert (await admin.post("/api/v1/sweep", json={"pattern": "a:*"})).status_code == 503


@pytest.mark.parametrize(
    "asked", [b"", b"[]", b"{}", b'{"pattern": 1}', b'{"pattern": "a", "x": 1}', b'{"pattern": ""}']
)
async def test_a_sweep_of_nothing_is_refused(client, rest, asked):
    """Never taken for a sweep of everything."""
    async with client() as admin:
        assert (await admin.post("/api/v1/sweep", content=asked)).status_code == 400
        assert not rest.keys.closed


async def test_a_client_that_hangs_up_ends_the_sweep(rest):
    """Nothing more is deleted for somebody who has gone."""
    from cacheproxy.admin.keys import _told

    steps = rest.keys.sweep("a:*")
    stream = _told(await anext(steps), steps)
    await anext(stream)
    await stream.aclose()
    assert rest.keys.closed


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/api/v1/keys"), ("GET", "/api/v1/keys/k:1"), ("PUT", "/api/v1/keys/k:1"), ("DELETE", "/api/v1/keys/k:1")],
)
async def test_without_redis_there_are_no_keys(client, rest, method, path):
    """409 says why: what one process has in memory is no shared state."""
    rest.keys = None
    async with client() as admin:
        answer = await admin.request(method, path)
        assert (answer.status_code, answer.json()["reason"]) == (409, "no-redis")


@pytest.mark.parametrize(("method", "path"), [("GET", "/api/v1/keys"), ("POST", "/api/v1/sweep")])
async def test_keys_want_the_token(client, method, path):
    """Off loopback, as all of the API."""
    async with client(host="10.0.0.1", token="secret") as admin:
        assert (await admin.request(method, path)).status_code == 401

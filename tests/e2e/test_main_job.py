"""The five parts of the main job, on real processes: cache, limits, sessions, one request upstream, purges."""

import asyncio
import json
import signal
import time
from collections.abc import Callable
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx
import pytest
import redis
import websockets

pytestmark = pytest.mark.e2e


def get(url: str, **kwargs: object) -> httpx.Response:
    """One request on a connection of its own."""
    return httpx.get(url, trust_env=False, timeout=15, **kwargs)  # type: ignore[arg-type]


def eventually(check: Callable[[], bool], within_s: float = 5.0) -> bool:
    """Whether ``check`` came true in time."""
    give_up_at = time.monotonic() + within_s
    while time.monotonic() < give_up_at:
        if check():
            return True
        time.sleep(0.01)
    return False


async def many(urls: list[str], **kwargs: object) -> list[httpx.Response]:
    """All at once, by as many clients: none sends a cookie that another was given."""
    limits, no_cookies = httpx.Limits(max_connections=None), CookieJar(DefaultCookiePolicy(allowed_domains=[]))
    async with httpx.AsyncClient(trust_env=False, timeout=30, limits=limits, cookies=no_cookies) as client:
        return await asyncio.gather(*(client.get(url, **kwargs) for url in urls))  # type: ignore[arg-type]


def test_miss_then_hit(origin, sidecars, valkey) -> None:
    """The second request is answered without the origin, and both say so."""
    [sidecar] = sidecars(1, valkey)
    first, second = get(f"{sidecar.url}/items/a1"), get(f"{sidecar.url}/items/a1")
    assert ("MISS", "HIT") == (first.headers["x-cache"], second.headers["x-cache"])
    assert first.content == second.content
    assert "age" in second.headers
    assert second.headers["cache-status"].startswith("cacheproxy; hit; ttl=")
    assert 1 == origin.count("/items/a1")


def test_a_write_purges_before_its_client_knows(sidecars, valkey) -> None:
    """After a PUT the next GET is a MISS with the new value, on every replica."""
    one, two = sidecars(2, valkey)
    assert "first" == get(f"{one.url}/items/b1").json()["value"]
    assert "HIT" == get(f"{two.url}/items/b1").headers["x-cache"]
    httpx.put(f"{one.url}/items/b1", content="second", trust_env=False)
    assert "second" == get(f"{one.url}/items/b1").json()["value"]
    assert eventually(lambda: get(f"{two.url}/items/b1").json()["value"] == "second")


def test_a_published_event_purges(origin, sidecars, valkey) -> None:
    """A plain PUBLISH from any service purges on every replica."""
    one, two = sidecars(2, valkey)
    for sidecar in (one, two):
        get(f"{sidecar.url}/items/c1")
        assert "HIT" == get(f"{sidecar.url}/items/c1").headers["x-cache"]
    httpx.put(f"{origin.url}/items/c1", content="new", trust_env=False)
    with redis.Redis.from_url(valkey) as publisher:
        heard = publisher.publish("cacheproxy:events", json.dumps({"type": "item.updated", "data": {"id": "c1"}}))
    assert 2 == heard
    for sidecar in (one, two):
        assert eventually(lambda at=sidecar: get(f"{at.url}/items/c1").json()["value"] == "new")


def test_an_acknowledged_purge_holds_on_every_replica(origin, sidecars, valkey) -> None:
    """Once a purge with ``wait`` is answered, no replica serves what it purged."""
    replicas = sidecars(3, valkey)
    for sidecar in replicas:
        get(f"{sidecar.url}/items/d1")
    httpx.put(f"{origin.url}/items/d1", content="new", trust_env=False)
    receipt = replicas[0].purge(tags=["item:d1"], wait="5s")
    assert 3 == len(receipt["acknowledged"])
    assert [] == receipt["silent"]
    assert ["new"] * 3 == [get(f"{sidecar.url}/items/d1").json()["value"] for sidecar in replicas]


@pytest.mark.parametrize(
    "what", [{"keys": ["items:e1"]}, {"paths": ["/items/e1"]}, {"routes": ["item"]}, {"all": True}]
)
def test_purges_by_key_path_route_and_all(origin, sidecars, valkey, what) -> None:
    """Whatever names a stored response purges it."""
    [sidecar] = sidecars(1, valkey)
    get(f"{sidecar.url}/items/e1")
    assert "HIT" == get(f"{sidecar.url}/items/e1").headers["x-cache"]
    sidecar.purge(**what)
    assert "MISS" == get(f"{sidecar.url}/items/e1").headers["x-cache"]


def test_a_cold_key_makes_one_upstream_request(origin, sidecars, valkey) -> None:
    """200 concurrent requests through two sidecars: the origin sees exactly one."""
    one, two = sidecars(2, valkey)
    urls = [f"{sidecar.url}/items/f1?wait_ms=300" for _ in range(100) for sidecar in (one, two)]
    answers = asyncio.run(many(urls))
    assert {200} == {answer.status_code for answer in answers}
    assert 1 == origin.count("/items/f1")
    assert 1 == len({answer.content for answer in answers})


def test_a_response_with_a_cookie_is_nobody_elses(origin, sidecars, valkey) -> None:
    """Set-Cookie is neither stored nor handed to those who waited."""
    [sidecar] = sidecars(1, valkey)
    answers = asyncio.run(many([f"{sidecar.url}/cookie/1"] * 20))
    assert 20 == len({answer.headers["set-cookie"] for answer in answers})
    assert 20 == origin.count("/cookie/1")


def test_over_the_limit_is_429(sidecars, valkey) -> None:
    """The fourth request of a limit of three is refused, on whichever replica, and says when to come back."""
    one, two = sidecars(2, valkey)
    answers = [get(f"{sidecar.url}/limited/1") for sidecar in (one, two, one, two)]
    assert [200, 200, 200, 429] == [answer.status_code for answer in answers]
    assert ["2", "1", "0"] == [answer.headers["x-ratelimit-remaining"] for answer in answers[:3]]
    assert 0 < int(answers[3].headers["retry-after"]) <= 60
    assert "application/problem+json" == answers[3].headers["content-type"]


def test_the_sessions_user_reaches_the_upstream_and_the_key(origin, sidecars, valkey) -> None:
    """Each user has a cached response of their own; nobody can claim to be another."""
    with redis.Redis.from_url(valkey) as store:
        for user in ("7", "8"):
            store.set(f"session:s{user}", json.dumps({"user_id": user}), ex=100)
        [sidecar] = sidecars(1, valkey)
        url = f"{sidecar.url}/mine/g1"
        assert 401 == get(url).status_code
        assert 401 == get(url, headers={"x-user-id": "7", "x_user_id": "7"}).status_code
        for user in ("7", "8"):
            cookies = {"cookie": f"session_id=s{user}", "x-user-id": "1", "X_User_Id": "1"}
            first, second = get(url, headers=cookies), get(url, headers=cookies)
            assert user == first.json()["seen"]["x-user-id"]
            assert "x_user_id" not in first.json()["seen"]
            assert ("MISS", "HIT") == (first.headers["x-cache"], second.headers["x-cache"])
        assert store.ttl("session:s7") > 3000
    assert 2 == origin.count("/mine/g1")


def test_logout_ends_the_session_everywhere(sidecars, valkey) -> None:
    """A session that its service deleted is over on every replica as soon as it says so."""
    one, two = sidecars(2, valkey)
    with redis.Redis.from_url(valkey) as store:
        store.set("session:bye", json.dumps({"user_id": "9"}), ex=100)
        cookies = {"cookie": "session_id=bye"}
        assert [200, 200] == [get(f"{sidecar.url}/mine/h1", headers=cookies).status_code for sidecar in (one, two)]
        store.delete("session:bye")
        store.publish("cacheproxy:events", json.dumps({"type": "user.logged_out", "data": {"session_id": "bye"}}))
        for sidecar in (one, two):
            assert eventually(lambda at=sidecar: get(f"{at.url}/mine/h1", headers=cookies).status_code == 401)


def test_killing_redis_costs_no_request(origin, sidecars, fresh_valkey) -> None:
    """2,000 requests across the death and return of Redis: no error; caching resumes by itself."""
    [sidecar] = sidecars(1, fresh_valkey.url)
    statuses: list[int] = []
    with httpx.Client(trust_env=False, timeout=15) as client:
        for number in range(2000):
            if number == 500:
                fresh_valkey.kill()
            if number == 1500:
                fresh_valkey.start()
            statuses.append(client.get(f"{sidecar.url}/items/i{number % 7}").status_code)
    assert {200} == set(statuses)
    sidecar.await_part("bus", "connected")
    sidecar.await_part("redis-cache", "up")
    get(f"{sidecar.url}/items/back")
    assert "HIT" == get(f"{sidecar.url}/items/back").headers["x-cache"]


def test_it_starts_without_redis(origin, sidecars, fresh_valkey) -> None:
    """Redis absent at start: requests are served, and caching begins when it comes."""
    fresh_valkey.kill()
    [sidecar] = sidecars(1, fresh_valkey.url, wait=False)
    assert {200} == {get(f"{sidecar.url}/items/j1").status_code for _ in range(5)}
    fresh_valkey.start()
    sidecar.await_part("bus", "connected")
    sidecar.await_part("redis-cache", "up")
    get(f"{sidecar.url}/items/j1")
    assert "HIT" == get(f"{sidecar.url}/items/j1").headers["x-cache"]


def test_without_any_redis_it_caches_in_process(sidecars) -> None:
    """``--redis none`` runs on L1 alone."""
    [sidecar] = sidecars(1, "none")
    get(f"{sidecar.url}/items/k1")
    assert "HIT" == get(f"{sidecar.url}/items/k1").headers["x-cache"]
    sidecar.purge(tags=["item:k1"])
    assert "MISS" == get(f"{sidecar.url}/items/k1").headers["x-cache"]


def test_upstream_gone_is_a_502_that_nobody_keeps(sidecars) -> None:
    """A dead origin is a 502 within the connect time-out, and nothing of it is cached."""
    [sidecar] = sidecars(1, "none", upstream="http://127.0.0.1:9")
    answer = get(f"{sidecar.url}/items/l1")
    assert (502, "connect-refused") == (answer.status_code, answer.json()["reason"])
    assert "MISS" == get(f"{sidecar.url}/items/l1").headers["x-cache"]


def test_server_sent_events_pass_as_they_come(sidecars, valkey) -> None:
    """An endless body arrives chunk by chunk."""
    [sidecar] = sidecars(1, valkey)
    with httpx.Client(trust_env=False, timeout=5) as client, client.stream("GET", f"{sidecar.url}/ticks") as answer:
        lines = answer.iter_lines()
        assert "data: 0" == next(lines)
        assert "" == next(lines)
        assert "data: 1" == next(lines)


def test_large_bodies_stream_both_ways(sidecars, valkey) -> None:
    """Bodies far over what may be cached pass through whole."""
    [sidecar] = sidecars(1, valkey)
    assert 20 << 20 == len(get(f"{sidecar.url}/big?mb=20").content)

    def parts():
        for _ in range(20):
            yield b"y" * (1 << 20)

    answer = httpx.post(f"{sidecar.url}/upload", content=parts(), trust_env=False, timeout=30)
    assert 20 << 20 == answer.json()["bytes"]


async def test_websockets_are_tunnelled_with_the_identity(sidecars, valkey) -> None:
    """Messages pass both ways; the upstream sees the session's user and no claim of the client's."""
    [sidecar] = sidecars(1, valkey)
    with redis.Redis.from_url(valkey) as store:
        store.set("session:ws", json.dumps({"user_id": "77"}), ex=100)
    url = sidecar.url.replace("http", "ws") + "/echo"
    fields = {"cookie": "session_id=ws", "x-user-id": "1"}
    async with websockets.connect(url, additional_headers=fields) as socket:
        await socket.send("hello")
        assert "77:hello" == await socket.recv()


def test_sigterm_drains_and_exits_0(sidecars, valkey) -> None:
    """A request under way is answered; then the process ends by itself."""
    [sidecar] = sidecars(1, valkey)

    async def around_the_signal() -> httpx.Response:
        async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
            asking = asyncio.create_task(client.get(f"{sidecar.url}/items/m1?wait_ms=500"))
            await asyncio.sleep(0.2)
            sidecar.send(signal.SIGTERM)
            return await asking

    assert 200 == asyncio.run(around_the_signal()).status_code
    assert sidecar.popen is not None
    assert 0 == sidecar.popen.wait(10)

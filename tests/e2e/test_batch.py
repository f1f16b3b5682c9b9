"""Batches and conditions, by real processes on one Redis."""

import json

import httpx
import pytest
import redis

pytestmark = pytest.mark.e2e

POLICY = """
version: 1
session: {cookie: session_id, key: "session:{id}", identity: {X-User-Id: user_id}}
routes:
  - name: thing
    match: GET /things/{id}
    cache: {ttl: 60s, key: "things:{id}", tags: ["thing:{id}"]}
  - {name: things, match: GET /things, batch: {param: ids, item: "things:{id}"}}
  - {name: thing-write, match: "PUT /things/{id}", purge: ["thing:{id}"]}
  - name: note
    match: GET /notes/{id}
    session: required
    cache: {ttl: 60s, key: "notes:{id}", scope: user}
  - {name: notes, match: GET /notes, session: required, batch: {param: ids, item: "notes:{id}"}}
  - name: news
    match: GET /things-of-the-day/{id}
    cache: {ttl: 60s, key: "news:{id}", lookup_when: {header.x-fresh: absent}, store_when: {header.x-draft: absent}}
"""


def get(sidecar, target: str, **headers: str) -> httpx.Response:
    """An answer."""
    return httpx.get(sidecar.url + target, headers=headers, trust_env=False)


def values(answer: httpx.Response) -> dict[str, str]:
    """What each element says, in order."""
    return {each["id"]: each["value"] for each in answer.json()}


def put(sidecar, thing: str, value: str) -> None:
    """Write through the sidecar."""
    httpx.put(f"{sidecar.url}/things/{thing}", content=value, trust_env=False).raise_for_status()


def test_a_batch_is_answered_from_single_entries(sidecars, valkey, origin) -> None:
    """On every replica, whoever filled them; the origin is asked for what is missing, once."""
    one, other = sidecars(2, valkey, policy=POLICY)
    listed = httpx.get(one.admin + "/api/v1/routes", trust_env=False).json()["routes"]
    assert {"param": "ids", "of": "thing"} == listed[1]["batch"]
    first = get(one, "/things?ids=b1,b2")
    assert ["b1", "b2"] == list(values(first))
    assert "cacheproxy; fwd=uri-miss; fwd-status=200; ttl=59; stored" == first.headers["cache-status"].replace(
        "60", "59"
    )
    assert "HIT" == get(other, "/things/b1").headers["x-cache"]
    assert get(one, "/things/b1").content == json.dumps(first.json()[0], separators=(",", ":")).encode()
    get(other, "/things/b3")
    whole = get(other, "/things?ids=b3,b1,b4,b2")
    assert ["b3", "b1", "b4", "b2"] == list(values(whole))
    assert whole.headers["cache-status"].startswith("cacheproxy; fwd=partial; fwd-status=200; ttl=5")
    assert "HIT" == get(one, "/things?ids=b4,b3").headers["x-cache"]
    assert [1, 0, 1] == [origin.count("/things?ids=b1,b2"), origin.count("/things/b1"), origin.count("/things?ids=b4")]


def test_a_purge_of_one_between_two_batches_holds_on_every_replica(sidecars, valkey, origin) -> None:
    """A write through one replica, and the next batch of the other has the new value, and asks for that alone."""
    one, other = sidecars(2, valkey, policy=POLICY)
    for sidecar in (one, other):
        assert {"p1": "first", "p2": "first"} == values(get(sidecar, "/things?ids=p1,p2"))
    put(one, "p2", "second")
    assert {"p2": "second", "p1": "first"} == values(get(one, "/things?ids=p2,p1"))
    other.purge(tags=["thing:p1"], wait="2s")
    assert {"p1": "first", "p2": "second"} == values(get(other, "/things?ids=p1,p2"))
    assert [1, 1] == [origin.count("/things?ids=p2"), origin.count("/things?ids=p1")]


def test_nobody_gets_anothers_elements(sidecars, valkey, origin) -> None:
    """Each session's user has entries of its own, in batches and alone."""
    (sidecar,) = sidecars(1, valkey, policy=POLICY)
    with redis.Redis.from_url(valkey) as client:
        for user in ("ann", "bob"):
            client.set(f"session:s-{user}", json.dumps({"user_id": user}))
    for _ in range(2):
        for user in ("ann", "bob"):
            cookie = {"cookie": f"session_id=s-{user}"}
            seen = [each["seen"]["x-user-id"] for each in get(sidecar, "/notes?ids=1,2", **cookie).json()]
            assert [user, user] == seen
            assert user == get(sidecar, "/notes/1", **cookie).json()["seen"]["x-user-id"]
    assert 2 == origin.count("/notes?ids=1,2")
    assert 401 == get(sidecar, "/notes?ids=1,2").status_code


def test_a_batch_is_answered_without_redis(sidecars, origin) -> None:
    """From the replica's own memory."""
    (sidecar,) = sidecars(1, "none", policy=POLICY)
    answers = [get(sidecar, "/things?ids=n1,n2") for _ in range(2)]
    assert ["MISS", "HIT"] == [answer.headers["x-cache"] for answer in answers]
    assert answers[0].json() == answers[1].json()


def test_ten_thousand_ids_are_not_taken_apart(sidecars, origin) -> None:
    """The edge refuses a target of that length; a few too many are forwarded as they are, and leave nothing."""
    (sidecar,) = sidecars(1, "none", policy=POLICY)
    assert 414 == get(sidecar, "/things?ids=" + ",".join(map(str, range(10_000)))).status_code
    assert "detail=batch-whole" in get(sidecar, "/things?ids=" + ",".join(map(str, range(101)))).headers["cache-status"]
    assert "MISS" == get(sidecar, "/things/7").headers["x-cache"]


def test_conditions_decide_who_is_looked_up_and_stored(sidecars, valkey, origin) -> None:
    """By the fields of each request, on the express lane as off it."""
    (sidecar,) = sidecars(1, valkey, policy=POLICY)
    target = "/things-of-the-day/1"
    draft = get(sidecar, target, **{"x-draft": "1"})
    assert "detail=store-when" in draft.headers["cache-status"]
    assert ["MISS", "HIT", "HIT"] == [get(sidecar, target).headers["x-cache"] for _ in range(3)]
    fresh = get(sidecar, target, **{"x-fresh": ""})
    assert fresh.headers["cache-status"].endswith("stored; detail=lookup-when")
    assert "HIT" == get(sidecar, target, **{"x-draft": "1"}).headers["x-cache"]
    assert 3 == origin.count(target)

"""``/api/v1/explain`` and ``/api/v1/reload``."""

import pytest

from cacheproxy.errors import Fault, PolicyError, StateError
from cacheproxy.policy.explain import Explanation


async def test_a_request_is_described_by_the_query(client, rest):
    """Method, target, fields, session, tenant and address."""
    query = {
        "method": "HEAD",
        "target": "/articles/5?b=%2F",
        "header": ["Host: shop.example", "Accept: */*"],
        "session": '{"user_id": 7}',
        "tenant": "acme",
        "client_ip": "10.0.0.9",
    }
    async with client() as admin:
        assert (await admin.get("/api/v1/explain", params=query)).status_code == 200
    (question,) = rest.questions
    assert (question.method, question.target) == ("HEAD", b"/articles/5?b=%2F")
    assert question.fields.pairs == ((b"host", b"shop.example"), (b"accept", b"*/*"))
    assert (question.session, question.tenant, question.client_ip) == ({"user_id": 7}, "acme", "10.0.0.9")


async def test_what_is_stored_for_it_is_said(client):
    """Its age and how long it is fresh, and not its body."""
    async with client() as admin:
        assert (await admin.get("/api/v1/explain?target=/x")).json()["stored"] == []
        await admin.put("/api/v1/keys/k:1", content=b"secret")
        explained = (await admin.get("/api/v1/explain?target=/x")).json()
        assert explained["decision"] == "look-up"
        (stored,) = explained["stored"]
        assert (stored["status"], stored["body_bytes"]) == (200, 6)
        assert "body" not in stored


@pytest.mark.parametrize("without", ["keys", "key", "answer"])
async def test_nothing_is_said_of_a_store_where_there_is_none(client, rest, without):
    """No Redis, one that does not answer, or a request that no cache is asked for."""
    if without == "keys":
        rest.keys = None
    elif without == "answer":
        rest.keys.fault = StateError("timeout")
    else:
        rest.explanation = Explanation(decision="pass", reason="no route")
    async with client() as admin:
        assert (await admin.get("/api/v1/explain?target=/x")).json()["stored"] is None


@pytest.mark.parametrize(
    "query",
    [
        "",
        "target=x",
        "target=/x&method=GET&bogus=1",
        "target=/x&header=nonsense",
        "target=/x&session=[]",
        "target=/x&client_ip=10.0.0",
        "target=/x&header=: x",
        "target=/x%20y",
    ],
)
async def test_a_question_that_is_none_is_refused(client, query):
    """400, with what to write."""
    async with client() as admin:
        assert (await admin.get(f"/api/v1/explain?{query}")).status_code == 400


async def test_a_reload_tells_which_policy_is_in_force(client):
    """By its digest."""
    async with client() as admin:
        assert (await admin.post("/api/v1/reload")).json() == {"digest": "beef", "changed": True}


async def test_a_policy_that_is_wrong_is_told_with_its_lines(client, rest):
    """As ``cacheproxy check`` would."""
    rest.fault = PolicyError("cacheproxy.yaml", [Fault("unknown key `rotues`", line=3, column=1)])
    async with client() as admin:
        answer = await admin.post("/api/v1/reload")
        assert (answer.status_code, answer.json()["reason"]) == (422, "bad-policy")
        assert answer.json()["detail"] == "cacheproxy.yaml:3:1: unknown key `rotues`"


async def test_warming_tells_what_came_of_each_request(client):
    """As the rest of the sidecar says it."""
    async with client() as admin:
        answer = await admin.post("/api/v1/warm")
    assert answer.json()["requests"] == [{"request": "GET /a", "status": 200, "cache": "MISS"}]

"""The admin port, asked as a probe, an operator, a scraper and a stray client would."""

import pytest

from cacheproxy.admin.app import Readiness
from cacheproxy.admin.http import MAX_BODY_BYTES
from cacheproxy.admin.purge_request import AskedPurge
from cacheproxy.errors import StateError
from cacheproxy.invalidation.contract import Purge, PurgeMode
from cacheproxy.policy.tags import route_tag, tenant_tag


async def test_livez_is_alive_whatever_else_is_not(client, rest):
    """Liveness speaks of this process alone: restarting it would not bring Redis back."""
    rest.readiness = Readiness(False, {"listener": "down"})
    answer = await client().get("/livez")
    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


@pytest.mark.parametrize("path", ["/readyz", "/healthz"])
@pytest.mark.parametrize(("ready", "status"), [(True, 200), (False, 503)])
async def test_readyz_follows_readiness_and_names_the_parts(client, rest, path, ready, status):
    """Readiness is the status code; the state of each part is in the body, where it changes nothing by itself."""
    rest.readiness = Readiness(ready, {"redis": "down"})
    answer = await client().get(path)
    assert answer.status_code == status
    assert answer.json()["parts"] == {"redis": "down"}


async def test_metrics_are_prometheus_text(client):
    """A scraper gets text format 0.0.4."""
    answer = await client().get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert 'cacheproxy_config_info{hash="cafe"} 1.0' in answer.text


async def test_purge_hands_on_what_was_asked_and_answers_with_the_receipt(client, rest):
    """The whole of the request reaches the purger, and who acknowledged reaches the operator."""
    answer = await client().post(
        "/api/v1/purge", json={"tags": ["article:1"], "tenant": "acme", "mode": "soft", "wait": "2s"}
    )
    assert answer.status_code == 200
    assert answer.json() == {"event_id": "7-0", "at_us": 7, "acknowledged": ["a"], "silent": ["b"]}
    assert rest.purges == [AskedPurge(Purge(tags=(tenant_tag("acme", "article:1"),), mode=PurgeMode.SOFT), 2.0)]


async def test_a_purge_names_routes_that_the_policy_does_not_have(client, rest):
    """A slip must not pass for a purge; a route of an earlier policy is purged all the same."""
    answer = await client().post("/api/v1/purge", json={"routes": ["article", "artikel"]})
    assert (answer.status_code, answer.json()["unknown_routes"]) == (200, ["artikel"])
    assert rest.purges == [AskedPurge(Purge(tags=(route_tag("article"), route_tag("artikel"))))]
    assert "unknown_routes" not in (await client().post("/api/v1/purge", json={"routes": ["article"]})).json()


async def test_a_bad_purge_is_a_problem_document_and_purges_nothing(client, rest):
    """What was not understood is refused whole, with a reason for programs and a sentence for people."""
    answer = await client().post("/api/v1/purge", json={"tag": ["article:1"]})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["reason"] == "bad-purge"
    assert rest.purges == []


async def test_a_purge_that_redis_did_not_record_is_503(client, rest):
    """Nobody is told that a purge was made when it was not."""
    rest.fault = StateError("refused")
    answer = await client().post("/api/v1/purge", json={"all": True})
    assert (answer.status_code, answer.json()["reason"]) == (503, "redis-refused")


async def test_an_event_purges_what_the_policy_maps_it_to(client, rest):
    """An operator may say what a service would."""
    answer = await client().post("/api/v1/events", json={"type": "article.updated", "data": {"id": 7}})
    assert (answer.status_code, answer.json()["event_id"]) == (200, "7-0")
    assert rest.purges == [AskedPurge(Purge(tags=("article:7",)))]


@pytest.mark.parametrize(
    ("event", "reason", "said"),
    [
        (b"{", "malformed", "it is not JSON"),
        (b"[]", "wrong-type", "it has neither a `type` nor a `purge`"),
        (b'{"type": "article.read", "data": {}}', "unknown-event", "`events.on` does not name"),
        (b'{"type": "article.updated", "data": {}}', "missing-data", "it lacks"),
    ],
)
async def test_an_event_that_is_not_understood_is_400_with_its_reason(client, rest, event, reason, said):
    """On the channel it would be counted and dropped; here somebody can be told."""
    answer = await client().post("/api/v1/events", content=event)
    assert (answer.status_code, answer.json()["reason"]) == (400, reason)
    assert said in answer.json()["detail"]
    assert rest.purges == []


async def test_a_body_over_the_bound_is_413(client, rest):
    """The body is given up as soon as it is over 1 MiB."""
    answer = await client().post("/api/v1/purge", content=b" " * (MAX_BODY_BYTES + 1))
    assert (answer.status_code, answer.json()["reason"]) == (413, "body-too-large")
    assert rest.purges == []


async def test_a_body_just_within_the_bound_is_read(client):
    """1 MiB exactly is JSON, or not, like any other body."""
    answer = await client().post("/api/v1/purge", content=b" " * MAX_BODY_BYTES)
    assert (answer.status_code, answer.json()["reason"]) == (400, "bad-json")


async def test_stats_join_the_counters_with_what_the_rest_knows(client, rest):
    """One document: what was counted here, and the version and replicas from elsewhere."""
    rest.metrics.request(
        method="GET", route="article", cache_status="hit", seconds=0.001, resource_type="articles", hit=True
    )
    stats = (await client().get("/api/v1/stats")).json()
    assert (stats["version"], stats["hits"], stats["hit_ratio"]) == ("0.0.0", 1, 1.0)
    assert stats["requests"][0]["p99_ms_under"] == 1.0


async def test_routes_are_listed(client):
    """The compiled routes, in order."""
    assert (await client().get("/api/v1/routes")).json() == {"routes": [{"name": "article"}]}


@pytest.mark.parametrize(
    ("method", "path", "status", "reason"),
    [("GET", "/nothing", 404, "not-found"), ("GET", "/api/v1/purge", 405, "method-not-allowed")],
)
async def test_wrong_paths_and_methods_are_problem_documents(client, method, path, status, reason):
    """Even the framework's own refusals have our form."""
    answer = await client().request(method, path)
    assert (answer.status_code, answer.json()["reason"]) == (status, reason)


async def test_a_bug_is_500_and_tells_the_client_nothing_of_it(client, rest):
    """The traceback is for the log; the client learns only whose fault it is."""
    rest.fault = RuntimeError("secret")
    answer = await client().post("/api/v1/purge", json={"all": True})
    assert (answer.status_code, answer.json()["reason"]) == (500, "internal-error")
    assert "secret" not in answer.text


@pytest.mark.parametrize("path", ["/", "/livez", "/metrics", "/nothing"])
async def test_nothing_here_is_ever_stored(client, path):
    """No cache on the way keeps an answer of the admin port."""
    assert (await client().get(path)).headers["cache-control"] == "no-store"

"""Commands that ask a running sidecar."""

import pytest

RECEIPT = {"event_id": "1-0", "at_us": 5, "acknowledged": ["a", "b"], "silent": []}


def test_health_is_the_answer_of_readyz(run, admin_port) -> None:
    """Exit 0 when ready, 1 when not: what a container's health check needs."""
    admin_port.answer = {"status": "ready"}
    assert run("health", "--admin", admin_port.address).code == 0
    admin_port.status = 503
    assert run("health", "--admin", admin_port.address).code == 1
    assert run("health", "--admin", admin_port.address, "--json").json == {"status": "ready"}
    assert admin_port.asked[0] == ("GET", "/readyz", None, None)


def test_health_of_what_is_not_there(run) -> None:
    """Exit 1, and where it was looked for."""
    ran = run("health", "--admin", "127.0.0.1:1")
    assert ran.code == 1
    assert "127.0.0.1:1" in ran.out
    assert run("health", "--admin", "127.0.0.1:1", "--json").json["status"] == "unreachable"


def test_the_admin_port_comes_from_the_environment(run, admin_port, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its token too, which is sent as a bearer token; listening everywhere is asked on loopback."""
    monkeypatch.setenv("CACHEPROXY_ADMIN", admin_port.address.replace("127.0.0.1", "0.0.0.0"))
    monkeypatch.setenv("CACHEPROXY_ADMIN_TOKEN", "t0ken")
    assert run("health").code == 0
    assert admin_port.asked[0][2] == "Bearer t0ken"


def test_purge_sends_what_it_is_told(run, admin_port) -> None:
    """Tags, keys, paths, routes, a tenant, the mode and the wait; nothing that was not given."""
    admin_port.answer = RECEIPT
    ran = run(
        "purge", "--tag", "a", "--tag", "b", "--key", "k:*", "--path", "/p", "--route", "r",
        "--tenant", "t", "--soft", "--wait", "2s", "--admin", admin_port.address,
    )  # fmt: skip
    assert ran.code == 0
    assert "acknowledged  a, b" in ran.out
    body = {
        "tags": ["a", "b"],
        "keys": ["k:*"],
        "paths": ["/p"],
        "routes": ["r"],
        "tenant": "t",
        "wait": "2s",
        "mode": "soft",
    }
    assert admin_port.asked == [("POST", "/api/v1/purge", None, body)]


def test_purge_of_everything_must_be_said(run, admin_port) -> None:
    """``--all`` and nothing else means everything."""
    admin_port.answer = RECEIPT
    assert run("purge", "--all", "--admin", admin_port.address, "--json").json == RECEIPT
    assert admin_port.asked[0][3] == {"all": True}


def test_purge_names_replicas_that_did_not_answer(run, admin_port) -> None:
    """Exit 1: somebody may still serve what was purged."""
    admin_port.answer = {**RECEIPT, "silent": ["c"]}
    ran = run("purge", "--tag", "a", "--wait", "1s", "--admin", admin_port.address)
    assert ran.code == 1
    assert "silent        c" in ran.out


def test_purge_names_routes_that_are_not_in_the_policy(run, admin_port) -> None:
    """Exit 1: it was probably misspelt."""
    admin_port.answer = {**RECEIPT, "unknown_routes": ["artikel"]}
    ran = run("purge", "--route", "artikel", "--admin", admin_port.address)
    assert ran.code == 1
    assert "unknown_routes  artikel" in ran.out


def test_a_refusal_is_told(run, admin_port) -> None:
    """With the sidecar's own reason, and exit 1."""
    admin_port.status, admin_port.answer = 400, {"detail": "the purge names nothing"}
    ran = run("purge", "--tag", "", "--route", "x", "--admin", admin_port.address)
    assert ran.code == 1
    assert "400: the purge names nothing" in ran.err


@pytest.mark.parametrize("arguments", [[], ["--soft"], ["--wait", "2s"]])
def test_a_purge_of_nothing_is_misuse(run, admin_port, arguments: list[str]) -> None:
    """Exit 2 and what could be named; the sidecar is not asked."""
    ran = run("purge", *arguments, "--admin", admin_port.address)
    assert (ran.code, admin_port.asked) == (2, [])
    assert "--tag" in ran.err


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b""])
def test_an_answer_that_is_not_ours_is_told(run, admin_port, answer: bytes) -> None:
    """Another server on that port is not taken for the sidecar."""
    admin_port.answer = answer
    assert run("stats", "--admin", admin_port.address).code == 1


def test_publish_sends_an_event(run, admin_port) -> None:
    """As a service would: a type and its data."""
    admin_port.answer = {"event_id": "1-0"}
    assert run("publish", "article.updated", '{"id": 42}', "--admin", admin_port.address).code == 0
    assert admin_port.asked == [
        ("POST", "/api/v1/events", None, {"type": "article.updated", "data": {"id": 42}}),
    ]
    assert run("publish", "x", "{", "--admin", admin_port.address).code == 2


def test_stats_are_flattened_for_people(run, admin_port) -> None:
    """Nested counters become dotted names; JSON stays as it is."""
    admin_port.answer = {"cache": {"hits": 3, "ratio": 0.5}, "version": "1"}
    assert run("stats", "--admin", admin_port.address).out.splitlines() == [
        "cache.hits   3",
        "cache.ratio  0.5",
        "version      1",
    ]
    assert run("stats", "--admin", admin_port.address, "--json").json == admin_port.answer


def test_stats_end_with_a_table_of_requests(run, admin_port) -> None:
    """One line for each route and cache status; what was never measured is a dash."""
    row = {"method": "GET", "route": "article", "cache_status": "hit", "count": 2, "mean_ms": 0.1, "p50_ms_under": 0.1}
    admin_port.answer = {"hits": 2, "requests": [row | {"p99_ms_under": None}]}
    *_, head, line = run("stats", "--admin", admin_port.address).out.splitlines()
    assert head.split() == ["METHOD", "ROUTE", "CACHE", "REQUESTS", "MEAN", "MS", "P50", "UNDER", "P99", "UNDER"]
    assert line.split() == ["GET", "article", "hit", "2", "0.1", "0.1", "-"]


def test_warm_prints_what_came_of_each_request(run, admin_port) -> None:
    """Exit 0 if all went well, 1 if one did not."""
    requests = [
        {"request": "GET /a", "status": 200, "cache": "MISS"},
        {"request": "GET /b", "status": None, "cache": ""},
    ]
    admin_port.answer = {"warmed": 2, "failed": 0, "requests": requests[:1]}
    assert run("warm", "--admin", admin_port.address).out == "GET /a  200 MISS\n"
    admin_port.answer = {"warmed": 1, "failed": 1, "requests": requests}
    ran = run("warm", "--admin", admin_port.address)
    assert (1, ["GET /a  200 MISS", "GET /b  no answer"]) == (
        ran.code,
        [line.rstrip() for line in ran.out.splitlines()],
    )
    assert run("warm", "--json", "--admin", admin_port.address).json["failed"] == 1
    admin_port.answer = {"warmed": 0, "failed": 0, "requests": []}
    assert "names no requests" in run("warm", "--admin", admin_port.address).out

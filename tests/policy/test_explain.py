"""What becomes of a request, said beforehand."""

import pytest

from cacheproxy.policy.explain import Explanation, explain
from cacheproxy.policy.identity import Identity

POLICY = """
session: {}
tenant: {from: session.org}
limits: {per-client: {rate: 10/s}}
routes:
  - {name: number, match: "GET /a/{id:int}", cache: {key: "a:{id}", mode: override, ttl: 10s}, limits: [per-client]}
  - {name: host, match: "GET api.example/a/{x}", cache: {}}
  - {name: me, match: GET /me, session: required, cache: {scope: user}}
  - {name: write, match: ["POST /a", "PUT /a/{id}"], purge: ["a:{id}"]}
  - {name: files, match: "GET /files/{rest:path}", cache: {ttl: origin, bypass: {query: fresh}}}
  - {name: deep, match: "GET /a/{x}/b/{y}"}
"""


@pytest.fixture
def said(load, make_request):
    """Explains a request under the policy above."""
    policy, router = load(POLICY)

    def say(target: str, method: str = "GET", identity: Identity | None = None) -> Explanation:
        return explain(policy, router, make_request(target, method=method), identity or Identity(), prefix="cp")

    return say


@pytest.mark.parametrize(
    ("target", "method", "decision", "route"),
    [
        ("/a/7", "GET", "look-up", "number"),
        ("/a/7", "HEAD", "look-up", "number"),
        ("/a/7/", "GET", "pass", "number"),
        ("/me", "GET", "refuse", "me"),
        ("/a", "POST", "pass", "write"),
        ("/files/x", "GET", "look-up", "files"),
        ("/files/x?fresh", "GET", "bypass", "files"),
        ("/nothing", "GET", "pass", "unmatched"),
        ("/files/../me", "GET", "refuse", ""),
    ],
)
def test_decisions(said, target: str, method: str, decision: str, route: str) -> None:
    """Look up, pass, bypass or refuse, and under which route."""
    explanation = said(target, method)
    assert (explanation.decision, explanation.route) == (decision, route)
    assert explanation.reason


def test_every_line_that_did_not_match_says_why(said) -> None:
    """In file order, up to the line that did."""
    considered = said("/a/x/b/y").considered
    assert [(one.route, one.why_not) for one in considered] == [
        ("number", "`x` is not a number"),
        ("host", "host `example.com` is not `api.example`"),
        ("me", "`a` is not `me`"),
        ("write", "method GET"),
        ("write", "method GET"),
        ("files", "`a` is not `files`"),
        ("deep", ""),
    ]


@pytest.mark.parametrize(
    ("target", "why_not"),
    [("/a", "the path is shorter"), ("/a/7/b", "the path is longer"), ("/a/", "`` is not a number")],
)
def test_lengths_are_reasons(said, target: str, why_not: str) -> None:
    """A path may have too few or too many segments."""
    assert said(target).considered[0].why_not == why_not


def test_the_key_is_taken_apart(said) -> None:
    """Prefix, tenant, resource, version and suffix, which together are the key."""
    explanation = said("/a/7?b=2")
    assert explanation.key_parts == {
        "prefix": "cp",
        "tenant": "tenant-global",
        "resource": "a:7",
        "version": "v1",
        "suffix": "~h=example.com~q=b%3D2",
    }
    assert ":".join(explanation.key_parts.values()) == explanation.key
    assert explanation.params == {"id": "7"}
    assert explanation.limits == ("per-client: 10 per 1s by client_ip (gcra, all)",)
    assert explanation.freshness == "10s"


def test_freshness_names_who_decides(said) -> None:
    """The origin first, in honor mode; alone, where the policy says so."""
    assert said("/files/x").freshness == "as the origin says"


def test_with_a_session_the_route_that_requires_one_is_looked_up(said) -> None:
    """The user is in the key, hashed."""
    explanation = said("/me", identity=Identity(session_id="s", session={"user_id": 7}))
    assert explanation.decision == "look-up"
    assert "~u=" in explanation.key


def test_an_enforced_tenant_is_asked_for(load, make_request) -> None:
    """Without it the request is refused."""
    policy, router = load(
        "tenant: {from: host, enforce: true}\nroutes:\n  - {name: a, match: /a, cache: {key_host: false}}\n"
    )
    refused = explain(policy, router, make_request("/a"), Identity(), prefix="cp")
    passed = explain(policy, router, make_request("/a"), Identity(tenant="t"), prefix="cp")
    assert (refused.decision, passed.decision) == ("refuse", "look-up")
    assert passed.key_parts["suffix"] == ""


CONDITIONS = """
routes:
  - name: a
    match: GET /a
    cache:
      bypass: {when: {any: [{query.now: present}, {cookie.beta: 1}]}}
      lookup_when: {header.x-fresh: absent}
      store_when: {header.x-draft: absent, query.page: [absent, "<10"]}
"""


@pytest.mark.parametrize(
    ("target", "fields", "decision", "why"),
    [
        ("/a", [], "look-up", "else fetched"),
        ("/a?now", [], "bypass", "bypass-when (`query.now: present`)"),
        ("/a", [("x-fresh", "1")], "fetch", "`lookup_when` does not hold (`header.x-fresh: absent`)"),
        ("/a?page=11", [], "look-up", "`store_when` does not hold (`query.page: [absent, <10]`)"),
        ("/a", [("x-fresh", ""), ("x-draft", "")], "bypass", "(`header.x-fresh: absent`, `header.x-draft: absent`)"),
    ],
)
def test_the_condition_that_decided_is_named(
    load, make_request, target: str, fields: list[tuple[str, str]], decision: str, why: str
) -> None:
    """The part of it that failed, or that held, as the policy writes it."""
    policy, router = load(CONDITIONS)
    said = explain(policy, router, make_request(target, *fields), Identity(), prefix="cp")
    assert decision == said.decision
    assert why in said.reason


BATCH = """
routes:
  - {name: user, match: "GET /users/{id:int}", cache: {key: "users:{id}"}}
  - {name: users, match: GET /users, batch: {param: ids, item: "users:{id}", max_ids: 3}}
"""


@pytest.mark.parametrize(
    ("target", "decision", "why", "keys"),
    [
        ("/users?ids=2,1", "look-up", "answered from 2 single entries, of route `user`", ["users:2", "users:1"]),
        ("/users", "pass", "not taken apart, as it names no ids; the route has no `cache`: forwarded", []),
        ("/users?ids=1,2,3,4", "pass", "not taken apart, as it names more ids than `max_ids`", []),
        ("/users?ids=1&page=2", "pass", "not taken apart, as it has other parameters", []),
        ("/users?ids=1,x", "pass", "not taken apart, as one of its ids leads to another route", []),
        ("/users?ids=1,", "pass", "or one is empty", []),
    ],
)
def test_batches_are_taken_apart_beforehand(
    load, make_request, target: str, decision: str, why: str, keys: list[str]
) -> None:
    """The keys of the single entries, or why there are none."""
    policy, router = load(BATCH)
    said = explain(policy, router, make_request(target), Identity(), prefix="cp")
    assert decision == said.decision
    assert why in said.reason
    assert list(said.batch) == [f"cp:tenant-global:{key}:v1:~h=example.com" for key in keys]

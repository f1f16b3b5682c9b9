"""What is in force and rarely meant: said with its line, and no more than said."""

import pytest

from cacheproxy.policy.load import load_policy


@pytest.mark.parametrize(
    ("cache", "cautioned"),
    [
        ("{scope: user}", ["routes[0].cache.scope"]),
        ("{scope: session}", ["routes[0].cache.scope"]),
        ("{scope: user, encode: false}", []),
        ("{}", []),
    ],
)
def test_compression_beside_secrets_is_cautioned_against(cache: str, cautioned: list[str]) -> None:
    """What is for one user is where an attacker would look (docs/security.md)."""
    text = f"""version: 1
session: {{cookie: sid}}
defaults: {{cache: {{encode: true}}}}
routes: [{{name: a, match: GET /a, session: required, cache: {cache.replace("{}", "{allow_shared: true}")}}}]
"""
    policy, _ = load_policy(text, "p.yaml", {})
    assert cautioned == [caution.path for caution in policy.cautions]


@pytest.mark.parametrize(
    ("method", "meant"),
    [("GTE", "GET"), ("DELET", "DELETE"), ("PSOT", "POST"), ("PROPPATCH", ""), ("PURGE", ""), ("PATCH", ""), ("X", "")],
)
def test_a_method_that_is_nearly_one_is_cautioned_against(method: str, meant: str) -> None:
    """A slip makes a route that matches nothing; methods of one's own stay allowed."""
    text = f"version: 1\nroutes:\n  - name: a\n    match: [GET /a, {method} /b]\n"
    policy, _ = load_policy(text, "p.yaml", {})
    said = [(caution.line, caution.path, caution.message.partition("mean ")[2]) for caution in policy.cautions]
    assert said == ([(4, "routes[0].match[1]", f"`{meant}`?")] if meant else [])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("GET /a/1?page=2", ""),
        ("GET api.example.com/a/1", ""),
        ("GET /b", "the route `b` has no `cache:`"),
        ("GET /c", "no route matches"),
        ("GET /a%2F1", "no route matches"),
        ("GET other.example/d", "no route matches"),
        ("GET d.example/d", ""),
    ],
)
@pytest.mark.parametrize("listed", ["[{}]", "{{requests: [GET /a/0, {}]}}"])
def test_a_request_that_warms_nothing_is_cautioned_against(line: str, said: str, listed: str) -> None:
    """Its answer would be thrown away at every start, and nobody would know."""
    text = f"""version: 1
routes:
  - {{name: a, match: "GET /a/{{id}}", cache: {{ttl: 1m, key: "a:{{id}}"}}}}
  - {{name: b, match: GET /b}}
  - {{name: d, match: GET d.example/d, cache: {{ttl: 1m}}}}
warm: {listed.format(f'"{line}"')}
"""
    policy, _ = load_policy(text, "p.yaml", {})
    path = "warm[0]" if listed.startswith("[") else "warm.requests[1]"
    assert [caution.path for caution in policy.cautions] == ([path] if said else [])
    assert all((caution.line, caution.message[: len(said)]) == (6, said) for caution in policy.cautions)


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/a/:id", "{id}"),
        ("/a/<id>", "{id}"),
        ("/a/<int:id>/b", "{id:int}"),
        ("/a/<path:rest>", "{rest:path}"),
        ("/a/<string:name>", "{name}"),
        ("/a/[0-9]+", "{name}` or `{name:int}"),
        (r"/a/\\d", "{name}` or `{name:int}"),
        ("/^a", "{name}` or `{name:int}"),
        ("/a$", "{name}` or `{name:int}"),
        ("/a/x:id", ""),
        ("/users(1)", ""),
        ("/$metadata", ""),
        ("/c++", ""),
        ("/a/{id}", ""),
    ],
)
def test_a_pattern_of_another_program_is_cautioned_against(path: str, meant: str) -> None:
    """It would match itself letter by letter, and no request of a client's."""
    policy, _ = load_policy(f'version: 1\nroutes:\n  - name: a\n    match: "GET {path}"\n', "p.yaml", {})
    said = [(caution.line, caution.path, caution.message.partition("write ")[2]) for caution in policy.cautions]
    assert said == ([(4, "routes[0].match[0]", f"`{meant}`")] if meant else [])


def test_a_limit_that_no_route_has_is_cautioned_against() -> None:
    """It was written for something, and counts nothing."""
    text = """version: 1
limits:
  used: {rate: 1/s}
  unused: {rate: 1/s}
routes:
  - {name: a, match: GET /a, limits: [used]}
"""
    policy, _ = load_policy(text, "p.yaml", {})
    assert [(caution.path, caution.line) for caution in policy.cautions] == [("limits.unused", 4)]
    assert "add `limits: [unused]`" in policy.cautions[0].message


@pytest.mark.parametrize(
    ("purged", "meant"),
    [
        ("articels", "articles"),
        ("article", "articles"),
        ("articles:{id}", "article:{id}"),
        ("articles", ""),
        ("article:{id}", ""),
        ("something-of-the-service", ""),
        ("other:{id}", ""),
    ],
)
def test_a_purge_of_nearly_a_tag_is_cautioned_against(purged: str, meant: str) -> None:
    """A slip purges nothing and is found when readers complain; tags that responses bring are nobody's slip."""
    text = f"""version: 1
routes:
  - {{name: a, match: "GET /a/{{id}}", cache: {{ttl: 1m, tags: [articles, "article:{{id}}"]}}}}
  - {{name: w, match: "PUT /a/{{id}}", purge: ["{purged}"]}}
events:
  on: {{changed: ["{purged.replace("{id}", "{data.id}")}"]}}
"""
    policy, _ = load_policy(text, "p.yaml", {})
    said = [(caution.line, caution.path, caution.message.partition("mean ")[2]) for caution in policy.cautions]
    places = [(4, "routes[1].purge[0]"), (6, "events.on.changed[0]")]
    assert said == ([(*place, f"`{meant}`?") for place in places] if meant else [])


def test_a_purge_of_a_tag_of_cacheproxys_own_is_no_slip() -> None:
    """Keys have their beginnings as tags, and sessions are known by theirs."""
    text = """version: 1
session: {cookie: sid}
routes:
  - {name: a, match: "GET /a/{id}", cache: {ttl: 1m, key: "articles:{id}", tags: [articles, "users:{id}"]}}
  - {name: w, match: "PUT /a/{id}", purge: ["articles:*"]}
events:
  on: {logged_out: ["user:{data.id}"]}
"""
    policy, _ = load_policy(text, "p.yaml", {})
    assert policy.cautions == ()

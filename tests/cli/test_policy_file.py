"""Commands about policy files."""

import json
from pathlib import Path

import pytest

CONFIG = Path(__file__).parents[2] / "config"
SAMPLE = str(CONFIG / "cacheproxy.yaml")


@pytest.fixture
def bad(tmp_path: Path) -> str:
    """A policy with two mistakes."""
    file = tmp_path / "bad.yaml"
    file.write_text(
        "version: 1\nroutes:\n  - {name: a, match: GET /a, cache: {tll: 60s}}\n  - {name: a, match: GET /b}\n"
    )
    return str(file)


def test_check_says_that_a_policy_is_good(run) -> None:
    """And what its lifetimes come to."""
    ran = run("check", SAMPLE)
    assert (ran.code, ran.err) == (0, "")
    assert "6 routes, 4 of them cached" in ran.out
    assert "ttl of article-list  60s" in ran.out


def test_check_shows_what_the_environment_overrides(run, monkeypatch: pytest.MonkeyPatch) -> None:
    """``CACHE_TTL_ARTICLE_LIST`` is seen where the policy is checked."""
    monkeypatch.setenv("CACHE_TTL_ARTICLE_LIST", "7")
    assert run("check", SAMPLE, "--json").json["ttl"]["article-list"] == "7s"


def test_check_tells_every_fault_and_exits_with_2(run, bad: str) -> None:
    """One line each: file, line, column, path, and what was meant."""
    ran = run("check", bad)
    assert ran.code == 2
    assert ran.err.splitlines() == [
        f"{bad}:3:38: routes[0].cache.tll: unknown key `tll`; did you mean `ttl`?",
        f"{bad}:4:12: routes[1].name: `a` is already the name of `routes[0]`",
    ]


def test_check_tells_faults_as_json(run, bad: str) -> None:
    """For editors and CI."""
    ran = run("check", bad, "--json")
    assert ran.code == 2
    assert [(fault["line"], fault["path"]) for fault in ran.json["faults"]] == [
        (3, "routes[0].cache.tll"),
        (4, "routes[1].name"),
    ]


def test_check_warns_of_what_is_not_wrong_but_dangerous(run, tmp_path: Path) -> None:
    """One line each, exit 0; the policy is good."""
    file = tmp_path / "policy.yaml"
    file.write_text(
        "version: 1\nroutes:\n  - {name: a, match: GET /a, cache: {store_when: {header.x-preview: 1}}}\n",
        encoding="utf-8",
    )
    ran = run("check", str(file))
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(
        f"warning: {file}:3:50: routes[0].cache.store_when: `header.x-preview` is not in the key: "
    )
    assert [(one["line"], one["path"]) for one in run("check", str(file), "--json").json["warnings"]] == [
        (3, "routes[0].cache.store_when")
    ]


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_strict_check_fails_for_a_warning(run, monkeypatch: pytest.MonkeyPatch, form: list[str]) -> None:
    """Exit 1, for pipelines: of the policy as of a variable that nobody reads."""
    assert run("check", SAMPLE, "--strict", *form).code == 0
    monkeypatch.setenv("CACHEPROXY_WORKER", "4")
    assert run("check", SAMPLE, *form).code == 0
    ran = run("check", SAMPLE, "--strict", *form)
    assert ran.code == 1
    assert "CACHEPROXY_WORKER" in ran.out


def test_check_says_which_library_is_missing(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what stands in for it until it is installed: a missing wheel stops nothing."""
    monkeypatch.setattr("cacheproxy.storage.compression._is_here", lambda _: False)
    file = tmp_path / "policy.yaml"
    file.write_text("version: 1\nroutes: [{name: a, match: GET /a, cache: {compress: {coding: zstd}, encode: true}}]\n")
    ran = run("check", str(file))
    assert (ran.code, ran.err) == (0, "")
    remedy = "pip install 'cacheproxy[compress]'; until then"
    assert f"warning: {file}: routes[0].cache.compress: `zstd` needs a library: {remedy} `deflate`" in ran.out
    assert f"warning: {file}: routes[0].cache.encode: `zstd` and `br` need libraries: {remedy} clients" in ran.out


@pytest.mark.parametrize("arguments", [["check"], ["routes"], ["explain", "GET", "/"]])
def test_a_file_that_is_not_there(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    """Exit 2, and how to get one."""
    monkeypatch.chdir(tmp_path)
    ran = run(*arguments)
    assert ran.code == 2
    assert "cacheproxy.yaml: cannot be read" in ran.err
    assert "cacheproxy init" in ran.err


def test_a_file_that_is_no_text(run, tmp_path: Path) -> None:
    """Bytes that are not UTF-8 are an error of the file."""
    file = tmp_path / "p.yaml"
    file.write_bytes(b"\xff\xfe")
    ran = run("check", str(file))
    assert ran.code == 2
    assert "is not UTF-8 text" in ran.err


def test_a_directory_is_no_file(run, tmp_path: Path) -> None:
    """The reason alone: to write a first policy would not help."""
    assert run("check", str(tmp_path)).err == f"{tmp_path}: cannot be read: Is a directory\n"


def test_routes_prints_the_table(run) -> None:
    """A line for each route, or JSON."""
    ran = run("routes", "--config", SAMPLE)
    assert ran.code == 0
    assert [line.split()[0] for line in ran.out.splitlines()] == [
        "NAME",
        "article-list",
        "article",
        "article-write",
        "user",
        "tags",
        "login",
    ]
    user = run("routes", "--config", SAMPLE, "--json").json["routes"][3]
    assert (user["scope"], user["session"], user["ttl"]) == ("user", "required", "600s")


def test_routes_says_what_is_made_of_single_entries(run) -> None:
    """The parameter, and the route for one."""
    listed = run("routes", "--config", str(CONFIG / "examples" / "batches.yaml"), "--json").json["routes"]
    shown = {row["name"]: row["key"] for row in listed}
    assert {"user": "users:{id}", "users": "ids of user", "user-write": "-"} == shown


def test_explain_says_what_would_become_of_a_request(run) -> None:
    """The route, the key, the tags, and the decision."""
    ran = run("explain", "GET", "/articles?skip=5", "-c", SAMPLE, "-H", "Host: api.example")
    assert ran.code == 0
    assert ran.out.startswith("look-up: ")
    assert "-> article-list: GET /articles" in ran.out
    assert "cacheproxy:tenant-global:articles:list:5:20:v1:~h=api.example" in ran.out


def test_explain_says_why_others_did_not_match(run) -> None:
    """In words."""
    assert (
        "article: GET /articles/{id:int}   (`tags` is not `articles`)"
        in run("explain", "GET", "/tags", "-c", SAMPLE).out
    )


@pytest.mark.parametrize(
    ("arguments", "code", "decision"),
    [
        (["GET", "/users/7"], 1, "refuse"),
        (["GET", "/users/7", "--session", '{"user_id": 7}'], 0, "look-up"),
        (["get", "/articles/1"], 0, "look-up"),
        (["DELETE", "/articles/1"], 0, "pass"),
        (["GET", "/articles/../users/7"], 1, "refuse"),
    ],
)
def test_explain_decides(run, arguments: list[str], code: int, decision: str) -> None:
    """Exit 1 where the request would be refused."""
    ran = run("explain", *arguments, "-c", SAMPLE, "--json")
    assert (ran.code, ran.json["decision"]) == (code, decision)


def test_explain_finds_the_tenant_as_the_sidecar_does(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the field that the policy names; ``--tenant`` says it outright. The key begins with the prefix in use."""
    monkeypatch.setenv("CACHEPROXY_PREFIX", "cp")
    file = tmp_path / "p.yaml"
    file.write_text(
        "version: 1\ntenant: {from: 'header:X-Org', enforce: true}\nroutes: [{name: a, match: /a, cache: {key: a}}]\n"
    )
    found = run("explain", "GET", "/a", "-c", str(file), "-H", "X-Org: acme", "-H", "X-Odd: €", "--json").json
    told = run("explain", "GET", "/a", "-c", str(file), "--tenant", "acme", "--json").json
    assert found["key"] == told["key"] == "cp:tenant-acme:a:v1:~h=localhost"
    assert run("explain", "GET", "/a", "-c", str(file)).code == 1


@pytest.mark.parametrize(
    ("target", "key"),
    [
        ("http://API.example:8080/articles/1?b=2#top", "articles:1:v1:~h=api.example%3A8080~q=b%3D2"),
        ("http://127.0.0.1:8080/articles/1", "articles:1:v1:~h=127.0.0.1"),
        ("http://127.0.0.1:8081/articles/1", "articles:1:v1:~h=127.0.0.1%3A8081"),
        ("https://api.example", ""),
    ],
)
def test_explain_takes_a_url(run, target: str, key: str) -> None:
    """Its host is the request's, so that the key is the one that such a request has."""
    found = run("explain", "GET", target, "-c", SAMPLE, "--json").json
    assert found["key"].endswith(key)
    other = run("explain", "GET", "http://x/articles/1", "-c", SAMPLE, "-H", "host: y", "--json").json
    assert other["key"].endswith("~h=y")


def test_explain_says_for_which_host(run) -> None:
    """A key has the host in it: without one, nobody should take the answer for that of their own."""
    assert "Host: localhost" in run("explain", "GET", "/articles/1", "-c", SAMPLE).out
    assert "Host: localhost" not in run("explain", "GET", "http://localhost/articles/1", "-c", SAMPLE).out


@pytest.mark.parametrize("target", ["/a b", "http://a.example/a\tb"])
def test_explain_refuses_what_no_client_could_send(run, target: str) -> None:
    """A shell's quotes hide a space; the answer would be another than the client's."""
    ran = run("explain", "GET", target, "-c", SAMPLE)
    assert (ran.code, ran.err.split(":")[0]) == (2, "TARGET")


@pytest.mark.parametrize(
    "extra",
    [["-H", "nonsense"], ["-H", ": x"], ["--session", "{"], ["--session", "[]"], ["--client-ip", "10.0.0"]],
)
def test_explain_refuses_nonsense(run, extra: list[str]) -> None:
    """A field without a name, a session that is no object or an address that is none is misuse."""
    ran = run("explain", "GET", "/", "-c", SAMPLE, *extra)
    assert (ran.code, ran.err.split(":")[0]) == (2, extra[0].replace("-H", "--header"))


def test_init_writes_a_policy_that_is_good(run, tmp_path: Path) -> None:
    """The first thing an operator sees passes its own check."""
    file = tmp_path / "cacheproxy.yaml"
    assert run("init", str(file)).code == 0
    assert run("check", str(file)).code == 0


def test_init_replaces_nothing_unasked(run, tmp_path: Path) -> None:
    """Exit 1 where there is a file already."""
    file = tmp_path / "cacheproxy.yaml"
    file.write_text("mine")
    assert run("init", str(file)).code == 1
    assert run("init", str(file), "--json").json == {"written": False, "file": str(file)}
    assert file.read_text() == "mine"
    assert run("init", str(file), "--force", "--json").json["written"] is True
    assert file.read_text() != "mine"


@pytest.mark.parametrize(("place", "why"), [("", "Is a directory"), ("absent/p.yaml", "No such file or directory")])
def test_init_says_what_it_cannot_write(run, tmp_path: Path, place: str, why: str) -> None:
    """Exit 2, and no traceback."""
    file = str(tmp_path / place)
    ran = run("init", file, "--force")
    assert (ran.code, ran.err) == (2, f"{file}: cannot be written: {why}\n")


def test_schema_is_the_committed_one(run) -> None:
    """What the command prints is what the editor reads."""
    assert run("schema").out == (CONFIG / "cacheproxy.schema.json").read_text(encoding="utf-8")
    assert json.loads(run("schema", "--json").out)["title"] == "PolicyModel"

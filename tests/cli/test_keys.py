"""``cacheproxy keys``, as an operator meets it."""

import pytest

KEY = "cacheproxy:tenant-global:articles:42:v1:~h=shop"
PATH = "/api/v1/keys/cacheproxy%3Atenant-global%3Aarticles%3A42%3Av1%3A~h%3Dshop"
ENTRY = {
    "status": 200,
    "fields": [["content-type", "application/json"]],
    "age_s": 1.0,
    "tags": ["*", "articles"],
    "body_bytes": 8,
    "body": '{"a": 1}',
}
PAGES = {
    "GET /api/v1/keys?pattern=articles%3A4%3F&cursor=&": {"keys": [{"key": KEY, "kept_s": 7.4}], "cursor": "0.9"},
    "GET /api/v1/keys?pattern=articles%3A4%3F&cursor=0.9": {
        "keys": [{"key": KEY, "kept_s": 7.4}, {"key": KEY + "2", "kept_s": None}],
        "cursor": "",
    },
}


def test_an_entry_is_shown(run, admin_port) -> None:
    """What is known of it, its fields, and its body."""
    admin_port.answer = {"key": KEY, "entries": [ENTRY]}
    ran = run("keys", "get", KEY, "--admin", admin_port.address)
    assert ran.code == 0
    assert admin_port.asked[0][:2] == ("GET", PATH)
    for part in (KEY, "tags        *, articles", "content-type  application/json", '\n{"a": 1}'):
        assert part in ran.out
    assert run("keys", "get", KEY, "--admin", admin_port.address, "--json").json == admin_port.answer


@pytest.mark.parametrize("body", [{"body": '{"a": 1}'}, {"body": None, "body_base64": "eyJhIjogMX0="}])
def test_the_body_alone_is_printed_as_it_is(run, admin_port, body) -> None:
    """And no line feed of ours, so that it can be piped."""
    admin_port.answer = {"key": KEY, "entries": [{**ENTRY, **body}]}
    assert run("keys", "get", KEY, "--body", "--admin", admin_port.address).out == '{"a": 1}'


def test_what_is_not_stored_is_exit_1(run, admin_port) -> None:
    """Said, and to be seen by scripts."""
    admin_port.answer = None
    ran = run("keys", "get", KEY, "--admin", admin_port.address)
    assert (ran.code, ran.out) == (1, f"nothing usable is stored under {KEY}\n")
    assert run("keys", "exists", KEY, "--admin", admin_port.address).out == "no\n"
    assert run("keys", "exists", KEY, "--admin", admin_port.address, "--json").json == {"key": KEY, "exists": False}


def test_keys_are_listed_through_all_pages_each_once(run, admin_port) -> None:
    """SCAN may name a key twice; the operator reads it once."""
    admin_port.answers = PAGES
    ran = run("keys", "list", "articles:4?", "--admin", admin_port.address)
    assert [line.split() for line in ran.out.splitlines()] == [["KEY", "KEPT", "FOR"], [KEY, "7s"], [KEY + "2", "ever"]]
    ran = run("keys", "list", "articles:4?", "--limit", "1", "--admin", admin_port.address, "--json")
    assert ran.json == {"keys": [{"key": KEY, "kept_s": 7.4}]}


def test_a_short_key_stands_for_the_only_one_it_fits(run, admin_port) -> None:
    """The rendering of a key template is enough where there is one host and tenant."""
    page = {"keys": [{"key": KEY, "kept_s": 1}], "cursor": ""}
    admin_port.answers = {"GET /api/v1/keys?": page, "GET /api/v1/keys/": {"key": KEY, "entries": [ENTRY]}}
    assert KEY in run("keys", "get", "articles:42", "--admin", admin_port.address).out
    admin_port.answers = PAGES
    ran = run("keys", "get", "articles:4?", "--admin", admin_port.address)
    assert ran.code == 1
    assert "is short for 2 keys" in ran.err
    admin_port.answers = {"GET /api/v1/keys?": {"keys": [], "cursor": ""}}
    assert run("keys", "exists", "articles:9", "--admin", admin_port.address).code == 1


def test_a_response_is_set(run, admin_port) -> None:
    """With its ttl, and whether what is there is to stay."""
    admin_port.answer = {"key": KEY, "entries": [ENTRY]}
    ran = run("keys", "set", KEY, '{"a": 1}', "--ttl", "60s", "--if-absent", "--admin", admin_port.address)
    assert ran.code == 0
    assert admin_port.asked == [("PUT", f"{PATH}?ttl=60s&if_absent=1", None, {"a": 1})]


def test_a_key_is_deleted(run, admin_port) -> None:
    """And who did not acknowledge in time is exit 1."""
    receipt = {"event_id": "1-0", "acknowledged": ["a"], "silent": []}
    admin_port.answer = {"key": KEY, "deleted": 1, "purge": receipt}
    ran = run("keys", "delete", KEY, "--wait", "2s", "--admin", admin_port.address)
    assert (ran.code, admin_port.asked[0][:2]) == (0, ("DELETE", f"{PATH}?wait=2s"))
    assert "deleted       1" in ran.out
    admin_port.answer = {"key": KEY, "deleted": 0, "purge": {**receipt, "silent": ["b"]}}
    assert run("keys", "delete", KEY, "--admin", admin_port.address, "--json").code == 1


def test_a_pattern_is_swept(run, admin_port) -> None:
    """What is no whole key is one, and the last line of the answer is the result."""
    admin_port.answer = (
        b'{"looked_at": 500, "of": 9, "purged": 0}\n{"looked_at": 500, "of": 9, "purged": 3, "done": true}\n'
    )
    ran = run("keys", "delete", "articles:list:*", "--admin", admin_port.address)
    assert (ran.code, ran.out.split()) == (0, ["deleted", "3", "keys", "looked", "at", "500"])
    assert admin_port.asked == [("POST", "/api/v1/sweep", None, {"pattern": "articles:list:*"})]


@pytest.mark.parametrize(
    "last", [b'{"looked_at": 5, "of": 9, "purged": 0}\n', b'{"done": false, "detail": "no answer"}\n', b""]
)
def test_a_sweep_that_broke_off_is_exit_1(run, admin_port, last: bytes) -> None:
    """Whether the sidecar said why or went away."""
    admin_port.answer = last
    ran = run("keys", "delete", "articles:list:*", "--admin", admin_port.address)
    assert ran.code == 1
    assert "the sweep broke off" in ran.err


def test_a_refused_sweep_is_told(run, admin_port) -> None:
    """With the sidecar's own words."""
    admin_port.status, admin_port.answer = 409, {"detail": "there is no Redis"}
    ran = run("keys", "delete", "articles:list:*", "--admin", admin_port.address)
    assert (ran.code, ran.err) == (1, "cacheproxy: /api/v1/sweep answered 409: there is no Redis\n")

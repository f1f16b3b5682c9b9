"""``cacheproxy session`` and ``cacheproxy reload``, as an operator meets them."""

import pytest


def test_a_session_is_shown(run, admin_port) -> None:
    """Its fields, and how long it has."""
    admin_port.answer = {"fields": {"user_id": 7}, "left_s": 59.6}
    ran = run("session", "show", "a/b", "--admin", admin_port.address)
    assert (ran.code, ran.out) == (0, "user_id  7\n(left)   60s\n")
    assert admin_port.asked[0][:2] == ("GET", "/api/v1/sessions/a%2Fb")
    assert run("session", "show", "x", "--admin", admin_port.address, "--json").json == admin_port.answer


def test_a_session_is_made_and_changed(run, admin_port) -> None:
    """The id is all that is printed, so that a script can keep it."""
    admin_port.answer = {"id": "abc"}
    assert run("session", "create", '{"user_id": 7}', "--admin", admin_port.address).out == "abc\n"
    admin_port.answer = {"fields": {"user_id": 8}, "left_s": None}
    assert "no end" in run("session", "update", "abc", '{"user_id": 8}', "--admin", admin_port.address).out
    assert [asked[0] for asked in admin_port.asked] == ["POST", "PATCH"]


@pytest.mark.parametrize(("deleted", "code"), [(True, 0), (False, 1)])
def test_a_session_is_ended(run, admin_port, deleted: bool, code: int) -> None:
    """Exit 1 if there was none."""
    admin_port.answer = {"deleted": deleted}
    assert run("session", "delete", "abc", "--admin", admin_port.address).code == code


@pytest.mark.parametrize("fields", ["{", "[]", "7"])
def test_fields_that_are_no_object_are_misuse(run, admin_port, fields: str) -> None:
    """Exit 2, and nothing is asked."""
    assert run("session", "create", fields, "--admin", admin_port.address).code == 2
    assert admin_port.asked == []


def test_a_reload_prints_what_is_in_force(run, admin_port) -> None:
    """Or the sidecar's reason why it is still the last one."""
    admin_port.answer = {"digest": "beef", "changed": True}
    assert run("reload", "--admin", admin_port.address).out == "digest   beef\nchanged  yes\n"
    admin_port.status, admin_port.answer = 422, {"detail": "cacheproxy.yaml:3:1: unknown key"}
    ran = run("reload", "--admin", admin_port.address)
    assert ran.code == 1
    assert "cacheproxy.yaml:3:1: unknown key" in ran.err


def test_a_live_explanation_asks_the_sidecar(run, admin_port) -> None:
    """With the request as it was described, and prints what is stored."""
    admin_port.answer = {
        "decision": "look-up",
        "reason": "because",
        "considered": [{"route": "a", "match": "GET /a", "why_not": ""}],
        "key": "k",
        "stored": [{"status": 200, "age_s": 3, "fresh_for_s": -2, "vary": ["accept"], "variance": "json"}],
    }
    ran = run("explain", "GET", "/a?b=1", "--live", "-H", "Accept: */*", "--tenant", "t", "--admin", admin_port.address)
    assert ran.code == 0
    assert "stored  a 200, 3s old, stale for 2s, for accept `json`" in ran.out
    path = "/api/v1/explain?method=GET&target=%2Fa%3Fb%3D1&client_ip=127.0.0.1&header=Accept%3A+%2A%2F%2A&tenant=t"
    assert admin_port.asked[0][:2] == ("GET", path)
    assert "Host: localhost" not in ran.out
    for stored, words in ((None, "not known"), ([], "nothing usable")):
        admin_port.answer = {**admin_port.answer, "stored": stored}
        assert f"stored  {words}" in run("explain", "GET", "/a", "--live", "--admin", admin_port.address).out
    admin_port.answer = {**admin_port.answer, "decision": "refuse", "considered": []}
    assert run("explain", "GET", "/a", "--live", "--admin", admin_port.address).code == 1

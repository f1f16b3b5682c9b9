"""Sessions on the admin port."""

import pytest


async def test_a_session_is_made_shown_changed_and_ended(client):
    """What an operator does with one, in order."""
    async with client() as admin:
        made = await admin.post("/api/v1/sessions", json={"user_id": 7})
        assert (made.status_code, made.json()) == (201, {"id": "new"})
        assert (await admin.get("/api/v1/sessions/new")).json() == {"fields": {"user_id": 7}, "left_s": 60.0}
        changed = await admin.patch("/api/v1/sessions/new", json={"role": "admin"})
        assert changed.json()["fields"] == {"user_id": 7, "role": "admin"}
        assert (await admin.delete("/api/v1/sessions/new")).json() == {"deleted": True}
        assert (await admin.delete("/api/v1/sessions/new")).json() == {"deleted": False}
        assert (await admin.get("/api/v1/sessions/new")).status_code == 404
        assert (await admin.patch("/api/v1/sessions/new", json={})).status_code == 404


@pytest.mark.parametrize(("body", "status"), [(b"", 400), (b"[]", 400), (b'"x"', 400), (b'{"huge": 1}', 413)])
async def test_what_is_no_session_is_refused(client, rest, body, status):
    """A JSON object that is not too large, or nothing is written."""
    async with client() as admin:
        assert (await admin.post("/api/v1/sessions", content=body)).status_code == status
        assert rest.sessions.kept == {}


async def test_a_policy_without_sessions_has_none(client, rest):
    """409, with what is missing."""
    rest.sessions = None
    async with client() as admin:
        answer = await admin.get("/api/v1/sessions/x")
        assert (answer.status_code, answer.json()["reason"]) == (409, "no-sessions")

"""``cacheproxy session``: sessions as a running sidecar's policy keeps them."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from cacheproxy.cli.admin_api import Admin
from cacheproxy.cli.output import print_json, print_pairs
from cacheproxy.errors import Fault, PolicyError


def show(admin: Admin, session_id: str, *, as_json: bool) -> int:
    """Print a session's fields and the seconds it has left. 0."""
    return _print(admin.result("GET", _path(session_id)), as_json=as_json)


def create(admin: Admin, fields: str, *, as_json: bool) -> int:
    """Make a session and print its id. 0."""
    made = admin.result("POST", "/api/v1/sessions", _object(fields))
    print_json(made) if as_json else print(made["id"])
    return 0


def update(admin: Admin, session_id: str, changes: str, *, as_json: bool) -> int:
    """Write ``changes`` over a session's fields and print it. 0."""
    return _print(admin.result("PATCH", _path(session_id), _object(changes)), as_json=as_json)


def delete(admin: Admin, session_id: str, *, as_json: bool) -> int:
    """End a session everywhere. 0, or 1 if there was none."""
    done = admin.result("DELETE", _path(session_id))
    print_json(done) if as_json else print("deleted" if done["deleted"] else "there was no such session")
    return 0 if done["deleted"] else 1


def _print(session: Mapping[str, Any], *, as_json: bool) -> int:
    if as_json:
        print_json(session)
        return 0
    left_s = session["left_s"]
    print_pairs([*session["fields"].items(), ("(left)", "no end" if left_s is None else f"{left_s:.0f}s")])
    return 0


def _object(text: str) -> dict[str, object]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise PolicyError("fields", [Fault(f"not JSON: {error}")]) from error
    if not isinstance(found, dict):
        raise PolicyError("fields", [Fault("must be a JSON object, such as '{\"user_id\": 7}'")])
    return found


def _path(session_id: str) -> str:
    return f"/api/v1/sessions/{quote(session_id, safe='')}"

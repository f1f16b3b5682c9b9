"""``cacheproxy keys``: stored entries of a running sidecar, by key."""

import re
import sys
from base64 import b64decode
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from cacheproxy.cli.admin_api import Admin, AdminError
from cacheproxy.cli.output import print_json, print_pairs, print_table

_WHOLE = re.compile(r"[A-Za-z0-9._-]+:tenant-[^:]+:.+:.+")
"""A whole key, rather than a key template's rendering such as ``articles:42``."""


def show(admin: Admin, key: str, *, body_only: bool, as_json: bool) -> int:
    """Print what is stored under ``key``. 0, or 1 if nothing is."""
    key = whole_key(admin, key)
    found = _stored(admin, key)
    if found is None:
        return _absent(key, as_json=as_json)
    if body_only:
        sys.stdout.buffer.write(_body(found["entries"][0]))
        return 0
    _print_entries(found, as_json=as_json)
    return 0


def exists(admin: Admin, key: str, *, as_json: bool) -> int:
    """Print whether something usable is stored under ``key``. 0, or 1 if not."""
    key = whole_key(admin, key)
    there = _stored(admin, key) is not None
    print_json({"key": key, "exists": there}) if as_json else print("yes" if there else "no")
    return 0 if there else 1


def put(admin: Admin, key: str, body: bytes, *, ttl: str, kind: str, if_absent: bool, as_json: bool) -> int:
    """Store ``body`` under ``key`` and print the entry; with ``if_absent`` the one that is there already. 0."""
    query = urlencode({"ttl": ttl} | ({"if_absent": "1"} if if_absent else {}))
    found = admin.result("PUT", f"{_path(key)}?{query}", content=body, kind=kind)
    _print_entries(found, as_json=as_json)
    return 0


def delete(admin: Admin, key: str, *, wait: str | None, as_json: bool) -> int:
    """Delete one key, or all that a pattern matches, everywhere. 0, or 1 if a replica did not acknowledge in time."""
    if not _WHOLE.fullmatch(key):
        return _sweep(admin, key, as_json=as_json)
    query = f"?{urlencode({'wait': wait})}" if wait else ""
    done = admin.result("DELETE", _path(key) + query)
    receipt = done["purge"] or {}
    if as_json:
        print_json(done)
    else:
        print_pairs([("deleted", done["deleted"]), *receipt.items()])
    return 1 if receipt.get("silent") else 0


def listing(admin: Admin, pattern: str, *, limit: int, as_json: bool) -> int:
    """Print at most ``limit`` keys that ``pattern`` matches, each once. 0."""
    rows = {}
    for held in _held(admin, pattern):
        rows[held["key"]] = held["kept_s"]
        if len(rows) >= limit:
            break
    if as_json:
        print_json({"keys": [{"key": key, "kept_s": kept_s} for key, kept_s in rows.items()]})
    else:
        print_table(["KEY", "KEPT FOR"], [[key, "ever" if s is None else f"{s:.0f}s"] for key, s in rows.items()])
    return 0


def whole_key(admin: Admin, key: str) -> str:
    """``key``, or the one whole key that it is short for. AdminError where it is short for several."""
    if _WHOLE.fullmatch(key):
        return key
    found = {held["key"] for held in _held(admin, key)}
    if len(found) > 1:
        raise AdminError(f"{key} is short for {len(found)} keys; name one of them:\n  " + "\n  ".join(sorted(found)))
    return found.pop() if found else key


def _held(admin: Admin, pattern: str) -> Iterator[Mapping[str, Any]]:
    cursor = ""
    while True:
        query = urlencode({"pattern": pattern, "cursor": cursor, "count": 500})
        page = admin.result("GET", f"/api/v1/keys?{query}")
        yield from page["keys"]
        cursor = page["cursor"]
        if not cursor:
            return


def _stored(admin: Admin, key: str) -> dict[str, Any] | None:
    if not _WHOLE.fullmatch(key):
        return None
    answer = admin.ask("GET", _path(key))
    return None if answer.status_code == 404 else admin.result("GET", _path(key))


def _sweep(admin: Admin, pattern: str, *, as_json: bool) -> int:
    last: dict[str, Any] = {}
    for last in admin.lines("/api/v1/sweep", {"pattern": pattern}):
        if sys.stderr.isatty():
            print(
                f"\r{last['looked_at']} of about {last['of']} keys, {last['purged']} deleted", end="", file=sys.stderr
            )
    if sys.stderr.isatty():
        print(file=sys.stderr)
    if not last.get("done"):
        raise AdminError(f"the sweep broke off: {last.get('detail', 'the sidecar has gone')}; start it again")
    print_json(last) if as_json else print_pairs([("deleted", last["purged"]), ("keys looked at", last["looked_at"])])
    return 0


def _print_entries(found: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    for entry in found["entries"]:
        shown = {name: value for name, value in entry.items() if name not in {"fields", "body", "body_base64"}}
        print_pairs([("key", found["key"]), *shown.items()])
        print_pairs((f"  {name}", value) for name, value in entry["fields"])
        print(f"\n{_body(entry).decode('utf-8', 'replace')}")


def _absent(key: str, *, as_json: bool) -> int:
    print_json({"key": key, "entries": []}) if as_json else print(f"nothing usable is stored under {key}")
    return 1


def _body(entry: Mapping[str, Any]) -> bytes:
    return b64decode(entry["body_base64"]) if "body_base64" in entry else str(entry["body"]).encode()


def _path(key: str) -> str:
    return f"/api/v1/keys/{quote(key, safe='')}"

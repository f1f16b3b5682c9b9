"""The commands ``keys`` and ``session`` and their arguments."""
# ruff: noqa: PLC0415 (imports inside of commands, on purpose: each starts fast)

import sys
from typing import Annotated, Any

import typer

from cacheproxy.cli.arguments import AdminAt, Json, admin_at, leave

keys_app = typer.Typer(help="Stored entries by their keys.", no_args_is_help=True)
session_app = typer.Typer(help="Sessions, for an operator.", no_args_is_help=True)

Key = Annotated[
    str,
    typer.Argument(
        metavar="KEY", help="A whole key, as `keys list` prints it, or one that is short for it: articles:42."
    ),
]
SessionId = Annotated[str, typer.Argument(metavar="ID", help="The session's id: what the cookie holds.")]


def _keys() -> Any:
    from cacheproxy.cli import keys

    return keys


def _sessions() -> Any:
    from cacheproxy.cli import sessions

    return sessions


@keys_app.command("get")
def keys_get(
    key: Key,
    body: Annotated[bool, typer.Option("--body", help="Print the body alone, as it is stored.")] = False,
    admin: AdminAt = None,
    json: Json = False,
) -> None:
    """Print what is stored under a key. Exit 1 if nothing usable is."""
    leave(_keys().show(admin_at(admin), key, body_only=body, as_json=json))


@keys_app.command("set")
def keys_set(
    key: Annotated[
        str, typer.Argument(metavar="KEY", help="A whole key: `cacheproxy explain` says which a request has.")
    ],
    body: Annotated[str | None, typer.Argument(metavar="BODY", help="Read from standard input without it.")] = None,
    ttl: Annotated[str, typer.Option(metavar="60s", help="How long it is fresh.")] = "300s",
    kind: Annotated[str, typer.Option("--type", metavar="TYPE", help="Its Content-Type.")] = "application/json",
    if_absent: Annotated[bool, typer.Option("--if-absent", help="Keep and print what is there already.")] = False,
    admin: AdminAt = None,
    json: Json = False,
) -> None:
    """Store a response under a key, for every replica."""
    content = sys.stdin.buffer.read() if body is None else body.encode()
    leave(_keys().put(admin_at(admin), key, content, ttl=ttl, kind=kind, if_absent=if_absent, as_json=json))


@keys_app.command("delete")
def keys_delete(
    key: Annotated[str, typer.Argument(metavar="KEY", help="A whole key, or a pattern: articles:list:*.")],
    wait: Annotated[str | None, typer.Option(metavar="2s", help="Wait for every replica (of one key).")] = None,
    admin: AdminAt = None,
    json: Json = False,
) -> None:
    """Delete a key, or all that match a pattern, from Redis and from every replica's memory."""
    leave(_keys().delete(admin_at(admin), key, wait=wait, as_json=json))


@keys_app.command("exists")
def keys_exists(key: Key, admin: AdminAt = None, json: Json = False) -> None:
    """Say whether something usable is stored under a key. Exit 1 if not."""
    leave(_keys().exists(admin_at(admin), key, as_json=json))


@keys_app.command("list")
def keys_list(
    pattern: Annotated[str, typer.Argument(metavar="PATTERN", help="A glob of keys: articles:list:*.")] = "*",
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="How many to print at most.")] = 1000,
    admin: AdminAt = None,
    json: Json = False,
) -> None:
    """List stored keys, and how long each is kept."""
    leave(_keys().listing(admin_at(admin), pattern, limit=limit, as_json=json))


@session_app.command("show")
def session_show(session_id: SessionId, admin: AdminAt = None, json: Json = False) -> None:
    """Print a session. It is not kept alive by that."""
    leave(_sessions().show(admin_at(admin), session_id, as_json=json))


@session_app.command("create")
def session_create(
    fields: Annotated[str, typer.Argument(metavar="JSON", help="Its fields.")],
    admin: AdminAt = None,
    json: Json = False,
) -> None:
    """Make a session and print its id."""
    leave(_sessions().create(admin_at(admin), fields, as_json=json))


@session_app.command("update")
def session_update(
    session_id: SessionId,
    changes: Annotated[str, typer.Argument(metavar="JSON", help="The fields to write over its own.")],
    admin: AdminAt = None,
    json: Json = False,
) -> None:
    """Change a session's fields."""
    leave(_sessions().update(admin_at(admin), session_id, changes, as_json=json))


@session_app.command("delete")
def session_delete(session_id: SessionId, admin: AdminAt = None, json: Json = False) -> None:
    """End a session: no replica knows it any more. Exit 1 if there was none."""
    leave(_sessions().delete(admin_at(admin), session_id, as_json=json))

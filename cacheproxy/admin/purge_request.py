"""The body of ``POST /api/v1/purge``, read strictly: a purge that was misspelt must not pass for one that was done."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from cacheproxy.errors import ClientError
from cacheproxy.invalidation.contract import PurgeMode

MAX_NAMES = 10_000
MAX_NAME_BYTES = 1_024
MAX_WAIT_S = 60.0
LISTS = ("tags", "keys", "paths", "routes")
MEMBERS = frozenset({*LISTS, "tenant", "all", "mode", "wait"})

_DURATION = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)(ms|s|m)", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class PurgeRequest:
    """What an operator asks to purge, checked but not yet turned into tags. ``everything`` is the member ``all``."""

    tags: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    tenant: str | None = None
    """Narrows the purge to one tenant; on its own it names nothing."""
    everything: bool = False
    mode: PurgeMode = PurgeMode.HARD
    wait_s: float | None = None
    """How long to wait for the replicas to acknowledge; None: not at all."""


def parse_purge(body: bytes) -> PurgeRequest:
    """The purge that ``body`` asks for. ClientError(400) where it is not JSON, is not understood or names nothing."""
    members = _members(body)
    purge = PurgeRequest(
        tags=_names(members, "tags"),
        keys=_names(members, "keys"),
        paths=_names(members, "paths"),
        routes=_names(members, "routes"),
        tenant=_tenant(members),
        everything=_everything(members),
        mode=_mode(members),
        wait_s=_wait_s(members),
    )
    named = purge.tags or purge.keys or purge.paths or purge.routes
    if purge.everything and named:
        _refuse('"all" and single names contradict each other: send one or the other')
    if not purge.everything and not named:
        _refuse('the purge names nothing: give "tags", "keys", "paths" or "routes", or say "all": true')
    return purge


def _members(body: bytes) -> Mapping[str, object]:
    try:
        members = json.loads(body, object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ClientError(400, "bad-json", f"the body is not JSON: {error}") from error
    if not isinstance(members, dict):
        _refuse("the body must be a JSON object")
    unknown = sorted(members.keys() - MEMBERS)
    if unknown:
        _refuse(f"unknown member {unknown[0]!r}: known are {', '.join(sorted(MEMBERS))}")
    return members


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is given twice")
    return members


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _names(members: Mapping[str, object], kind: str) -> tuple[str, ...]:
    names = members.get(kind, [])
    if not isinstance(names, list):
        _refuse(f'"{kind}" must be a list of strings')
    if len(names) > MAX_NAMES:
        _refuse(f'"{kind}" has over {MAX_NAMES} names')
    return tuple(_name(name, kind) for name in names)


def _name(name: object, kind: str) -> str:
    if not isinstance(name, str) or not name:
        _refuse(f'"{kind}" holds something that is not a string of at least one character')
    if _CONTROL.search(name) or not _fits(name):
        _refuse(f'"{kind}" holds a name with control characters, of over {MAX_NAME_BYTES} bytes or not of Unicode')
    if kind == "paths" and not name.startswith("/"):
        _refuse(f'"paths" holds {name!r}, which does not begin with "/"')
    return name


def _fits(name: str) -> bool:
    try:
        return len(name.encode()) <= MAX_NAME_BYTES
    except UnicodeEncodeError:  # a lone surrogate: JSON can write one, Redis keys cannot hold it
        return False


def _tenant(members: Mapping[str, object]) -> str | None:
    tenant = members.get("tenant")
    return None if tenant is None else _name(tenant, "tenant")


def _everything(members: Mapping[str, object]) -> bool:
    everything = members.get("all", False)
    if not isinstance(everything, bool):
        _refuse('"all" must be true or false')
    return everything


def _mode(members: Mapping[str, object]) -> PurgeMode:
    mode = members.get("mode", PurgeMode.HARD)
    if not isinstance(mode, str) or mode not in tuple(PurgeMode):
        _refuse('"mode" must be "hard" or "soft"')
    return PurgeMode(mode)


def _wait_s(members: Mapping[str, object]) -> float | None:
    wait = members.get("wait")
    if wait is None:
        return None
    match = _DURATION.fullmatch(wait) if isinstance(wait, str) else None
    if match is None:
        _refuse('"wait" must be a duration such as "2s" or "500ms"')
    wait_s = float(match[1]) * _SECONDS[match[2]]
    if wait_s > MAX_WAIT_S:
        _refuse(f'"wait" is over {MAX_WAIT_S:.0f} s')
    return wait_s


def _refuse(detail: str) -> NoReturn:
    raise ClientError(400, "bad-purge", detail)

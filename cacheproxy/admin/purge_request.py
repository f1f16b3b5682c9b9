"""The body of ``POST /api/v1/purge``, read strictly: a purge that was misspelt must not pass for one that was done."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from cacheproxy.errors import ClientError
from cacheproxy.invalidation.contract import Purge, PurgeMode
from cacheproxy.policy.tags import PurgeRequest, purge_tags
from cacheproxy.policy.units import duration_s

MAX_NAMES = 10_000
MAX_NAME_BYTES = 1_024
MAX_WAIT_S = 60.0
MEMBERS = frozenset({"tags", "keys", "paths", "routes", "tenant", "all", "mode", "wait"})

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class AskedPurge:
    """What an operator asks to purge, and how long to wait for the replicas to acknowledge (None: not at all)."""

    purge: Purge
    wait_s: float | None = None
    routes: tuple[str, ...] = ()
    """Those that it names: whoever knows the policy can say which of them there are."""


def parse_purge(body: bytes) -> AskedPurge:
    """The purge that ``body`` asks for. ClientError(400) where it is not JSON, is not understood or names nothing."""
    members = _members(body)
    request = PurgeRequest(
        tags=_names(members, "tags"),
        keys=_names(members, "keys"),
        paths=_names(members, "paths"),
        routes=_names(members, "routes"),
        tenant=_tenant(members),
        everything=_everything(members),
    )
    mode, wait_s = _mode(members), _wait_s(members)
    try:
        return AskedPurge(Purge(tags=purge_tags(request), mode=mode), wait_s, request.routes)
    except ValueError as error:
        _refuse(str(error))


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
    return name


def _fits(name: str) -> bool:
    try:
        return len(name.encode()) <= MAX_NAME_BYTES
    except UnicodeEncodeError:  # a lone surrogate: JSON can write one, no tag holds it
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
    try:
        wait_s = duration_s(wait)
    except ValueError as error:
        _refuse(f'"wait": {error}')
    if wait_s > MAX_WAIT_S:
        _refuse(f'"wait" is over {MAX_WAIT_S:.0f} s')
    return wait_s


def _refuse(detail: str) -> NoReturn:
    raise ClientError(400, "bad-purge", detail)

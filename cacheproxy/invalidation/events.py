"""From an event, as any service may write one, to what it purges. Pure: bytes in, purges or a reason out."""

import json
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import NoReturn

from cacheproxy.invalidation.contract import Purge, PurgeMode
from cacheproxy.policy.lookup import event_lookup
from cacheproxy.policy.route import EventRules
from cacheproxy.policy.tags import PurgeRequest, purge_tags
from cacheproxy.policy.templates import Template, digest

MAX_EVENT_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_NAMES = 1_000

_MEMBERS = frozenset({"tags", "keys", "paths", "routes", "tenant", "all", "mode"})
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_GLOB_OR_SPACE = re.compile(r"[\s*?\[\]]")
"""Tags are compared whole, so a pattern would purge nothing: refused, lest it be believed. ``a:*`` is a tag."""


class Refusal(StrEnum):
    """Why an event was dropped."""

    HUGE = "huge"
    NOT_UTF8 = "not-utf8"
    MALFORMED = "malformed"
    """Not JSON."""
    DEEP = "deep"
    WRONG_TYPE = "wrong-type"
    """JSON, but not of the shape of an event."""
    UNKNOWN_EVENT = "unknown-event"
    """A type that the policy does not map."""
    MISSING_DATA = "missing-data"
    """A template names what the event lacks."""
    BAD_TAG = "bad-tag"
    """Control or glob characters, or a tag that nobody may name."""
    NAMES_NOTHING = "names-nothing"
    TOO_MANY = "too-many"

    @property
    def meaning(self) -> str:
        """What is wrong with the event, as the end of a sentence about it."""
        return _MEANINGS[self]


_MEANINGS = {
    Refusal.HUGE: "is over 1 MiB",
    Refusal.NOT_UTF8: "is not UTF-8",
    Refusal.MALFORMED: "is not JSON",
    Refusal.DEEP: f"is nested over {MAX_DEPTH} levels",
    Refusal.WRONG_TYPE: "has neither a `type` nor a `purge`, or one of another shape",
    Refusal.UNKNOWN_EVENT: "has a `type` that the policy's `events.on` does not name",
    Refusal.MISSING_DATA: "lacks what a tag of `events.on` is made of",
    Refusal.BAD_TAG: "names a tag with spaces, control characters or wildcards, or one that nobody may name",
    Refusal.NAMES_NOTHING: "names nothing to purge",
    Refusal.TOO_MANY: f"names over {MAX_NAMES} tags",
}


class Interpreter:
    """Maps events to purges by the policy's event rules. ``digest`` names the rules."""

    def __init__(self, rules: EventRules) -> None:
        """Both our own form and CloudEvents have the members ``type`` and ``data``, so one mapping serves both."""
        self._on = dict(rules.on)
        spelled = [f"{name}={template.text}" for name, templates in rules.on for template in templates]
        self.digest = digest(*(part.encode() for part in (*rules.channels, "", *rules.patterns, "", *spelled)))[:16]

    def interpret(self, payload: bytes) -> Purge | Refusal:
        """What the event in ``payload`` purges, or why it was dropped. Never raises."""
        if len(payload) > MAX_EVENT_BYTES:
            return Refusal.HUGE
        try:
            event = _parse(payload)
            return self._purge(event) if "purge" not in event else _asked(event["purge"])
        except _RefusedError as refused:
            return refused.reason

    def _purge(self, event: Mapping[str, object]) -> Purge:
        kind = event.get("type")
        if not isinstance(kind, str):
            _refuse(Refusal.WRONG_TYPE)
        templates = self._on.get(kind)
        if templates is None:
            _refuse(Refusal.UNKNOWN_EVENT)
        tags = tuple(_render(template, event) for template in templates)
        return _checked(PurgeRequest(tags=tags), PurgeMode.HARD)


class _RefusedError(Exception):
    def __init__(self, reason: Refusal) -> None:
        self.reason = reason
        super().__init__(reason)


def _refuse(reason: Refusal) -> NoReturn:
    raise _RefusedError(reason)


def _parse(payload: bytes) -> Mapping[str, object]:
    try:
        event = json.loads(payload.decode("utf-8"))
    except UnicodeDecodeError:
        _refuse(Refusal.NOT_UTF8)
    except RecursionError:
        _refuse(Refusal.DEEP)
    except ValueError:
        _refuse(Refusal.MALFORMED)
    if not isinstance(event, dict):
        _refuse(Refusal.WRONG_TYPE)
    if _deeper_than(event, MAX_DEPTH):
        _refuse(Refusal.DEEP)
    return event


def _deeper_than(value: object, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    if levels == 0:
        return True
    return any(_deeper_than(each, levels - 1) for each in (value.values() if isinstance(value, dict) else value))


def _render(template: Template, event: Mapping[str, object]) -> str:
    tag = template.render(event_lookup(event))
    if not tag:
        _refuse(Refusal.MISSING_DATA)
    return tag


def _asked(purge: object) -> Purge:
    """The purge in ``{"purge": {...}}``, which has the members of the admin API's, less ``wait``."""
    if not isinstance(purge, dict) or purge.keys() - _MEMBERS:
        _refuse(Refusal.WRONG_TYPE)
    request = PurgeRequest(
        tags=_names(purge, "tags"),
        keys=_names(purge, "keys"),
        paths=_names(purge, "paths"),
        routes=_names(purge, "routes"),
        tenant=_tenant(purge),
        everything=_all(purge),
    )
    if any(_GLOB_OR_SPACE.search(name.removesuffix(":*")) for name in (*request.tags, *request.keys)):
        _refuse(Refusal.BAD_TAG)
    return _checked(request, _mode(purge))


def _checked(request: PurgeRequest, mode: PurgeMode) -> Purge:
    names = (*request.tags, *request.keys, *request.paths, *request.routes, request.tenant or "")
    if not (any(names) or request.everything):
        _refuse(Refusal.NAMES_NOTHING)
    if len(names) > MAX_NAMES:
        _refuse(Refusal.TOO_MANY)
    if any(map(_CONTROL.search, names)):
        _refuse(Refusal.BAD_TAG)
    try:
        return Purge(tags=purge_tags(request), mode=mode)
    except ValueError:
        _refuse(Refusal.BAD_TAG)


def _names(purge: Mapping[str, object], kind: str) -> tuple[str, ...]:
    names = purge.get(kind, [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        _refuse(Refusal.WRONG_TYPE)
    return tuple(names)


def _tenant(purge: Mapping[str, object]) -> str | None:
    tenant = purge.get("tenant")
    if tenant is not None and (not isinstance(tenant, str) or not tenant):
        _refuse(Refusal.WRONG_TYPE)
    return tenant


def _all(purge: Mapping[str, object]) -> bool:
    everything = purge.get("all", False)
    if not isinstance(everything, bool):
        _refuse(Refusal.WRONG_TYPE)
    return everything


def _mode(purge: Mapping[str, object]) -> PurgeMode:
    mode = purge.get("mode", PurgeMode.HARD)
    if not isinstance(mode, str) or mode not in tuple(PurgeMode):
        _refuse(Refusal.WRONG_TYPE)
    return PurgeMode(mode)

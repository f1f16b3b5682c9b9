"""A policy from its text: every fault at once, or the compiled policy and its router."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from cacheproxy.errors import Fault, PolicyError
from cacheproxy.policy.cautions import cautions
from cacheproxy.policy.check_warm import warm_cautions
from cacheproxy.policy.checks import complaints
from cacheproxy.policy.compile import compile_policy
from cacheproxy.policy.complaints import faults_of, meant
from cacheproxy.policy.models import PolicyModel
from cacheproxy.policy.route import Policy
from cacheproxy.policy.router import Router
from cacheproxy.policy.units import duration_s
from cacheproxy.policy.unread import mentioned_in
from cacheproxy.policy.unsupported import is_unsupported
from cacheproxy.policy.yaml import Document, Path, dotted, plain_value, read_yaml

_TTL_VARIABLE = "CACHE_TTL_"
_KEYS_VARIABLE = "CACHEPROXY_ENCRYPTION_KEYS"


def load_policy(
    text: str, source: str, environ: Mapping[str, str], *, upstream_url: str | None = None
) -> tuple[Policy, Router]:
    """The policy in ``text`` and its router. PolicyError with every fault, by line, where there is any.

    ``environ`` gives ``${NAME}``, and ``CACHE_TTL_<ROUTE>`` in place of a route's ttl; ``upstream_url`` stands in for
    the file's ``upstream.url``.
    """
    document, faults = read_yaml(text, source, environ)
    if upstream_url is not None and isinstance(document.data, dict):
        given = document.data.get("upstream")
        document.data["upstream"] = {**(given if isinstance(given, dict) else {}), "url": upstream_url}
    faults += _take_out_unsupported(document, document.data, ())
    if document.data is None:
        raise _refused(source, [*faults, Fault("the file is empty; `cacheproxy init` writes one to start from")])
    model, wrong = _validated(document)
    unread = {(fault.path, fault.line, fault.column) for fault in faults}
    faults += [fault for fault in wrong if (fault.path, fault.line, fault.column) not in unread]
    if model is None:
        raise _refused(source, faults)
    faults += [document.fault(path, message) for path, message in complaints(model) if not _excused(path, wrong)]
    ttl_s_by_route, wrong = _lifetimes(model, environ)
    faults += wrong
    faults += _without_keys(model, document, environ)
    if faults:
        raise _refused(source, faults)
    policy = compile_policy(model, ttl_s_by_route, _digest(document, ttl_s_by_route))
    router = Router(policy.routes)
    doubtful = (*cautions(model), *warm_cautions(policy, router, _warm_path(document)))
    told = tuple(document.fault(path, message) for path, message in doubtful)
    return replace(policy, mentioned=mentioned_in(document.data), cautions=told), router


def _warm_path(document: Document) -> Path:
    """Where the requests to warm with are listed: under ``warm`` itself, or under its ``requests``."""
    listed = isinstance(document.data, dict) and isinstance(document.data.get("warm"), list)
    return ("warm",) if listed else ("warm", "requests")


def _take_out_unsupported(document: Document, data: object, path: Path) -> Iterator[Fault]:
    if isinstance(data, list):
        for at, item in enumerate(data):
            yield from _take_out_unsupported(document, item, (*path, at))
    if not isinstance(data, dict):
        return
    for key in list(data):
        where = (*path, key)
        if is_unsupported(where):
            del data[key]
            yield document.fault(where, f"`{key}` is not yet supported", at_key=True)
        else:
            yield from _take_out_unsupported(document, data[key], where)


def _validated(document: Document) -> tuple[PolicyModel | None, list[Fault]]:
    """The model, or what can be made of the file without its faulty keys, so that what else is wrong is seen too."""
    try:
        return PolicyModel.model_validate(document.data), []
    except ValidationError as error:
        faults = list(faults_of(error, document))
        return (PolicyModel.model_validate(document.data) if _prune(document.data, error) else None), faults


def _prune(data: object, error: ValidationError) -> bool:
    """Take the faulty keys out of ``data``; whether what is left is valid, and says nothing that was not written."""
    places = [detail["loc"] for detail in error.errors() if detail["type"] != "missing"]
    if len(places) < error.error_count() or not all(_can_go(place) for place in places):
        return False
    for *holder, key in places:
        at: Any = data
        for step in holder:
            at = at[step]
        at.pop(key, None)
    return _is_valid(data)


def _can_go(place: tuple[str | int, ...]) -> bool:
    """Whether nothing else refers to, or moves with, what stands at ``place``."""
    least = 3 if place[:1] == ("limits",) else 2
    return len(place) >= least and isinstance(place[-1], str) and "[key]" not in place


def _is_valid(data: object) -> bool:
    try:
        PolicyModel.model_validate(data)
    except ValidationError:
        return False
    return True


def _excused(path: Path, faults: list[Fault]) -> bool:
    """Whether a complaint about ``path`` could come of a faulty key beside it, and so is not to be trusted."""
    whole = dotted(path[: 2 if path[0] in {"routes", "limits"} else 1])
    return any(fault.path.startswith(whole) for fault in faults)


def _without_keys(model: PolicyModel, document: Document, environ: Mapping[str, str]) -> Iterator[Fault]:
    if environ.get(_KEYS_VARIABLE) or environ.get(f"{_KEYS_VARIABLE}_FILE"):
        return
    message = f"there is nothing to encrypt with: set `{_KEYS_VARIABLE}`, or `{_KEYS_VARIABLE}_FILE`"
    if model.defaults.cache.encrypt:
        yield document.fault(("defaults", "cache", "encrypt"), message)
    for at, route in enumerate(model.routes):
        if route.cache is not None and "encrypt" in route.cache.model_fields_set and route.cache.encrypt:
            yield document.fault(("routes", at, "cache", "encrypt"), message)


def _lifetimes(model: PolicyModel, environ: Mapping[str, str]) -> tuple[dict[str, float], list[Fault]]:
    by_variable = {_variable(route.name): route.name for route in model.routes if route.cache is not None}
    lifetimes: dict[str, float] = {}
    faults = []
    for variable, given in environ.items():
        if not variable.startswith(_TTL_VARIABLE):
            continue
        route = by_variable.get(variable)
        if route is None:
            faults.append(Fault(_no_such_route(variable, by_variable), variable))
            continue
        try:
            lifetimes[route] = _seconds(given)
        except ValueError as error:
            faults.append(Fault(str(error), variable))
    return lifetimes, faults


def _variable(route: str) -> str:
    return _TTL_VARIABLE + re.sub(r"[^A-Z0-9]", "_", route.upper())


def _no_such_route(variable: str, known: Mapping[str, str]) -> str:
    return "no cached route has this name" + meant(variable, known)


def _seconds(given: str) -> float:
    plain = plain_value(given.strip())
    return duration_s(f"{plain}s" if isinstance(plain, int | float) and not isinstance(plain, bool) else given.strip())


def _digest(document: Document, ttl_s_by_route: Mapping[str, float]) -> str:
    return hashlib.sha256(repr((document.data, sorted(ttl_s_by_route.items()))).encode()).hexdigest()[:16]


def _refused(source: str, faults: list[Fault]) -> PolicyError:
    return PolicyError(source, sorted(dict.fromkeys(faults), key=lambda fault: (fault.line, fault.column)))

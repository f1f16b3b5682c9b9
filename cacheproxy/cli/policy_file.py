"""Commands that need nothing but a policy file: check, routes, explain, init."""

import os
from collections.abc import Mapping
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path

from cacheproxy.cli.output import print_json, print_pairs, print_table
from cacheproxy.errors import Fault, PolicyError
from cacheproxy.policy.explain import shown_rule
from cacheproxy.policy.load import load_policy
from cacheproxy.policy.route import Policy, Route, SessionUse
from cacheproxy.policy.router import Router
from cacheproxy.settings import misspelt
from cacheproxy.wiring.libraries import missing_libraries
from cacheproxy.wiring.policy_file import policy_text


def read_policy(file: Path) -> tuple[Policy, Router]:
    """The policy in ``file`` under this environment, and its router. PolicyError where it is wrong or unreadable."""
    return load_policy(policy_text(file), str(file), os.environ)


def check(file: Path, *, strict: bool, as_json: bool) -> int:
    """Check ``file``; print what it comes to, or every fault. 0; 1 for a warning if ``strict``; 2 where it is wrong."""
    try:
        policy, _ = read_policy(file)
    except PolicyError as error:
        if not as_json:
            raise
        print_json({"source": error.source, "ok": False, "faults": [asdict(fault) for fault in error.faults]})
        return 2
    ttls = {route.name: _ttl(route) for route in policy.routes if route.cache is not None}
    cautions = (*policy.cautions, *missing_libraries(policy), *misspelt(os.environ))
    if as_json:
        warnings = [asdict(caution) for caution in cautions]
        good = {"source": str(file), "ok": True, "digest": policy.digest, "routes": len(policy.routes), "ttl": ttls}
        print_json({**good, "warnings": warnings})
        return int(strict and bool(cautions))
    for caution in cautions:
        print(f"warning: {caution.line_in(str(file))}")
    routes_in_words = "1 route" if len(policy.routes) == 1 else f"{len(policy.routes)} routes"
    print(f"{file}: good ({routes_in_words}, {len(ttls)} of them cached; digest {policy.digest})")
    print_pairs((f"  ttl of {name}", ttl) for name, ttl in ttls.items())
    return int(strict and bool(cautions))


def routes(file: Path, *, as_json: bool) -> int:
    """Print the route table of ``file``. 0."""
    policy, _ = read_policy(file)
    rows = [_row(route) for route in policy.routes]
    if as_json:
        print_json({"routes": rows})
        return 0
    head = ("name", "match", "ttl", "key", "scope", "session", "limits", "purge")
    print_table([name.upper() for name in head], [[row[name] for name in head] for row in rows])
    return 0


def init(file: Path, *, force: bool, as_json: bool) -> int:
    """Write a policy to start from into ``file``. 0, or 1 if there is one already. PolicyError if it cannot be."""
    if file.exists() and not force:
        print_json({"written": False, "file": str(file)}) if as_json else print(
            f"{file} exists already; --force replaces it"
        )
        return 1
    starter = files("cacheproxy.cli").joinpath("starter.yaml").read_text(encoding="utf-8")
    try:
        file.write_text(starter, encoding="utf-8")
    except OSError as error:
        raise PolicyError(str(file), [Fault(f"cannot be written: {error.strerror}")]) from error
    print_json({"written": True, "file": str(file)}) if as_json else print(
        f"wrote {file}; try `cacheproxy check {file}`"
    )
    return 0


def _ttl(route: Route) -> str:
    if route.cache is None:
        return ""
    return "origin's" if route.cache.ttl_s is None else f"{route.cache.ttl_s:g}s"


def _key(route: Route) -> str:
    own = (route.key.text if route.key else "path and query") if route.cache else ""
    many = f"{route.batch.param} of {route.batch.route}" if route.batch else ""
    return ", ".join(filter(None, (own, many)))


def _row(route: Route) -> Mapping[str, str]:
    return {
        "name": route.name,
        "match": ", ".join(shown_rule(rule) for rule in route.match),
        "ttl": _ttl(route) or "-",
        "key": _key(route) or "-",
        "scope": route.scope.value if route.cache else "-",
        "session": "-" if route.session is SessionUse.OPTIONAL else route.session.value,
        "limits": ", ".join(limit.name for limit in route.limits) or "-",
        "purge": ", ".join(template.text for template in route.purge) or "-",
    }

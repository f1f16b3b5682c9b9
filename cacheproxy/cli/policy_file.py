"""Commands that need nothing but a policy file: check, routes, explain, init."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path

from cacheproxy.cli.output import print_json, print_pairs, print_table
from cacheproxy.engine.question import Question, explained
from cacheproxy.errors import Fault, PolicyError
from cacheproxy.policy.explain import Explanation, shown_rule
from cacheproxy.policy.load import load_policy
from cacheproxy.policy.route import Policy, Route, SessionUse
from cacheproxy.policy.router import Router
from cacheproxy.semantics.fields import Fields
from cacheproxy.wiring.policy_file import policy_text


def read_policy(file: Path) -> tuple[Policy, Router]:
    """The policy in ``file`` under this environment, and its router. PolicyError where it is wrong or unreadable."""
    return load_policy(policy_text(file), str(file), os.environ)


def check(file: Path, *, as_json: bool) -> int:
    """Check ``file`` and print what it comes to, or every fault. 0, or 2 where it is wrong."""
    try:
        policy, _ = read_policy(file)
    except PolicyError as error:
        if not as_json:
            raise
        print_json({"source": error.source, "ok": False, "faults": [asdict(fault) for fault in error.faults]})
        return 2
    ttls = {route.name: _ttl(route) for route in policy.routes if route.cache is not None}
    if as_json:
        print_json(
            {"source": str(file), "ok": True, "digest": policy.digest, "routes": len(policy.routes), "ttl": ttls}
        )
        return 0
    print(f"{file}: good ({len(policy.routes)} routes, {len(ttls)} of them cached; digest {policy.digest})")
    print_pairs((f"  ttl of {name}", ttl) for name, ttl in ttls.items())
    return 0


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


def explain_request(
    file: Path,
    method: str,
    target: str,
    headers: list[str],
    *,
    session: str | None,
    tenant: str | None,
    client_ip: str,
    as_json: bool,
) -> int:
    """Print what would become of a request, and why. 0, or 1 where it would be refused."""
    policy, router = read_policy(file)
    question = Question(
        method=method,
        target=os.fsencode(target),
        fields=Fields.of(*(_field(header) for header in headers)),
        session=_session(session),
        tenant=tenant,
        client_ip=client_ip,
    )
    prefix = os.environ.get("CACHEPROXY_PREFIX") or "cacheproxy"
    explanation = explained(policy, router, question, prefix=prefix)
    if as_json:
        print_json(asdict(explanation))
    else:
        _print_explanation(explanation)
    return 1 if explanation.decision == "refuse" else 0


def init(file: Path, *, force: bool, as_json: bool) -> int:
    """Write a policy to start from into ``file``. 0, or 1 if there is one already."""
    if file.exists() and not force:
        print_json({"written": False, "file": str(file)}) if as_json else print(
            f"{file} exists already; --force replaces it"
        )
        return 1
    file.write_text(files("cacheproxy.cli").joinpath("starter.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    print_json({"written": True, "file": str(file)}) if as_json else print(
        f"wrote {file}; try `cacheproxy check {file}`"
    )
    return 0


def _field(header: str) -> tuple[bytes, bytes]:
    name, colon, value = header.partition(":")
    if not colon or not name.strip():
        raise PolicyError("--header", [Fault(f"`{header}` is not a field; write 'Name: value'")])
    return os.fsencode(name.strip()), os.fsencode(value.strip())


def _session(text: str | None) -> dict[str, object] | None:
    if text is None:
        return None
    try:
        fields = json.loads(text)
    except ValueError as error:
        raise PolicyError("--session", [Fault(f"not JSON: {error}")]) from error
    if not isinstance(fields, dict):
        raise PolicyError("--session", [Fault("must be a JSON object, such as '{\"user_id\": 7}'")])
    return fields


def _ttl(route: Route) -> str:
    if route.cache is None:
        return ""
    return "origin's" if route.cache.ttl_s is None else f"{route.cache.ttl_s:g}s"


def _row(route: Route) -> Mapping[str, str]:
    return {
        "name": route.name,
        "match": ", ".join(shown_rule(rule) for rule in route.match),
        "ttl": _ttl(route) or "-",
        "key": (route.key.text if route.key else "path and query") if route.cache else "-",
        "scope": route.scope.value if route.cache else "-",
        "session": "-" if route.session is SessionUse.OPTIONAL else route.session.value,
        "limits": ", ".join(limit.name for limit in route.limits) or "-",
        "purge": ", ".join(template.text for template in route.purge) or "-",
    }


def _print_explanation(explanation: Explanation) -> None:
    print(f"{explanation.decision}: {explanation.reason}\n")
    for considered in explanation.considered:
        print(f"  {'  ' if considered.why_not else '->'} {considered.route}: {considered.match}", end="")
        print(f"   ({considered.why_not})" if considered.why_not else "")
    print()
    shown = asdict(explanation)
    for name in ("decision", "reason", "considered"):
        del shown[name]
    print_pairs((name.replace("_", " "), _joined(value)) for name, value in shown.items())


def _joined(value: object) -> object:
    if isinstance(value, dict):
        return "  ".join(f"{name}={part}" for name, part in value.items() if part)
    return ", ".join(value) if isinstance(value, tuple) else value

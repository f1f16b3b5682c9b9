"""``cacheproxy explain``: by a policy file, or by a running sidecar that also says what is stored."""

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from cacheproxy.cli.admin_api import Admin
from cacheproxy.cli.output import print_json, print_pairs
from cacheproxy.cli.policy_file import read_policy
from cacheproxy.engine.question import Question, explained
from cacheproxy.errors import Fault, PolicyError
from cacheproxy.semantics.fields import Fields
from cacheproxy.settings import Settings

_UNSENDABLE = re.compile(r"[\x00-\x20\x7f]")


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as the command line describes it."""

    method: str
    target: str
    headers: list[str]
    session: str | None
    tenant: str | None
    client_ip: str

    @classmethod
    def of(
        cls, method: str, target: str, headers: list[str], session: str | None, tenant: str | None, client_ip: str
    ) -> "Asked":
        """The request, where ``target`` may be a whole URL: its host is then the Host field, unless one is given.

        PolicyError where no client could send it.
        """
        if _UNSENDABLE.search(target):
            raise PolicyError("TARGET", [Fault(f"`{target}` holds a space or control character; write it as `%20`")])
        url = urlsplit(target) if target.startswith(("http://", "https://")) else None
        if url is not None:
            target = target.split(url.netloc, 1)[1].partition("#")[0]
            target = target if target.startswith("/") else f"/{target}"
            if not _names_host(headers):
                headers = [*headers, f"Host: {url.netloc}"]
        return cls(method.upper(), target, headers, session, tenant, client_ip)


def by_file(file: Path, asked: Asked, *, as_json: bool) -> int:
    """Print what would become of a request under the policy in ``file``. 0, or 1 where it would be refused."""
    policy, router = read_policy(file)
    question = Question(
        method=asked.method,
        target=os.fsencode(asked.target),
        fields=Fields.of(*(_field(header) for header in asked.headers)),
        session=_session(asked.session),
        tenant=asked.tenant,
        client_ip=_address(asked.client_ip),
    )
    settings = Settings.load()
    explanation = explained(policy, router, question, prefix=settings.prefix, port=settings.listen[1])
    return _print(asdict(explanation), asked, as_json=as_json)


def live(admin: Admin, asked: Asked, *, as_json: bool) -> int:
    """Print what would become of a request to a running sidecar, and what is stored for it. Exit as ``by_file``."""
    query: list[tuple[str, str]] = [("method", asked.method), ("target", asked.target), ("client_ip", asked.client_ip)]
    query += [("header", header) for header in asked.headers]
    query += [(name, value) for name, value in (("session", asked.session), ("tenant", asked.tenant)) if value]
    return _print(admin.result("GET", f"/api/v1/explain?{urlencode(query)}"), asked, as_json=as_json)


def _address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError as error:
        raise PolicyError("--client-ip", [Fault(f"`{text}` is not an address, such as 10.0.0.9")]) from error


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


def _names_host(headers: list[str]) -> bool:
    return any(header.lower().startswith("host:") for header in headers)


def _print(explanation: Mapping[str, Any], asked: Asked, *, as_json: bool) -> int:
    if as_json:
        print_json(explanation)
    else:
        _print_for_people(dict(explanation))
        if "h=localhost" in explanation["key"] and not _names_host(asked.headers):
            print("\nThat is for `Host: localhost`. Other hosts have other keys: give a whole URL, or -H 'Host: ...'.")
    return 1 if explanation["decision"] == "refuse" else 0


def _print_for_people(shown: dict[str, Any]) -> None:
    print(f"{shown.pop('decision')}: {shown.pop('reason')}")
    considered = shown.pop("considered")
    if considered:
        print()
        _print_considered(considered)
        print()
    asked_live, stored = "stored" in shown, shown.pop("stored", None)
    print_pairs((name.replace("_", " "), _joined(value)) for name, value in shown.items())
    if asked_live and shown["key"]:
        print_pairs(_all_stored(stored))


def _print_considered(rules: Sequence[Mapping[str, str]]) -> None:
    for rule in rules:
        why_not = rule["why_not"]
        print(f"  {'  ' if why_not else '->'} {rule['route']}: {rule['match']}{f'   ({why_not})' if why_not else ''}")


def _all_stored(entries: Sequence[Mapping[str, Any]] | None) -> Iterable[tuple[str, str]]:
    if entries is None:
        return [("stored", "not known: Redis does not say")]
    return map(_stored, entries) if entries else [("stored", "nothing usable: the next request is a miss")]


def _stored(entry: Mapping[str, Any]) -> tuple[str, str]:
    fresh_for_s = entry["fresh_for_s"]
    state = f"fresh for {fresh_for_s:.0f}s" if fresh_for_s > 0 else f"stale for {-fresh_for_s:.0f}s"
    varies = f", for {', '.join(entry['vary'])} `{entry['variance']}`" if entry["vary"] else ""
    return "stored", f"a {entry['status']}, {entry['age_s']:.0f}s old, {state}{varies}"


def _joined(value: object) -> object:
    return "  ".join(f"{name}={part}" for name, part in value.items() if part) if isinstance(value, dict) else value

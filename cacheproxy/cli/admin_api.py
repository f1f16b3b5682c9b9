"""Commands that ask a running sidecar: health, purge, publish, reload, warm, stats."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from cacheproxy.cli.output import print_json, print_pairs, print_table
from cacheproxy.cli.progress import progress
from cacheproxy.errors import CacheproxyError, Fault, PolicyError

_TIMEOUT_S = 5.0
_LONGEST_WAIT_S = 65.0
_SHOWN = {
    "method": "method",
    "route": "route",
    "cache_status": "cache",
    "count": "requests",
    "mean_ms": "mean ms",
    "p50_ms_under": "p50 under",
    "p99_ms_under": "p99 under",
}
"""The members of a line of ``requests``, and their columns."""


class AdminError(CacheproxyError):
    """The sidecar's admin port could not be asked, or refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Admin:
    """A running sidecar's admin port."""

    host: str
    port: int
    token: str | None = None

    def ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        content: bytes | None = None,
        kind: str = "application/json",
    ) -> httpx.Response:
        """The answer, whatever its status. AdminError where there is none. ``content`` of ``kind`` is sent as it is."""
        named = {"content-type": kind} if content is not None else {}
        with self._client(read_s=_TIMEOUT_S if body is None and method == "GET" else _LONGEST_WAIT_S) as client:
            return client.request(method, path, json=body, content=content, headers=named)

    def result(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        content: bytes | None = None,
        kind: str = "application/json",
    ) -> dict[str, Any]:
        """The answer's JSON object. AdminError where the sidecar refused, with its reason."""
        return _object(path, self.ask(method, path, body, content=content, kind=kind))

    def lines(self, path: str, body: Mapping[str, object]) -> Iterator[dict[str, Any]]:
        """The JSON objects of a streamed answer, as they come. AdminError."""
        with self._client(read_s=_LONGEST_WAIT_S) as client, client.stream("POST", path, json=body) as answer:
            if not answer.is_success:
                answer.read()
                _object(path, answer)
            for line in answer.iter_lines():
                yield json.loads(line)

    @contextmanager
    def _client(self, read_s: float) -> Iterator[httpx.Client]:
        headers = {"authorization": f"Bearer {self.token}"} if self.token else {}
        timeout = httpx.Timeout(_TIMEOUT_S, read=read_s)
        try:
            with httpx.Client(base_url=self._url(""), timeout=timeout, trust_env=False, headers=headers) as client:
                yield client
        except httpx.HTTPError as error:
            raise AdminError(
                f"no answer from {self._url('')}: {error}; is the sidecar running there (--admin)?"
            ) from error

    def _url(self, path: str) -> str:
        everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (where one listens, not where one connects)
        host = everywhere.get(self.host, self.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}{path}"


def _object(path: str, answer: httpx.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        found = None
    if answer.is_success and isinstance(found, dict):
        return found
    detail = found.get("detail") if isinstance(found, dict) else None
    raise AdminError(f"{path} answered {answer.status_code}: {detail or answer.reason_phrase}")


def health(admin: Admin, *, as_json: bool) -> int:
    """Print whether the sidecar is ready. 0, or 1 if it is not."""
    try:
        answer = admin.ask("GET", "/readyz")
    except AdminError as error:
        print_json({"status": "unreachable", "detail": str(error)}) if as_json else print(error)
        return 1
    print_json(answer.json()) if as_json else print("ready" if answer.is_success else f"not ready: {answer.text}")
    return 0 if answer.is_success else 1


def purge(admin: Admin, body: Mapping[str, object], *, as_json: bool) -> int:
    """Purge what ``body`` names and print the receipt. 0, or 1 if a replica was late, or the policy lacks a route."""
    receipt = admin.result("POST", "/api/v1/purge", body)
    if as_json:
        print_json(receipt)
    else:
        print_pairs(receipt.items())
    return 1 if receipt.get("silent") or receipt.get("unknown_routes") else 0


def publish(admin: Admin, kind: str, data: str, *, as_json: bool) -> int:
    """Publish an event of the type ``kind`` and print what came of it. 0."""
    try:
        event = {"type": kind, "data": json.loads(data)}
    except ValueError as error:
        raise PolicyError("data", [Fault(f"not JSON: {error}")]) from error
    result = admin.result("POST", "/api/v1/events", event)
    print_json(result) if as_json else print_pairs(result.items())
    return 0


def reload(admin: Admin, *, as_json: bool) -> int:
    """Have the policy file read again and print which policy is in force. 0; AdminError where it is wrong."""
    found = admin.result("POST", "/api/v1/reload")
    print_json(found) if as_json else print_pairs(found.items())
    return 0


def warm(admin: Admin, *, as_json: bool) -> int:
    """Have the policy's requests made and print what came of each. 0, or 1 if one failed."""
    with progress(lambda: _warmed(admin)):
        found = admin.result("POST", "/api/v1/warm")
    if as_json:
        print_json(found)
    elif not found["requests"]:
        print("nothing to do: the policy names no requests under `warm`")
    else:
        print_pairs((each["request"], f"{each['status'] or 'no answer'} {each['cache']}") for each in found["requests"])
    return 1 if found["failed"] else 0


def _warmed(admin: Admin) -> str:
    try:
        return f"warming: {admin.ask('GET', '/readyz').json()['parts']['warm']}"
    except (AdminError, ValueError, LookupError):
        return "warming"


def stats(admin: Admin, *, as_json: bool) -> int:
    """Print the sidecar's counters. 0."""
    found = admin.result("GET", "/api/v1/stats")
    if as_json:
        print_json(found)
        return 0
    requests = found.pop("requests", [])
    print_pairs(_flat(found, ""))
    if requests:
        print()
        print_table([name.upper() for name in _SHOWN.values()], [_cells(row) for row in requests])
    return 0


def _cells(row: Mapping[str, object]) -> list[str]:
    return ["-" if row[name] is None else str(row[name]) for name in _SHOWN]


def _flat(found: Mapping[str, object], prefix: str) -> Iterator[tuple[str, object]]:
    for name, value in found.items():
        path = f"{prefix}.{name}".strip(".")
        if isinstance(value, dict):
            yield from _flat(value, path)
        else:
            yield path, "-" if value is None else value

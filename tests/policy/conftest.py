"""Builders of routes and requests."""

from collections.abc import Callable
from typing import Any

import pytest

from cacheproxy.policy.load import load_policy
from cacheproxy.policy.paths import MatchRule, PathPattern
from cacheproxy.policy.route import Policy, Route
from cacheproxy.policy.router import Router
from cacheproxy.policy.templates import KeyTemplate
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.head import RequestHead
from cacheproxy.semantics.rules import CacheRules

MakeRoute = Callable[..., Route]
MakeRequest = Callable[..., RequestHead]
Load = Callable[..., tuple[Policy, Router]]


@pytest.fixture(scope="session")
def make_route() -> MakeRoute:
    """A cached route from lines such as ``GET /articles/{id}``; ``key`` as text."""

    def make(name: str, *lines: str, key: str | None = None, **fields: Any) -> Route:
        rules = tuple(_rule(line) for line in lines)
        template = KeyTemplate.parse(key) if key else None
        path = rules[0].path if key else None
        return Route(**{"name": name, "cache": CacheRules(), "match": rules, "key": template, "path": path, **fields})

    return make


@pytest.fixture(scope="session")
def make_request() -> MakeRequest:
    """A GET of ``target`` from example.com, with fields as pairs."""

    def make(target: str | bytes, *fields: tuple[str, str], method: str = "GET", host: bytes = b"example.com") -> Any:
        raw = target.encode() if isinstance(target, str) else target
        return RequestHead(method=method, target=raw, fields=Fields.of(*fields), authority=host)

    return make


@pytest.fixture(scope="session")
def load() -> Load:
    """The policy of a text that begins with ``version: 1`` already."""

    def load_text(text: str, **environ: str) -> tuple[Policy, Router]:
        return load_policy("version: 1\n" + text, "test.yaml", environ)

    return load_text


def _rule(line: str) -> MatchRule:
    methods, _, rest = line.rpartition(" ")
    host, _, path = rest.partition("/")
    return MatchRule(
        path=PathPattern.parse("/" + path), methods=frozenset(methods.split("|")) if methods else frozenset(), host=host
    )

"""Whose data a request is about."""

import pytest

from cacheproxy.policy.identity import TenantRules, TenantSource
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.head import RequestHead
from cacheproxy.sessions.contract import Session
from cacheproxy.sessions.tenants import tenant_of

BY_SESSION = TenantRules(source=TenantSource.SESSION, name="org_id")
BY_HEADER = TenantRules(source=TenantSource.HEADER, name="x-org-id")
BY_HOST = TenantRules(source=TenantSource.HOST)


def request(*fields: tuple[str, str], host: str = "acme.example") -> RequestHead:
    """A request to ``host``."""
    return RequestHead(method="GET", target=b"/", fields=Fields.of(*fields), authority=host.encode("latin-1"))


def test_without_rules_there_are_no_tenants() -> None:
    """A policy without tenants has none, whatever a client sends."""
    assert tenant_of(None, request(("x-org-id", "acme")), Session("s", {"org_id": "acme"}), peer_trusted=True) is None


@pytest.mark.parametrize(
    ("session", "expected"),
    [
        (Session("s", {"org_id": "acme"}), "acme"),
        (Session("s", {"org_id": 42}), "42"),
        (Session("s", {}), None),
        (Session("s", {"org_id": ["acme"]}), None),
        (None, None),
    ],
)
def test_by_session(session: Session | None, expected: str | None) -> None:
    """The session's field names the tenant; no header does."""
    assert tenant_of(BY_SESSION, request(("x-org-id", "other")), session, peer_trusted=True) == expected


@pytest.mark.parametrize(
    ("fields", "trusted", "expected"),
    [
        ([("x-org-id", "acme")], True, "acme"),
        ([("x-org-id", "acme")], False, None),
        ([("x_org_id", "acme")], True, None),
        ([("x-org-id", "acme"), ("x-org-id", "other")], True, None),
        ([], True, None),
    ],
)
def test_by_header_only_from_a_trusted_proxy(fields, trusted: bool, expected: str | None) -> None:
    """Any client can send a header: it counts once, spelled so, and from whom it is believed."""
    assert tenant_of(BY_HEADER, request(*fields), None, peer_trusted=trusted) == expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("acme.example", "acme.example"),
        ("ACME.example:8080", "acme.example"),
        ("acme.example.", "acme.example"),
        ("acme.attacker.example", "acme.attacker.example"),
        ("[::1]:80", None),
        ("", None),
    ],
)
def test_by_host(host: str, expected: str | None) -> None:
    """The whole host name is the tenant, however it is spelled."""
    assert tenant_of(BY_HOST, request(host=host), None, peer_trusted=False) == expected


@pytest.mark.parametrize(
    "name",
    ["global", "Global", "", ".", "-a", "a:b", "a/b", "a b", "a\n", "{a}", "*", "../x", "ä", "a" * 129, "\ud800"],
)
def test_names_that_cannot_be_are_no_tenant(name: str) -> None:
    """Nobody is called what separates keys, what is shared, or what is too long."""
    assert tenant_of(BY_SESSION, request(), Session("s", {"org_id": name}), peer_trusted=True) is None

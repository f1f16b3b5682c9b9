"""Whose data a request is about. Pure."""

import re
from typing import assert_never

from cacheproxy.policy.identity import TenantRules, TenantSource
from cacheproxy.policy.lookup import scalar_at
from cacheproxy.policy.paths import canonical_host
from cacheproxy.semantics.head import RequestHead
from cacheproxy.sessions.contract import Session

_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

_SHARED = "global"
"""``tenant-global`` is where shared data lives: nobody may be called that."""


def tenant_of(
    rules: TenantRules | None, request: RequestHead, session: Session | None, *, peer_trusted: bool
) -> str | None:
    """The request's tenant, or None where it has none, or names one that cannot be.

    A header is believed only from a trusted proxy, since any client can send one. By host, the tenant is the whole
    host name: its first label alone would make ``acme.example`` and ``acme.attacker.example`` one.
    """
    if rules is None:
        return None
    named = _named(rules, request, session, peer_trusted=peer_trusted)
    return named if named is not None and _TENANT.fullmatch(named) and named.lower() != _SHARED else None


def _named(rules: TenantRules, request: RequestHead, session: Session | None, *, peer_trusted: bool) -> str | None:
    match rules.source:
        case TenantSource.SESSION:
            return None if session is None else scalar_at(session.fields, rules.name)
        case TenantSource.HEADER:
            values = request.fields.all(rules.name.encode()) if peer_trusted else []
            return values[0].decode("latin-1") if len(values) == 1 else None
        case TenantSource.HOST:
            return canonical_host(request.authority)
        case _:
            assert_never(rules.source)

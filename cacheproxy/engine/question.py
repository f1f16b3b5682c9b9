"""A request that nobody made: what would become of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cacheproxy.policy.explain import Explanation, explain
from cacheproxy.policy.identity import Identity
from cacheproxy.policy.route import Policy
from cacheproxy.policy.router import Router
from cacheproxy.semantics.authority import without_own_port
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.head import RequestHead
from cacheproxy.sessions.contract import Session
from cacheproxy.sessions.tenants import tenant_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A request as an operator describes it. ``session`` is its session's fields, None without one."""

    method: str
    target: bytes
    fields: Fields = field(default_factory=Fields)
    session: Mapping[str, object] | None = None
    tenant: str | None = None
    client_ip: str = "127.0.0.1"


def explained(policy: Policy, router: Router, question: Question, *, prefix: str, port: int) -> Explanation:
    """What ``policy`` makes of the request, come in on ``port``. A tenant's header is believed; nobody is asked."""
    request = RequestHead(
        method=question.method.upper(),
        target=question.target,
        fields=question.fields,
        authority=without_own_port((question.fields.get(b"host") or b"localhost").lower(), port),
    )
    known = None if question.session is None else Session(str(question.session.get("id", "example")), question.session)
    identity = Identity(
        client_ip=question.client_ip,
        session_id=known.id if known else None,
        session=known.fields if known else {},
        tenant=question.tenant or tenant_of(policy.tenant, request, known, peer_trusted=True),
    )
    return explain(policy, router, request, identity, prefix=prefix)

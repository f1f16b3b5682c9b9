"""Step 3: who is asking."""

from cacheproxy.client.seal import SEAL_FIELD, seal
from cacheproxy.engine.degrade import Degrade
from cacheproxy.engine.exchange import Exchange
from cacheproxy.engine.problems import SESSION_REQUIRED
from cacheproxy.errors import ClientError
from cacheproxy.policy.identity import Identity, SessionRules, SessionScheme, TenantRules, TenantSource
from cacheproxy.policy.route import Policy, SessionUse
from cacheproxy.redis_link.contract import Role
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.head import RequestHead
from cacheproxy.semantics.memo import ByIdentity
from cacheproxy.sessions.contract import Session, Sessions
from cacheproxy.sessions.cookies import session_id_of
from cacheproxy.sessions.identity import Stripper, identity_fields
from cacheproxy.sessions.tenants import tenant_of

MAX_KNOWN = 1024
_UNTOLD = Session("")
"""Stands for a session that could not be asked about: Redis did not say."""


class Identifier:
    """Resolves the session cookie and the tenant, and sets what the origin is told of them."""

    def __init__(self, sessions: Sessions, degrade: Degrade) -> None:
        """Ask ``sessions``."""
        self._sessions = sessions
        self._degrade = degrade
        self._stripper = Stripper()
        self._rules: SessionRules | None = None
        self._stripped: ByIdentity[Fields, Fields] = ByIdentity(MAX_KNOWN)

    async def identify(self, exchange: Exchange, policy: Policy) -> None:
        """As ``identify_now``, once a session that the route wants has been looked up. ClientError: 401, 503, too."""
        self._strip(exchange, policy.session)
        rules, session = policy.session, None
        if rules is not None and _wants_session(exchange):
            session = await self._session(exchange, policy, rules)
        self._name(exchange, policy, session)

    def identify_now(self, exchange: Exchange, policy: Policy) -> bool:
        """Fill in ``exchange.identity``, and replace what the client claims of it; ClientError 400 without a tenant.

        False, and nothing is done, where a session is to be looked up.
        """
        if policy.session is not None and _wants_session(exchange):
            return False
        self._strip(exchange, policy.session)
        self._name(exchange, policy, None)
        return True

    def _strip(self, exchange: Exchange, rules: SessionRules | None) -> None:
        """Take from the request what its client claims of its identity. Fields that came before are known."""
        if rules is not self._rules:
            self._rules, self._stripped = rules, ByIdentity(MAX_KNOWN)
        fields = exchange.request.fields
        stripped = self._stripped.of(fields)
        if stripped is None:
            stripped = self._stripped.keep(fields, self._stripper.strip(fields, rules))
        if stripped is not fields:
            exchange.request = exchange.request.with_fields(stripped)

    def _name(self, exchange: Exchange, policy: Policy, session: Session | None) -> None:
        """Note who asks, and tell the origin."""
        request = exchange.request
        if policy.session is not None:
            exchange.seal_secret = policy.session.seal_secret
        if policy.session is not None and session is not None:
            told = identity_fields(session, policy.session)
            exchange.identity_names = frozenset(name for name, _ in told)
            exchange.personal_names = exchange.identity_names - _of_tenant(policy)
            if told:
                exchange.request = request.with_fields(request.fields.plus(*told))
        if session is None and policy.tenant is None:
            return
        # Where no proxy is trusted by name, whoever reaches this listener is taken for one.
        trusted = exchange.peer_trusted or not policy.trusted_proxies
        tenant = tenant_of(policy.tenant, request, session, peer_trusted=trusted)
        if session is not None or tenant is not None:
            exchange.identity = Identity(
                client_ip=exchange.identity.client_ip,
                session_id=None if session is None else session.id,
                session={} if session is None else session.fields,
                tenant=tenant,
            )
        _enforce(policy.tenant, exchange.identity)

    async def _session(self, exchange: Exchange, policy: Policy, rules: SessionRules) -> Session | None:
        """The request's session. One that matters and cannot be asked about closes the door: it may not exist."""
        required = exchange.route.session is SessionUse.REQUIRED
        session_id = session_id_of(exchange.request.fields, rules, exchange.now)
        # Where ids are signed for a time, the same cookie may mean something else later.
        exchange.asked_elsewhere = rules.scheme is SessionScheme.SIGNED and b"cookie" in exchange.request.fields
        session = None
        if session_id is not None:
            asked = self._sessions.load(session_id, exchange.budget)
            session = await self._degrade.instead(Role.SESSIONS, asked, _UNTOLD)
            exchange.asked_elsewhere |= session is None or session is _UNTOLD
        if session is _UNTOLD:
            if required or _tells_needed_tenant(policy.tenant):
                raise ClientError(503, "session-unavailable", "the session could not be looked up; try again")
            return None
        if session is None and required:
            raise ClientError(401, SESSION_REQUIRED, "this needs a session: log in")
        exchange.session = session
        return session


def _wants_session(exchange: Exchange) -> bool:
    return exchange.route.session is not SessionUse.IGNORE


def sealed(exchange: Exchange, request: RequestHead, now: float) -> Fields:
    """The fields of ``request``, which goes to the origin at ``now``, with the seal over its identity if there is one.

    What is sealed is what is sent: a fetch for nobody in particular tells less than the request did.
    """
    if not exchange.seal_secret:
        return request.fields
    told = [pair for pair in request.fields if pair[0] in exchange.identity_names]
    value = seal(exchange.seal_secret, method=request.method, target=request.target, identity=told, now=now)
    return request.fields.plus((SEAL_FIELD, value))


def _of_tenant(policy: Policy) -> frozenset[bytes]:
    """The fields that tell the upstream nothing but the tenant."""
    if policy.session is None or policy.tenant is None or policy.tenant.source is not TenantSource.SESSION:
        return frozenset()
    return frozenset(name for name, source in policy.session.identity if source == policy.tenant.name)


def _tells_needed_tenant(rules: TenantRules | None) -> bool:
    """Whether a request cannot go on without its session, as that names the tenant."""
    return rules is not None and rules.enforce and rules.source is TenantSource.SESSION


def _enforce(rules: TenantRules | None, identity: Identity) -> None:
    if rules is not None and rules.enforce and identity.tenant is None:
        raise ClientError(rules.status, "tenant-required", "this request names no tenant")

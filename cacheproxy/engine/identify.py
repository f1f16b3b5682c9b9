"""Step 3: who is asking."""

from operator import attrgetter
from typing import NamedTuple

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
        self._forget(None)

    def _forget(self, policy: Policy | None) -> None:
        """Know nothing yet of what ``policy`` makes of anybody's fields."""
        self._policy = policy
        self._stripped: ByIdentity[Fields, Fields] = ByIdentity(MAX_KNOWN, attrgetter("is_long"))
        self._told: ByIdentity[Fields, _Told] = ByIdentity(MAX_KNOWN, attrgetter("is_long"))

    async def identify(self, exchange: Exchange, policy: Policy) -> None:
        """As ``identify_now``, where a session is to be looked up first. ClientError 503 if it cannot be."""
        self._strip(exchange, policy)
        rules, session_id = policy.session, self._session_id(exchange, policy)
        session = None
        if rules is not None and session_id is not None:
            session = await self._session(exchange, policy, session_id)
        self._settle(exchange, policy, session)

    def identify_now(self, exchange: Exchange, policy: Policy) -> bool:
        """Fill in ``exchange.identity``, and replace what the client claims of it.

        False, and nothing is decided, where a session is to be looked up that is not at hand.
        ClientError: 401 without a session that is required, 400 without a tenant.
        """
        self._strip(exchange, policy)
        session_id = self._session_id(exchange, policy)
        session = None if session_id is None else self._sessions.peek(session_id)
        if session_id is not None and session is None:
            return False
        self._settle(exchange, policy, session)
        return True

    def _strip(self, exchange: Exchange, policy: Policy) -> None:
        """Take from the request what its client claims of its identity. Fields that came before are known."""
        if policy is not self._policy:
            self._forget(policy)
        fields = exchange.request.fields
        stripped = self._stripped.of(fields)
        if stripped is None:
            stripped = self._stripped.keep(fields, self._stripper.strip(fields, policy.session))
        if stripped is not fields:
            exchange.request = exchange.request.with_fields(stripped)

    def _session_id(self, exchange: Exchange, policy: Policy) -> str | None:
        """The id of the request's session, where its route wants one and it names one."""
        rules = policy.session
        if rules is None or exchange.route.session is SessionUse.IGNORE or b"cookie" not in exchange.request.fields:
            return None
        # Where ids are signed for a time, the same cookie may mean something else later.
        exchange.asked_elsewhere = rules.scheme is SessionScheme.SIGNED
        return session_id_of(exchange.request.fields, rules, exchange.now)

    async def _session(self, exchange: Exchange, policy: Policy, session_id: str) -> Session | None:
        """The request's session. One that matters and cannot be asked about closes the door: it may not exist."""
        asked = self._sessions.load(session_id, exchange.budget)
        session = await self._degrade.instead(Role.SESSIONS, asked, _UNTOLD)
        exchange.asked_elsewhere |= session is None or session is _UNTOLD
        if session is not _UNTOLD:
            return session
        if exchange.route.session is SessionUse.REQUIRED or _tells_needed_tenant(policy.tenant):
            raise ClientError(503, "session-unavailable", "the session could not be looked up; try again")
        return None

    def _settle(self, exchange: Exchange, policy: Policy, session: Session | None) -> None:
        """Note who asks, and tell the origin."""
        request, rules = exchange.request, policy.session
        if rules is not None:
            exchange.seal_secret = rules.seal_secret
            if session is not None:
                exchange.session = session
                self._tell(exchange, policy, rules, session)
            elif exchange.route.session is SessionUse.REQUIRED:
                raise ClientError(401, SESSION_REQUIRED, "this needs a session: log in")
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

    def _tell(self, exchange: Exchange, policy: Policy, rules: SessionRules, session: Session) -> None:
        """Tell the origin of ``session``: with the same fields as before, where the same client has it still."""
        fields = exchange.request.fields
        told = self._told.of(fields)
        if told is None or told.session is not session:
            told = self._told.keep(fields, _told(session, fields, policy, rules))
        exchange.identity_names, exchange.personal_names = told.names, told.personal
        if told.fields is not fields:
            exchange.request = exchange.request.with_fields(told.fields)


class _Told(NamedTuple):
    """What becomes of a client's fields by its session."""

    session: Session
    fields: Fields
    names: frozenset[bytes]
    personal: frozenset[bytes]


def _told(session: Session, fields: Fields, policy: Policy, rules: SessionRules) -> _Told:
    told = identity_fields(session, rules)
    names = frozenset(name for name, _ in told)
    return _Told(session, fields.plus(*told) if told else fields, names, names - _of_tenant(policy))


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

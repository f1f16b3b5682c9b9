"""From bytes to what the engine understands: the request, its client, and what the origin is told of the way here."""

from functools import lru_cache
from typing import NamedTuple

from cacheproxy.engine.engine import Client, Engine
from cacheproxy.policy.identity import TenantSource
from cacheproxy.semantics.authority import without_own_port
from cacheproxy.semantics.head import RequestHead
from cacheproxy.semantics.memo import recurring
from cacheproxy.server.forwarded import UNIX, believable, client_address, forwarding_fields, is_trusted
from cacheproxy.server.head import NO_ID, Framing, parse_head, split_request_id, split_target

_REQUEST_ID = b"x-request-id"
MEMO_HEADS = 1024
MEMO_HEAD_BYTES = 4096
"""Longer heads are read each time, so that the memo stays small."""


class Arrived(NamedTuple):
    """A request head as it is understood, its framing and its client. A tuple, as one is made for each new target."""

    request: RequestHead
    framing: Framing
    client: Client
    scheme: str = "http"
    """The connection's: what the request says of it may be another."""
    peer: str = ""
    """The address of the connection's other end; empty for a unix socket."""


class Adapter:
    """Reads heads for one listener. What was read more than once lately from the same peer is not read again.

    That is so for whole heads, and for heads less their targets, and less the ids that somebody on the way gives each
    request: one client asks for many things in the same words.
    """

    def __init__(self, engine: Engine, port: int) -> None:
        """Read for ``engine`` what comes in on ``port``."""
        self._engine = engine
        self._port = port
        self._read_lately = recurring(self._read_by_parts, MEMO_HEADS)
        self._rest_lately = recurring(self._read_rest, MEMO_HEADS)
        self._unnamed_lately = lru_cache(maxsize=MEMO_HEADS)(self._read)
        self.trusts = lru_cache(maxsize=MEMO_HEADS)(self._trusts)
        """Whether a peer (an address, empty for a unix socket) is a proxy that is believed."""

    def read(self, raw: bytes, scheme: str, peer: str) -> Arrived:
        """What ``raw`` (through its empty line) says, coming from ``peer``. ClientError where it is refused."""
        return (self._read_lately if len(raw) <= MEMO_HEAD_BYTES else self._read)(raw, scheme, peer)

    def forget(self) -> None:
        """Read every head anew: the policy has changed."""
        self._read_lately = recurring(self._read_by_parts, MEMO_HEADS)
        self._rest_lately = recurring(self._read_rest, MEMO_HEADS)
        self._unnamed_lately.cache_clear()
        self.trusts.cache_clear()

    def understand(self, request: RequestHead, peer: str) -> tuple[RequestHead, Client]:
        """``request`` with what earlier hops say replaced by what may be believed of it, and its client."""
        peer = peer or UNIX
        trusted = self._engine.active.policy.trusted_proxies
        told = forwarding_fields(request, peer, trusted)
        by_name = dict(told)
        authority = by_name.get(b"x-forwarded-host", request.authority)
        fields = believable(request, self._claim(), believed=not trusted or is_trusted(peer, trusted)).plus(*told)
        if authority != request.authority:
            fields = fields.replaced(b"host", authority)  # the origin must see the host that is in the key
        understood = request._replace(
            fields=fields,
            authority=without_own_port(authority, self._port),
            scheme=by_name.get(b"x-forwarded-proto", request.scheme.encode()).decode("latin-1"),
        )
        address = client_address(peer, request.fields, trusted)
        return understood, _client(address, is_trusted(peer, trusted))

    def _claim(self) -> bytes:
        """The field in which a request names its tenant, or empty."""
        rules = self._engine.active.policy.tenant
        return rules.name.encode() if rules is not None and rules.source is TenantSource.HEADER else b""

    def _trusts(self, peer: str) -> bool:
        return is_trusted(peer or UNIX, self._engine.active.policy.trusted_proxies)

    def _read_by_parts(self, raw: bytes, scheme: str, peer: str) -> Arrived:
        split = split_target(raw)
        if split is None:
            return self._read(raw, scheme, peer)
        target, rest = split
        arrived = self._rest_lately(rest, scheme, peer)
        if arrived.framing.upgrades:
            return self._read(raw, scheme, peer)  # whose head must fit whole into what reads it next
        return Arrived(arrived.request.with_target(target), arrived.framing, arrived.client, scheme, peer)

    def _read_rest(self, raw: bytes, scheme: str, peer: str) -> Arrived:
        """What ``raw`` says. If it names its request, that name aside it is as others of its client."""
        split = split_request_id(raw)
        if split is None:
            return self._read(raw, scheme, peer)
        request_id, unnamed = split
        arrived = self._unnamed_lately(unnamed, scheme, peer)
        fields = arrived.request.fields
        if fields.all(_REQUEST_ID) != [NO_ID]:
            return self._read(raw, scheme, peer)
        return arrived._replace(request=arrived.request.with_fields(fields.with_value(_REQUEST_ID, request_id)))

    def _read(self, raw: bytes, scheme: str, peer: str) -> Arrived:
        request, framing = parse_head(raw, scheme)
        understood, client = self.understand(request, peer)
        return Arrived(request=understood, framing=framing, client=client, scheme=scheme, peer=peer)


@lru_cache(maxsize=MEMO_HEADS)
def _client(address: str, trusted: bool) -> Client:  # noqa: FBT001 - a key's part
    return Client(address=address, trusted=trusted)

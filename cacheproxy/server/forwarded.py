"""Who the client is, and what the upstream is told about it: only what trusted proxies vouch for. Pure.

``x-forwarded-for`` is read from right to left, as each proxy appends the address it was called from. ``forwarded``
(RFC 7239) is read where there is no ``x-forwarded-for``: a proxy that speaks the one must delete a client's other.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

from cacheproxy.policy.route import Network
from cacheproxy.semantics.fields import Fields, Pair
from cacheproxy.semantics.forwarding import connection_fields
from cacheproxy.semantics.head import RequestHead

UNIX = "unix"
"""The address of a peer on a unix socket. Whoever may open the socket is as local as a trusted proxy."""

MAX_HOPS = 32
_LONGEST_NODE = 64
"""No address with its port is as long."""

_TELL_OF_HOPS = frozenset({
    b"forwarded", b"x-forwarded", b"forwarded-for", b"x-real-ip", b"front-end-https", b"x-scheme", b"x-url-scheme",
})  # fmt: skip
_REROUTE = frozenset({
    b"x-original-url", b"x-original-uri", b"x-original-path", b"x-rewrite-url", b"x-rewrite-uri", b"x-override-url",
    b"x-original-host", b"x-host", b"x-backend-host", b"x-http-host-override", b"x-script-name", b"proxy",
    b"x-http-method", b"x-http-method-override", b"x-method-override",
})  # fmt: skip
"""Read by some origins in place of target, host or method, by which a request was routed and guarded here; ``proxy``
becomes HTTP_PROXY in CGI (CVE-2016-5385)."""
_TOLD_OF_ORIGIN = frozenset({b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-prefix"})
_HOP_OF_HTTP = frozenset({b"http2-settings", b"trailer"})
_NOMINATES = frozenset({b"connection"})
_NOT_RESPELLED = frozenset({b"content-length", b"transfer-encoding"})
"""Fields whose spelling with ``_`` some origins take for the real ones."""
_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PAIR = rf'({_WORD})=(?:({_WORD})|"((?:[^"\\]|\\.)*)")'
_ELEMENT = re.compile(rf"\s*(?:{_PAIR}(?:;{_PAIR})*)?\s*(?:,|\Z)")
_EACH_PAIR = re.compile(_PAIR)
_PORT = re.compile(r":[0-9]{1,5}")
_HOST = re.compile(rb"(?:[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_SCHEMES = frozenset({b"http", b"https"})

Address = IPv4Address | IPv6Address


def client_address(peer: str, fields: Fields, trusted: Sequence[Network]) -> str:
    """The client's address, canonical: the nearest hop that is no trusted proxy.

    Where a hop is hidden (``unknown``) or malformed, it is the last one that was told of by somebody trusted.
    """
    return _chain(peer, fields, trusted)[-1]


def is_trusted(peer: str, trusted: Sequence[Network]) -> bool:
    """Whether what ``peer`` (an address, or UNIX) says about others is believed."""
    if peer == UNIX:
        return True
    return _in_any(peer, tuple(trusted))


@lru_cache(maxsize=4096)
def _in_any(peer: str, networks: tuple[Network, ...]) -> bool:
    address = _address(peer)
    return address is not None and any(address in network for network in networks)


def believable(request: RequestHead, claim: bytes = b"", *, believed: bool = True) -> Fields:
    """The fields of ``request`` without those that no client is believed in, ``-`` and ``_`` alike.

    They tell of earlier hops (``forwarding_fields`` says that anew), or would make the origin answer for another path,
    host or method than the one that was routed and is in the key, or spell framing so that this proxy does not see it.
    What Connection nominates goes too, before anything is decided by it (RFC 9110 §7.6.1); it stays itself, so that
    it is still known what ended here. ``claim`` is a field in which a trusted proxy names the tenant: it goes unless it
    is ``believed``, and its other spellings go always.
    """
    names = request.fields.names()
    misleads = _misleads.__wrapped__ if request.fields.is_long else _misleads  # the memory is not theirs to fill
    dropped = (connection_fields(request.fields) - _NOMINATES) | set(filter(misleads, names))
    if claim:
        dropped |= {name for name in names if _is_spelling(name, claim) and not (believed and name == claim)}
    return request.fields.without(dropped)


def forwarding_fields(request: RequestHead, peer: str, trusted: Sequence[Network]) -> tuple[Pair, ...]:
    """What the upstream is told: the hops that are vouched for, the client's first, and its scheme and host.

    A client's own claims are not passed on; a trusted proxy's are.
    """
    vouched = not _TOLD_OF_ORIGIN.isdisjoint(request.fields.names()) and is_trusted(peer, trusted)
    scheme = _last(request.fields, b"x-forwarded-proto").lower() if vouched else b""
    host = _last(request.fields, b"x-forwarded-host") if vouched else b""
    prefix = _last(request.fields, b"x-forwarded-prefix") if vouched else b""
    told = list(address_fields(peer, request.fields, trusted))
    told.append((b"x-forwarded-proto", scheme if scheme in _SCHEMES else request.scheme.encode()))
    told.append((b"x-forwarded-host", host if _HOST.fullmatch(host) else request.authority))
    if prefix.startswith(b"/"):
        told.append((b"x-forwarded-prefix", prefix))
    return tuple((name, value) for name, value in told if value)


def address_fields(peer: str, fields: Fields, trusted: Sequence[Network]) -> tuple[Pair, ...]:
    """What the upstream is told of the hops that are vouched for; nothing where all of them are local."""
    hops = [hop for hop in reversed(_chain(peer, fields, trusted)) if hop != UNIX]
    return ((b"x-forwarded-for", ", ".join(hops).encode()), (b"x-real-ip", hops[0].encode())) if hops else ()


def _chain(peer: str, fields: Fields, trusted: Sequence[Network]) -> list[str]:
    """The hops from ``peer`` towards the client, as far as each was told of by a trusted one."""
    chain = [_canonical(peer)]
    if not is_trusted(chain[0], trusted):
        return chain
    for hop in reversed(_hops(fields)[-MAX_HOPS:]):
        address = _node(hop)
        if address is None:
            break
        chain.append(str(address))
        if not is_trusted(chain[-1], trusted):
            break
    return chain


def _hops(fields: Fields) -> list[str]:
    told = fields.combined(b"x-forwarded-for")
    if told is not None:
        return [hop.strip() for hop in told.decode("latin-1").split(",") if hop.strip()]
    return _rfc7239(fields.combined(b"forwarded") or b"")


def _rfc7239(value: bytes) -> list[str]:
    """The ``for`` of each element (RFC 7239 §4), empty where it has none; no hops at all if it is malformed."""
    text, at, hops = value.decode("latin-1"), 0, list[str]()
    while at < len(text):
        element = _ELEMENT.match(text, at)
        if element is None:
            return []
        pairs = _EACH_PAIR.findall(element[0])
        if pairs:
            named = [token or quoted for name, token, quoted in pairs if name.lower() == "for"]
            hops.append(named[0] if len(named) == 1 else "")
        at = element.end()
    return hops


def _node(text: str) -> Address | None:
    """The address in ``192.0.2.1``, ``192.0.2.1:80``, ``2001:db8::1``, ``[2001:db8::1]`` or ``[2001:db8::1]:80``."""
    if len(text) > _LONGEST_NODE:
        return None
    if text.startswith("["):
        inner, bracket, port = text[1:].partition("]")
        return _address(inner) if bracket and ":" in inner and (not port or _PORT.fullmatch(port)) else None
    if text.count(":") == 1:
        text, _, port = text.partition(":")
        return _address(text) if _PORT.fullmatch(":" + port) else None
    return _address(text)


@lru_cache(maxsize=4096)
def _canonical(peer: str) -> str:
    address = _address(peer)
    return peer if address is None else str(address)


@lru_cache(maxsize=4096)
def _address(text: str) -> Address | None:
    """An IPv4 address in IPv6 clothes is the IPv4 address; one with a zone is none, as zones mean nothing elsewhere."""
    if "%" in text:
        return None
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


@lru_cache(maxsize=1024)
def _misleads(name: bytes) -> bool:
    folded = name.lower().replace(b"_", b"-")
    if folded in _TELL_OF_HOPS or folded in _REROUTE or folded in _HOP_OF_HTTP or folded.startswith(b"x-forwarded-"):
        return True
    return b"_" in name and folded in _NOT_RESPELLED


def _is_spelling(name: bytes, of: bytes) -> bool:
    return name.replace(b"_", b"-") == of.replace(b"_", b"-")


def _last(fields: Fields, name: bytes) -> bytes:
    """The last member of a list that each proxy may have appended to; empty if there is none."""
    return (fields.combined(name) or b"").rpartition(b",")[2].strip()

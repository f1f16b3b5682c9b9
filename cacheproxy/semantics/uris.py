"""Resolving a URI reference against a request's target, as far as one origin goes (RFC 3986 §5)."""

import re

from cacheproxy.semantics.head import RequestHead

_SCHEME = re.compile(rb"([A-Za-z][A-Za-z0-9+.\-]*):(.*)", re.DOTALL)
_DEFAULT_PORTS = (b":80", b":443")
_LONGEST_BYTES = 8192


def resolve(reference: bytes, request: RequestHead) -> bytes | None:
    """The target (path and query) that ``reference`` names on the origin of ``request``; None if it names another's.

    Origins are compared by host and port. The scheme is left aside, for TLS often ends before this proxy.
    """
    reference = reference.strip(b" \t").partition(b"#")[0]
    if len(reference) > _LONGEST_BYTES:
        return None
    scheme = _SCHEME.fullmatch(reference)
    if scheme is not None:
        if scheme[1].lower() not in (b"http", b"https") or not scheme[2].startswith(b"//"):
            return None
        reference = scheme[2]
    if reference.startswith(b"//"):
        authority, path = _split_authority(reference[2:])
        return _without_dots(path) if _same_host(authority, _host(request)) else None
    return _without_dots(_merge(reference, request))


def _split_authority(rest: bytes) -> tuple[bytes, bytes]:
    match = re.match(rb"[^/?]*", rest)
    end = match.end() if match else 0
    path = rest[end:]
    return rest[:end], path if path.startswith(b"/") else b"/" + path


def _host(request: RequestHead) -> bytes:
    return request.authority or request.fields.get(b"host") or b""


def _same_host(one: bytes, other: bytes) -> bool:
    return bool(one) and _canonical_host(one) == _canonical_host(other)


def _canonical_host(authority: bytes) -> bytes:
    host = authority.strip(b" \t").lower()
    for port in _DEFAULT_PORTS:
        host = host.removesuffix(port)
    return host.removesuffix(b":")


def _merge(reference: bytes, request: RequestHead) -> bytes:
    if reference.startswith(b"/"):
        return reference
    if reference.startswith(b"?"):
        return request.path + reference
    return request.path.rpartition(b"/")[0] + b"/" + reference if reference else request.target


def _without_dots(target: bytes) -> bytes:
    """``target`` with the dot segments of its path taken out (RFC 3986 §5.2.4)."""
    path, mark, query = target.partition(b"?")
    if b"/." not in path:
        return target
    kept: list[bytes] = []
    segments = path.split(b"/")[1:]
    for segment in segments:
        if segment == b"..":
            del kept[-1:]
        elif segment != b".":
            kept.append(segment)
    if segments[-1] in (b".", b".."):
        kept.append(b"")
    return b"/" + b"/".join(kept) + mark + query

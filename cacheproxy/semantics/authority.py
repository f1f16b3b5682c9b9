"""Which host a request is for."""

_LOOPBACK = frozenset({b"127.0.0.1", b"localhost", b"[::1]"})


def without_own_port(authority: bytes, port: int) -> bytes:
    """``authority``, without ``port`` on loopback: sidecars side by side share their keys, whatever they listen on.

    Elsewhere a port is a client's word, and told apart.
    """
    host = authority.removesuffix(b":%d" % port)
    return host if host in _LOOPBACK else authority

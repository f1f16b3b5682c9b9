"""Which host a request is for."""

import pytest

from cacheproxy.semantics.authority import without_own_port


@pytest.mark.parametrize(
    ("authority", "host"),
    [
        (b"127.0.0.1:8080", b"127.0.0.1"),
        (b"localhost:8080", b"localhost"),
        (b"[::1]:8080", b"[::1]"),
        (b"localhost", b"localhost"),
        (b"localhost:8081", b"localhost:8081"),
        (b"api.example:8080", b"api.example:8080"),
        (b"", b""),
    ],
)
def test_the_own_port_is_left_out_on_loopback_alone(authority: bytes, host: bytes) -> None:
    """Elsewhere, and for other ports, the key holds what the client named."""
    assert without_own_port(authority, 8080) == host

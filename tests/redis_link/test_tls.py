"""rediss: the right authority is trusted, any other is refused, and the server's name is checked."""

import datetime as dt
import ssl
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cacheproxy.errors import StateError
from cacheproxy.redis_link.connect import Tuning


def _certificate(directory: Path, name: str, address: str) -> tuple[Path, Path]:
    """A self-signed certificate for ``address`` and its key, as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = directory / f"{name}.pem", directory / f"{name}.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


@pytest.fixture
async def secure(scripted_tls, tmp_path: Path):
    """A server that speaks TLS, and the URL of it that trusts its certificate."""
    certificate, key = _certificate(tmp_path, "right", "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    url = await scripted_tls(context)
    return url, certificate


async def test_the_right_authority_is_trusted(secure, connected) -> None:
    """Commands pass over TLS to a server whose certificate the private CA signed."""
    url, certificate = secure
    link = connected(f"{url}?ssl_ca_certs={certificate}", Tuning(limit_s=5)).cache
    assert await link.call("ECHO", "secret") == b"secret"


async def test_a_wrong_authority_is_refused(secure, connected, tmp_path: Path) -> None:
    """A certificate that the given CA did not sign ends the connection before a byte of ours is sent."""
    url, _ = secure
    other, _ = _certificate(tmp_path, "wrong", "127.0.0.1")
    for options in (f"?ssl_ca_certs={other}", ""):
        link = connected(url + options, Tuning(limit_s=5)).cache
        with pytest.raises(StateError, match="certificate verify failed") as failure:
            await link.call("ECHO", "secret")
        assert failure.value.reason == "error"


async def test_the_servers_name_is_checked(secure, connected) -> None:
    """A certificate for another host is refused, unless the operator says not to look."""
    url, certificate = secure
    elsewhere = url.replace("127.0.0.1", "localhost")
    with pytest.raises(StateError, match="certificate verify failed"):
        await connected(f"{elsewhere}?ssl_ca_certs={certificate}", Tuning(limit_s=5)).cache.call("ECHO", "x")
    lax = connected(f"{elsewhere}?ssl_ca_certs={certificate}&ssl_check_hostname=false", Tuning(limit_s=5)).cache
    assert await lax.call("ECHO", "x") == b"x"


async def test_a_server_without_tls_is_told(scripted, connected) -> None:
    """TLS spoken to a plain server ends with the time to connect."""
    scripted.answer = lambda _command: b"-ERR what is this\r\n"
    link = connected(scripted.url.replace("redis://", "rediss://"), Tuning(limit_s=5, connect_s=0.5)).cache
    with pytest.raises(StateError):
        await link.call("GET", "k")

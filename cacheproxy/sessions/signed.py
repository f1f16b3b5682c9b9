"""Values signed by itsdangerous' TimestampSigner with its defaults, as Starlette's SessionMiddleware signs. Pure."""

import base64
import binascii
import hashlib
import hmac

_SALT = b"itsdangerous.Signer"


def unsigned(text: str, secret: str, *, now: float, max_age_s: float | None) -> str | None:
    """The value in ``text`` (``value.timestamp.signature``), or None if ``secret`` did not sign it, or too long ago.

    One from the future is refused too, as itsdangerous does.
    """
    signed, _, signature = text.rpartition(".")
    value, dot, stamp = signed.rpartition(".")
    if not secret or not dot or not hmac.compare_digest(_signature(signed, secret), signature.encode("latin-1")):
        return None
    signed_at = _decoded(stamp)
    if signed_at is None:
        return None
    age_s = int(now) - int.from_bytes(signed_at, "big")
    return value if max_age_s is None or 0 <= age_s <= max_age_s else None


def _signature(signed: str, secret: str) -> bytes:
    key = hashlib.sha1(_SALT + b"signer" + secret.encode(), usedforsecurity=False).digest()
    mac = hmac.new(key, signed.encode("latin-1"), hashlib.sha1).digest()
    return base64.urlsafe_b64encode(mac).rstrip(b"=")


def _decoded(text: str) -> bytes | None:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return None

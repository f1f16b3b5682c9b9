"""The seal over identity fields, by which a service knows that they came through its sidecar. Standard library only."""

import hashlib
import hmac
import re
from collections.abc import Collection, Iterable

SEAL_FIELD = b"x-identity-seal"

_FORM = re.compile(r"t=(\d{1,12}),v1=([0-9a-f]{64})")

Pair = tuple[bytes, bytes]


def seal(secret: str, *, method: str, target: bytes, identity: Iterable[Pair], now: float) -> bytes:
    """The value of the field ``x-identity-seal``: ``t=<epoch seconds>,v1=<hex HMAC-SHA256>``.

    The MAC is over time, method, target and the identity fields in order of name, one a line.
    """
    at = int(now)
    return b"t=%d,v1=%s" % (at, _mac(secret, at, method, target, identity).encode())


def verify_seal(
    secret: str,
    *,
    method: str,
    target: bytes,
    fields: Iterable[Pair],
    identity: Collection[bytes],
    now: float,
    max_age_s: float = 60.0,
) -> bool:
    """Whether the ``identity`` fields (their lower-case names) among ``fields`` were set by the sidecar, just now.

    ``fields`` are a request's, names lower-case, as in an ASGI scope; ``target`` is its raw path and query. False where
    the seal is missing, doubled, wrong or older than ``max_age_s``, and so for a request that went around the sidecar.
    """
    pairs = list(fields)
    seals = [value for name, value in pairs if name == SEAL_FIELD]
    form = _FORM.fullmatch(seals[0].decode("latin-1")) if len(seals) == 1 else None
    if form is None:
        return False
    at = int(form[1])
    told = [pair for pair in pairs if pair[0] in identity]
    return abs(now - at) <= max_age_s and hmac.compare_digest(form[2], _mac(secret, at, method, target, told))


def _mac(secret: str, at: int, method: str, target: bytes, identity: Iterable[Pair]) -> str:
    """No part can hold a line end, so no two different requests are the same lines."""
    lines = [b"%d" % at, method.encode(), target, *(name + b":" + value for name, value in sorted(identity))]
    return hmac.new(secret.encode(), b"\n".join(lines), hashlib.sha256).hexdigest()

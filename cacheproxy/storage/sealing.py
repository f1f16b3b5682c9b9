"""Values that only replicas with the key can read, or make: AES-GCM, the cache key bound to it (docs/format.md)."""

import os
import re
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cacheproxy.storage.codec import SEALED

_HEAD = re.compile(rb"%s([A-Za-z0-9._-]{1,64})\n" % re.escape(SEALED))
_NONCE_BYTES = 12
"""Random for each value: safe for 2**32 values under one key (NIST SP 800-38D §8.3)."""


class Keyring:
    """Seals with its first key and opens with any, so that keys can be replaced while replicas run."""

    def __init__(self, keys: Sequence[tuple[str, bytes]]) -> None:
        """``keys`` are ids and AES keys of 16, 24 or 32 bytes, at least one."""
        self._first = keys[0][0].encode()
        self._ciphers = {name.encode(): AESGCM(key) for name, key in keys}

    def seal(self, value: bytes, key: str) -> bytes:
        """``value`` such that it opens under the cache key ``key`` alone."""
        head = b"%s%s\n" % (SEALED, self._first)
        nonce = os.urandom(_NONCE_BYTES)
        return head + nonce + self._ciphers[self._first].encrypt(nonce, value, _bound(head, key))

    def open(self, sealed: bytes, key: str) -> bytes | None:
        """What was sealed, or None: another cache key's, changed, cut, or of an AES key that is not here."""
        head = _HEAD.match(sealed)
        cipher = self._ciphers.get(head[1]) if head else None
        if head is None or cipher is None:
            return None
        nonce, rest = sealed[head.end() : head.end() + _NONCE_BYTES], sealed[head.end() + _NONCE_BYTES :]
        try:
            return cipher.decrypt(nonce, rest, _bound(head[0], key))
        except (InvalidTag, ValueError):  # ValueError: the nonce itself was cut
            return None


def _bound(head: bytes, key: str) -> bytes:
    return head + key.encode("utf-8", "surrogatepass")

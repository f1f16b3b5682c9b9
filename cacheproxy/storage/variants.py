"""Which of the entries under one key fits a request."""

import hashlib

from cacheproxy.semantics.vary import VariantRef
from cacheproxy.storage.contract import Entry


def ref_of(entry: Entry) -> VariantRef:
    """What is needed of ``entry`` to choose it among others."""
    return VariantRef(
        names=entry.vary,
        variance=entry.variance,
        content_language=entry.fields.get(b"content-language"),
        received_at=entry.received_at,
    )


def digest(ref: VariantRef) -> str:
    """A name for the variant: 32 hexadecimal digits, equal only if names and variance are."""
    hashed = hashlib.blake2b(digest_size=16)
    for part in (*ref.names, ref.variance):
        hashed.update(b"%d:%b" % (len(part), part))
    return hashed.hexdigest()

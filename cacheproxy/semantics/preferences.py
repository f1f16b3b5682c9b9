"""What a client prefers: lists with weights (RFC 9110 §12.4.2)."""

import re

_QVALUE = re.compile(rb"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")
_ALIASES = {b"x-gzip": b"gzip", b"x-compress": b"compress"}


def weighted(value: bytes) -> list[tuple[bytes, int]]:
    """Each preference, lower-case, and its q-value in thousandths; 1000 where it has none that can be read."""
    preferences = []
    for member in value.split(b","):
        preference, _, parameters = member.partition(b";")
        preference = preference.strip(b" \t").lower()
        if preference:
            preferences.append((_ALIASES.get(preference, preference), _thousandths(parameters)))
    return preferences


def _thousandths(parameters: bytes) -> int:
    name, _, weight = parameters.partition(b"=")
    weight = weight.strip(b" \t")
    if name.strip(b" \t").lower() != b"q" or not _QVALUE.fullmatch(weight):
        return 1000
    whole, _, fraction = weight.partition(b".")
    return int(whole) * 1000 + int(fraction.ljust(3, b"0"))

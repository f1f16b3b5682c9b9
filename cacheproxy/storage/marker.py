"""What L2 keeps under a key whose response varies: the list of its variants, as JSON that a script can add to."""

import json
from dataclasses import dataclass

from cacheproxy.semantics.vary import VariantRef
from cacheproxy.storage.variants import digest

_START = b'{"variants":'


@dataclass(frozen=True, slots=True)
class Marker:
    """The variants of a key, in the order they were stored."""

    refs: tuple[VariantRef, ...]


def is_marker(packed: bytes) -> bool:
    """Whether ``packed`` is a marker rather than an entry."""
    return packed.startswith(_START)


def read_marker(packed: bytes) -> Marker:
    """The marker in ``packed``; without variants if it is malformed, which is a miss."""
    try:
        return Marker(tuple(_ref(each) for each in json.loads(packed)["variants"]))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return Marker(())


def member(ref: VariantRef, keep_until: float) -> str:
    """One variant as the marker's JSON has it."""
    return json.dumps(
        {
            "digest": digest(ref),
            "names": [name.decode("latin-1") for name in ref.names],
            "variance": ref.variance.decode("latin-1"),
            "content_language": None if ref.content_language is None else ref.content_language.decode("latin-1"),
            "received_at": ref.received_at,
            "keep_until": keep_until,
        }
    )


def _ref(made: dict[str, object]) -> VariantRef:
    language = made.get("content_language")
    received_at = made["received_at"]
    return VariantRef(
        names=tuple(_bytes(name) for name in _list(made["names"])),
        variance=_bytes(made["variance"]),
        content_language=None if language is None else _bytes(language),
        received_at=float(received_at) if isinstance(received_at, int | float) else 0.0,
    )


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError(value)
    return value


def _bytes(value: object) -> bytes:
    if not isinstance(value, str):
        raise TypeError(value)
    return value.encode("latin-1")

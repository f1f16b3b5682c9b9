"""Which stored response fits a request: Vary, normalised, and the languages asked for (RFC 9111 §4.1)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.memo import LONGEST_BYTES, memoised
from cacheproxy.semantics.preferences import weighted

_QUOTED = re.compile(rb'("(?:[^"\\]|\\.)*")', re.DOTALL)
_CLOSED = re.compile(rb'(?:[^"]|"(?:[^"\\]|\\.)*")*', re.DOTALL)
_LONGEST_NORMALISED_BYTES = 4096
"""A longer value fits itself alone: to find what it has in common with others is work that anybody could cause."""
_SPACE = re.compile(rb"[ \t]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantRef:
    """What is needed of a stored response to choose among those under one key."""

    names: tuple[bytes, ...]
    variance: bytes
    content_language: bytes | None = None
    received_at: float = 0.0


def vary_names(fields: Fields) -> tuple[bytes, ...] | None:
    """The field names a response's Vary nominates, lower-case and sorted; None for ``*``: it matches nothing."""
    value = fields.combined(b"vary")
    return () if value is None else _names(value)


@memoised(maxsize=256)
def _names(vary: bytes) -> tuple[bytes, ...] | None:
    names = {name.strip(b" \t").lower() for name in vary.split(b",")} - {b""}
    return None if b"*" in names else tuple(sorted(names))


def variance(names: Sequence[bytes], fields: Fields) -> bytes:
    """The nominated fields of a request in one canonical form: equal means that the same response fits both."""
    return b"\n".join([_line(name, fields.combined(name)) for name in names])


def choose(variants: Sequence[VariantRef], fields: Fields) -> list[int]:
    """Indices of the ``variants`` that fit the request ``fields``, the best first.

    Exact matches, newest first; then those that differ in Accept-Language alone, and are in the language that the
    client likes best.
    """
    asked = {names: variance(names, fields) for names in {ref.names for ref in variants}}
    exact = [index for index, ref in enumerate(variants) if asked[ref.names] == ref.variance]
    newest = sorted(exact, key=lambda index: -variants[index].received_at)
    return newest or _in_best_language(variants, fields, asked)


def _in_best_language(
    variants: Sequence[VariantRef], fields: Fields, asked: Mapping[tuple[bytes, ...], bytes]
) -> list[int]:
    accepted = fields.combined(b"accept-language")
    best = _best_languages(accepted) if accepted and len(accepted) <= _LONGEST_NORMALISED_BYTES else ()
    if not best:
        return []
    ranked = [
        (rank, -ref.received_at, index)
        for index, ref in enumerate(variants)
        if (rank := _language_rank(best, ref.content_language)) is not None
        and _differs_in_language_alone(ref, asked[ref.names])
    ]
    return [index for _, _, index in sorted(ranked)]


def _differs_in_language_alone(ref: VariantRef, variance_asked: bytes) -> bool:
    if b"accept-language" not in ref.names:
        return False
    asked = variance_asked.split(b"\n")
    kept = ref.variance.split(b"\n")
    return len(asked) == len(kept) and all(
        a == b or name == b"accept-language" for name, a, b in zip(ref.names, asked, kept, strict=True)
    )


def _language_rank(best: Sequence[bytes], content_language: bytes | None) -> int | None:
    """0 where a language liked best is the response's, 1 where it is a kind of it (de, de-CH), else None."""
    language = (content_language or b"").strip(b" \t").lower()
    if language in best:
        return 0
    return 1 if any(language.startswith(liked + b"-") for liked in best) else None


def _best_languages(accepted: bytes) -> tuple[bytes, ...]:
    """The language ranges of the highest q-value; none where that is 0 or a wildcard is among them."""
    ranges = weighted(accepted)
    highest = max((q for _, q in ranges), default=0)
    best = tuple(language for language, q in ranges if q == highest)
    return () if highest == 0 or b"*" in best else best


def _line(name: bytes, value: bytes | None) -> bytes:
    """A field's part in the variance. Absent and empty differ: the latter accepts nothing."""
    if value is None:
        return name
    if len(value) > _LONGEST_NORMALISED_BYTES:
        return name + b":" + value.replace(b"\n", b" ")
    normalised = _normalised(name, value) if len(value) <= LONGEST_BYTES else _normalised.__wrapped__(name, value)
    return name + b":" + normalised


@lru_cache(maxsize=4096)
def _normalised(name: bytes, value: bytes) -> bytes:
    """A value without the differences that mean nothing: white space, and in preferences their order and case."""
    value = value.replace(b"\n", b" ")
    if name in _PREFERENCES:
        return b",".join(b"%b;q=%d" % member for member in sorted(set(weighted(value))))
    value = value.strip(b" \t")
    if b'"' not in value:
        return _squeezed(value)
    if not _CLOSED.fullmatch(value):
        return value
    parts = _QUOTED.split(value)
    return b"".join(part if odd % 2 else _squeezed(part) for odd, part in enumerate(parts))


_PREFERENCES = frozenset({b"accept-encoding", b"accept-language", b"accept-charset"})


def _squeezed(value: bytes) -> bytes:
    return _SPACE.sub(b" ", value).replace(b" ,", b",").replace(b", ", b",")

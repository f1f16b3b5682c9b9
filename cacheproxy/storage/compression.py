"""Compressed bodies: zlib is always here, zstandard and brotli come with the extra ``compress``.

A library is imported when a coding first needs it: most sidecars never do.
"""

import zlib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import MappingProxyType, ModuleType

from cacheproxy.semantics.rules import Coding

LARGEST_BYTES = 64 << 20
"""A larger body is neither compressed nor unpacked: a few bytes in Redis must not fill our memory."""

Levels = Mapping[Coding, int]
"""How hard to try, by coding."""
AT_REST: Levels = MappingProxyType({Coding.DEFLATE: 1, Coding.GZIP: 1, Coding.ZSTD: 3})
"""What is written once and read a few times: as fast as the network, or nearly."""
FOR_CLIENTS: Levels = MappingProxyType({Coding.GZIP: 6, Coding.BR: 5, Coding.ZSTD: 6})
"""What is made once and sent many times. Level 6 keeps zstd's window within the 8 MB of RFC 9659."""

_LIBRARIES = {Coding.ZSTD: "zstandard", Coding.BR: "brotli"}
_WINDOW_BITS = {Coding.DEFLATE: 15, Coding.GZIP: 31}


class UnknownCodingError(ValueError):
    """A coding that is none of ours, or whose library is not installed."""


def installed(codings: Iterable[Coding]) -> tuple[Coding, ...]:
    """Those of ``codings`` whose library is here, in their order."""
    return tuple(coding for coding in codings if coding not in _LIBRARIES or _is_here(_LIBRARIES[coding]))


def compress(body: bytes, coding: Coding, levels: Levels) -> bytes:
    """``body`` in ``coding``. UnknownCodingError where its library is missing."""
    match coding:
        case Coding.ZSTD:
            return bytes(_library(coding).ZstdCompressor(level=levels[coding]).compress(body))
        case Coding.BR:
            return bytes(_library(coding).compress(body, quality=levels[coding]))
        case Coding.GZIP | Coding.DEFLATE:
            return zlib.compress(body, levels[coding], wbits=_WINDOW_BITS[coding])


def unpack_body(coded: bytes, coding: str, body_bytes: int) -> bytes:
    """The ``body_bytes`` that were compressed. ValueError where it is not exactly those; never more are made of it."""
    if not 0 <= body_bytes <= LARGEST_BYTES:
        raise ValueError("body_bytes")
    match coding:
        case Coding.ZSTD:
            return _unpack_zstd(coded, body_bytes)
        case Coding.GZIP | Coding.DEFLATE:
            return _inflate(coded, _WINDOW_BITS[Coding(coding)], body_bytes)
        case _:
            raise UnknownCodingError(coding)


def _inflate(coded: bytes, window_bits: int, body_bytes: int) -> bytes:
    inflater = zlib.decompressobj(window_bits)
    try:
        body = inflater.decompress(coded, body_bytes + 1)
    except zlib.error as error:
        raise ValueError("coding") from error
    if not inflater.eof or inflater.unused_data or len(body) != body_bytes:
        raise ValueError("coding")
    return body


def _unpack_zstd(coded: bytes, body_bytes: int) -> bytes:
    zstandard = _library(Coding.ZSTD)
    try:
        told = zstandard.frame_content_size(coded)
        if told not in {-1, body_bytes}:  # -1: a stream's frame does not tell, and max_output_size bounds it
            raise ValueError("coding")
        unpacker = zstandard.ZstdDecompressor()
        body = bytes(unpacker.decompress(coded, max_output_size=body_bytes, allow_extra_data=False))
    except zstandard.ZstdError as error:
        raise ValueError("coding") from error
    if len(body) != body_bytes:
        raise ValueError("coding")
    return body


@cache
def _is_here(library: str) -> bool:
    return find_spec(library) is not None


def _library(coding: Coding) -> ModuleType:
    try:
        return import_module(_LIBRARIES[coding])
    except ModuleNotFoundError as error:
        raise UnknownCodingError(coding) from error

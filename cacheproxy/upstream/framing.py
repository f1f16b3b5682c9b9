"""What a response head says of its body's end (RFC 9112 §6.3) and of the connection's (§9.3)."""

import re
from collections.abc import Iterable
from typing import NamedTuple, Self

from cacheproxy.semantics.fields import Pair
from cacheproxy.upstream.reasons import Reason, failure

LENGTH = re.compile(rb"[0-9]{1,18}")
_DECODABLE = frozenset({b"gzip", b"deflate", b"compress", b"identity"})


class Framing(NamedTuple):
    """The declared length if there is one, whether the body is chunked, and whether the connection stays open.

    A tuple, as one is made for every response: a frozen dataclass costs three times as much.
    """

    length: int | None
    chunked: bool
    keep_alive: bool

    @classmethod
    def of(cls, pairs: Iterable[Pair], *, old: bool) -> Self:
        """Return the framing of a response with these field lines, of HTTP/1.0 if ``old``.

        UpstreamError where two readers could disagree: several lengths, a length beside a coding, several codings or
        one that others may decode, or any coding in an HTTP/1.0 response.
        """
        length: bytes | None = None
        coding: bytes | None = None
        options: set[bytes] = set()
        for name, value in pairs:
            if name == b"content-length":
                if length is not None or not LENGTH.fullmatch(value):
                    raise failure(Reason.MALFORMED_RESPONSE, "ambiguous Content-Length")
                length = value
            elif name == b"transfer-encoding":
                if coding is not None or old or not _is_one_coding(value):
                    raise failure(Reason.MALFORMED_RESPONSE, "ambiguous transfer coding")
                coding = value.lower()
            elif name == b"connection":
                options.update(option.strip(b" \t").lower() for option in value.split(b","))
        if length is not None and coding is not None:
            raise failure(Reason.MALFORMED_RESPONSE, "Content-Length beside a transfer coding")
        chunked = coding == b"chunked"
        # A body in a coding of somebody's own ends with the connection (RFC 9112 §6.3).
        keep_alive = (
            b"close" not in options and (not old or b"keep-alive" in options) and chunked == (coding is not None)
        )
        return cls(None if length is None else int(length), chunked, keep_alive)


def _is_one_coding(value: bytes) -> bool:
    """Whether ``value`` is ``chunked``, or one coding that nobody on the way could take for another."""
    coding = value.lower()
    return coding == b"chunked" or (coding.isalpha() and b"chunked" not in coding and coding not in _DECODABLE)

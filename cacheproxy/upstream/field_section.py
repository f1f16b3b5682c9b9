"""Field lines read by llhttp, with the checks that it leaves to us."""

from httptools import HttpParserError, HttpResponseParser

from cacheproxy.semantics.fields import Pair
from cacheproxy.upstream.limits import MAX_FIELDS, MAX_HEAD_BYTES
from cacheproxy.upstream.reasons import Reason, failure

END = b"\r\n\r\n"
ANY_STATUS_LINE = b"HTTP/1.1 200 OK\r\n"


class FieldSection:
    """Collects field lines as llhttp finds them: names lower-case, values without white space around them."""

    __slots__ = ("pairs",)

    def __init__(self) -> None:
        """Begin with no lines."""
        self.pairs: list[Pair] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one field line (called by httptools)."""
        self.pairs.append((name.lower(), value.strip(b" \t")))


def parse_head(head: bytes) -> list[Pair]:
    """Return the field lines of a whole ``head``. UpstreamError if llhttp refuses it, or they are too many."""
    section = FieldSection()
    try:
        HttpResponseParser(section).feed_data(head)
    except HttpParserError as error:
        raise failure(Reason.MALFORMED_RESPONSE, str(error)) from error
    if len(section.pairs) > MAX_FIELDS:
        raise failure(Reason.TOO_MANY_FIELDS, f"{len(section.pairs)} fields, at most {MAX_FIELDS}")
    return section.pairs


def parse_trailers(section: bytes) -> list[Pair]:
    """Return the field lines of a trailer ``section``, its empty line included. UpstreamError as for heads."""
    return parse_head(ANY_STATUS_LINE + section)


def check_partial(section: bytes, scanned: int = 0) -> None:
    """Refuse a section that is too long, or that no bytes to come can make right: it holds a bare line feed.

    The first ``scanned`` bytes were checked before.
    """
    if len(section) > MAX_HEAD_BYTES:
        raise failure(Reason.HEAD_TOO_LARGE, f"over {MAX_HEAD_BYTES} bytes")
    if section.count(b"\n", scanned) != section.count(b"\r\n", max(scanned - 1, 0)):
        raise failure(Reason.MALFORMED_RESPONSE, "bare line feed")

"""Structured Fields as plain values (RFC 8941), read by ``http_sfv``: a token is a subclass of str."""

from typing import Any

import http_sfv.dictionary
import http_sfv.list

LONGEST_BYTES = 16_384
"""What is longer is taken for malformed: the parser's time grows with the square of the length."""


def parse_dictionary(value: bytes) -> dict[bytes, object] | None:
    """The members by name, without their parameters; an inner list is None. None if it is malformed as a whole."""
    members = _parsed(http_sfv.dictionary.Dictionary(), value)
    return None if members is None else {name.encode("ascii"): _bare(member) for name, member in members.items()}


def parse_list(value: bytes) -> list[object] | None:
    """The members in order, without their parameters; an inner list is None. None if it is malformed as a whole."""
    members = _parsed(http_sfv.list.List(), value)
    return None if members is None else [_bare(member) for member in members]


def _parsed(container: Any, value: bytes) -> Any:
    if len(value) > LONGEST_BYTES:
        return None
    try:
        container.parse(value)
    except Exception:
        # The parser means ValueError, and lets an IndexError or UnicodeError slip on some input.
        return None
    return container


def _bare(member: object) -> object:
    return getattr(member, "value", None)

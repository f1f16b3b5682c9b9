"""Tags and purges that a response names in its own fields. Pure."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from cacheproxy.policy.tags import named_tag
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.structured import parse_list

MAX_TAGS = 1_000
MAX_TAG_BYTES = 1_024
"""As Fastly has it for a single key."""
MAX_FIELD_BYTES = 16_384
"""As Fastly and Cloudflare have it for all tags of a response."""

STRIPPED = frozenset(
    {b"cache-tag", b"surrogate-key", b"xkey", b"cache-groups", b"cache-group-invalidation", b"cacheproxy-purge"}
)
"""Said to caches that the origin's operator runs, so not passed on to clients."""

_TAGGING = frozenset({b"cache-tag", b"surrogate-key", b"xkey", b"cache-groups"})
_SPACES = re.compile(rb"[ \t]+")
_COMMAS = re.compile(rb"[ \t]*,[ \t]*")
_UNFIT = re.compile(r"[\s\x00-\x1f\x7f-\x9f]")


class TagFault(StrEnum):
    """Why a response's tags were refused. Then it must not be stored: a purge could miss it."""

    TOO_LARGE = "tags-too-large"
    TOO_MANY = "too-many-tags"
    TOO_LONG = "tag-too-long"
    BAD_TAG = "bad-tag"
    """Not UTF-8, with white space or control characters, or one that only cacheproxy may give."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseTags:
    """What a response is tagged with, or purges, by its own word; none of it where ``refused`` says why."""

    tags: tuple[str, ...] = ()
    refused: TagFault | None = None


_UNTAGGED = ResponseTags()


def response_tags(fields: Fields) -> ResponseTags:
    """The tags in Cache-Tag (commas), Surrogate-Key and xkey (spaces), and Cache-Groups (RFC 9875 §2)."""
    if fields.names().isdisjoint(_TAGGING):
        return _UNTAGGED
    spaced = (*fields.all(b"surrogate-key"), *fields.all(b"xkey"))
    return _checked(fields.all(b"cache-tag"), spaced, fields.combined(b"cache-groups"))


def response_purges(fields: Fields) -> ResponseTags:
    """The tags that an answer to an unsafe method purges: Cacheproxy-Purge (commas), Cache-Group-Invalidation.

    On any other answer they must be ignored (RFC 9875 §3).
    """
    return _checked(fields.all(b"cacheproxy-purge"), (), fields.combined(b"cache-group-invalidation"))


def _checked(commas: Iterable[bytes], spaced: Iterable[bytes], groups: bytes | None) -> ResponseTags:
    if sum(map(len, (*commas, *spaced, groups or b""))) > MAX_FIELD_BYTES:
        return ResponseTags(refused=TagFault.TOO_LARGE)
    raw = [*_split(_COMMAS, commas), *_split(_SPACES, spaced)]
    if any(len(tag) > MAX_TAG_BYTES for tag in raw):
        return ResponseTags(refused=TagFault.TOO_LONG)
    try:
        tags = dict.fromkeys([*map(_tag, raw), *map(named_tag, _groups(groups))])
    except ValueError:
        return ResponseTags(refused=TagFault.BAD_TAG)
    if len(tags) > MAX_TAGS:
        return ResponseTags(refused=TagFault.TOO_MANY)
    return ResponseTags(tags=tuple(tags))


def _split(separator: re.Pattern[bytes], values: Iterable[bytes]) -> Iterator[bytes]:
    return (tag for value in values for tag in separator.split(value.strip(b" \t")) if tag)


def _tag(raw: bytes) -> str:
    tag = raw.decode("utf-8")
    if _UNFIT.search(tag):
        raise ValueError(tag)
    return named_tag(tag)


def _groups(value: bytes | None) -> list[str]:
    """The group names: a list of strings, and no such field at all where it is anything else (RFC 9875 §2.1)."""
    members = parse_list(value) if value is not None else None
    if members is None or not all(type(member) is str for member in members):
        return []
    return [str(member) for member in members if member]

"""Arrays taken apart into the responses of single requests, and made of these. Pure."""

import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, NoReturn

from cacheproxy.engine.reply import Reply
from cacheproxy.engine.serve import outward, whole_seconds
from cacheproxy.policy.batch import Batch
from cacheproxy.policy.batch_rules import Absent, BatchRules
from cacheproxy.policy.lookup import scalar_at
from cacheproxy.semantics.coding import is_coded
from cacheproxy.semantics.fields import Fields, Pair
from cacheproxy.semantics.freshness import current_age
from cacheproxy.storage.contract import Entry

OF_THE_WHOLE = frozenset({
    b"accept-ranges", b"content-digest", b"content-disposition", b"content-length", b"content-location",
    b"content-md5", b"content-range", b"digest", b"etag", b"last-modified", b"repr-digest", b"signature",
    b"signature-input",
})  # fmt: skip
"""Fields that are true of one representation alone, not of its parts, nor of what it is part of."""
_OF_ONE_ANSWER = OF_THE_WHOLE | {
    b"age", b"cache-control", b"cache-status", b"content-encoding", b"date", b"expires", b"x-cache",
}  # fmt: skip
_CACHE_CONTROL = frozenset({b"cache-control"})
_JSON = re.compile(rb"application/(?:[!#$&^_.+a-z0-9-]+\+)?json[ \t]*(?:;.*)?", re.IGNORECASE | re.DOTALL)
_SPACE = re.compile(r"[ \t\n\r]*")
_OPEN = re.compile(r"[ \t\n\r]*\[[ \t\n\r]*")
_COMMA = re.compile(r",[ \t\n\r]*")
_GZIP = 31
"""zlib's name for it."""
LARGEST_ELEMENT_BYTES = 1 << 20
"""Of one that is unpacked: a few bytes in the store must not fill our memory."""
NO_ELEMENT = b""
"""Stands for the element of an id that the origin does not know."""


class UnusableError(ValueError):
    """The origin's answer is not one that single entries can be made of."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What there is for one id: the entry that it is answered from, and its element."""

    entry: Entry
    element: bytes
    is_new: bool = False
    """Whether it comes from the origin just now, and came without an Age."""


def elements(rules: BatchRules, fields: Fields, content: bytes, wanted: Iterable[str]) -> Mapping[str, bytes]:
    """The JSON text of each element of the array ``content``, by its id. UnusableError where it is none of ``wanted``.

    An id that is not there is one that the origin does not know.
    """
    if is_coded(fields) or not _is_json(fields):
        raise UnusableError
    found: dict[str, bytes] = {}
    for value, text in _array(content):
        if value is None and rules.absent is Absent.NULL:
            continue
        element_id = scalar_at(value, rules.id_field) if isinstance(value, dict) else None
        if element_id is None or element_id in found:
            raise UnusableError
        found[element_id] = text
    if not found.keys() <= set(wanted):
        raise UnusableError
    return found


def element_of(rules: BatchRules, one: str, entry: Entry) -> bytes | None:
    """What a stored response to a single request gives to an array; None where it is no element with that id."""
    if entry.status in {404, 410}:
        return NO_ELEMENT
    if entry.status != 200 or not _is_json(entry.fields):
        return None
    try:
        body = _uncoded(entry)
        value = json.loads(body.decode("utf-8"), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    known = isinstance(value, dict) and scalar_at(value, rules.id_field) == one
    return body.strip(b" \t\n\r") if known else None


def merged(batch: Batch, pieces: Mapping[str, Piece], also: Sequence[Fields], now: float) -> Reply:
    """The array of ``pieces``, in the order of the ids. What is not among them the origin does not know.

    It has the fields that all of them have in common, and those of the answers in ``also``.
    """
    nulls = batch.rules.absent is Absent.NULL
    ids = batch.asked if nulls else dict.fromkeys(batch.asked)
    texts = [pieces[each].element if each in pieces else NO_ELEMENT for each in ids]
    body = b",".join([text or b"null" for text in texts if text or nulls])
    fields = _common([*(piece.entry.fields for piece in pieces.values()), *also])
    ages_s = [_age_s(piece.entry, now) for piece in pieces.values() if not piece.is_new]
    age: tuple[Pair, ...] = ((b"age", whole_seconds(max(ages_s))),) if ages_s else ()
    return Reply(200, outward(fields).plus(*age), b"[" + body + b"]")


def fresh_for_s(pieces: Iterable[Piece], now: float) -> float | None:
    """Seconds until the first of ``pieces`` is stale; None where there are none."""
    return min((piece.entry.lifetime_s - _age_s(piece.entry, now) for piece in pieces), default=None)


def _age_s(entry: Entry, now: float) -> float:
    return current_age(entry.initial_age_s, entry.received_at, now)


def _common(answers: Sequence[Fields]) -> Fields:
    distinct = list(dict.fromkeys(answers))
    shared = reduce(frozenset.intersection, (frozenset(fields) for fields in distinct))
    kept = [pair for pair in distinct[0] if pair in shared and pair[0] not in _OF_ONE_ANSWER]
    if not any(name == b"content-type" for name, _ in kept):
        kept.append((b"content-type", b"application/json"))
    return Fields((*kept, *_freshness(distinct), *_vary(distinct)))


def _freshness(answers: Sequence[Fields]) -> Iterator[Pair]:
    """Their Cache-Control if they have one and the same; ``no-cache`` where no cache could tell whose counts."""
    said = {tuple(fields.all(b"cache-control")) for fields in answers}
    if len(said) > 1:
        yield b"cache-control", b"no-cache"
    else:
        yield from ((b"cache-control", value) for value in said.pop())


def _vary(answers: Sequence[Fields]) -> Iterator[Pair]:
    """What some of them vary by, where it is not the same for all."""
    said = list(dict.fromkeys(value for fields in answers for value in fields.all(b"vary")))
    if len({fields.combined(b"vary") for fields in answers}) > 1:
        yield b"vary", b", ".join(said)


def _is_json(fields: Fields) -> bool:
    return _JSON.fullmatch(fields.combined(b"content-type") or b"") is not None


def _uncoded(entry: Entry) -> bytes:
    """Its body, unpacked if it came by gzip, as many services answer browsers. ValueError for any other coding."""
    if not is_coded(entry.fields):
        return entry.body
    if (entry.fields.combined(b"content-encoding") or b"").strip(b" \t").lower() != b"gzip":
        raise ValueError("another coding")
    unpacking = zlib.decompressobj(_GZIP)
    try:
        body = unpacking.decompress(entry.body, LARGEST_ELEMENT_BYTES)
    except zlib.error as error:
        raise ValueError("no gzip") from error
    if not unpacking.eof or unpacking.unused_data:
        raise ValueError("cut, too large, or followed by something")
    return body


def _array(content: bytes) -> Iterator[tuple[Any, bytes]]:
    """The elements of a JSON array, and the text of each. UnusableError where it is anything else."""
    try:
        text = content.decode("utf-8")
        at = _past(_OPEN, text, 0)
        if text[at : at + 1] == "]":
            return _end(text, at + 1)
        while True:
            value, end = _DECODER.raw_decode(text, at)
            yield value, text[at:end].encode("utf-8")
            at = _past(_SPACE, text, end)
            if text[at : at + 1] == "]":
                return _end(text, at + 1)
            at = _past(_COMMA, text, at)
    except (ValueError, RecursionError):
        raise UnusableError from None


def _past(mark: re.Pattern[str], text: str, at: int) -> int:
    found = mark.match(text, at)
    if found is None:
        raise UnusableError
    return found.end()


def _end(text: str, at: int) -> None:
    if text[at:].strip(" \t\n\r"):
        raise UnusableError


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse)

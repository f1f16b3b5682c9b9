"""Paths: the patterns that a policy writes, and the ways in which a received path can be read."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

from cacheproxy.errors import ClientError
from cacheproxy.semantics.memo import memoised

_SEGMENT_SAFE = "!$&'()*+,;=:@-._~"
"""What needs no percent-encoding in a path segment (RFC 3986 §3.3)."""
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]*")
_CAPTURE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(?::([a-z]*))?\}")
_ODD = re.compile(rb"[%;\\\x00]|//|/\.\.?(?:/|\Z)")
_WIDE = re.compile(rb"%[uU]00([0-9A-Fa-f]{2})")
"""An escape that no standard knows, and IIS reads."""
_OVERLONG = re.compile(rb"[\xc0\xc1][\x80-\xbf]|\xe0[\x80-\x9f][\x80-\xbf]|\xf0[\x80-\x8f][\x80-\xbf]{2}")
_DOT_SEGMENT = re.compile(rb"\.\.?(?:[;\x00]|\Z)")
_NUMBER_TO_SOMEBODY = re.compile(r"\s*[+-]?[\d_]+(?:\.0*)?\s*")


class Kind(Enum):
    """What a segment of a pattern matches: itself, anything, digits, or all that is left."""

    LITERAL = "literal"
    STR = "str"
    INT = "int"
    PATH = "path"


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment of a pattern: a literal's decoded bytes, or the name under which it captures."""

    kind: Kind
    literal: bytes = b""
    name: str = ""
    spelled: bytes = b""
    """The literal's canonical percent-encoding."""


@dataclass(frozen=True, slots=True)
class PathPattern:
    """A path as written in a policy: ``/articles/{id:int}``, ``/files/{rest:path}``."""

    text: str
    segments: tuple[Segment, ...]
    captures: tuple[Segment, ...] = field(init=False)
    """The segments that capture something."""
    takes_rest: bool = field(init=False)
    """Whether it matches whatever follows its other segments."""
    _form: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Spell once what is the same in every path."""
        object.__setattr__(self, "captures", tuple(segment for segment in self.segments if segment.name))
        object.__setattr__(self, "takes_rest", self.segments[-1].kind is Kind.PATH)
        pieces = (b"%b" if segment.name else segment.spelled.replace(b"%", b"%%") for segment in self.segments)
        object.__setattr__(self, "_form", b"/" + b"/".join(pieces))

    @classmethod
    def parse(cls, text: str) -> "PathPattern":
        """The pattern ``text`` stands for. ValueError says what is wrong with it."""
        if not text.startswith("/"):
            raise ValueError(f"the path `{text}` does not begin with `/`")
        if "?" in text or "#" in text:
            raise ValueError(f"the path `{text}` holds a `?` or `#`: the query belongs into `key`, not into `match`")
        pieces = text[1:].split("/")
        segments = tuple(_segment(piece, text) for piece in pieces)
        _check_pattern(text, pieces, segments)
        return cls(text, segments)

    @property
    def names(self) -> tuple[str, ...]:
        """The names it captures, in order."""
        return tuple(segment.name for segment in self.captures)

    def spell(self, values: Mapping[str, str]) -> bytes:
        """The one path, canonically percent-encoded, that captures ``values``."""
        return self._form % tuple([_spelled(segment.kind, values[segment.name]) for segment in self.captures])


class Param(NamedTuple):
    """What a segment captured: as spelled on the wire, and decoded (``%31`` is ``1``; ``007`` is ``7`` where int)."""

    raw: bytes
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchRule:
    """One line of a route's ``match``: empty ``methods`` and ``host`` mean any; GET implies HEAD."""

    path: PathPattern
    methods: frozenset[str] = frozenset()
    host: str = ""


def is_plain(path: bytes) -> bool:
    """Whether every reader takes ``path`` the same way: no escape, parameter, empty or dot segment in it."""
    return _ODD.search(path) is None


def segments_of(path: bytes) -> list[bytes]:
    """The segments of ``path``, still percent-encoded."""
    return path[1:].split(b"/")


def decoded(segment: bytes) -> bytes:
    """``segment`` with each valid percent escape decoded, once."""
    return unquote_to_bytes(segment) if b"%" in segment else segment


def text_of(raw: bytes) -> str:
    r"""``raw`` as text: UTF-8, and ``\xff`` for what is not."""
    return raw.decode("utf-8", "backslashreplace")


def loose_segments(path: bytes) -> list[bytes]:
    r"""``path`` as the most lenient of upstreams might read it: decoded whole, then split.

    Backslashes and ``%u002f`` are slashes, ``;parameters`` are dropped, and empty segments merged. ClientError 400
    where it then holds a dot segment, overlong UTF-8 or a NUL, at which some end the path: no honest client does that.
    """
    whole = _WIDE.sub(_narrowed, decoded(path)).replace(b"\\", b"/")
    if _holds_dot_segment(whole):
        raise ClientError(400, "ambiguous-path", "the path holds a dot segment")
    if _holds_dot_segment(_decoded_on(whole)):
        raise ClientError(400, "ambiguous-path", "the path holds a dot segment, encoded more than once")
    if _OVERLONG.search(whole):
        raise ClientError(400, "ambiguous-path", "the path holds overlong UTF-8")
    if b"\0" in whole:
        raise ClientError(400, "ambiguous-path", "the path holds a NUL")
    *directories, last = (piece.partition(b";")[0] for piece in segments_of(whole))
    return [piece for piece in directories if piece] + [last]


def _narrowed(escape: re.Match[bytes]) -> bytes:
    return bytes.fromhex(escape[1].decode())


def _holds_dot_segment(path: bytes) -> bool:
    return any(_DOT_SEGMENT.match(piece) for piece in segments_of(path))


def _decoded_on(path: bytes) -> bytes:
    """``path`` decoded until nothing is left to decode, or three times: some origins do it more than once."""
    for _ in range(3):
        further = decoded(path)
        if further == path:
            break
        path = further
    return path.replace(b"\\", b"/")


def is_int(segment: bytes) -> bool:
    """Whether ``{name:int}`` matches: ASCII digits, as Starlette has it."""
    return segment.isdigit()


def is_nearly_int(segment: bytes) -> bool:
    """Whether some upstream would take ``segment`` for a number: `` +7``, ``7.0``, ``1_000``, other scripts' digits."""
    return _NUMBER_TO_SOMEBODY.fullmatch(text_of(segment)) is not None


def int_text(segment: bytes) -> str:
    """The canonical spelling of a number in digits, however long."""
    return segment.decode("ascii").lstrip("0") or "0"


@memoised(maxsize=1024)
def canonical_host(host: bytes) -> str:
    """``host`` in lower case, without port and final dot."""
    name = host.decode("latin-1").lower()
    head, colon, port = name.rpartition(":")
    if colon and (not port or port.isdigit()) and (":" not in head or head.endswith("]")):
        name = head
    return name.removesuffix(".")


def _segment(piece: str, text: str) -> Segment:
    captured = _CAPTURE.fullmatch(piece)
    if captured is None:
        return _literal(piece, text)
    name, kind = captured.groups()
    try:
        return Segment(Kind(kind or "str"), name=name)
    except ValueError:
        raise ValueError(
            f"`{piece}` in `{text}`: the kinds are `{{{name}}}`, `{{{name}:int}}`, `{{{name}:path}}`"
        ) from None


def _literal(piece: str, text: str) -> Segment:
    if "{" in piece or "}" in piece:
        raise ValueError(f"`{piece}` in `{text}`: a segment is literal, or one whole `{{name}}` or `{{name:int}}`")
    if "*" in piece:
        raise ValueError(
            f"`{piece}` in `{text}`: there are no wildcards; write `{{name}}`, or `{{rest:path}}` at the end"
        )
    literal = unquote_to_bytes(piece)
    if literal in {b".", b".."} or b"/" in literal:
        raise ValueError(f"`{piece}` in `{text}` is never received: such paths are refused")
    return Segment(Kind.LITERAL, literal, spelled=quote(literal, safe=_SEGMENT_SAFE).encode("ascii"))


def _check_pattern(text: str, pieces: list[str], segments: tuple[Segment, ...]) -> None:
    if "" in pieces[:-1]:
        raise ValueError(f"the path `{text}` holds an empty segment (`//`)")
    if any(segment.kind is Kind.PATH for segment in segments[:-1]):
        raise ValueError(f"`{{...:path}}` takes all that is left: it must be the last segment of `{text}`")
    names = [segment.name for segment in segments if segment.name]
    if len(set(names)) < len(names):
        raise ValueError(f"the path `{text}` binds a name twice")


def _spelled(kind: Kind, value: str) -> bytes:
    if (value.isalnum() and value.isascii()) or _UNRESERVED.fullmatch(value):
        return value.encode("ascii")
    safe = _SEGMENT_SAFE + "/" if kind is Kind.PATH else _SEGMENT_SAFE
    return quote(value, safe=safe).encode("ascii")

"""Templates of keys and tags: literal text and ``{name}``, ``{name=default}``, with dotted names.

A tag template renders values as they are, so that any program can spell the same tag. A key template escapes each
value, so that two different lists of values never render the same key.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass

Lookup = Callable[[str], str | None]
"""The value of a name, or None where it has none."""

_PIECES = re.compile(r"\{([^{}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_-]+)*")
_KEY_LITERAL = re.compile(r"[A-Za-z0-9._:/-]*")
_SAFE = re.compile(r"[A-Za-z0-9._-]*")
_UNSAFE_BYTE = re.compile(rb"[^A-Za-z0-9._-]")
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_LONGEST_PART_BYTES = 64


@dataclass(frozen=True, slots=True)
class Name:
    """A place in a template that is filled with the value of ``name``, or with ``default`` where it has none."""

    name: str
    default: str | None = None


Part = str | Name


@dataclass(frozen=True, slots=True)
class Template:
    """A tag as written in a policy. ``names`` are in order of first use, each once."""

    text: str
    parts: tuple[Part, ...]
    names: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> "Template":
        """The template ``text`` stands for. ValueError says what is wrong with it."""
        parts = _parse(text)
        if text.startswith("@"):
            raise ValueError(f"`{text}` begins with `@`, which marks tags of cacheproxy's own")
        return cls(text, parts, _names(parts))

    def render(self, lookup: Lookup) -> str | None:
        """The tag with each name replaced by its value, or None if one has none.

        A value cannot make it one of the tags that stand for many: a ``*`` or ``@`` that it brings there is escaped.
        """
        if not self.names:
            return self.text
        rendered = _render(self.parts, lookup)
        if rendered is None:
            return None
        if rendered.startswith("@"):
            rendered = "%40" + rendered[1:]
        if (rendered == "*" or rendered.endswith(":*")) and not self.text.endswith("*"):
            rendered = rendered[:-1] + "%2A"
        return rendered


@dataclass(frozen=True, slots=True)
class KeyTemplate:
    """A cache key as written in a policy: parts joined by ``:``, with at most one name in each."""

    text: str
    parts: tuple[Part, ...]
    names: tuple[str, ...]
    prefixes: tuple[str, ...]
    """Its literal beginnings as tags: ``articles:*`` and ``articles:list:*`` for ``articles:list:{page}``."""

    @classmethod
    def parse(cls, text: str) -> "KeyTemplate":
        """The template ``text`` stands for. ValueError says what is wrong with it."""
        parts = _parse(text)
        _check_key(text, parts)
        return cls(text, parts, _names(parts), _prefixes(parts))

    def render(self, lookup: Lookup) -> str | None:
        """The key with each name replaced by its escaped value (``key_part``), or None if one has none."""
        return _render(self.parts, lookup, key_part)


def key_part(value: str) -> str:
    """``value`` as one part of a key: injective, and free of every character that has a meaning in keys.

    All but letters, digits and ``._-`` is percent-encoded; what is over 64 bytes or holds control characters becomes
    ``!`` and its digest. The result never changes between releases (see the test vectors).
    """
    if len(value) <= _LONGEST_PART_BYTES and ((value.isalnum() and value.isascii()) or _SAFE.fullmatch(value)):
        return value
    raw = value.encode("utf-8", "surrogatepass")
    if len(raw) > _LONGEST_PART_BYTES or _CONTROL.search(raw):
        return "!" + digest(raw)
    return _UNSAFE_BYTE.sub(lambda found: b"%%%02X" % found[0][0], raw).decode("ascii")


def digest(*parts: bytes) -> str:
    """128 bits of SHA-256 over ``parts``, each after its length, in hex: ("ab", "c") is not ("a", "bc")."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(b"%d:" % len(part))
        whole.update(part)
    return whole.hexdigest()[:32]


def _parse(text: str) -> tuple[Part, ...]:
    if not text:
        raise ValueError("a template must not be empty")
    pieces = _PIECES.split(text)
    for literal in pieces[::2]:
        if "{" in literal or "}" in literal:
            raise ValueError(f"`{text}` has a brace without its partner")
    return tuple(_name(piece, text) if at % 2 else piece for at, piece in enumerate(pieces) if at % 2 or piece)


def _name(piece: str, text: str) -> Name:
    name, equals, default = piece.partition("=")
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"`{{{piece}}}` in `{text}` is not a name; write `{{id}}`, `{{query.page=1}}` or `{{data.id}}`"
        )
    return Name(name, default if equals else None)


def _names(parts: tuple[Part, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.name for part in parts if isinstance(part, Name)))


def _prefixes(parts: tuple[Part, ...]) -> tuple[str, ...]:
    literal = parts[0] if isinstance(parts[0], str) else ""
    return tuple(literal[: at + 1] + "*" for at, char in enumerate(literal) if char == ":")


def _check_key(text: str, parts: tuple[Part, ...]) -> None:
    for part in parts:
        if isinstance(part, str) and not _KEY_LITERAL.fullmatch(part):
            raise ValueError(f"`{text}` may hold only letters, digits and `._:/-` outside of braces")
    for piece in _PIECES.sub("{}", text).split(":"):
        if not piece:
            raise ValueError(f"`{text}` has an empty part; write `a:b`, not `a::b`, `:a` or `a:`")
        if piece.count("{}") > 1:
            raise ValueError(f"`{text}` has two names that could run together; put a `:` between them")


def _render(parts: tuple[Part, ...], lookup: Lookup, escape: Callable[[str], str] = str) -> str | None:
    rendered = []
    for part in parts:
        if isinstance(part, str):
            rendered.append(part)
            continue
        value = lookup(part.name)
        if value is None:
            value = part.default
        if value is None:
            return None
        rendered.append(escape(value))
    return "".join(rendered)

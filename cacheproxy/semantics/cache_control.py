"""Cache-Control and the fields that speak to this cache alone (RFC 9111 §5.2, RFC 9213, Surrogate-Control)."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.memo import memoised
from cacheproxy.semantics.structured import parse_dictionary

MAX_DELTA_S = 1 << 31
"""What a delta-seconds that does not fit means, and the longest lifetime there is (RFC 9111 §1.2.2)."""

OWN_FIELD = b"cacheproxy-cache-control"
SURROGATE_TARGET = b"cacheproxy"
"""How Surrogate-Control (and our Surrogate-Capability) names this cache."""

_TARGETED = frozenset({OWN_FIELD, b"cdn-cache-control", b"surrogate-control"})
_PIECES = re.compile(rb'(?:[^,"]|"(?:[^"\\]|\\.)*")+', re.DOTALL)
_CLOSED = re.compile(rb'(?:[^"]|"(?:[^"\\]|\\.)*")*', re.DOTALL)
_QUOTED = re.compile(rb'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_NO_FIELDS: frozenset[bytes] = frozenset()

_Directives = Mapping[bytes, list[bytes | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheControl:
    """Every directive this cache obeys, in seconds; what is malformed or contradictory is read in its safer sense."""

    max_age_s: int | None = None
    s_maxage_s: int | None = None
    no_cache: bool = False
    no_cache_fields: frozenset[bytes] = _NO_FIELDS
    no_store: bool = False
    private: bool = False
    private_fields: frozenset[bytes] = _NO_FIELDS
    public: bool = False
    must_revalidate: bool = False
    proxy_revalidate: bool = False
    must_understand: bool = False
    no_transform: bool = False
    stale_while_revalidate_s: int | None = None
    stale_if_error_s: int | None = None
    only_if_cached: bool = False
    max_stale_s: int | None = None
    """Request: staleness the client takes; ``MAX_DELTA_S`` where it sets no bound (RFC 9111 §5.2.1.2)."""
    min_fresh_s: int | None = None
    targeted: bool = False
    """Whether this came in a field meant for this cache, so that Expires and Pragma do not count (RFC 9213 §2.2)."""

    @staticmethod
    def of(fields: Fields) -> "CacheControl":
        """The Cache-Control of a request or a response, all its lines taken together."""
        value = fields.combined(b"cache-control")
        return SILENT if value is None else parse(value)

    @staticmethod
    def effective(fields: Fields) -> "CacheControl":
        """What a response says to this cache: its targeted field if there is a valid one, else Cache-Control."""
        return CacheControl.targeted_in(fields) or CacheControl.of(fields)

    @staticmethod
    def targeted_in(fields: Fields) -> "CacheControl | None":
        """The first of Cacheproxy-Cache-Control, CDN-Cache-Control and Surrogate-Control that is valid and not empty.

        It replaces Cache-Control and Expires altogether, no-store and private included (RFC 9213 §2.2).
        """
        named = [name for name, _ in fields.pairs if name in _TARGETED]
        if not named:
            return None
        for name in (OWN_FIELD, b"cdn-cache-control"):
            control = _targeted(fields.combined(name) or b"")
            if control is not None:
                return control
        return _surrogate(fields.combined(b"surrogate-control") or b"")


@memoised(maxsize=4096)
def parse(value: bytes) -> CacheControl:
    """The directives in one combined Cache-Control value."""
    directives: dict[bytes, list[bytes | None]] = {}
    for name, argument in _split(value):
        directives.setdefault(name, []).append(argument)
    return _control(directives)


def _split(value: bytes) -> Iterator[tuple[bytes, bytes | None]]:
    """Each directive's lower-case name and argument: None for none, empty for one that cannot be read."""
    for piece in _pieces(value):
        name, equals, argument = piece.strip(b" \t").partition(b"=")
        if not name:
            continue
        bare = name.rstrip(b" \t").lower()
        if not equals:
            yield bare, None
        elif bare != name.lower():
            yield bare, b""
        else:
            yield bare, _unquoted(argument)


def _pieces(value: bytes) -> list[bytes]:
    if b'"' not in value:
        return value.split(b",")
    # A quotation that never ends must not swallow a no-store behind it: then every comma counts.
    return _PIECES.findall(value) if _CLOSED.fullmatch(value) else value.split(b",")


def _unquoted(argument: bytes) -> bytes:
    match = _QUOTED.fullmatch(argument)
    return _ESCAPED.sub(rb"\1", match[1]) if match else argument


def _control(directives: _Directives, *, targeted: bool = False) -> CacheControl:
    no_cache, no_cache_fields = _qualified(directives, b"no-cache")
    private, private_fields = _qualified(directives, b"private")
    return CacheControl(
        max_age_s=_shortest(directives, b"max-age"),
        s_maxage_s=_shortest(directives, b"s-maxage"),
        no_cache=no_cache,
        no_cache_fields=no_cache_fields,
        no_store=b"no-store" in directives,
        private=private,
        private_fields=private_fields,
        public=_bare(directives, b"public"),
        must_revalidate=b"must-revalidate" in directives,
        proxy_revalidate=b"proxy-revalidate" in directives,
        must_understand=b"must-understand" in directives,
        no_transform=b"no-transform" in directives,
        stale_while_revalidate_s=_shortest(directives, b"stale-while-revalidate"),
        stale_if_error_s=_shortest(directives, b"stale-if-error"),
        only_if_cached=b"only-if-cached" in directives,
        max_stale_s=_max_stale(directives),
        min_fresh_s=_longest(directives, b"min-fresh"),
        targeted=targeted,
    )


def delta_seconds(digits: bytes | None) -> int | None:
    """Whole seconds, at most ``MAX_DELTA_S``; None if ``digits`` is not 1*DIGIT (RFC 9111 §1.2.2)."""
    if not digits or not digits.isdigit():
        return None
    significant = digits.lstrip(b"0")
    return MAX_DELTA_S if len(significant) > 10 else min(int(significant or b"0"), MAX_DELTA_S)


def _shortest(directives: _Directives, name: bytes) -> int | None:
    """The least of repeated values; 0 where one is invalid, as stale is safer (RFC 9111 §4.2.1)."""
    values = directives.get(name)
    return None if values is None else min(delta_seconds(value) or 0 for value in values)


def _longest(directives: _Directives, name: bytes) -> int | None:
    return max((delta_seconds(value) or 0 for value in directives[name]), default=0) if name in directives else None


def _max_stale(directives: _Directives) -> int | None:
    values = directives.get(b"max-stale")
    if values is None:
        return None
    return min(MAX_DELTA_S if value is None else delta_seconds(value) or 0 for value in values)


def _bare(directives: _Directives, name: bytes) -> bool:
    """Whether a directive that loosens is there, and never with an argument it does not have."""
    values = directives.get(name)
    return values is not None and all(value is None for value in values)


def _qualified(directives: _Directives, name: bytes) -> tuple[bool, frozenset[bytes]]:
    """Whether the whole response is meant, or else which fields (RFC 9111 §5.2.2.4, §5.2.2.7)."""
    named: set[bytes] = set()
    for argument in directives.get(name, ()):
        names = [part.strip(b" \t").lower() for part in (argument or b"").split(b",")]
        if not all(_TOKEN.fullmatch(part) for part in names):
            return True, _NO_FIELDS
        named.update(names)
    return False, frozenset(named)


@memoised(maxsize=1024)
def _targeted(value: bytes) -> CacheControl | None:
    """A targeted field is a Structured Fields dictionary, ignored if empty or invalid (RFC 9213 §2.1)."""
    members = parse_dictionary(value)
    if not members:
        return None
    # "private=?0" says that it is not private.
    directives = {name: [_argument(value)] for name, value in members.items() if value is not False}
    return _control(directives, targeted=True)


def _argument(value: object) -> bytes | None:
    """A member's value as a directive's argument; empty if it is of a type no directive has."""
    if value is True:
        return None
    if isinstance(value, int):
        return b"%d" % value
    return value.encode("ascii") if isinstance(value, str) else b""


@memoised(maxsize=1024)
def _surrogate(value: bytes) -> CacheControl | None:
    """Surrogate-Control's max-age and no-store, less those targeted at others; None if neither is left."""
    directives: dict[bytes, list[bytes | None]] = {}
    for name, argument in _split(value):
        bare, _, target = (name if argument is None else argument).partition(b";")
        if target.strip(b" \t").lower() not in (b"", SURROGATE_TARGET):
            continue
        directives.setdefault(bare if argument is None else name, []).append(None if argument is None else bare)
    known: dict[bytes, list[bytes | None]] = {
        name: directives[name] for name in (b"max-age", b"no-store") if name in directives
    }
    if b"max-age" in known:
        # "max-age=3600+600": the second figure is how long it may be served stale.
        known[b"max-age"] = [age and age.partition(b"+")[0] for age in known[b"max-age"]]
    return _control(known, targeted=True) if known else None


SILENT = CacheControl()
"""No Cache-Control at all."""

"""The compiled route table: what a lookup costs follows the path's length, not the number of routes.

Routing is a security boundary: a path that the upstream reads as ``/users/7`` must meet the rules of ``/users/7``. So a
path is read strictly and, where it holds anything that readers disagree about, also as loosely as upstreams are known
to. If the two readings lead to different routes the request is refused; if only to different values, it is not cached.
A path that matches nothing, or a catch-all alone, and differs from a route's only by its final slash, the spelling of a
number or the case of its method meets that route's session and limits too, again without a cache.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import NamedTuple

from cacheproxy.errors import ClientError
from cacheproxy.policy.paths import (
    Kind,
    MatchRule,
    Param,
    Segment,
    canonical_host,
    decoded,
    int_text,
    is_int,
    is_nearly_int,
    is_plain,
    loose_segments,
    segments_of,
    text_of,
)
from cacheproxy.policy.route import Route, SessionUse

_ANY = ""
_FIRST_OF_NONE = 1 << 62
_NOTHING: Mapping[str, Param] = MappingProxyType({})
_STRICTNESS = (SessionUse.IGNORE, SessionUse.OPTIONAL, SessionUse.REQUIRED)
_NEARLY_NUMBERS = re.compile(rb"/[0-9]*+[_+.\s\x80-\xff%-][0-9_+.\s\x80-\xff%-]*+(?:/|\Z)")
"""A segment of digits and of what might surround or replace them: worth a closer look where a route wants a number."""
_SAMPLE = b"\x01sample"
_SAMPLE_NUMBER = b"18446744073709551629"


class Match(NamedTuple):
    """The route of a request, the line of it that matched, and what its path captured. A tuple: each path has one."""

    route: Route
    params: Mapping[str, Param] = _NOTHING
    rule: MatchRule | None = None
    """None for what matched no route."""

    @property
    def is_catch_all(self) -> bool:
        """Whether the line takes whatever is left of a path."""
        return self.rule is not None and self.rule.path.takes_rest


@dataclass(frozen=True, slots=True)
class _Leaf:
    order: int
    route: Route
    rule: MatchRule


class _Node:
    """One segment's place in the tree. ``first`` is the lowest order of any leaf in it, ``first_rest`` of ``rest``."""

    __slots__ = ("first", "first_rest", "here", "literals", "number", "rest", "text")

    def __init__(self) -> None:
        self.literals: dict[bytes, _Node] = {}
        self.number: _Node | None = None
        self.text: _Node | None = None
        self.here: dict[tuple[str, str], _Leaf] = {}
        self.rest: dict[tuple[str, str], _Leaf] = {}
        self.first = self.first_rest = _FIRST_OF_NONE


class _Search:
    """One walk down the tree: what is looked for, and the best leaf so far with its captures."""

    __slots__ = ("best", "bound", "captured", "keys", "lenient", "raw", "segments")

    def __init__(self, keys: Sequence[tuple[str, str]], raw: Sequence[bytes], *, lenient: bool) -> None:
        self.keys = keys
        self.raw = raw
        self.segments = [decoded(segment) if b"%" in segment else segment for segment in raw]
        self.lenient = lenient
        self.best: _Leaf | None = None
        self.captured: tuple[bytes, ...] = ()
        self.bound = _FIRST_OF_NONE
        """Only a leaf of lower order than this is of interest."""

    def offer(self, leaves: Mapping[tuple[str, str], _Leaf], captured: tuple[bytes, ...]) -> None:
        """Take the leaf that fits method and host if it is the best so far."""
        for key in self.keys:
            leaf = leaves.get(key)
            if leaf is not None and leaf.order < self.bound:
                self.best, self.captured, self.bound = leaf, captured, leaf.order


class Router:
    """Finds the first route, in file order, that matches a request."""

    def __init__(self, routes: Sequence[Route]) -> None:
        """Compile ``routes`` by their ``match``."""
        self._root = _Node()
        rules = [(route, rule) for route in routes for rule in route.match]
        for order, (route, rule) in enumerate(rules):
            self._add(order, route, rule)
        self._hosts = frozenset(rule.host for _, rule in rules if rule.host)
        patterns = [rule.path for _, rule in rules]
        self._has_numbers = any(segment.kind is Kind.INT for path in patterns for segment in path.segments)
        self._has_slashes = any(path.text.endswith("/") and path.text != "/" for path in patterns)

    def match(self, method: str, path: bytes, host: bytes) -> Match | None:
        """The first route that matches, or None. ClientError 400 ``ambiguous-path`` where readers could disagree."""
        if not path.startswith(b"/"):
            if path == b"*":
                return None
            raise ClientError(400, "ambiguous-path", "the target is not in origin-form")
        name = canonical_host(host) if self._hosts else _ANY
        segments = segments_of(path)
        exact = self._find(method, segments, name)
        readings = [segments]
        if not is_plain(path):
            readings.append([_requoted(segment) for segment in loose_segments(path)])
            exact = _agreed(exact, self._find(method, readings[1], name))
        if exact is not None and not (exact.is_catch_all and self._may_miss_nearly(path)):
            return exact
        return self._guarded(exact, method, readings, name)

    def shadow_of(self, rule: MatchRule, route: Route) -> Route | None:
        """The earlier route that takes every request which ``rule`` of ``route`` could match, or None."""
        takers = [self._first_taker(rule, method) for method in sorted(rule.methods) or ["\x01"]]
        if any(taker is None or taker.name == route.name for taker in takers):
            return None
        return takers[0]

    def _add(self, order: int, route: Route, rule: MatchRule) -> None:
        node = self._root
        node.first = min(node.first, order)
        *before, _ = rule.path.segments
        for segment in before if rule.path.takes_rest else rule.path.segments:
            node = _child(node, segment)
            node.first = min(node.first, order)
        leaf = _Leaf(order, route, rule)
        leaves = node.rest if rule.path.takes_rest else node.here
        if rule.path.takes_rest:
            node.first_rest = min(node.first_rest, order)
        methods = rule.methods | {"HEAD"} if "GET" in rule.methods else rule.methods
        for method in methods or {_ANY}:
            leaves.setdefault((method, rule.host), leaf)

    def _find(self, method: str, raw: Sequence[bytes], host: str, *, lenient: bool = False) -> Match | None:
        keys = [(method, _ANY), (_ANY, _ANY)]
        if host in self._hosts:
            keys += [(method, host), (_ANY, host)]
        search = _Search(keys, raw, lenient=lenient)
        _walk(self._root, 0, (), search)
        leaf = search.best
        if leaf is None:
            return None
        captured = zip(leaf.rule.path.captures, search.captured, strict=True)
        return Match(leaf.route, {s.name: _param(raw, s.kind) for s, raw in captured}, leaf.rule)

    def _may_miss_nearly(self, path: bytes) -> bool:
        if self._has_slashes or (path.endswith(b"/") and path != b"/"):
            return True
        return self._has_numbers and _NEARLY_NUMBERS.search(path) is not None

    def _guarded(self, exact: Match | None, method: str, readings: list[list[bytes]], host: str) -> Match | None:
        """``exact``, joined by the first other route that one of ``readings`` nearly matches."""
        for raw in readings:
            other_end = raw[:-1] if raw[-1] == b"" and len(raw) > 1 else [*raw, b""]
            for segments in (raw, other_end):
                near = self._find(method.upper(), segments, host, lenient=True)
                if near is not None and (exact is None or near.route.name != exact.route.name):
                    return _joined(near, exact)
        return exact

    def _first_taker(self, rule: MatchRule, method: str) -> Route | None:
        raw = [_requoted(piece) for segment in rule.path.segments for piece in _sample(segment)]
        found = self._find(method, raw, rule.host)
        return found.route if found else None


def _agreed(exact: Match | None, loose: Match | None) -> Match | None:
    """What both readings lead to, without its cache if only to the same route. ClientError 400 if not even that."""
    if exact is None and loose is None:
        return None
    if exact is None or loose is None or loose.route is not exact.route:
        raise ClientError(400, "ambiguous-path", "the path could be read as another one")
    return (
        exact
        if _values(loose) == _values(exact)
        else loose._replace(route=replace(loose.route, cache=None, batch=None))
    )


def _joined(near: Match, exact: Match | None) -> Match:
    """``near`` without its cache, under the session and limits of both."""
    if exact is None:
        return near._replace(route=replace(near.route, cache=None, batch=None))
    one, other = near.route, exact.route
    route = replace(
        one,
        cache=None,
        batch=None,
        session=max(one.session, other.session, key=_STRICTNESS.index),
        limits=tuple(dict.fromkeys((*one.limits, *other.limits))),
        purge=(*one.purge, *other.purge),
        refuse_body=one.refuse_body or other.refuse_body,
    )
    return Match(route, {**exact.params, **near.params}, near.rule)


def _child(node: _Node, segment: Segment) -> _Node:
    if segment.kind is Kind.LITERAL:
        return node.literals.setdefault(segment.literal, _Node())
    if segment.kind is Kind.INT:
        node.number = node.number or _Node()
        return node.number
    node.text = node.text or _Node()
    return node.text


def _walk(node: _Node, at: int, captured: tuple[bytes, ...], search: _Search) -> None:
    """Offer what is under ``node``. The last way down is walked on rather than called: mostly there is one."""
    raw, segments = search.raw, search.segments
    while node.first < search.bound:
        if at == len(segments):
            search.offer(node.here, captured)
            return
        if node.rest and node.first_rest < search.bound:
            search.offer(node.rest, (*captured, b"/".join(raw[at:])))
        segment, literal, number, text = segments[at], node.literals.get(segments[at]), node.number, node.text
        at += 1
        if literal is not None:
            if number is None and text is None:
                node = literal
                continue
            _walk(literal, at, captured, search)
        captured = (*captured, raw[at - 1])
        if number is not None and (is_int(segment) or (search.lenient and is_nearly_int(segment))):
            _walk(number, at, captured, search)
        if text is None or not segment:
            return
        node = text


def _param(raw: bytes, kind: Kind) -> Param:
    if raw.isalnum() and kind is not Kind.INT:
        return Param(raw, raw.decode("ascii"))
    value = decoded(raw)
    return Param(raw, int_text(value) if kind is Kind.INT and is_int(value) else text_of(value))


def _values(match: Match) -> list[str]:
    return [param.value for param in match.params.values()]


def _requoted(segment: bytes) -> bytes:
    return segment.replace(b"%", b"%25")


def _sample(segment: Segment) -> list[bytes]:
    """Segments that only what covers all of ``segment`` matches."""
    match segment.kind:
        case Kind.LITERAL:
            return [segment.literal]
        case Kind.STR:
            return [_SAMPLE]
        case Kind.INT:
            return [_SAMPLE_NUMBER]
        case Kind.PATH:
            return [_SAMPLE] * 64

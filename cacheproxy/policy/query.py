"""The query as a key sees it: parameters that a template names, and the rest, which is never ignored unasked."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache
from urllib.parse import quote, unquote_to_bytes

from cacheproxy.policy.key_rules import QueryRules
from cacheproxy.policy.paths import text_of


@dataclass(frozen=True, slots=True)
class Parameter:
    """One ``name=value`` of a query, as received and decoded."""

    raw: bytes
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class SplitQuery:
    """A query: the values of the named parameters that occur once, and all that they do not account for.

    ``rest`` is None where nothing is left, and empty for a bare ``?``.
    """

    values: dict[str, str]
    rest: bytes | None


def parameters(query: bytes) -> Iterator[Parameter]:
    """The parameters of ``query`` in order, split at ``&``; a ``+`` in a value is a space."""
    for raw in query.split(b"&"):
        name, _, value = raw.partition(b"=")
        yield Parameter(raw, _decoded(name), _decoded(value))


def split_query(target: bytes, names: Iterable[str], rules: QueryRules) -> SplitQuery:
    """The query of ``target`` for a template that names ``names``.

    A named parameter is taken out of the rest only if it occurs exactly once and is spelled canonically, so that two
    queries an upstream could tell apart never share a key.
    """
    _, mark, query = target.partition(b"?")
    if not query:
        return SplitQuery({}, b"" if mark else None)
    given = list(parameters(query))
    times: dict[str, int] = {}
    for parameter in given:
        times[parameter.name] = times.get(parameter.name, 0) + 1
    once = {p.name: p for p in given if times[p.name] == 1}
    values = {name: once[name].value for name in names if name in once}
    left = [p.raw for p in given if not (p.name in values and _is_canonical(p)) and _counts(p, rules)]
    return SplitQuery(values, b"&".join(left) if left else None)


def _decoded(raw: bytes) -> str:
    return text_of(unquote_to_bytes(raw.replace(b"+", b" ")))


def _is_canonical(parameter: Parameter) -> bool:
    return parameter.raw == f"{quote(parameter.name, safe='')}={quote(parameter.value, safe='')}".encode()


def _counts(parameter: Parameter, rules: QueryRules) -> bool:
    """Whether ``parameter`` tells responses apart. One with a ``;`` does: some origins read several in it."""
    if b";" in parameter.raw:
        return True
    if rules.allow is not None and not _any_of(rules.allow).fullmatch(parameter.name):
        return False
    return not (rules.ignore and _any_of(rules.ignore).fullmatch(parameter.name))


@lru_cache(maxsize=256)
def _any_of(globs: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(translate(glob) for glob in globs) or r"(?!)")

"""Conditions on a request: ``{header.x-debug: present, query.page: ">10"}``, joined by ``all``, ``any`` and ``not``.

A test is made against each value that a request gives; one that fits is enough. Nothing a client sends is evaluated:
there is equality, a glob that costs no more than reading the value once, and the comparison of numbers.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import ge, gt, le, lt
from typing import assert_never

from cacheproxy.policy.units import shown

Values = Callable[[str], Sequence[str]]
"""The values that a request gives for a subject (``header.x-debug``); none where it is absent."""

NAMED = ("header", "query", "cookie", "param", "session")
"""What may stand before the dot of a subject."""
PLAIN = ("method", "tenant")
"""Subjects without a dot."""

_NUMBER = re.compile(r"[-+]?[0-9]{1,15}(?:\.[0-9]{1,6})?")
_COMPARISON = re.compile(r"(>=|<=|>|<) *(.*)")
_COMPARE: dict[str, Callable[[float, float], bool]] = {">": gt, ">=": ge, "<": lt, "<=": le}


@dataclass(frozen=True, slots=True)
class Test:
    """A test of one value, with its ``text`` as written."""

    text: str
    fits: Callable[[str], bool]


def _always(_: str) -> bool:
    return True


def _never(_: str) -> bool:
    return False


PRESENT = Test("present", _always)
ABSENT = Test("absent", _never)


@dataclass(frozen=True, slots=True)
class Ask:
    """Whether a value of ``subject`` passes one of ``tests``."""

    subject: str
    tests: tuple[Test, ...]


@dataclass(frozen=True, slots=True)
class Every:
    """Whether all of them hold."""

    parts: tuple["Condition", ...]


@dataclass(frozen=True, slots=True)
class Some:
    """Whether one of them holds."""

    parts: tuple["Condition", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """Whether it does not hold."""

    part: "Condition"


Condition = Ask | Every | Some | Not


def parse_test(value: object) -> Test:
    """The test that a policy writes: ``present``, ``absent``, ``10``, ``">10"``, ``beta-*``, ``"=*"``.

    ValueError says what was meant.
    """
    text = _text(value)
    if text in {PRESENT.text, ABSENT.text}:
        return PRESENT if text == PRESENT.text else ABSENT
    if text.startswith("="):
        return Test(text, text[1:].__eq__)
    if text.startswith(("!", "~")):
        raise ValueError(f"{shown(text)} is not a test; the opposite is written `not: {{...}}`, and a glob as `beta-*`")
    compared = _COMPARISON.fullmatch(text)
    if compared is not None:
        return Test(text, _comparison(compared[1], compared[2]))
    return Test(text, _glob(text.split("*")) if "*" in text else text.__eq__)


def holds(condition: Condition, values: Values) -> bool:
    """Whether ``condition`` is true of the request that gives ``values``."""
    match condition:
        case Ask(subject, tests):
            given = values(subject)
            return any(test.fits(value) for test in tests for value in given) if given else ABSENT in tests
        case Every(parts):
            return all(holds(part, values) for part in parts)
        case Some(parts):
            return any(holds(part, values) for part in parts)
        case Not(part):
            return not holds(part, values)
        case _:
            assert_never(condition)


def decisive(condition: Condition, values: Values) -> str:
    """The part of ``condition`` that makes it true or false of a request, as a policy writes it."""
    match condition:
        case Every(parts):
            return _first(condition, [part for part in parts if not holds(part, values)], values)
        case Some(parts):
            return _first(condition, [part for part in parts if holds(part, values)], values)
        case Ask() | Not():
            return written(condition)
        case _:
            assert_never(condition)


def written(condition: Condition) -> str:
    """``condition`` as a policy writes it in one line."""
    match condition:
        case Ask(subject, tests):
            texts = ", ".join(test.text for test in tests)
            return f"{subject}: {texts}" if len(tests) == 1 else f"{subject}: [{texts}]"
        case Every(parts):
            return ", ".join(written(part) for part in parts)
        case Some(parts):
            return f"any: [{', '.join(f'{{{written(part)}}}' for part in parts)}]"
        case Not(part):
            return f"not: {{{written(part)}}}"
        case _:
            assert_never(condition)


def asks(condition: Condition) -> Iterator[Ask]:
    """Every question in ``condition``."""
    match condition:
        case Ask():
            yield condition
        case Every(parts) | Some(parts):
            for part in parts:
                yield from asks(part)
        case Not(part):
            yield from asks(part)
        case _:
            assert_never(condition)


def open_to(condition: Condition, *, outcome: bool) -> Iterator[str]:
    """The subjects that a request may give, whatever their value, on its way to that ``outcome``.

    One that must be absent for it, or may be anything at all, is none of them.
    """
    match condition:
        case Ask(subject, tests):
            if set(tests) != {ABSENT if outcome else PRESENT}:
                yield subject
        case Every(parts) | Some(parts):
            for part in parts:
                yield from open_to(part, outcome=outcome)
        case Not(part):
            yield from open_to(part, outcome=not outcome)
        case _:
            assert_never(condition)


def shut_to(condition: Condition, *, outcome: bool) -> Iterator[str]:
    """The subjects that cannot be present with that ``outcome``."""
    match condition:
        case Ask(subject, tests):
            if set(tests) == {ABSENT if outcome else PRESENT}:
                yield subject
        case Not(part):
            yield from shut_to(part, outcome=not outcome)
        case Every(parts) | Some(parts):
            if isinstance(condition, Every) is outcome:
                for part in parts:
                    yield from shut_to(part, outcome=outcome)
        case _:
            assert_never(condition)


def _first(whole: Condition, deciding: Sequence[Condition], values: Values) -> str:
    return decisive(deciding[0], values) if deciding else written(whole)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if not isinstance(value, str) or not value:
        raise ValueError('a test is missing; write `present`, `absent`, a value, `beta-*`, or `">10"`')
    return value


def _comparison(sign: str, bound: str) -> Callable[[str], bool]:
    if not _NUMBER.fullmatch(bound):
        raise ValueError(f'`{sign}` compares numbers, and {shown(bound)} is none; a text is written `"={sign}{bound}"`')
    compare, number = _COMPARE[sign], float(bound)
    return lambda value: _NUMBER.fullmatch(value) is not None and compare(float(value), number)


def _glob(pieces: Sequence[str]) -> Callable[[str], bool]:
    first, *middle, last = pieces

    def fits(value: str) -> bool:
        end = len(value) - len(last)
        if not (value.startswith(first) and value.endswith(last) and len(first) <= end):
            return False
        at = len(first)
        for piece in middle:
            found = value.find(piece, at, end)
            if found < 0:
                return False
            at = found + len(piece)
        return True

    return fits

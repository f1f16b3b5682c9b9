"""pydantic's errors as faults that say what was meant, each at its line and column."""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from cacheproxy.errors import Fault
from cacheproxy.policy.models import PolicyModel
from cacheproxy.policy.units import shown
from cacheproxy.policy.yaml import Document, Path, dotted

_EXPECTED = {
    "bool_type": "true or false",
    "dict_type": "a mapping (`key: value` lines)",
    "float_type": "a number",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
    "list_type": "a list",
    "model_type": "a mapping (`key: value` lines)",
    "string_type": "a text",
}


def faults_of(error: ValidationError, document: Document) -> Iterator[Fault]:
    """The faults that ``error`` stands for."""
    for detail in error.errors(include_url=False):
        path = tuple(step for step in detail["loc"] if step != "[key]")
        if detail["type"] == "extra_forbidden":
            yield document.fault(path, _unknown(path), at_key=True)
        else:
            yield document.fault(path, _message(detail), at_key=detail["loc"][-1:] == ("[key]",))


def meant(word: str, known: Iterable[str]) -> str:
    """`` ; did you mean `x`?`` where one of ``known`` is close to ``word``, else nothing."""
    close = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean `{close[0]}`?" if close else ""


def _unknown(path: Path) -> str:
    known = _keys_at(path[:-1])
    guess = meant(str(path[-1]), known)
    if guess or not known:
        return f"unknown key `{path[-1]}`{guess}"
    elsewhere = [dotted((*place, path[-1])) for place, model in _models(PolicyModel, ()) if path[-1] in _keys(model)]
    if elsewhere:
        return f"unknown key `{path[-1]}` here; it belongs to `{elsewhere[0].replace('.*', '')}`"
    return f"unknown key `{path[-1]}`; known here: {', '.join(f'`{key}`' for key in known)}"


def _message(detail: ErrorDetails) -> str:
    kind, given = detail["type"], detail["input"]
    if kind == "missing":
        return f"`{detail['loc'][-1]}` is missing"
    if kind == "value_error":
        return str(detail["msg"]).removeprefix("Value error, ")
    if kind == "literal_error":
        return _not_one_of(given, str(detail["ctx"]["expected"]))
    if kind in _EXPECTED:
        return f"{_shape(given)} stands where {_EXPECTED[kind]} is expected"
    return str(detail["msg"]).replace("Input should", "it should")


def _not_one_of(given: object, expected: str) -> str:
    allowed = [word.strip("' ") for word in expected.replace(" or ", ", ").split(", ")]
    if str(given) in allowed:
        return f"the text {shown(given)} stands where a number is expected; take its quotes away"
    return f"{shown(given)} is not one of {', '.join(f'`{word}`' for word in allowed)}" + meant(str(given), allowed)


def _shape(given: object) -> str:
    if given is None:
        return "nothing"
    if isinstance(given, dict):
        return "a mapping"
    return "a list" if isinstance(given, list) else shown(given)


def _keys_at(path: Path) -> list[str]:
    for place, model in _models(PolicyModel, ()):
        if len(place) == len(path) and all(a in {"*", b} for a, b in zip(place, path, strict=True)):
            return _keys(model)
    return []


def _keys(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _models(model: type[BaseModel], path: Path) -> Iterator[tuple[Path, type[BaseModel]]]:
    """Every mapping of the policy file with its place, ``*`` for items and names."""
    yield path, model
    for name, field in model.model_fields.items():
        for steps, inner in _inner(field.annotation):
            if inner is not model:  # conditions hold conditions
                yield from _models(inner, (*path, field.alias or name, *steps))


def _inner(annotation: Any) -> Iterator[tuple[Path, type[BaseModel]]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield (), annotation
        return
    origin, args = get_origin(annotation), get_args(annotation)
    if origin in {Union, UnionType, Annotated}:
        for arg in args:
            yield from _inner(arg)
    elif origin in {list, dict}:
        for steps, model in _inner(args[-1]):
            yield ("*", *steps), model

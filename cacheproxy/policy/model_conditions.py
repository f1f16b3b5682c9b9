"""Conditions as a policy file writes them."""

from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, PlainValidator, WithJsonSchema

from cacheproxy.policy.conditions import NAMED, PLAIN, Ask, Condition, Every, Not, Some, Test, parse_test
from cacheproxy.policy.model_types import Model

_SUBJECT = rf"^({'|'.join(PLAIN)}|({'|'.join(NAMED)})\..+)$"
_TEST = {"type": ["string", "number", "boolean"]}
_TESTS = {"anyOf": [_TEST, {"type": "array", "items": _TEST, "minItems": 1}]}


def _tests(value: object) -> tuple[Test, ...]:
    if isinstance(value, dict):
        raise ValueError('a mapping stands where a test is expected; write `present`, a value, or `">10"`')  # noqa: TRY004 (pydantic's way)
    if isinstance(value, list) and not value:
        raise ValueError("an empty list fits nothing; write `absent` if that is meant")
    return tuple(parse_test(one) for one in (value if isinstance(value, list) else [value]))


def _joined(value: object) -> object:
    if isinstance(value, list):
        raise ValueError("a list may mean two things here; write `any: [...]` or `all: [...]`")  # noqa: TRY004 (pydantic's way)
    if value == {}:
        raise ValueError("nothing is asked; write `header.x-debug: present`")
    return value


Tests = Annotated[tuple[Test, ...], PlainValidator(_tests), WithJsonSchema(_TESTS)]


def _closed(schema: dict[str, Any]) -> None:
    """Show the subjects as a pattern, so that an editor refuses all other keys."""
    schema["additionalProperties"] = False
    schema["patternProperties"] = {_SUBJECT: _TESTS}
    schema["minProperties"] = 1


class ConditionModel(Model):
    """All that it names must hold: `header.x-debug: present`, `query.page: ">10"`, `any: [...]`, `not: {...}`."""

    model_config = ConfigDict(extra="allow", json_schema_extra=_closed)
    __pydantic_extra__: dict[str, Tests]

    all: list["When"] = Field(default=[], min_length=1, description="Conditions that must all hold.")
    any: list["When"] = Field(default=[], min_length=1, description="Conditions of which one must hold.")
    not_: "When | None" = Field(default=None, alias="not", description="A condition that must not hold.")

    @property
    def tests(self) -> dict[str, tuple[Test, ...]]:
        """The tests by subject, in the order of the file."""
        return self.__pydantic_extra__


When = Annotated[ConditionModel, BeforeValidator(_joined)]


def compile_condition(model: ConditionModel) -> Condition:
    """The condition of ``model``; names of fields in lower case."""
    parts: list[Condition] = [Ask(_subject(name), tests) for name, tests in model.tests.items()]
    if model.all:
        parts.append(Every(tuple(compile_condition(part) for part in model.all)))
    if model.any:
        parts.append(Some(tuple(compile_condition(part) for part in model.any)))
    if model.not_ is not None:
        parts.append(Not(compile_condition(model.not_)))
    return parts[0] if len(parts) == 1 else Every(tuple(parts))


def _subject(name: str) -> str:
    return name.lower() if name.startswith("header.") else name

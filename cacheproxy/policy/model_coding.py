"""The ``compress`` and ``encode`` mappings of a ``cache``: bodies made smaller in Redis, and for clients."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema

from cacheproxy.policy.model_types import MediaTypes, Model, Size, text_schema
from cacheproxy.policy.units import SIZE_PATTERN, shown
from cacheproxy.semantics.rules import Coding, CompressRules, EncodeRules

AtRest = Literal["deflate", "gzip", "zstd"]
ForClients = Literal["zstd", "br", "gzip"]


class CompressModel(Model):
    """Which bodies are compressed in Redis, and how."""

    above: Size = Field(default=16 << 10, description="Smaller ones are kept as they are.")
    coding: AtRest = Field(default="deflate", description="How: `zstd` is the fastest, and needs a library.")


class EncodeModel(Model):
    """Which stored bodies are given to clients compressed, and how."""

    above: Size = Field(default=1 << 10, description="Smaller ones are given out as they are.")
    codings: list[ForClients] = Field(
        default=["zstd", "br", "gzip"], min_length=1, description="What to offer, the best first."
    )
    types: MediaTypes = Field(default=[], description="Media types: `text/*`. Without any, those known to shrink.")


def switched(value: object) -> object:
    """``true`` as all defaults, ``false`` as nothing, a mapping as it is. ValueError for anything else."""
    if isinstance(value, bool):
        return {} if value else None
    if value is None or isinstance(value, dict | BaseModel):
        return value
    raise ValueError(f"{shown(value)} stands where `true`, `false` or a mapping is expected")


def _switch_schema(properties: dict[str, Any], description: str) -> WithJsonSchema:
    mapping = {"type": "object", "properties": properties, "additionalProperties": False}
    return WithJsonSchema({"anyOf": [{"type": "boolean"}, mapping], "description": description})


_SIZE = text_schema(SIZE_PATTERN)
_TYPES = {"type": "string", "minLength": 1}
Compress = Annotated[
    CompressModel | None,
    BeforeValidator(switched),
    _switch_schema(
        {"above": _SIZE, "coding": {"enum": ["deflate", "gzip", "zstd"]}},
        "Compress larger bodies in Redis: `true` (above 16KiB), or `{above: 64KiB, coding: zstd}`.",
    ),
]
Encode = Annotated[
    EncodeModel | None,
    BeforeValidator(switched),
    _switch_schema(
        {
            "above": _SIZE,
            "codings": {"type": "array", "items": {"enum": ["zstd", "br", "gzip"]}, "minItems": 1},
            "types": {"anyOf": [_TYPES, {"type": "array", "items": _TYPES}]},
        },
        "Give stored bodies to clients compressed: `true` (above 1KiB), or `{above: 4KiB, codings: [br, gzip]}`. "
        "Not where secrets stand beside what a client sent.",
    ),
]


def compress_rules(model: CompressModel | None) -> CompressRules | None:
    """What ``model`` says to the store."""
    return None if model is None else CompressRules(above_bytes=model.above, coding=Coding(model.coding))


def encode_rules(model: EncodeModel | None) -> EncodeRules | None:
    """What ``model`` says to the caching rules. A coding that is named twice counts once."""
    if model is None:
        return None
    return EncodeRules(
        above_bytes=model.above,
        codings=tuple(Coding(coding) for coding in dict.fromkeys(model.codings)),
        types=frozenset(name.lower().encode("ascii") for name in model.types),
    )

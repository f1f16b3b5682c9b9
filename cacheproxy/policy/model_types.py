"""The scalar types of a policy file: each checks a value, says what was meant, and describes itself in JSON Schema."""

import re
from ipaddress import ip_network
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, WithJsonSchema

from cacheproxy.policy.paths import MatchRule, PathPattern
from cacheproxy.policy.route import Network
from cacheproxy.policy.templates import KeyTemplate, Template
from cacheproxy.policy.units import DURATION_PATTERN, RATE_PATTERN, SIZE_PATTERN, duration_s, rate, shown, size_bytes

_METHOD = re.compile(r"[A-Z][A-Z0-9-]*")
_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\]")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_MEDIA_TYPE = re.compile(r"[!#$&^_.+A-Za-z0-9-]+/(\*|[!#$&^_.+A-Za-z0-9-]+)")
"""RFC 6838 §4.2, or a whole tree."""
_WARM = re.compile(r"GET (?P<host>[^/:\s]*|\[[^\]\s]*\])(?::[0-9]{1,5})?/[!-\"$-~]*")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_SUBJECT = re.compile(r"client_ip|path|route|tenant|(?:header|query|param|session|cookie)\.[A-Za-z0-9_.-]+")


_SHORTEST_SECRET = 16


class Model(BaseModel):
    """A mapping of the policy file: unknown keys are refused, and nothing is converted in silence."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, arbitrary_types_allowed=True)


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{shown(value)} is not {what}")  # noqa: TRY004 (pydantic reads ValueError only)
    return value


def _positive(seconds: float) -> float:
    if seconds <= 0:
        raise ValueError("it must be more than zero")
    return seconds


def _listed(value: object) -> object:
    return [value] if isinstance(value, str | dict) else value


def _template(value: object) -> Template:
    return Template.parse(_text(value, "a tag; write `article:{id}`"))


def _key_template(value: object) -> KeyTemplate:
    return KeyTemplate.parse(_text(value, "a key; write `articles:{id}`"))


def _match(value: object) -> MatchRule:
    if isinstance(value, dict):
        return _match_mapping(value)
    line = _text(value, "a match; write `GET /articles/{id:int}`").split()
    if not 1 <= len(line) <= 2:
        raise ValueError(f"{shown(value)} is not a match; write `GET /articles/{{id:int}}` or `/articles`")
    host, slash, path = line[-1].partition("/")
    methods = _methods(line[0].split("|")) if len(line) == 2 else frozenset()
    return MatchRule(path=PathPattern.parse(slash + path or line[-1]), methods=methods, host=_host(host))


def _match_mapping(value: dict[Any, Any]) -> MatchRule:
    unknown = [str(key) for key in value if key not in {"path", "methods", "host"}]
    if unknown or "path" not in value:
        raise ValueError("a match as a mapping has `path`, and may have `methods` and `host`, and nothing else")
    methods = value.get("methods", [])
    if not isinstance(methods, list):
        raise ValueError("`methods` must be a list: `[GET, POST]`")  # noqa: TRY004 (pydantic reads ValueError only)
    path = PathPattern.parse(_text(value["path"], "a path"))
    return MatchRule(path=path, methods=_methods(methods), host=_host(_text(value.get("host", ""), "a host")))


def _methods(names: list[Any]) -> frozenset[str]:
    for name in names:
        if not _METHOD.fullmatch(_text(name, "a method")):
            raise ValueError(f"{shown(name)} is not a method; they are written in capitals: `GET`, `POST`")
    return frozenset(names)


def _host(host: str) -> str:
    name = host.lower().removesuffix(".")
    if name and not _HOST.fullmatch(name):
        raise ValueError(f"{shown(host)} is not a host name (written without port or scheme: `api.example.com`)")
    return name


def warm_request(line: str) -> str:
    """``line``, which asks for something that may be stored. ValueError otherwise."""
    found = _WARM.fullmatch(line)
    if found is None:
        raise ValueError(
            f"{shown(line)} is not a request to warm with; "
            "write `GET /articles` or `GET api.example.com/articles?page=2`"
        )
    _host(found["host"])
    return line


def _network(value: object) -> Network:
    text = _text(value, "an address range; write `10.0.0.0/8`")
    try:
        return ip_network(text)
    except ValueError:
        pass
    try:
        meant = ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{shown(text)} is not an address range; write `10.0.0.0/8` or `::1`") from None
    raise ValueError(f"{shown(text)} has bits set beyond its prefix; did you mean `{meant}`?")


def _subject(value: str) -> str:
    if not _SUBJECT.fullmatch(value):
        raise ValueError(
            f"{shown(value)} is not something to count by: `client_ip`, `path`, `route`, `tenant`, "
            "`header.NAME`, `query.NAME`, `param.NAME`, `cookie.NAME` or `session.FIELD`"
        )
    return value


def _token(value: str) -> str:
    if not _TOKEN.fullmatch(value):
        raise ValueError(f"{shown(value)} is not a name that HTTP allows")
    return value


def _media_type(value: str) -> str:
    if not _MEDIA_TYPE.fullmatch(value):
        raise ValueError(f"{shown(value)} is not a media type; write `application/pdf`, or `image/*`")
    return value


def _identifier(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError(f"{shown(value)} is not a name: letters, digits, `-` and `_`, at most 63")
    return value


def _secret(value: object) -> str:
    # The value itself is in no message: it is a secret.
    if not isinstance(value, str):
        raise ValueError("it reads as a number or a word; put it into quotes")  # noqa: TRY004 (pydantic's way)
    if len(value) < _SHORTEST_SECRET:
        raise ValueError(f"it has {len(value)} characters; a secret has at least {_SHORTEST_SECRET}")
    return value


def _word(value: object) -> str:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else _text(value, "a word")


def text_schema(pattern: str) -> dict[str, Any]:
    """JSON Schema of a text like ``pattern``, or one that the environment fills."""
    return {"type": "string", "pattern": rf"{pattern}|\$\{{"}


_MATCH: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "pattern": r"^([A-Z|-]+ +)?[^ ]*/[^ ?#]*$"},
        {
            "type": "object",
            "properties": {
                "path": {"type": "string", "pattern": "^/"},
                "methods": {"type": "array", "items": {"type": "string", "pattern": "^[A-Z][A-Z0-9-]*$"}},
                "host": {"type": "string"},
            },
            "required": ["path"],
            "additionalProperties": False,
        },
    ]
}
_WARM_REQUEST = {"type": "string", "pattern": r"^GET [^/ ]*/[^ #]*$"}
_STRING = {"type": "string", "minLength": 1}
_STRINGS = {"anyOf": [_STRING, {"type": "array", "items": _STRING}]}
Duration = Annotated[float, BeforeValidator(duration_s), WithJsonSchema(text_schema(DURATION_PATTERN))]
PositiveDuration = Annotated[Duration, AfterValidator(_positive)]
Size = Annotated[int, BeforeValidator(size_bytes), WithJsonSchema(text_schema(SIZE_PATTERN))]
Rate = Annotated[tuple[int, float], PlainValidator(rate), WithJsonSchema(text_schema(RATE_PATTERN))]
TagTemplate = Annotated[Template, PlainValidator(_template), WithJsonSchema(_STRING)]
TagTemplates = Annotated[list[TagTemplate], BeforeValidator(_listed), WithJsonSchema(_STRINGS)]
KeyText = Annotated[KeyTemplate, PlainValidator(_key_template), WithJsonSchema(_STRING)]
Cidr = Annotated[Network, PlainValidator(_network), WithJsonSchema(_STRING)]
Subject = Annotated[str, AfterValidator(_subject)]
Secret = Annotated[str, PlainValidator(_secret), WithJsonSchema({"type": "string", "minLength": 1})]
Token = Annotated[str, AfterValidator(_token)]
Identifier = Annotated[
    str, AfterValidator(_identifier), Field(json_schema_extra={"pattern": "^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$"})
]
Version = Annotated[Identifier, BeforeValidator(_word), WithJsonSchema({"type": ["string", "integer"]})]
Match = Annotated[MatchRule, PlainValidator(_match), WithJsonSchema(_MATCH)]
Matches = Annotated[
    list[Match],
    BeforeValidator(_listed),
    Field(min_length=1),
    WithJsonSchema({"anyOf": [*_MATCH["anyOf"], {"type": "array", "items": _MATCH, "minItems": 1}]}),
]
Tokens = Annotated[list[Token], BeforeValidator(_listed), WithJsonSchema(_STRINGS)]
MediaTypes = Annotated[
    list[Annotated[str, AfterValidator(_media_type)]], BeforeValidator(_listed), WithJsonSchema(_STRINGS)
]
WarmRequests = Annotated[
    list[Annotated[str, AfterValidator(warm_request), WithJsonSchema(_WARM_REQUEST)]],
    BeforeValidator(_listed),
    WithJsonSchema({"anyOf": [_WARM_REQUEST, {"type": "array", "items": _WARM_REQUEST}]}),
]
Words = Annotated[list[str], BeforeValidator(_listed), WithJsonSchema(_STRINGS)]
Subjects = Annotated[list[Subject], BeforeValidator(_listed), Field(min_length=1), WithJsonSchema(_STRINGS)]

"""Requests for many things at once, taken apart into a request for each. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import quote

from cacheproxy.errors import ClientError
from cacheproxy.policy.batch_rules import BatchRules
from cacheproxy.policy.identity import Identity
from cacheproxy.policy.keys import CacheKey, cache_key
from cacheproxy.policy.paths import Param
from cacheproxy.policy.query import parameters
from cacheproxy.policy.router import Match, Router
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.head import RequestHead

_PART = frozenset({b"range", b"if-range"})


@dataclass(frozen=True, slots=True)
class One:
    """The request for one of the ids, as a client would make it, and where its answer is stored."""

    id: str
    request: RequestHead
    match: Match
    key: CacheKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A request for many: all ids as ``asked``, in order, and ``ones``, a request for each of them."""

    rules: BatchRules
    asked: tuple[str, ...]
    ones: tuple[One, ...]
    listed: bool
    """Whether the ids came as one list with commas, or else as a parameter for each."""


class Undivided(StrEnum):
    """Why a request is not taken apart."""

    NO_IDS = "it names no ids"
    METHOD = "it is no GET"
    OTHER_PARAMETERS = "it has other parameters, whose meaning for single entries nobody knows"
    ODD_IDS = "its ids are neither one plain list with commas nor a plain parameter for each, or one is empty"
    TOO_MANY = "it names more ids than `max_ids`"
    SPELLED = "its path is not spelled as the route's, and may mean something else to the origin"
    NOT_ONE = "one of its ids leads to another route than the single one"
    NO_KEY = "one of its single requests bypasses the cache"


@dataclass(frozen=True, slots=True, kw_only=True)
class ForMany:
    """A request that may be for many, and what is known of it by step 5 of its way."""

    rules: BatchRules
    router: Router
    request: RequestHead
    params: Mapping[str, Param]
    identity: Identity
    prefix: str
    """Of all cache keys."""


def take_apart(whole: ForMany) -> Batch | Undivided:
    """The requests that ``whole`` stands for, or why it is left so."""
    if whole.request.method != "GET":
        return Undivided.METHOD
    given = _ids(whole.rules, whole.request)
    if isinstance(given, Undivided):
        return given
    asked, listed = given
    captured = {name: param.value for name, param in whole.params.items()}
    if not any(path.spell(captured) == whole.request.path for path in whole.rules.own):
        return Undivided.SPELLED
    fields = whole.request.fields.without(_PART)
    ones = []
    for each in dict.fromkeys(asked):
        one = _one(whole, each, captured, fields)
        if isinstance(one, Undivided):
            return one
        ones.append(one)
    return Batch(rules=whole.rules, asked=tuple(asked), ones=tuple(ones), listed=listed)


def query_for(batch: Batch, ids: Sequence[str]) -> bytes:
    """The query that asks for ``ids`` alone, in the manner of the client."""
    name, values = quote(batch.rules.param, safe=""), [quote(each, safe="") for each in ids]
    if batch.listed:
        return f"{name}={','.join(values)}".encode()
    return "&".join(f"{name}={value}" for value in values).encode()


def _ids(rules: BatchRules, request: RequestHead) -> tuple[list[str], bool] | Undivided:
    given = list(parameters(request.query)) if request.query else []
    values = [parameter.value for parameter in given if parameter.name == rules.param]
    if not values:
        return Undivided.NO_IDS
    if len(values) < len(given):
        return Undivided.OTHER_PARAMETERS
    listed = len(values) == 1
    ids = values[0].split(",") if listed else values
    if len(ids) > rules.max_ids:
        return Undivided.TOO_MANY
    plain = {rules.param.encode(), quote(rules.param, safe="").encode()}
    odd = b";" in request.query or any(parameter.raw.partition(b"=")[0] not in plain for parameter in given)
    return Undivided.ODD_IDS if odd or not all(ids) or any("," in each for each in ids) else (ids, listed)


def _one(whole: ForMany, each: str, captured: Mapping[str, str], fields: Fields) -> One | Undivided:
    rules, request = whole.rules, whole.request
    path = rules.path.spell({**captured, rules.id_name: each})
    try:
        match = whole.router.match("GET", path, request.authority)
    except ClientError:
        return Undivided.NOT_ONE
    if match is None or match.route.name != rules.route or match.params[rules.id_name].value != each:
        return Undivided.NOT_ONE
    single = RequestHead(
        method="GET",
        target=path,
        fields=fields,
        authority=request.authority,
        scheme=request.scheme,
        http_version=request.http_version,
    )
    key = cache_key(match.route, single, match.params, whole.identity, prefix=whole.prefix)
    if match.route.cache is None or not isinstance(key, CacheKey):
        return Undivided.NO_KEY
    return One(each, single, match, key)

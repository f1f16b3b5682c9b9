"""What the names in a route's templates and conditions stand for, in one request."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain

from cacheproxy.policy.conditions import Values
from cacheproxy.policy.identity import Identity
from cacheproxy.policy.paths import Param, canonical_host
from cacheproxy.policy.query import parameters
from cacheproxy.policy.route import Route
from cacheproxy.semantics.head import RequestHead
from cacheproxy.semantics.memo import memoised

SOURCES = ("query", "header", "cookie", "session")
"""What may stand before the dot of a name in a route's template."""
SINGLE = ("method", "host", "tenant", "route", "client_ip")
"""Names without a dot that are not captured by the path."""


def lookup_of(
    route: Route,
    request: RequestHead,
    params: Mapping[str, Param],
    identity: Identity,
    query: Mapping[str, str] | None = None,
) -> Callable[[str], str | None]:
    """A lookup of the names that a template of ``route`` may hold. ``query`` gives parameters that occur once."""

    def lookup(name: str) -> str | None:
        param = params.get(name)  # whose names have no dots
        return elsewhere(name) if param is None else param.value

    def elsewhere(name: str) -> str | None:
        source, dot, rest = name.partition(".")
        if not dot:
            return _single(name, route, request, identity)
        match source:
            case "query":
                return (query_values(request) if query is None else query).get(rest)
            case "header":
                return _text(request.fields.combined(rest.lower().encode()))
            case "cookie":
                return _only(value for name, value in cookies_of(request) if name == rest)
            case "session":
                return scalar_at(identity.session, rest)
            case _:
                return None

    return lookup


def values_of(request: RequestHead, params: Mapping[str, Param], identity: Identity) -> Values:
    """All values of the subjects that a condition may ask about; lines of one field are one value."""

    def values(subject: str) -> Sequence[str]:
        source, _, rest = subject.partition(".")
        if source == "query":
            return [parameter.value for parameter in parameters(request.query) if parameter.name == rest]
        if source == "cookie":
            return [value for name, value in cookies_of(request) if name == rest]
        value = _value(source, rest, request, params, identity)
        return () if value is None else (value,)

    return values


def _value(source: str, name: str, request: RequestHead, params: Mapping[str, Param], identity: Identity) -> str | None:
    match source:
        case "header":
            return _text(request.fields.combined(name.encode("latin-1")))
        case "param":
            return params[name].value if name in params else None
        case "session":
            return _session_text(identity.session, name)
        case "tenant":
            return identity.tenant
        case _:
            return request.method


def _session_text(session: Mapping[str, object], dotted: str) -> str | None:
    value = _at(session, dotted)
    return str(value).lower() if isinstance(value, bool) else scalar_at(session, dotted)


def _only(values: Iterator[str]) -> str | None:
    """The one value; None where there are several: some origins take the first, some the last."""
    found = list(values)
    return found[0] if len(found) == 1 else None


def _single(name: str, route: Route, request: RequestHead, identity: Identity) -> str | None:
    match name:
        case "method":
            return request.method
        case "host":
            return canonical_host(request.authority)
        case "tenant":
            return identity.tenant
        case "route":
            return route.name
        case "client_ip":
            return identity.client_ip
        case _:
            return None


def event_lookup(event: Mapping[str, object]) -> Callable[[str], str | None]:
    """A lookup of dotted names in ``event``: ``data.id`` is the text of ``event["data"]["id"]``."""
    return lambda name: scalar_at(event, name)


def scalar_at(fields: Mapping[str, object], dotted: str) -> str | None:
    """The text or whole number at ``dotted`` in nested ``fields``, or None if there is none."""
    value = _at(fields, dotted)
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value)


def _at(fields: Mapping[str, object], dotted: str) -> object:
    value: object = fields
    for name in dotted.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


def user_id_of(identity: Identity, user_field: str) -> str | None:
    """The id of the session's user as text, or None."""
    return scalar_at(identity.session, user_field) or None


def cookies_of(request: RequestHead) -> Iterator[tuple[str, str]]:
    """The request's cookies in order (RFC 6265 §5.4), undecoded."""
    return chain.from_iterable(map(_cookies, request.fields.all(b"cookie")))


@memoised(maxsize=256)
def _cookies(line: bytes) -> tuple[tuple[str, str], ...]:
    pairs = (pair.partition("=") for pair in line.decode("latin-1").split(";"))
    return tuple((name.strip(), value.strip()) for name, equals, value in pairs if equals)


def query_values(request: RequestHead) -> dict[str, str]:
    """The parameters of the request's query that occur exactly once."""
    seen: dict[str, str | None] = {}
    for parameter in parameters(request.query):
        seen[parameter.name] = None if parameter.name in seen else parameter.value
    return {name: value for name, value in seen.items() if value is not None}


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")

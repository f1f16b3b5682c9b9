"""What no single value of a policy file shows to be wrong: names that lead nowhere, leaks, routes that never match."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, zip_longest

from cacheproxy.policy.check_batch import batch_complaints
from cacheproxy.policy.check_conditions import condition_complaints
from cacheproxy.policy.check_limits import limit_complaints
from cacheproxy.policy.compile import UNMATCHED, names_identity
from cacheproxy.policy.complaints import meant
from cacheproxy.policy.lookup import SINGLE, SOURCES
from cacheproxy.policy.model_cache import CacheModel, merged
from cacheproxy.policy.models import PolicyModel, RouteModel
from cacheproxy.policy.paths import Kind, MatchRule
from cacheproxy.policy.route import Route
from cacheproxy.policy.router import Router
from cacheproxy.policy.templates import KeyTemplate, Name
from cacheproxy.policy.yaml import Path

EVENT_ROOTS = ("data", "id", "source", "subject", "type")
"""What an event's template may name (CloudEvents 1.0)."""

Complaint = tuple[Path, str]


@dataclass(frozen=True, slots=True)
class _Checked:
    """A route with its place, its cache merged with the defaults, and the file it stands in."""

    at: Path
    route: RouteModel
    cache: CacheModel | None
    policy: PolicyModel

    @property
    def bound(self) -> set[str]:
        """Every name that some line of its match binds."""
        return {name for rule in self.route.match for name in rule.path.names}

    @property
    def cached_rules(self) -> list[MatchRule]:
        """The lines of its match that fetch."""
        return [rule for rule in self.route.match if not rule.methods or rule.methods & {"GET", "HEAD"}]


def complaints(policy: PolicyModel) -> Iterator[Complaint]:
    """Everything wrong with ``policy`` as a whole, with its path."""
    routes = [
        _Checked(("routes", at), route, merged(route.cache, policy.defaults.cache), policy)
        for at, route in enumerate(policy.routes)
    ]
    for checked in routes:
        for check in (_name, _limits, _session, _cache, _key, _templates):
            yield from check(checked)
    yield from _twice(routes)
    yield from _never_matched(routes)
    yield from _key_clashes(routes)
    yield from limit_complaints(policy)
    yield from _events(policy)
    yield from _secrets(policy)
    yield from condition_complaints(policy)
    yield from batch_complaints(policy)
    if policy.tenant and policy.tenant.from_.startswith("session.") and policy.session is None:
        yield ("tenant", "from"), "the tenant comes from the session, but there is no `session:`"


def _name(checked: _Checked) -> Iterator[Complaint]:
    if checked.route.name == UNMATCHED:
        yield (*checked.at, "name"), f"`{UNMATCHED}` is the name for what no route matches; choose another"


def _limits(checked: _Checked) -> Iterator[Complaint]:
    known = checked.policy.limits
    for at, name in enumerate(checked.route.limits):
        where = (*checked.at, "limits", at)
        if name not in known:
            guess = meant(name, known) or f"; there is {', '.join(f'`{limit}`' for limit in known) or 'none'}"
            yield where, f"there is no limit `{name}`{guess}"
            continue
        for subject in known[name].by:
            yield from ((where, message) for message in _subject_faults(checked, name, subject))


def _subject_faults(checked: _Checked, limit: str, subject: str) -> Iterator[str]:
    kind, _, name = subject.partition(".")
    if kind == "param" and name not in checked.bound:
        yield f"the limit `{limit}` counts by `{subject}`, which the path does not bind"
    if kind == "session" and checked.route.session == "ignore":
        yield f"the limit `{limit}` counts by `{subject}`, but the route ignores the session"


def _secrets(policy: PolicyModel) -> Iterator[Complaint]:
    if policy.session and policy.session.scheme == "signed" and policy.session.secret is None:
        yield ("session", "scheme"), "signed ids are checked with a `secret`, and there is none"


def _session(checked: _Checked) -> Iterator[Complaint]:
    if checked.route.session == "required" and checked.policy.session is None:
        yield (*checked.at, "session"), "the route requires a session, but there is no `session:` to say where they are"
    tenant = checked.policy.tenant
    if checked.route.session == "ignore" and tenant and tenant.enforce and tenant.from_.startswith("session."):
        yield (*checked.at, "session"), "every request would be refused: the session that is ignored names the tenant"
    if checked.route.session_redirect is not None and checked.route.session != "required":
        yield (*checked.at, "session_redirect"), "nobody is sent to log in where no session is required"


def _cache(checked: _Checked) -> Iterator[Complaint]:
    cache, at = checked.cache, (*checked.at, "cache")
    if cache is None:
        return
    yield from (((*at, "scope"), message) for message in _scope_faults(checked, cache))
    if not checked.cached_rules:
        yield at, "only what GET and HEAD fetch is cached, and this route matches neither"
    if cache.mode == "override" and cache.ttl is None and not cache.ttl_by_status:
        yield (*at, "ttl"), "`mode: override` needs a `ttl` to put in place of the origin's"
    if cache.query.allow is not None and cache.query.ignore:
        yield (*at, "query"), "`allow` and `ignore` contradict each other; give one"
    if cache.max_body == 0:
        yield (*at, "max_body"), "nothing would ever be stored; leave `cache` out instead"


def _scope_faults(checked: _Checked, cache: CacheModel) -> Iterator[str]:
    if cache.scope in {"user", "session"}:
        if checked.policy.session is None:
            yield f"`scope: {cache.scope}` needs to know the session, but there is no `session:`"
        if checked.route.session == "ignore":
            yield f"`scope: {cache.scope}` needs the session, but the route ignores it"
    if cache.scope == "tenant" and checked.policy.tenant is None:
        yield "`scope: tenant` needs to know the tenant, but there is no `tenant:`"
    required = checked.route.session == "required"
    if cache.scope == "public" and required and not cache.allow_shared and not names_identity(cache):
        yield (
            "a leak: the route requires a session, yet one user's response would be served to all; "
            "write `scope: user` (or `session`, `tenant`), or `allow_shared: true` if it is the same for everybody"
        )


def _key(checked: _Checked) -> Iterator[Complaint]:
    cache, at = checked.cache, (*checked.at, "cache", "key")
    if cache is None or cache.key is None or not checked.cached_rules:
        return
    paths = list(dict.fromkeys(rule.path.text for rule in checked.cached_rules))
    if len(paths) > 1:
        yield at, f"`{paths[0]}` and `{paths[1]}` would share responses under one key; make them two routes"
        return
    bound = checked.cached_rules[0].path.names
    unknown = [*_unknown_names(cache.key.names, set(bound)), *_session_names(checked, cache.key.names)]
    left_out = [name for name in bound if name not in cache.key.names] if not unknown else []
    yield from ((at, message) for message in unknown)
    for name in left_out:
        yield at, f"the key leaves out `{{{name}}}` of `{paths[0]}`: different paths would share one response"


def _templates(checked: _Checked) -> Iterator[Complaint]:
    for at, template in enumerate(checked.route.purge):
        for message in _unknown_names(template.names, checked.bound):
            yield (*checked.at, "purge", at), message
    if checked.cache is None:
        return
    bound = {name for rule in checked.cached_rules for name in rule.path.names}
    for at, template in enumerate(checked.cache.tags):
        for message in _unknown_names(template.names, bound):
            yield (*checked.at, "cache", "tags", at), message
    if checked.cache.suffix is not None:
        for message in _unknown_names(checked.cache.suffix.names, bound):
            yield (*checked.at, "cache", "suffix"), message


def _unknown_names(names: Iterable[str], bound: set[str]) -> Iterator[str]:
    for name in names:
        source, dot, _ = name.partition(".")
        if dot and source not in SOURCES:
            yield f"`{{{name}}}`: there is no `{source}`; names come from {', '.join(f'`{s}.`' for s in SOURCES)}"
        elif not dot and name not in bound and name not in SINGLE:
            guess = meant(name, bound) or f"; a query parameter is written `{{query.{name}}}`"
            yield f"the path does not bind `{{{name}}}`{guess}"


def _session_names(checked: _Checked, names: Iterable[str]) -> Iterator[str]:
    for name in names:
        if name.startswith("session.") and (checked.policy.session is None or checked.route.session == "ignore"):
            yield f"`{{{name}}}` needs the session, which this route does not have"


def _twice(routes: Sequence[_Checked]) -> Iterator[Complaint]:
    first: dict[str, Path] = {}
    for checked in routes:
        name = checked.route.name
        if name in first:
            yield (*checked.at, "name"), f"`{name}` is already the name of `routes[{first[name][-1]}]`"
        first.setdefault(name, checked.at)


def _never_matched(routes: Sequence[_Checked]) -> Iterator[Complaint]:
    numbered = [Route(name=str(at), match=tuple(checked.route.match)) for at, checked in enumerate(routes)]
    router = Router(numbered)
    for checked, route in zip(routes, numbered, strict=True):
        for at, rule in enumerate(route.match):
            taker = router.shadow_of(rule, route)
            if taker is not None:
                name = routes[int(taker.name)].route.name
                yield (*checked.at, "match", at), f"never reached: the earlier route `{name}` takes all that it matches"


def _key_clashes(routes: Sequence[_Checked]) -> Iterator[Complaint]:
    keyed = [checked for checked in routes if checked.cache is not None and checked.cache.key is not None]
    for one, other in combinations(keyed, 2):
        assert one.cache is not None
        assert other.cache is not None
        if one.cache.version == other.cache.version and _may_equal(one, other):
            yield (
                (*other.at, "cache", "key"),
                f"can be the same key as that of the route `{one.route.name}`: begin them with different words",
            )


def _may_equal(one: _Checked, other: _Checked) -> bool:
    parts = zip_longest(_shape(one), _shape(other))
    return all(a is not None and b is not None and _overlap(a, b) for a, b in parts)


def _shape(checked: _Checked) -> list[str | Kind]:
    """The key's parts: a literal as it is, else what kind of value it holds."""
    assert checked.cache is not None
    assert checked.cache.key is not None
    kinds = {segment.name: segment.kind for rule in checked.cached_rules for segment in rule.path.segments}
    return [_part_shape(part, kinds) for part in _split(checked.cache.key)]


def _split(key: KeyTemplate) -> list[KeyTemplate]:
    return [KeyTemplate.parse(piece) for piece in key.text.split(":")]


def _part_shape(part: KeyTemplate, kinds: dict[str, Kind]) -> str | Kind:
    match part.parts:
        case (str() as literal,):
            return literal
        case (Name(name, None),) if kinds.get(name) is Kind.INT:
            return Kind.INT
        case _:
            return Kind.STR


def _overlap(one: str | Kind, other: str | Kind) -> bool:
    if isinstance(one, str) and isinstance(other, str):
        return one == other
    literal = one if isinstance(one, str) else other
    number = Kind.INT in {one, other}
    return not (isinstance(literal, str) and number and not literal.isdigit())


def _events(policy: PolicyModel) -> Iterator[Complaint]:
    for kind, templates in policy.events.on.items():
        for at, template in enumerate(templates):
            for name in template.names:
                if name.split(".")[0] not in EVENT_ROOTS:
                    yield (
                        ("events", "on", kind, at),
                        f"an event has no `{{{name}}}`; its fields are under `data`: `{{data.{name}}}`",
                    )

"""What is wrong with a policy's conditions, and what is dangerous in them."""

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

from cacheproxy.policy.complaints import meant
from cacheproxy.policy.conditions import NAMED, PLAIN, Condition, open_to, shut_to
from cacheproxy.policy.model_cache import CacheModel, merged
from cacheproxy.policy.model_conditions import ConditionModel, compile_condition
from cacheproxy.policy.models import PolicyModel, RouteModel
from cacheproxy.policy.yaml import Path

Complaint = tuple[Path, str]
_MEMBERS = ("all", "any", "not")
_KNOWN = ", ".join([*(f"`{name}.NAME`" for name in NAMED), *(f"`{name}`" for name in (*PLAIN, *_MEMBERS))])


def condition_complaints(policy: PolicyModel) -> Iterator[Complaint]:
    """Conditions that ask about what there cannot be."""
    for at, route in enumerate(policy.routes):
        cache = merged(route.cache, policy.defaults.cache)
        for steps, model in _conditions(cache) if cache else ():
            for path, subject in _subjects(model, ("routes", at, "cache", *steps)):
                for message in _subject_faults(subject, route, policy):
                    yield path, message


def condition_cautions(policy: PolicyModel) -> Iterator[Complaint]:
    """Conditions by which one client may decide what others are served."""
    for at, route in enumerate(policy.routes):
        cache = merged(route.cache, policy.defaults.cache)
        if cache is None or cache.scope in {"user", "session"}:
            continue
        for name, subject in dict.fromkeys(_deciding(cache)):
            if not _is_keyed(subject, cache):
                yield ("routes", at, "cache", name), _caution(name, subject)


def _conditions(cache: CacheModel) -> Iterator[tuple[Path, ConditionModel]]:
    given = ((("bypass", "when"), cache.bypass.when), (("lookup_when",), cache.lookup_when))
    for steps, model in (*given, (("store_when",), cache.store_when)):
        if model is not None:
            yield steps, model


def _subjects(model: ConditionModel, at: Path) -> Iterator[tuple[Path, str]]:
    for subject in model.tests:
        yield (*at, subject), subject
    parts = [
        *((("all", n), part) for n, part in enumerate(model.all)),
        *((("any", n), p) for n, p in enumerate(model.any)),
    ]
    for steps, part in parts:
        yield from _subjects(part, (*at, *steps))
    if model.not_ is not None:
        yield from _subjects(model.not_, (*at, "not"))


def _subject_faults(subject: str, route: RouteModel, policy: PolicyModel) -> Iterator[str]:
    source, dot, name = subject.partition(".")
    if not (subject in PLAIN or (source in NAMED and name)):
        yield f"a condition cannot ask about `{subject}`: known are {_KNOWN}{_guess(source, dot + name)}"
    elif source == "param" and name not in {name for rule in route.match for name in rule.path.names}:
        yield f"the path does not bind `{name}`{meant(name, (bound for r in route.match for bound in r.path.names))}"
    elif source == "session" and (policy.session is None or route.session == "ignore"):
        yield f"`{subject}` needs the session, which this route does not have"
    elif subject == "tenant" and policy.tenant is None:
        yield "asks about the tenant, but there is no `tenant:`"


def _guess(source: str, rest: str) -> str:
    close = meant(source, NAMED if rest.strip(".") else (*PLAIN, *_MEMBERS))
    return close.replace("`?", f"{rest}`?")


def _deciding(cache: CacheModel) -> Iterator[tuple[str, str]]:
    """What a client may send on the way to having something stored, beside the condition that lets it."""
    store = _compiled(cache.store_when)
    barred = {*_barred(cache), *(shut_to(store, outcome=True) if store else ())}
    if store is not None:
        yield from (("store_when", subject) for subject in open_to(store, outcome=True) if subject not in barred)
    lookup = _compiled(cache.lookup_when)
    if lookup is not None:
        yield from (("lookup_when", subject) for subject in open_to(lookup, outcome=False) if subject not in barred)


def _barred(cache: CacheModel) -> Iterator[str]:
    """What takes a request past the cache, so that nothing of it is stored."""
    bypass = cache.bypass
    yield from (f"query.{name}" for name in bypass.query)
    yield from (f"header.{name.lower()}" for name in bypass.header)
    yield from (f"cookie.{name}" for name in bypass.cookie)
    if bypass.when is not None:
        yield from shut_to(compile_condition(bypass.when), outcome=False)


def _compiled(model: ConditionModel | None) -> Condition | None:
    return None if model is None else compile_condition(model)


def _is_keyed(subject: str, cache: CacheModel) -> bool:
    """Whether requests that differ in ``subject`` do not share a response, or the origin is not told of it."""
    source, _, name = subject.partition(".")
    templates = [template for template in (cache.key, cache.suffix) if template is not None]
    if subject in {each.lower() if source == "header" else each for keyed in templates for each in keyed.names}:
        return True
    match source:
        case "query":
            dropped = cache.query.allow is not None and not _any_of(cache.query.allow, name)
            return not (dropped or _any_of(cache.query.ignore, name))
        case "cookie" | "session":
            return cache.ttl is not None
        case _:
            return source != "header"


def _any_of(globs: Iterable[str], name: str) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)


def _caution(name: str, subject: str) -> str:
    return (
        f"`{subject}` is not in the key: whoever sends it has the origin's answer to it stored for those who do not; "
        + (f'add it to the key, `suffix: "{{{subject}=}}"`, or ' if not subject.startswith("session.") else "")
        + ("store only where it is `absent`" if name == "store_when" else f"add `store_when: {{{subject}: absent}}`")
    )

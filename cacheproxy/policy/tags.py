"""Tags: what stored responses carry, and what purges name. Both sides are made here, so that they agree.

Tags of our own begin with ``@``; ``*`` is on every stored response; ``articles:*`` stands for a beginning of a key.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from cacheproxy.policy.paths import decoded, text_of
from cacheproxy.policy.templates import Lookup, Template, digest, key_part

EVERYTHING = "*"
OF_KEY = "@key/"
"""Before a rendered key template: the tag of what is stored under it."""
_LONGEST_TAG_BYTES = 256
_LONGEST_PLAIN_PATH_BYTES = _LONGEST_TAG_BYTES - len("@path")


@dataclass(frozen=True, slots=True, kw_only=True)
class PurgeRequest:
    """What is asked to be purged. ``tenant`` narrows the rest to one tenant; alone it means all that it has."""

    tags: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    """Whole rendered key templates (``articles:42``), or a literal beginning (``articles:list:*``)."""
    paths: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    tenant: str | None = None
    everything: bool = False


def purge_tags(request: PurgeRequest) -> tuple[str, ...]:
    """The tags that ``request`` purges, each once. ValueError if it names nothing or something that cannot be."""
    named = [
        *(named_tag(tag) for tag in request.tags),
        *(key_tag(key) for key in request.keys),
        *(named_path_tag(path) for path in request.paths),
        *(route_tag(route) for route in request.routes),
    ]
    if request.everything and named:
        raise ValueError("`all` and single names contradict each other: give one or the other")
    if request.tenant:
        named = [tenant_tag(request.tenant, tag) for tag in named] or [tenant_tag(request.tenant)]
    elif request.everything:
        named = [EVERYTHING]
    if not named:
        raise ValueError("the purge names nothing: give tags, keys, paths, routes or a tenant, or say `all`")
    return tuple(dict.fromkeys(named))


def render_tags(templates: Iterable[Template], lookup: Lookup) -> tuple[str, ...]:
    """The tags of ``templates`` under ``lookup``, without those that name what has no value."""
    return all_bounded([tag for template in templates if (tag := template.render(lookup))])


def for_tenant(tags: Sequence[str], tenant: str | None) -> tuple[str, ...]:
    """``tags`` as a response of ``tenant`` carries them: each also in the tenant's own name."""
    if not tenant:
        return tuple(tags)
    return (*tags, tenant_tag(tenant), *(tenant_tag(tenant, tag) for tag in tags if tag != EVERYTHING))


def named_tag(tag: str) -> str:
    """A tag that a person or a service names. ValueError if it is empty, or one of our own."""
    if not tag.strip():
        raise ValueError("a tag must not be empty")
    if tag.startswith("@"):
        raise ValueError(f"the tag `{tag}` begins with `@`: purge by key, path, route or tenant instead")
    return bounded(tag)


def key_tag(key: str) -> str:
    """The tag of a rendered key template, or of a literal beginning of one that ends in ``:*``."""
    if key.endswith(":*") and "*" not in key[:-1]:
        return bounded(key)
    if "*" in key or not key:
        raise ValueError(f"the key `{key}` is not a whole key; a beginning is written as `articles:list:*`")
    return bounded(OF_KEY + key)


def path_tag(path: bytes) -> str:
    """The tag of a path, however it is percent-encoded."""
    if len(path) < _LONGEST_PLAIN_PATH_BYTES and path.isascii() and b"%" not in path:
        return "@path" + path.decode("ascii")
    return bounded("@path" + text_of(decoded(path)))


def named_path_tag(path: str) -> str:
    """The tag of a path that a person or a service names; its query, if any, is left out. ValueError otherwise."""
    if not path.startswith("/"):
        raise ValueError(f"the path `{path}` does not begin with `/`")
    return path_tag(path.partition("?")[0].encode())


@lru_cache(maxsize=4096)
def route_tag(name: str) -> str:
    """The tag of all that a route stored."""
    return bounded("@route/" + name)


def tenant_tag(tenant: str, tag: str = "") -> str:
    """The tag of all that a tenant has stored, or of what it has stored under ``tag``."""
    return f"@tenant/{key_part(tenant)}" + (f"/{tag}" if tag else "")


def all_bounded(tags: Iterable[str]) -> tuple[str, ...]:
    """``tags``, each once and ``bounded``."""
    once = dict.fromkeys(tags)
    together = "".join(once)
    if len(together) <= _LONGEST_TAG_BYTES and together.isascii():
        return tuple(once)
    return tuple(dict.fromkeys(map(bounded, once)))


def bounded(tag: str) -> str:
    """``tag``, or its digest where it is longer than 256 bytes."""
    if len(tag) <= _LONGEST_TAG_BYTES and tag.isascii():
        return tag
    raw = tag.encode("utf-8", "backslashreplace")
    return "@long/" + digest(raw) if len(raw) > _LONGEST_TAG_BYTES else raw.decode()

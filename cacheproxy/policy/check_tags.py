"""Purges of tags that no route gives: allowed, as responses may bring tags of their own."""

from collections.abc import Iterator
from difflib import get_close_matches

from cacheproxy.policy.model_cache import merged
from cacheproxy.policy.models import PolicyModel
from cacheproxy.policy.templates import Template
from cacheproxy.policy.yaml import Path

_NEARLY_THE_SAME = 0.85
"""Likeness from which on a tag is taken for a misspelling."""
_OF_SESSIONS = ("session:{}", "user:{}")
"""Tags of sessions (``sessions.memory``): their purge logs somebody out."""


def tag_cautions(policy: PolicyModel) -> Iterator[tuple[Path, str]]:
    """Purges of a tag that no route gives, where one gives nearly that."""
    given = {_shape(template): template.text for template in _given(policy)}
    of_ours = {*_key_beginnings(policy), *(_OF_SESSIONS if policy.session is not None else ())}
    for at, template in _purged(policy):
        shape = _shape(template)
        close = [] if shape in given else get_close_matches(shape, given, n=1, cutoff=_NEARLY_THE_SAME)
        if close and shape not in of_ours:
            yield at, f"no route gives its responses the tag `{template.text}`; did you mean `{given[close[0]]}`?"


def _given(policy: PolicyModel) -> Iterator[Template]:
    for route in policy.routes:
        cache = merged(route.cache, policy.defaults.cache)
        yield from cache.tags if cache is not None else ()


def _key_beginnings(policy: PolicyModel) -> Iterator[str]:
    """Tags such as ``articles:*``, which cacheproxy gives to what is stored under a key that begins so."""
    for route in policy.routes:
        cache = merged(route.cache, policy.defaults.cache)
        yield from cache.key.prefixes if cache is not None and cache.key is not None else ()


def _purged(policy: PolicyModel) -> Iterator[tuple[Path, Template]]:
    for at, route in enumerate(policy.routes):
        for nth, template in enumerate(route.purge):
            yield ("routes", at, "purge", nth), template
    for kind, templates in policy.events.on.items():
        for nth, template in enumerate(templates):
            yield ("events", "on", kind, nth), template


def _shape(template: Template) -> str:
    """The tag with ``{}`` for every name: an event calls ``data.id`` what a path calls ``id``."""
    return "".join(part if isinstance(part, str) else "{}" for part in template.parts)

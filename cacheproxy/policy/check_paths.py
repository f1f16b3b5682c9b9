"""Paths that are allowed, and surely meant as a pattern of another program's."""

import re
from collections.abc import Iterator

from cacheproxy.policy.models import PolicyModel
from cacheproxy.policy.paths import PathPattern
from cacheproxy.policy.yaml import Path

_COLON = re.compile(r":(?P<name>[A-Za-z_][A-Za-z0-9_]*)")
_ANGLES = re.compile(r"<(?:(?P<kind>int|path|str|string)(?::|(?=>)))?(?P<name>[A-Za-z_][A-Za-z0-9_]*)?>")
_REGEX = re.compile(r"\^.*|.*\$|.*(?:\[[^\]]+\]|\\[dw]|\(\?).*")
_KINDS = {"int": ":int", "path": ":path"}


def path_cautions(policy: PolicyModel) -> Iterator[tuple[Path, str]]:
    """Segments such as ``:id`` (Express), ``<int:id>`` (Flask) and ``[0-9]+``, which match themselves alone."""
    for at, route in enumerate(policy.routes):
        for nth, rule in enumerate(route.match):
            for piece, meant in _unmeant(rule.path):
                yield ("routes", at, "match", nth), f"`{piece}` matches just these characters; write `{meant}`"


def _unmeant(path: PathPattern) -> Iterator[tuple[str, str]]:
    """Each segment that is a pattern elsewhere, and how it is written here."""
    for piece in path.text.split("/"):
        named = _COLON.fullmatch(piece) or _ANGLES.fullmatch(piece)
        if named is not None:
            yield piece, f"{{{named['name'] or 'name'}{_KINDS.get(named.groupdict().get('kind') or '', '')}}}"
        elif _REGEX.fullmatch(piece):
            yield piece, "{name}` or `{name:int}"

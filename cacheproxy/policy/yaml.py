"""YAML read strictly: plain data, and the place of every key and value.

The YAML 1.2 core schema, so that ``on`` is a word and ``12:30`` is not a number; no tags, no duplicate or merge keys,
and bounds on size, depth and what aliases may grow to.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from yaml import MappingNode, Node, ScalarNode, SequenceNode, YAMLError, compose
from yaml.composer import ComposerError
from yaml.loader import SafeLoader

from cacheproxy.errors import Fault, PolicyError
from cacheproxy.policy.yaml_syntax import syntax_fault

Path = tuple[str | int, ...]
"""Where a value is: ``("routes", 0, "cache", "ttl")``."""

_MAX_TEXT_CHARS = 4 << 20
_MAX_NODES = 200_000
_MAX_DEPTH = 32
_VARIABLE = re.compile(r"\$(\$?)\{([^{}]*)\}")
_VARIABLE_BODY = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:(:-)(.*))?", re.DOTALL)
_CORE: tuple[tuple[re.Pattern[str], type], ...] = (
    (re.compile(r"[-+]?[0-9]{1,18}"), int),
    (re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"), float),
)
_WORDS: Mapping[str, bool | None] = {"true": True, "false": False, "null": None, "~": None, "": None}


@dataclass(frozen=True, slots=True)
class Place:
    """Line and column, from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Document:
    """Plain data, and where each key and value stood."""

    data: object
    keys: Mapping[Path, Place] = field(default_factory=dict)
    values: Mapping[Path, Place] = field(default_factory=dict)

    def fault(self, path: Path, message: str, *, at_key: bool = False) -> Fault:
        """A fault at ``path``, or at what holds it where it has no place of its own."""
        place = self._place(path, at_key=at_key)
        return Fault(message, dotted(path), place.line, place.column)

    def _place(self, path: Path, *, at_key: bool) -> Place:
        for end in range(len(path), -1, -1):
            known = self.keys.get(path[:end]) if at_key else None
            place = known or self.values.get(path[:end])
            if place is not None:
                return place
        return Place(0, 0)


def dotted(path: Path) -> str:
    """``routes[0].cache.ttl``."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")


def read_yaml(text: str, source: str, environ: Mapping[str, str]) -> tuple[Document, list[Fault]]:
    """The document in ``text``, with ``${NAME}`` in scalars replaced from ``environ``, and what is wrong with it.

    PolicyError where it is no YAML at all, or too large.
    """
    if len(text) > _MAX_TEXT_CHARS:
        raise PolicyError(source, [Fault("the file is over 4 MiB")])
    try:
        root = compose(text, Loader=_PlainLoader)
    except YAMLError as error:
        raise PolicyError(source, [syntax_fault(error, text)]) from error
    except RecursionError as error:
        raise PolicyError(source, [Fault("nested too deeply")]) from error
    reader = _Reader(environ)
    try:
        data = None if root is None else reader.read(root, ())
    except _TooLargeError as error:
        raise PolicyError(source, [error.fault]) from error
    return Document(data, reader.keys, reader.values), reader.faults


class _PlainLoader(SafeLoader):
    """A loader that takes nothing written with a tag, not even a harmless one."""

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]  # the stubs leave it out
        tag = getattr(event, "tag", None)
        if tag is not None:
            raise ComposerError(None, None, f"tags (`{tag}`) are not supported", event.start_mark)
        return super().compose_node(parent, index)


class _TooLargeError(Exception):
    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        super().__init__(fault.message)


class _Reader:
    """Turns nodes into plain data, noting places and faults on the way."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.keys: dict[Path, Place] = {}
        self.values: dict[Path, Place] = {}
        self.faults: list[Fault] = []
        self._environ = environ
        self._nodes = 0

    def read(self, node: Node, path: Path) -> object:
        self._nodes += 1
        self.values[path] = _place(node)
        if self._nodes > _MAX_NODES:
            raise _TooLargeError(self._fault(node, path, "the file holds too many values (aliases that multiply?)"))
        if len(path) > _MAX_DEPTH:
            raise _TooLargeError(self._fault(node, path, "nested too deeply"))
        if isinstance(node, MappingNode):
            return dict(self._items(node, path))
        if isinstance(node, SequenceNode):
            return [self.read(item, (*path, at)) for at, item in enumerate(node.value)]
        assert isinstance(node, ScalarNode)
        return self._scalar(node, path)

    def _items(self, node: MappingNode, path: Path) -> Iterator[tuple[str | int, object]]:
        seen: dict[str | int, Place] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, path)
            if key is None:
                continue
            where = (*path, key)
            if key in seen:
                message = f"`{key}` is given twice; first on line {seen[key].line}"
                self.faults.append(self._fault(key_node, where, message))
                continue
            seen[key] = self.keys[where] = _place(key_node)
            yield key, self.read(value_node, where)

    def _key(self, node: Node, path: Path) -> str | int | None:
        if not isinstance(node, ScalarNode):
            self.faults.append(self._fault(node, path, "a key must be a single word"))
            return None
        if node.value == "<<" and node.style is None:
            message = "merge keys (`<<`) are not supported; put what routes share under `defaults.cache`"
            self.faults.append(self._fault(node, path, message))
            return None
        return int(node.value) if node.style is None and re.fullmatch("[0-9]{1,9}", node.value) else str(node.value)

    def _scalar(self, node: ScalarNode, path: Path) -> object:
        text = self._expanded(node, path)
        return plain_value(text) if node.style is None else text

    def _expanded(self, node: ScalarNode, path: Path) -> str:
        def value(found: re.Match[str]) -> str:
            if found[1]:
                return f"${{{found[2]}}}"
            parsed = _VARIABLE_BODY.fullmatch(found[2])
            if parsed is None:
                message = f"`{found[0]}` is not `${{NAME}}` or `${{NAME:-default}}`; a literal `$` is `$$`"
                self.faults.append(self._fault(node, path, message))
                return ""
            name, has_default, default = parsed.groups()
            given = self._environ.get(name, "")
            if given or has_default:
                return given or default
            message = f"the environment has no `{name}`; set it, or write `${{{name}:-default}}`"
            self.faults.append(self._fault(node, path, message))
            return ""

        return _VARIABLE.sub(value, node.value)

    def _fault(self, node: Node, path: Path, message: str) -> Fault:
        place = _place(node)
        return Fault(message, dotted(path), place.line, place.column)


def plain_value(text: str) -> object:
    """What an unquoted scalar stands for in the YAML 1.2 core schema (less octal, hexadecimal and infinities)."""
    if text in _WORDS:
        return _WORDS[text]
    for pattern, kind in _CORE:
        if pattern.fullmatch(text):
            return kind(text)
    return text


def _place(node: Node) -> Place:
    return Place(node.start_mark.line + 1, node.start_mark.column + 1)

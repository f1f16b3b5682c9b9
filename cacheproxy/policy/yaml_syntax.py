"""What PyYAML says of text that is no YAML, as a fault with its line, and with what was probably meant."""

from yaml import YAMLError
from yaml.reader import ReaderError

from cacheproxy.errors import Fault

_INDENT = "does this line begin in the column of those beside it?"
_MEANT = (
    ("character '\\t'", "indent with spaces"),
    ("mapping values are not allowed", "is a space missing after a colon, or quotes around a text that holds `: `?"),
    ("expected <block end>", _INDENT),
    ("does not match any outer indentation level", _INDENT),
    ("could not find expected ':'", "a line of a mapping is `key: value`, with a space after the colon"),
    ("found character '@'", "put a text that begins so into quotes"),
    ("found character '%'", "put a text that begins so into quotes"),
    ("found character '`'", "put a text that begins so into quotes"),
    ("another document", "a policy is one document: take out the line `---`"),
    ("undefined alias", "put a text that begins with `*` into quotes"),
)
"""Words of PyYAML's, and what mends most of what they are said of."""


def syntax_fault(error: YAMLError, text: str) -> Fault:
    """The fault that ``error`` stands for, which PyYAML raised on ``text``."""
    if isinstance(error, ReaderError):
        return _unreadable(error, text)
    mark, begun = getattr(error, "problem_mark", None), getattr(error, "context_mark", None)
    problem = str(getattr(error, "problem", None) or error)
    context = str(getattr(error, "context", None) or "")
    if context and begun is not None and mark is not None and begun.line < mark.line:
        context += f" that begins on line {begun.line + 1}"
    message = f"cannot be read as YAML: {problem}" + (f" ({context})" if context else "")
    line = "" if mark is None else "".join(text.splitlines()[mark.line : mark.line + 1])
    message += _meant(problem, context, line)
    return Fault(message) if mark is None else Fault(message, "", mark.line + 1, mark.column + 1)


def _meant(problem: str, context: str, line: str) -> str:
    if "flow" in context and "${" in line:
        return '; between braces write "${NAME}" in quotes'
    if "flow" in context and line.count("{") > 1:
        return "; between braces, put a text that holds `{` into quotes"
    return next((f"; {advice}" for words, advice in _MEANT if words in problem), "")


def _unreadable(error: ReaderError, text: str) -> Fault:
    before = text[: error.position]
    column = error.position - (before.rfind("\n") + 1) + 1
    message = f"cannot be read as YAML: the character U+{ord(text[error.position]):04X} is not allowed in it"
    return Fault(message, "", before.count("\n") + 1, column)

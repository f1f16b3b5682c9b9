"""``serve`` and its options, where they are as plain as they mostly are: read without the library for command lines.

Every sidecar would keep that library in memory, and wait for it to load, to read one line once. Whatever is not plain
(help, what is misspelt, other commands) is for that library, which has the words for it.
"""

from collections.abc import Sequence

OPTIONS = frozenset({"config", "listen", "admin", "upstream", "redis", "workers"})


def serve_options(arguments: Sequence[str]) -> dict[str, str] | None:
    """The options of the ``serve`` in ``arguments``, or None where they are not plain."""
    if arguments[:1] != ["serve"]:
        return None
    options: dict[str, str] = {}
    rest = iter(arguments[1:])
    for argument in rest:
        name, equals, value = argument.removeprefix("--").partition("=")
        if not equals:
            value = next(rest, "-")
        if not argument.startswith("--") or name not in OPTIONS or (value.startswith("-") and not equals):
            return None
        options[name] = value
    return options if options.get("workers", "1").isdecimal() else None

"""How results are printed: lines for people, JSON for programs."""

import json
from collections.abc import Iterable, Sequence


def print_json(result: object) -> None:
    """Print ``result`` as one JSON document."""
    print(json.dumps(result, indent=2, ensure_ascii=False, default=str))


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print ``rows`` under ``head``, in columns."""
    lines = [list(head), *(list(row) for row in rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(head))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def print_pairs(pairs: Iterable[tuple[str, object]]) -> None:
    """Print names and values, one pair a line, leaving out empty values."""
    kept = [(name, value) for name, value in pairs if value not in ("", (), {}, [], None)]
    width = max((len(name) for name, _ in kept), default=0)
    for name, value in kept:
        print(f"{name.ljust(width)}  {_shown(value)}")


def _shown(value: object) -> object:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else value

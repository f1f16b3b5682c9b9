"""docs/operating.md says of every line that the log can have what happened."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operating.md").read_text()
LOGGED = re.compile(r'\blog\.(?:info|warning|error|exception)\(\s*"([^"]+)"|"event": "([^"]+)"}\)')
OUTSIDE = {"demo"}
"""Rooms that are not the sidecar."""


def logged() -> set[str]:
    """The ``event`` of each line that the sidecar writes."""
    rooms = [path for path in (ROOT / "cacheproxy").rglob("*.py") if path.parts[-2] not in OUTSIDE]
    found = (match for path in rooms for match in LOGGED.finditer(path.read_text()))
    return {match[1] or match[2] for match in found}


def explained() -> set[str]:
    """The ``event`` of each row of the table."""
    (table,) = re.findall(r"^\| `event` \|.*?\n\n", PAGE, re.MULTILINE | re.DOTALL)
    rows = re.findall(r"^\| (`.+?`) \|", table, re.MULTILINE)
    return {event for row in rows[1:] for event in re.findall(r"`(\w+)`", row)}


def test_the_page_explains_every_line_of_the_log():
    """And none that is never written. Requests have a sentence of their own."""
    assert logged() - {"request"} == explained()
    assert '`"event": "request"`' in PAGE


def test_events_are_words_to_search_for():
    """One word each, as a search in a log store needs it."""
    assert [event for event in logged() if not re.fullmatch(r"[a-z]+(_[a-z]+)*", event)] == []

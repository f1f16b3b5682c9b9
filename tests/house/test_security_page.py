"""The page about security claims nothing that no test shows."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
CITED = re.findall(r"\[`(test_\w+)`\]\(([^)]+)\)", PAGE.read_text())


@pytest.mark.parametrize(("name", "file"), CITED, ids=[name for name, _ in CITED])
def test_every_test_it_cites_exists(name: str, file: str) -> None:
    """Each row names a test that is in the file it links to."""
    assert f"def {name}(" in (PAGE.parent / file).read_text()


def test_every_row_cites_one() -> None:
    """No defence is claimed without its test."""
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("|") and "---" not in line]
    headings = ("| who ", "| attack ", "| leak ", "| trouble ")
    trusted = ("| the policy", "| the origin |", "| proxies in", "| Redis |", "| clients |")
    assert [] == [row for row in rows if not row.startswith(headings + trusted) and "](../tests/" not in row]

"""docs/requirements.md: every row says what shows it, and all of that exists."""

import ast
import re
import shlex
from functools import cache
from pathlib import Path

import pytest
import typer

from cacheproxy.cli.app import app

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "requirements.md").read_text()
ROWS = re.findall(r"^\| ([A-Z]\d+) \| (.+?) \| (.+) \|$", PAGE, re.MULTILINE)
SHOWN = {name: shown for name, _what, shown in ROWS}
COUNTS = {"C": 11, "I": 5, "S": 3, "L": 3, "E": 4, "T": 2, "D": 2, "N": 3, "O": 4, "F": 4}


def named_tests(shown: str) -> list[tuple[str, str]]:
    """The tests that a row names: file and function."""
    return re.findall(r"`([\w/]+\.py)::(test_\w+)`", shown)


def commands_in(shown: str) -> list[str]:
    """The arguments of each ``cacheproxy`` command that a row names, less those of what is open."""
    return re.findall(r"`cacheproxy ([^`]+)`", shown.partition("**open**")[0])


@cache
def functions(file: str) -> frozenset[str]:
    """The functions that a test file defines."""
    tree = ast.parse((ROOT / "tests" / file).read_text())
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_every_requirement_has_a_row():
    """Once, in order, and none is left out."""
    assert list(SHOWN) == [f"{letter}{number}" for letter, n in COUNTS.items() for number in range(1, n + 1)]
    assert len(ROWS) == len(SHOWN)


@pytest.mark.parametrize("row", SHOWN)
def test_a_row_is_shown_by_tests_that_exist(row):
    """Or says plainly what is open."""
    named = named_tests(SHOWN[row])
    assert named or "**open**: " in SHOWN[row]
    for file, function in named:
        assert function in functions(file), f"{file}::{function}"


@pytest.mark.parametrize("arguments", [each for shown in SHOWN.values() for each in commands_in(shown)])
def test_a_command_that_a_row_names_is_taken(arguments):
    """By the command line as it is."""
    command = typer.main.get_command(app)
    names = shlex.split(arguments)
    with command.make_context("cacheproxy", names) as context:
        name, found, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        found.make_context(name, rest, parent=context)


def test_every_row_about_an_operator_has_a_command():
    """What can be tried by hand says how."""
    assert {row for row, shown in SHOWN.items() if commands_in(shown)} >= {"C2", "C6", "I2", "I4", "E2", "O1"}

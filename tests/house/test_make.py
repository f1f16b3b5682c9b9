"""The commands that people and CI are told to use exist, and are the same."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def recipe(target: str) -> str:
    """What make would run for ``target``, set-up included."""
    made = subprocess.run(
        ["make", "--always-make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30
    )
    return made.stdout


@pytest.mark.parametrize(
    ("target", "commands"),
    [
        ("demo", ["-m cacheproxy demo"]),
        ("demo-check", ["-m cacheproxy demo --self-test"]),
        ("test", ["-m pytest"]),
        ("figures", ["benchmarks/figures.py"]),
        ("check", ["ruff check .", "ruff format --check .", "mypy", "lint-imports"]),
        ("fix", ["ruff check --fix", "ruff format"]),
    ],
)
def test_each_target_sets_itself_up_and_then_does_its_work(target, commands):
    """A fresh clone needs no other command first: the environment is made and filled from the lock, by hash."""
    script = recipe(target)
    places = [script.find(part) for part in ("-m venv", "--require-hashes", "--no-deps", *commands)]
    assert -1 not in places
    assert places == sorted(places)


def test_make_alone_says_what_there_is():
    """It starts nothing, and names every target that there is."""
    said = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30).stdout
    (phony,) = re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"\bmake ([a-z-]+)", said)) == set(phony.split()) - {"help"}


def test_set_up_is_done_once():
    """The environment is made again only when a lock or the project file changed."""
    rules = (ROOT / "Makefile").read_text()
    assert "$(VENV)/dev.stamp: requirements-dev.lock" in rules
    assert "$(VENV)/%.stamp: pyproject.toml" in rules


def test_ci_runs_what_people_run():
    """CI has no checks of its own that nobody can run at home."""
    script = (ROOT / ".ci" / "run").read_text()
    assert re.findall(r"^make (\S+)$", script, re.MULTILINE) == ["check", "demo-check", "conformance", "test"]
    subprocess.run(["sh", "-n", ROOT / ".ci" / "run"], check=True, timeout=30)

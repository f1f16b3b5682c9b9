"""What a page shows to be copied can be: policies load, and what Python imports is there."""

import re
from importlib import import_module
from pathlib import Path

import pytest

from cacheproxy.policy.load import load_policy

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
ENVIRON = {"PROBE": "a secret of some length"}
"""What the pages say that the environment has."""


def shown(language: str) -> list[object]:
    """Each block of ``language``, named by its page and place."""
    return [
        pytest.param(block, id=f"{page.stem}-{at}")
        for page in PAGES
        for at, block in enumerate(
            re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
        )
    ]


@pytest.mark.parametrize("policy", shown("yaml"))
def test_a_policy_is_one(policy: str) -> None:
    """By itself, but for the line that says its version."""
    load_policy(policy if policy.startswith("version:") else f"version: 1\n{policy}", "page", ENVIRON)


@pytest.mark.parametrize("code", shown("python"))
def test_what_is_imported_of_ours_is_there(code: str) -> None:
    """Under the names that the page gives it."""
    for module, names in re.findall(r"^from (cacheproxy\S*) import ([\w, ]+)", code, re.MULTILINE):
        for name in names.split(","):
            assert hasattr(import_module(module), name.strip())

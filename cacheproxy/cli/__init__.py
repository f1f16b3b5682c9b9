"""The command line."""

import os
import sys

_INTERRUPTED = 130
"""As shells have it, and typer."""


def main() -> None:
    """Run the command that the arguments name. Exits with 0, with 1 if it found something, with 2 if misused."""
    from cacheproxy.errors import CacheproxyError, PolicyError  # noqa: PLC0415 (so that importing this costs nothing)

    # There are none; and to look for them pydantic reads what is installed, whole, before the first model is made.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        _run()
    except PolicyError as error:
        for line in error.lines():
            print(line, file=sys.stderr)
        sys.exit(2)
    except CacheproxyError as error:
        print(f"cacheproxy: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


def _run() -> None:
    from cacheproxy.cli.serve_options import serve_options  # noqa: PLC0415

    options = serve_options(sys.argv[1:])
    if options is None:
        from cacheproxy.cli.app import app  # noqa: PLC0415

        app(prog_name="cacheproxy")
    else:
        from cacheproxy.cli.serve import run  # noqa: PLC0415
        from cacheproxy.settings import Settings  # noqa: PLC0415

        sys.exit(run(Settings.load(**options)))

"""The command line."""

import sys


def main() -> None:
    """Run the command that the arguments name. Exits with 0, with 1 if it found something, with 2 if misused."""
    from cacheproxy.cli.app import app  # noqa: PLC0415 (so that importing this package costs nothing)
    from cacheproxy.errors import CacheproxyError, PolicyError  # noqa: PLC0415

    try:
        app(prog_name="cacheproxy")
    except PolicyError as error:
        for line in error.lines():
            print(line, file=sys.stderr)
        sys.exit(2)
    except CacheproxyError as error:
        print(f"cacheproxy: {error}", file=sys.stderr)
        sys.exit(1)

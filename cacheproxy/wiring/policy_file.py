"""The policy file, as it is on disk now."""

from pathlib import Path

from cacheproxy.errors import Fault, PolicyError


def policy_text(file: Path) -> str:
    """What ``file`` holds. PolicyError where it cannot be read."""
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError(
            str(file), [Fault(f"cannot be read: {error}; `cacheproxy init` writes a first one")]
        ) from error

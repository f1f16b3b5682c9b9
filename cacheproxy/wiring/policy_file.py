"""The policy file, as it is on disk now."""

from pathlib import Path

from cacheproxy.errors import Fault, PolicyError


def policy_text(file: Path) -> str:
    """What ``file`` holds. PolicyError where it cannot be read."""
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        message = "cannot be read: there is no such file; `cacheproxy init` writes a first one"
        raise PolicyError(str(file), [Fault(message)]) from error
    except UnicodeDecodeError as error:
        raise PolicyError(str(file), [Fault(f"is not UTF-8 text: {error.reason} at byte {error.start}")]) from error
    except OSError as error:
        raise PolicyError(str(file), [Fault(f"cannot be read: {error.strerror}")]) from error

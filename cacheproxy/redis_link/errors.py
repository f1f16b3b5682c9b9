"""Every way in which Redis fails, in our own words: translated here, and nowhere else."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from hiredis import ReplyError

from cacheproxy.errors import StateError


class Lost(StrEnum):
    """The reasons a StateError of this room may give."""

    REFUSED = "refused"
    TIMEOUT = "timeout"
    LOST = "lost"
    READONLY = "readonly"
    LOADING = "loading"
    ERROR = "error"
    OPEN = "open"


UNUSABLE = {"READONLY": Lost.READONLY, "LOADING": Lost.LOADING, "MASTERDOWN": Lost.LOADING, "CLUSTERDOWN": Lost.LOADING}
"""Error codes that condemn the server as it is now; any other code condemns only the command."""


def state_error(reply: ReplyError) -> StateError:
    """What an error reply means. Its text is the server's own, which names no password."""
    text = str(reply)
    return StateError(UNUSABLE.get(text.partition(" ")[0], Lost.ERROR), text)


@contextmanager
def redis_errors() -> Iterator[None]:
    """Turn what sockets and time limits raise into StateError; anything else is our bug and passes."""
    try:
        yield
    except TimeoutError as error:
        raise StateError(Lost.TIMEOUT, str(error) or "no answer in time") from error
    except OSError as error:
        raise StateError(Lost.LOST, str(error)) from error

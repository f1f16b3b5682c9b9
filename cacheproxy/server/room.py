"""Room for connections: how many there may be, and which one gives way where there are as many."""

import resource
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import islice

MOST_CONNECTIONS = 16_384
LEAST_CONNECTIONS = 64
RESERVED_DESCRIPTORS = 512
"""For the origin, Redis, the admin port and files."""
MOST_ASKED = 256


def make_room(connections: Iterable[object]) -> bool:
    """Whether one of ``connections`` gave way, of those that can. Of very many not all are asked."""
    for connection in islice(connections, MOST_ASKED):
        give_way: Callable[[], bool] | None = getattr(connection, "give_way", None)
        if give_way is not None and give_way():
            return True
    return False


def most_connections() -> int:
    """How many clients may be connected at once, the process's limit of descriptors having been raised for them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_CONNECTIONS + RESERVED_DESCRIPTORS
    if soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
            soft = allowed
    return max(LEAST_CONNECTIONS, min(MOST_CONNECTIONS, soft - RESERVED_DESCRIPTORS))

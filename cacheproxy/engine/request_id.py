"""A name for each request, the client's own where it is well formed."""

import re
from itertools import count
from secrets import token_hex

_WELL_FORMED = re.compile(rb"[A-Za-z0-9._:+/=@-]{1,128}")


class RequestIds:
    """Hands out names that are unique among all replicas: a random prefix of this process, and a count."""

    __slots__ = ("_count", "_prefix")

    def __init__(self) -> None:
        """Start a new prefix."""
        self._prefix = token_hex(6).encode()
        self._count = count(1)

    def new(self) -> bytes:
        """A new name."""
        return b"%s%08x" % (self._prefix, next(self._count))

    def named(self, given: bytes | None) -> bytes:
        """``given`` if it may be passed on and logged as it is, else a new one."""
        if given is None or not _WELL_FORMED.fullmatch(given):
            return b"%s%08x" % (self._prefix, next(self._count))
        return given

    def of(self, given: bytes | None) -> str:
        """The same as text."""
        return self.named(given).decode()

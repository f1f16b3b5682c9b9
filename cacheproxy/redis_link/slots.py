"""Which node of a cluster a command goes to: by the slot of its key (Redis Cluster specification)."""

from binascii import crc_hqx
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cacheproxy.redis_link.contract import Arg
from cacheproxy.redis_link.endpoint import Address

_SCRIPTS = {"EVAL", "EVALSHA", "FCALL"}
_SLOTS = 16384
_KEYLESS = {"PING", "ECHO", "PUBLISH", "TIME", "INFO", "CLIENT", "CONFIG", "SCRIPT", "CLUSTER", "COMMAND"}


def slot_of(command: Sequence[Arg]) -> int | None:
    """The slot of the command's first key, or None where any node will do."""
    name = str(command[0]).upper()
    if name in _KEYLESS:
        return None
    if name in _SCRIPTS:
        return _key_slot(command[3]) if int(command[2]) else None
    if name in {"XREAD", "XREADGROUP"}:
        words = [str(word).upper() for word in command]
        return _key_slot(command[words.index("STREAMS") + 1])
    return _key_slot(command[1]) if len(command) > 1 else None


@dataclass(frozen=True, slots=True)
class SlotMap:
    """The masters of a cluster and their slots, as one of its nodes sees them."""

    ranges: tuple[tuple[int, int, Address], ...] = ()

    @property
    def masters(self) -> list[Address]:
        """Every master once, in the order of their slots."""
        return list(dict.fromkeys(address for _, _, address in self.ranges))

    def owner(self, slot: int) -> Address | None:
        """The master of ``slot``, or None where the cluster has none."""
        return next((address for first, last, address in self.ranges if first <= slot <= last), None)

    @classmethod
    def of(cls, reply: Sequence[Sequence[Any]], asked: Address) -> "SlotMap":
        """Read the reply to CLUSTER SLOTS. A node that does not know its own host is the one that was ``asked``."""
        return cls(
            tuple((first, last, _address(master, asked)) for first, last, master, *_ in sorted(reply, key=_first))
        )


@dataclass(frozen=True, slots=True)
class Redirect:
    """Where a node sends us: for good (MOVED) or for this one command while a slot is on its way (ASK)."""

    address: Address
    for_good: bool

    @classmethod
    def of(cls, error: str, asked: Address) -> "Redirect | None":
        """Read an error reply; None if it is no redirection."""
        kind, _, rest = error.partition(" ")
        if kind not in {"MOVED", "ASK"}:
            return None
        host, _, port = rest.rpartition(" ")[2].rpartition(":")
        return cls((host or asked[0], int(port)), kind == "MOVED")


def _first(one: Sequence[Any]) -> int:
    return int(one[0])


def _address(master: Sequence[Any], asked: Address) -> Address:
    host, port = master[0], master[1]
    return (host.decode() if host else asked[0], int(port))


def _key_slot(key: Arg) -> int:
    """Of a key with braces only what is between the first pair counts, unless that is nothing."""
    whole = key if isinstance(key, bytes) else str(key).encode()
    tag = whole.partition(b"{")[2].partition(b"}")
    return crc_hqx(tag[0] if tag[0] and tag[1] else whole, 0) % _SLOTS

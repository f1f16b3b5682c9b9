"""What an upstream service imports: publish, purge, tag, lock, sessions, and who its caller is."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cacheproxy.client.lock import Lock, LockError, LockLostError, LockNotAcquiredError, SyncLock
    from cacheproxy.client.publisher import Publisher, SyncPublisher
    from cacheproxy.client.seal import verify_seal
    from cacheproxy.client.sessions import SessionConflictError, Sessions, SyncSessions

__all__ = [
    "Lock",
    "LockError",
    "LockLostError",
    "LockNotAcquiredError",
    "Publisher",
    "SessionConflictError",
    "Sessions",
    "SyncLock",
    "SyncPublisher",
    "SyncSessions",
    "verify_seal",
]

_HOMES = {
    **dict.fromkeys(("Lock", "LockError", "LockLostError", "LockNotAcquiredError", "SyncLock"), "lock"),
    **dict.fromkeys(("Publisher", "SyncPublisher"), "publisher"),
    **dict.fromkeys(("SessionConflictError", "Sessions", "SyncSessions"), "sessions"),
    "verify_seal": "seal",
}


def __getattr__(name: str) -> Any:
    """Load what is asked for when it is: the sidecar uses parts of this room that need no redis-py."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)

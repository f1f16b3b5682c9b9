"""What an upstream service imports: publish, purge, tag, lock, sessions, and who its caller is."""

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

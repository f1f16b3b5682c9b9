"""What an upstream service imports: publish, purge, tag, lock, sessions."""

from cacheproxy.client.lock import Lock, LockError, LockLostError, LockNotAcquiredError, SyncLock
from cacheproxy.client.publisher import Publisher, SyncPublisher

__all__ = [
    "Lock",
    "LockError",
    "LockLostError",
    "LockNotAcquiredError",
    "Publisher",
    "SyncLock",
    "SyncPublisher",
]

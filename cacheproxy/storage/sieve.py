"""SIEVE: whom to evict (Zhang et al., "SIEVE is Simpler than LRU", NSDI 2024)."""

from typing import Generic, TypeVar


class Node:
    """What stands in the queue: older and newer neighbours, and whether it was asked for since the hand passed."""

    __slots__ = ("newer", "older", "visited")

    def __init__(self) -> None:
        """Stand in no queue."""
        self.newer: Node | None = None
        self.older: Node | None = None
        self.visited = False


N = TypeVar("N", bound=Node)


class Sieve(Generic[N]):
    """A queue by age with a hand that moves from the oldest to the newest and round again.

    A hit sets ``visited`` and moves nothing, which is why it costs so little.
    """

    def __init__(self) -> None:
        """An empty queue."""
        self._newest: Node | None = None
        self._oldest: Node | None = None
        self._hand: Node | None = None

    def add(self, node: N) -> None:
        """Put ``node`` in as the newest."""
        node.older, node.newer = self._newest, None
        if self._newest is None:
            self._oldest = node
        else:
            self._newest.newer = node
        self._newest = node

    def remove(self, node: N) -> None:
        """Take ``node`` out, wherever it stands."""
        if self._hand is node:
            self._hand = node.newer
        if node.older is None:
            self._oldest = node.newer
        else:
            node.older.newer = node.newer
        if node.newer is None:
            self._newest = node.older
        else:
            node.newer.older = node.older
        node.older = node.newer = None

    def victim(self) -> N:
        """The node to evict next; it stays in until removed. IndexError if the queue is empty."""
        hand = self._hand or self._oldest
        if hand is None:
            raise IndexError("the queue is empty")
        while hand.visited:
            hand.visited = False
            hand = hand.newer or self._oldest
            assert hand is not None
        self._hand = hand
        return hand  # type: ignore[return-value]  # only N was ever added

    def clear(self) -> None:
        """Let everybody go, unlinked: a ring of dead nodes would wait for the garbage collector."""
        node = self._oldest
        while node is not None:
            following = node.newer
            node.older = node.newer = None
            node = following
        self._newest = self._oldest = self._hand = None

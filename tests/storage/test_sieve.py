"""SIEVE against the paper's own pseudocode, written as plainly as can be."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cacheproxy.storage.sieve import Node, Sieve


class SieveAsWritten(RuleBasedStateMachine):
    """The linked queue behaves as a list and an index do (Zhang et al., NSDI 2024, algorithm 1)."""

    @initialize()
    def begin(self) -> None:
        """Both empty."""
        self.sieve: Sieve[Node] = Sieve()
        self.queue: list[Node] = []  # oldest first
        self.hand: Node | None = None

    @rule()
    def add(self) -> None:
        """A new node is the newest."""
        node = Node()
        self.sieve.add(node)
        self.queue.append(node)

    @precondition(lambda self: self.queue)
    @rule(data=st.data())
    def hit(self, data: st.DataObject) -> None:
        """A hit marks and moves nothing."""
        data.draw(st.sampled_from(self.queue)).visited = True

    @precondition(lambda self: self.queue)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        """Any node may leave; a hand that stood on it moves on to the newer one."""
        node = data.draw(st.sampled_from(self.queue))
        at = self.queue.index(node)
        if self.hand is node:
            self.hand = self.queue[at + 1] if at + 1 < len(self.queue) else None
        self.queue.pop(at)
        self.sieve.remove(node)

    @precondition(lambda self: self.queue)
    @rule()
    def evict(self) -> None:
        """The victim is the first unmarked node from the hand towards the newest, and round again."""
        marks = {id(node): node.visited for node in self.queue}
        victim = self.sieve.victim()
        at = self.queue.index(self.hand) if self.hand is not None else 0
        while marks[id(self.queue[at])]:
            marks[id(self.queue[at])] = False
            at = (at + 1) % len(self.queue)
        assert victim is self.queue[at]
        assert [node.visited for node in self.queue] == [marks[id(node)] for node in self.queue]
        self.hand = self.queue[at + 1] if at + 1 < len(self.queue) else None
        self.queue.pop(at)
        self.sieve.remove(victim)

    @rule()
    def clear(self) -> None:
        """All may leave at once."""
        self.sieve.clear()
        self.queue.clear()
        self.hand = None

    @invariant()
    def neighbours_are_right(self) -> None:
        """Both directions of the queue agree with the list."""
        for older, newer in zip(self.queue, self.queue[1:], strict=False):
            assert older.newer is newer
            assert newer.older is older


TestSieve = SieveAsWritten.TestCase

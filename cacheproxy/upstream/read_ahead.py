"""Memory for what the origin has sent and clients have not taken yet, so that its connections are free for others.

A client may read slowly. As many of them as there are connections would leave none to anybody else; so a body that is
not long is taken in at the origin's pace, as far as there is memory for all of them together.
"""


class ReadAhead:
    """A number of bytes that bodies may hold beside the little that each of them may."""

    __slots__ = ("free_bytes",)

    def __init__(self, total_bytes: int) -> None:
        """Lend out ``total_bytes``."""
        self.free_bytes = total_bytes

    def take(self, wanted_bytes: int) -> bool:
        """Lend ``wanted_bytes``; False, and nothing is lent, where they are not there."""
        if wanted_bytes > self.free_bytes:
            return False
        self.free_bytes -= wanted_bytes
        return True

    def give_back(self, lent_bytes: int) -> None:
        """Take back ``lent_bytes``."""
        self.free_bytes += lent_bytes

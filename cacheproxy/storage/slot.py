"""One entry in L1, folded small, with what its neighbours and the tag clock remember about it."""

from sys import getsizeof, maxsize

from cacheproxy.semantics.rules import Coding
from cacheproxy.semantics.tag_clock import Verdict
from cacheproxy.semantics.vary import VariantRef
from cacheproxy.storage.compact import Commons, fold, unfold, unfold_tags
from cacheproxy.storage.contract import Entry
from cacheproxy.storage.mirror import ClockMirror
from cacheproxy.storage.sieve import Node
from cacheproxy.storage.variants import ref_of


class Slot(Node):
    """One entry in L1."""

    __slots__ = (
        "_commons",
        "_folded",
        "_judged_at",
        "_vouched_us",
        "body",
        "forms",
        "keep_until",
        "key",
        "ref",
        "verdict",
    )

    def __init__(self, entry: Entry, commons: Commons, mirror: ClockMirror, vouched_us: int = 0) -> None:
        """Fold ``entry``, and judge it; the tag clock is known to have let it live up to ``vouched_us``."""
        super().__init__()
        self.key = entry.key
        self.body = entry.body
        """Let go of when the slot is dropped: who still knows of it must not keep that alive."""
        self.forms: dict[Coding, bytes] = _NO_FORMS
        """The body in other codings, made so far; where it does not shrink, itself."""
        self.keep_until = entry.keep_until
        self.ref: VariantRef | None = ref_of(entry) if entry.vary else None
        """What to choose it by; None where the response has no Vary."""
        self._vouched_us = vouched_us
        self.verdict = mirror.judge(entry.stamp, entry.tags, vouched_us)
        self._judged_at = mirror.turn
        self._folded = fold(entry, commons)
        self._commons = commons

    @property
    def entry(self) -> Entry:
        """The entry, unfolded anew: a few microseconds."""
        return unfold(self.key, self._folded, self.body, self._commons)

    @property
    def cost_bytes(self) -> int:
        """Memory it takes: every object it alone keeps alive, as the allocators round them."""
        sizes = _occupied(self.key) + _occupied(self._folded) + _occupied(self.body)
        return _FIXED_BYTES + sizes + (_REF_BYTES if self.ref else 0) + (self._forms_bytes if self.forms else 0)

    @property
    def _forms_bytes(self) -> int:
        return getsizeof(self.forms) + sum(_occupied(form) for form in self.forms.values() if form is not self.body)

    def inherit(self, old: "Slot") -> None:
        """Take over from ``old``, which this replaces: its place in the queue's favour, and forms of the same body."""
        self.visited = old.visited
        if self.body is old.body:
            self.forms = old.forms

    def place_of(self, body: bytes) -> "Slot | FormPlace":
        """The place of ``body``, which is this slot's or that of one of its forms."""
        for coding, form in self.forms.items():
            if form is body and body is not self.body:
                return FormPlace(self, coding)
        return self

    def let_go(self) -> None:
        """Be dead for good and keep no body alive, for whoever still knows of this slot."""
        self.body = b""
        self.forms = _NO_FORMS
        self.verdict = Verdict.DEAD
        self._judged_at = _FOR_GOOD

    def judged(self, mirror: ClockMirror) -> Verdict:
        """What the tag clock says of it. One comparison of integers where nothing was purged since it was asked."""
        if self._judged_at < mirror.turn:
            self._judged_at = mirror.turn
            self.verdict = mirror.judge(*unfold_tags(self._folded, self._commons), self._vouched_us)
        return self.verdict


class FormPlace:
    """A coded form's place in L1, for whoever is to keep it no longer than its slot does."""

    __slots__ = ("_coding", "_slot")

    def __init__(self, slot: Slot, coding: Coding) -> None:
        """The form of the body in ``slot``."""
        self._slot = slot
        self._coding = coding

    @property
    def body(self) -> bytes:
        """The form; empty once the slot was dropped."""
        return self._slot.forms.get(self._coding, b"")

    @property
    def visited(self) -> bool:
        """Whether the slot was asked for."""
        return self._slot.visited

    @visited.setter
    def visited(self, visited: bool) -> None:
        self._slot.visited = visited


def _occupied(value: str | bytes) -> int:
    """Bytes that ``value`` takes: pymalloc rounds up to 16, and beyond 512 malloc adds its own 16."""
    size = getsizeof(value)
    return (size + 15 & ~15) + (16 if size > 512 else 0)


_NO_FORMS: dict[Coding, bytes] = {}
"""Shared by all that have none: replaced, never added to."""
_FOR_GOOD = maxsize
"""A turn of the tag clock that it never gets beyond."""
_FIXED_BYTES = 144 + 32 + 32
"""The slot, its ``keep_until``, and one number of its own."""
_REF_BYTES = 400
"""A VariantRef with its parts, and its place in the key's list."""

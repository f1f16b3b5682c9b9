"""The express lane: a reply that hangs on nothing but its request's head and what is at hand is repeated as bytes.

It has no rules of its own. The ordinary way answers first, and says (``Reply.shelved``) on what its answer hangs, and
for how long. While that stands, heads that differ in nothing that was read get the same bytes, with what changes put in
anew: Age, ttl, request id, and what is left of limits. Sessions and limits are asked about each time, by the same means
as on the ordinary way (``engine.gate``); what they cannot say at once may be waited for (``ask``), still without
deciding the rest anew.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from cacheproxy.clock import Clock
from cacheproxy.engine.gate import Gate
from cacheproxy.engine.record import Journal
from cacheproxy.engine.reply import Reply, Terms
from cacheproxy.engine.request_id import RequestIds
from cacheproxy.limits.contract import Admitted, Asked, Limited, LimitState
from cacheproxy.policy.route import Policy
from cacheproxy.server.known import KnownHit, KnownRefusal, known_answer
from cacheproxy.server.lines import Lines
from cacheproxy.server.signature import FieldBlock

Written = tuple[bytes, bytes]
"""A response in two parts, of which the second may be empty."""


class Shelf(Protocol):
    """L1 (``storage.memory.MemoryStore``)."""

    def unchanged(self, place: object, monotonic: float) -> bool:
        """Whether nothing was stored, dropped or purged at ``place`` since."""
        ...


class Asking(NamedTuple):
    """A request that waits for what its limits say."""

    known: KnownHit
    block: FieldBlock


class ExpressLane:
    """Knows what was answered from L1, or refused, lately. Bounded in bytes: the oldest are forgotten."""

    def __init__(
        self,
        shelf: Shelf,
        gate: Gate,
        journal: Journal,
        clock: Clock,
        in_force: Callable[[], Policy | None],
        max_bytes: int = 16 << 20,
    ) -> None:
        """Answer from ``shelf`` by the policy ``in_force``; ``max_bytes`` bounds what is known."""
        self._shelf = shelf
        self._gate = gate
        self._journal = journal
        self._in_force = in_force
        self._now, self._monotonic = clock.now, clock.monotonic
        self._request_ids = RequestIds()
        self._lines = Lines(max_bytes)
        self._knows_limits = False
        """Whether any answer that was learnt hangs on limits."""

    def answer(self, raw: bytes, *, trusted: bool, peer: str = "") -> Written | None:
        """The response to the request head ``raw``, or None: then ``ask``, or the ordinary way, must find it.

        ``trusted`` says whether it came from a proxy that is believed: then the same head may mean something else.
        """
        found = self._lines.find(raw, trusted, peer)
        if found is None:
            return None
        known, block = found
        if self._journal.sampled():
            if isinstance(known, KnownHit):
                self._journal.stands_for_many(known.shelved.key)
            return None
        started = self._monotonic()
        if isinstance(known, KnownHit) and self._stands(known, started):
            admitted = self._gate.admit_now(known.checks) if known.checks else _UNLIMITED
            return None if admitted is None else self._repeat(known, block, admitted.states, started)
        written = self._refuse(known, block, started) if isinstance(known, KnownRefusal) else None
        if written is None:
            self._lines.forget(raw, trusted=trusted, peer=peer)
        return written

    def asking(self, raw: bytes, *, trusted: bool, peer: str) -> Asking | None:
        """The hit that ``raw`` may be answered with, once its limits have been asked elsewhere."""
        found = self._lines.find(raw, trusted, peer) if self._knows_limits else None
        if found is None:
            return None
        known, block = found
        return Asking(known, block) if isinstance(known, KnownHit) and known.checks else None

    async def ask(self, asking: Asking) -> Written | Asked:
        """The response; or only what its limits said, where the ordinary way must find the response."""
        known, started = asking.known, self._monotonic()
        asked = await self._gate.ask(known.checks)
        if isinstance(asked.verdict, Limited) or not self._stands(known, self._monotonic()):
            return asked
        self._gate.note(asked)
        return self._repeat(known, asking.block, asked.verdict.states, started)

    def learn(self, raw: bytes, reply: Reply, head: bytes, *, method: str, trusted: bool, peer: str = "") -> None:
        """Remember that ``raw`` was answered with ``head`` and the body of ``reply``, which says on what it hangs."""
        if reply.shelved is None or not self._holds(reply.shelved.terms):
            return
        known = known_answer(method, head, reply, self._journal)
        if known is not None:
            self._knows_limits |= bool(reply.shelved.terms.checks)
            self._lines.learn(raw, known, reply.shelved.terms, trusted=trusted, peer=peer)

    def clear(self) -> None:
        """Forget everything: the policy has changed."""
        self._lines.clear()

    def _holds(self, terms: Terms) -> bool:
        """Whether what was answered on ``terms`` may be repeated: not what an earlier policy said."""
        return terms.policy is self._in_force() and self._gate.knows(terms.session)

    def _stands(self, known: KnownHit, monotonic: float) -> bool:
        """Whether what ``known`` hangs on, its limits aside, is still the same."""
        return (
            self._shelf.unchanged(known.place, monotonic)
            and (known.session is None or self._gate.knows(known.session))
            and known.is_current(self._now())
        )

    def _repeat(self, known: KnownHit, block: FieldBlock, states: Sequence[LimitState], started: float) -> Written:
        known.slot.visited = True
        written = known.written(self._request_ids.named(block.request_id), states)
        known.tally.add(self._monotonic() - started)
        return written

    def _refuse(self, known: KnownRefusal, block: FieldBlock, started: float) -> Written | None:
        """The refusal, where it is certain still."""
        terms = known.blocked.terms
        limited = self._gate.refusal_now(terms.checks) if self._gate.knows(terms.session) else None
        if limited is None:
            return None
        written = known.written(self._request_ids.named(block.request_id), limited, self._now())
        known.tally.add(self._monotonic() - started)
        return written


_UNLIMITED = Admitted()

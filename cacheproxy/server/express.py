"""The express lane: a reply that hangs on nothing but its request's head and what is at hand is repeated as bytes.

It has no rules of its own. The ordinary way answers first, and says (``Reply.shelved``) on what its answer hangs, and
for how long. While that stands, heads that differ in nothing that was read get the same bytes, with what changes put in
anew: Age, ttl, request id, and what is left of limits. Sessions and limits are asked about each time, by the same means
as on the ordinary way (``engine.gate``); what they cannot say at once may be waited for (``ask``), still without
deciding the rest anew.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, assert_never

from cacheproxy.clock import Clock
from cacheproxy.engine.gate import Gate
from cacheproxy.engine.record import Journal
from cacheproxy.engine.reply import Reply, Terms
from cacheproxy.engine.request_id import RequestIds
from cacheproxy.limits.contract import Admitted, Asked, Limited
from cacheproxy.policy.route import Policy
from cacheproxy.server.known import Known, KnownHit, KnownRefusal, known_answer
from cacheproxy.server.signature import FieldBlock, FieldBlocks

MAX_HEAD_BYTES = 4096

Written = tuple[bytes, bytes]
"""A response in two parts, of which the second may be empty."""
Key = bytes | tuple[bytes, str]
"""A signature, with the peer's address where that matters."""


class Shelf(Protocol):
    """L1 (``storage.memory.MemoryStore``)."""

    def unchanged(self, key: str, place: tuple[object, int], monotonic: float) -> bool:
        """Whether nothing under ``key`` was stored, dropped or purged since ``place``."""
        ...


@dataclass(slots=True, kw_only=True)
class _Line:
    """What is known of one request line: by which fields, and which answers."""

    unread: frozenset[bytes]
    by_peer: bool
    answers: dict[Key, Known] = field(default_factory=dict)

    def key(self, block: FieldBlock, peer: str) -> Key:
        signature = block.signature(self.unread)
        return (signature, peer) if self.by_peer else signature


class _Place(NamedTuple):
    """Where an answer is known. A tuple, as one is made for each hit."""

    trusted: bool
    line: bytes
    key: Key


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
        self._max_bytes = max_bytes
        self._blocks = FieldBlocks()
        self._lines: tuple[dict[bytes, _Line], dict[bytes, _Line]] = ({}, {})
        """By request line: for clients, and for proxies that are believed."""
        self._bytes = 0

    def answer(self, raw: bytes, *, trusted: bool, peer: str = "") -> Written | None:
        """The response to the request head ``raw``, or None: then ``ask``, or the ordinary way, must find it.

        ``trusted`` says whether it came from a proxy that is believed: then the same head may mean something else.
        """
        found = self._find(raw, trusted, peer)
        if found is None:
            return None
        known, block, place = found
        started = self._monotonic()
        if (due := self._journal.due()) or not self._stands(known, started):
            if due and isinstance(known, KnownHit):
                self._journal.stands_for_many(known.shelved.key)
            self._forget(place)
            return None
        if isinstance(known, KnownRefusal):
            return self._refuse(known, place, block, started)
        admitted: Admitted | None = _UNLIMITED
        if known.shelved.terms.checks:
            admitted = self._gate.admit_now(known.shelved.terms.checks)
        return None if admitted is None else self._repeat(known, self._id(block), admitted, started)

    def asking(self, raw: bytes, *, trusted: bool, peer: str) -> Asking | None:
        """The hit that ``raw`` may be answered with, once its limits have been asked elsewhere."""
        found = self._find(raw, trusted, peer)
        if found is None:
            return None
        known, block, _ = found
        return Asking(known, block) if isinstance(known, KnownHit) and known.shelved.terms.checks else None

    async def ask(self, asking: Asking) -> Written | Asked:
        """The response; or only what its limits said, where the ordinary way must find the response."""
        known, started = asking.known, self._monotonic()
        asked = await self._gate.ask(known.shelved.terms.checks)
        if isinstance(asked.verdict, Limited) or not self._stands(known, self._monotonic()):
            return asked
        self._gate.note(asked)
        return self._repeat(known, self._id(asking.block), asked.verdict, started)

    def learn(self, raw: bytes, reply: Reply, head: bytes, *, method: str, trusted: bool, peer: str = "") -> None:
        """Remember that ``raw`` was answered with ``head`` and the body of ``reply``, which says on what it hangs."""
        shelved = reply.shelved
        if shelved is None or len(raw) > MAX_HEAD_BYTES or not self._holds(shelved.terms):
            return
        name, _, fields = raw.partition(b"\r\n")
        line = self._line(name, shelved.terms, trusted=trusted)
        known, block = known_answer(method, head, reply), self._blocks.read(fields, line.unread)
        if known is None or block is None:
            return
        place = _Place(trusted, name, line.key(block, peer))
        self._forget(place)
        line.answers[place.key] = known
        self._lines[trusted][name] = line
        self._bytes += _cost_bytes(place, known)
        while self._bytes > self._max_bytes:
            self._forget(self._oldest())

    def clear(self) -> None:
        """Forget everything: the policy has changed."""
        self._lines = ({}, {})
        self._bytes = 0

    def _find(self, raw: bytes, trusted: bool, peer: str) -> tuple[Known, FieldBlock, _Place] | None:  # noqa: FBT001 - a place's part
        name, _, fields = raw.partition(b"\r\n")
        line = self._lines[trusted].get(name)
        block = None if line is None or len(raw) > MAX_HEAD_BYTES else self._blocks.read(fields, line.unread)
        if line is None or block is None:
            return None
        key = line.key(block, peer)
        known = line.answers.get(key)
        return None if known is None else (known, block, _Place(trusted, name, key))

    def _holds(self, terms: Terms) -> bool:
        """Whether what was answered on ``terms`` may be repeated: not what an earlier policy said."""
        return terms.policy is self._in_force() and self._gate.knows(terms.session)

    def _line(self, name: bytes, terms: Terms, *, trusted: bool) -> _Line:
        """The line of that name, with answers of the same kind. What two routes do not agree on counts for both."""
        line = self._lines[trusted].get(name)
        if line is None:
            return _Line(unread=terms.unread, by_peer=terms.by_peer)
        unread, by_peer = line.unread & terms.unread, line.by_peer or terms.by_peer
        if (unread, by_peer) == (line.unread, line.by_peer):
            return line
        for key in list(line.answers):
            self._forget(_Place(trusted, name, key))
        return _Line(unread=unread, by_peer=by_peer)

    def _oldest(self) -> _Place:
        trusted = len(self._lines[True]) > len(self._lines[False])
        name = next(iter(self._lines[trusted]))
        return _Place(trusted, name, next(iter(self._lines[trusted][name].answers)))

    def _id(self, block: FieldBlock) -> bytes:
        given = block.request_id
        return self._request_ids.new() if given is None else self._request_ids.of(given).encode()

    def _stands(self, known: Known, monotonic: float) -> bool:
        """Whether what ``known`` hangs on, its limits aside, is still the same."""
        match known:
            case KnownHit():
                shelved = known.shelved
                unchanged = self._shelf.unchanged(shelved.key, shelved.place, monotonic)
                return unchanged and self._gate.knows(shelved.terms.session) and known.is_current(self._now())
            case KnownRefusal():
                return self._gate.knows(known.blocked.terms.session)
            case _:
                assert_never(known)

    def _repeat(self, known: KnownHit, request_id: bytes, admitted: Admitted, started: float) -> Written:
        shelved = known.shelved
        shelved.slot.visited = True
        written = known.written(request_id, admitted.states)
        seconds = self._monotonic() - started
        self._journal.express(known.method, shelved.route, shelved.resource_type, seconds)
        return written

    def _refuse(self, known: KnownRefusal, place: _Place, block: FieldBlock, started: float) -> Written | None:
        limited = self._gate.refusal_now(known.blocked.terms.checks)
        if limited is None:
            self._forget(place)
            return None
        written = known.written(self._id(block), limited, self._now())
        self._journal.express_refusal(known.method, known.blocked.route, self._monotonic() - started)
        return written

    def _forget(self, place: _Place) -> None:
        lines = self._lines[place.trusted]
        line = lines.get(place.line)
        known = None if line is None else line.answers.pop(place.key, None)
        if line is None or known is None:
            return
        self._bytes -= _cost_bytes(place, known)
        if not line.answers:
            del lines[place.line]


def _cost_bytes(place: _Place, known: Known) -> int:
    signature = place.key if isinstance(place.key, bytes) else place.key[0]
    return len(place.line) + len(signature) + len(known)


_UNLIMITED = Admitted()

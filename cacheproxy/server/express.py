"""The express lane: a reply that hangs on nothing but its request's head and what is at hand is repeated as bytes.

It has no rules of its own. The ordinary way answers first, and says (``Reply.shelved``) on what its answer hangs, and
for how long. While that stands, the same head gets the same bytes, with what changes put in anew: Age, ttl, request id,
and what is left of limits. Sessions and limits are asked about each time, by the same means as on the ordinary way
(``engine.gate``); what they cannot say at once may be waited for (``ask``), still without deciding the rest anew.
"""

from typing import Protocol, assert_never

from cacheproxy.clock import Clock
from cacheproxy.engine.gate import Gate
from cacheproxy.engine.record import Journal
from cacheproxy.engine.reply import Reply
from cacheproxy.engine.request_id import RequestIds
from cacheproxy.limits.contract import Admitted, Asked, Limited
from cacheproxy.server.known import Known, KnownHit, KnownRefusal, known_answer

MAX_HEAD_BYTES = 4096

Written = tuple[bytes, bytes]
"""A response in two parts, of which the second may be empty."""
Key = bytes | tuple[bytes, str]
"""A request head, with the peer's address where that matters."""


class Shelf(Protocol):
    """L1 (``storage.memory.MemoryStore``)."""

    def unchanged(self, key: str, place: tuple[object, int], monotonic: float) -> bool:
        """Whether nothing under ``key`` was stored, dropped or purged since ``place``."""
        ...


class ExpressLane:
    """Knows the heads that were answered from L1, or refused, lately. Bounded in bytes: the oldest are forgotten."""

    def __init__(self, shelf: Shelf, gate: Gate, journal: Journal, clock: Clock, max_bytes: int = 16 << 20) -> None:
        """Answer from ``shelf``; ``max_bytes`` bounds what is known."""
        self._shelf = shelf
        self._gate = gate
        self._journal = journal
        self._now, self._monotonic = clock.now, clock.monotonic
        self._request_ids = RequestIds()
        self._max_bytes = max_bytes
        self._known: tuple[dict[Key, Known], dict[Key, Known]] = ({}, {})
        """By head: for clients, and for proxies that are believed."""
        self._bytes = 0

    def answer(self, raw: bytes, *, trusted: bool, peer: str = "") -> Written | None:
        """The response to the request head ``raw``, or None: then ``ask``, or the ordinary way, must find it.

        ``trusted`` says whether it came from a proxy that is believed: then the same head may mean something else.
        """
        table = self._known[trusted]
        key: Key = raw
        known = table.get(raw)
        if known is None:
            key = raw, peer
            known = table.get(key)
            if known is None:
                return None
        started = self._monotonic()
        if self._journal.due() or not self._stands(known, started):
            self._forget(key, trusted)
            return None
        if isinstance(known, KnownRefusal):
            return self._refuse(known, key, trusted, started)
        admitted = _UNLIMITED
        if known.shelved.terms.checks:
            asked = self._gate.admit_now(known.shelved.terms.checks)
            if asked is None:
                return None
            admitted = asked
        return self._repeat(known, admitted, started)

    def asking(self, raw: bytes, *, trusted: bool, peer: str) -> KnownHit | None:
        """The hit that ``raw`` may be answered with, once its limits have been asked elsewhere."""
        table = self._known[trusted]
        known = table[raw] if raw in table else table.get((raw, peer))
        return known if isinstance(known, KnownHit) and known.shelved.terms.checks else None

    async def ask(self, known: KnownHit) -> Written | Asked:
        """The response; or only what its limits said, where the ordinary way must find the response."""
        started = self._monotonic()
        asked = await self._gate.ask(known.shelved.terms.checks)
        if isinstance(asked.verdict, Limited) or not self._stands(known, self._monotonic()):
            return asked
        self._gate.note(asked)
        return self._repeat(known, asked.verdict, started)

    def learn(
        self, raw: bytes, reply: Reply, head: bytes, *, method: str, trusted: bool, named: bool, peer: str = ""
    ) -> None:
        """Remember that ``raw`` was answered with ``head`` and the body of ``reply``, which says on what it hangs.

        ``named`` says that the client gave the request its id.
        """
        if reply.shelved is None or len(raw) > MAX_HEAD_BYTES or not self._gate.knows(reply.shelved.terms.session):
            return
        known = known_answer(method, head, reply, reply.fields.get(b"x-request-id") if named else None)
        if known is None:
            return
        key = (raw, peer) if reply.shelved.terms.by_peer else raw
        self._forget(key, trusted)
        self._known[trusted][key] = known
        self._bytes += len(raw) + len(known)
        while self._bytes > self._max_bytes:
            fuller = len(self._known[True]) > len(self._known[False])
            self._forget(next(iter(self._known[fuller])), fuller)

    def clear(self) -> None:
        """Forget everything: the policy has changed."""
        self._known = ({}, {})
        self._bytes = 0

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

    def _repeat(self, known: KnownHit, admitted: Admitted, started: float) -> Written:
        shelved = known.shelved
        shelved.slot.visited = True
        written = known.written(self._request_ids.new(), admitted.states)
        seconds = self._monotonic() - started
        self._journal.express(known.method, shelved.route, shelved.resource_type, seconds)
        return written

    def _refuse(self, known: KnownRefusal, key: Key, trusted: bool, started: float) -> Written | None:  # noqa: FBT001 - a key's part
        limited = self._gate.refusal_now(known.blocked.terms.checks)
        if limited is None:
            self._forget(key, trusted)
            return None
        written = known.written(self._request_ids.new(), limited, self._now())
        self._journal.express_refusal(known.method, known.blocked.route, self._monotonic() - started)
        return written

    def _forget(self, key: Key, trusted: bool) -> None:  # noqa: FBT001 - the parts of a key
        known = self._known[trusted].pop(key, None)
        if known is not None:
            self._bytes -= len(key if isinstance(key, bytes) else key[0]) + len(known)


_UNLIMITED = Admitted()

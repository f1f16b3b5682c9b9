"""The express lane: a reply that hangs on nothing but its request's head and one place in L1 is repeated as bytes.

It has no rules of its own. The ordinary way answers first, and says (``Reply.shelved``) on what its answer hangs, and
for how long. While that stands, the same head gets the same bytes, with Age, ttl and request id brought up to date.
"""

from typing import Protocol

from cacheproxy.clock import Clock
from cacheproxy.engine.record import Journal
from cacheproxy.engine.reply import Reply, Shelved
from cacheproxy.engine.request_id import RequestIds

MAX_HEAD_BYTES = 4096
LARGE_BYTES = 16 * 1024
"""A body from this size on is sent beside its head rather than copied behind it."""
_FIXED_BYTES = 512
"""What one known head takes beside its own bytes and those of its answer, about."""


class Shelf(Protocol):
    """L1 (``storage.memory.MemoryStore``)."""

    def unchanged(self, key: str, place: tuple[object, int], monotonic: float) -> bool:
        """Whether nothing under ``key`` was stored, dropped or purged since ``place``."""
        ...


class _Known:
    """One request head, and the answer to it, cut at what changes from second to second."""

    __slots__ = (
        "after",
        "after_age",
        "after_ttl",
        "before_age",
        "body",
        "head",
        "method",
        "request_id",
        "shelved",
        "until",
    )

    def __init__(self, method: str, head: bytes, body: bytes, shelved: Shelved, request_id: bytes | None) -> None:
        """Cut ``head``, whose last Age, ttl and X-Request-ID are our own. ValueError if they are not there."""
        at_age = head.rindex(b"\r\nage: ") + 7
        age_ends = head.index(b"\r\n", at_age)
        at_ttl = head.index(b"; ttl=", head.rindex(b"\r\ncache-status: cacheproxy; ")) + 6
        ttl_ends = at_ttl + len(head[at_ttl:].split(b"\r\n", 1)[0].split(b";", 1)[0])
        at_id = head.rindex(b"\r\nx-request-id: ") + 16
        id_ends = head.index(b"\r\n", at_id)
        if not at_age < at_ttl < at_id:
            raise ValueError("a head in another order than ours")
        self.method = method
        self.before_age, self.after_age = head[:at_age], head[age_ends:at_ttl]
        self.after_ttl, self.after = head[ttl_ends:at_id], head[id_ends:]
        self.body = body
        if len(body) < LARGE_BYTES:
            self.after, self.body = self.after + body, b""
        self.shelved = shelved
        self.request_id = request_id
        self.head = b""
        self.until = 0.0

    def renew(self, now: float) -> bool:
        """Bring Age and ttl up to date, until the next of them changes; False once it is to be decided anew."""
        age_s, ttl_s = now - self.shelved.born_at, self.shelved.stale_at - now
        if ttl_s <= 0 or age_s < 0 or now >= self.shelved.until:
            return False
        self.head = b"%s%d%s%d%s" % (self.before_age, age_s, self.after_age, ttl_s, self.after_ttl)
        self.until = min(now + min(1.0 - age_s % 1.0, ttl_s % 1.0 or 1.0, ttl_s), self.shelved.until)
        return True


class ExpressLane:
    """Knows the heads that were answered from L1 lately. Bounded in bytes: the oldest is forgotten first."""

    def __init__(self, shelf: Shelf, journal: Journal, clock: Clock, max_bytes: int = 16 << 20) -> None:
        """Answer from ``shelf``; ``max_bytes`` bounds what is known."""
        self._shelf = shelf
        self._journal = journal
        self._now, self._monotonic = clock.now, clock.monotonic
        self._request_ids = RequestIds()
        self._max_bytes = max_bytes
        self._known: tuple[dict[bytes, _Known], dict[bytes, _Known]] = ({}, {})
        """By head: for clients, and for proxies that are believed."""
        self._bytes = 0

    def answer(self, raw: bytes, *, trusted: bool) -> tuple[bytes, bytes] | None:
        """The response to the request head ``raw`` in two parts (the second may be empty), or None.

        None says that the ordinary way must find it.
        ``trusted`` says whether it came from a proxy that is believed: then the same head may mean something else.
        """
        known = self._known[trusted].get(raw)
        if known is None:
            return None
        started = self._monotonic()
        shelved = known.shelved
        if not self._shelf.unchanged(shelved.key, shelved.place, started) or self._journal.due():
            self._forget(raw, trusted)
            return None
        now = self._now()
        if not known.until - 1.0 <= now < known.until and not known.renew(now):
            self._forget(raw, trusted)
            return None
        shelved.slot.visited = True
        request_id = known.request_id or self._request_ids.new()
        head = b"%s%s%s" % (known.head, request_id, known.after)
        self._journal.express(known.method, shelved.route, shelved.resource_type, self._monotonic() - started)
        return head, known.body

    def learn(self, raw: bytes, reply: Reply, head: bytes, *, method: str, trusted: bool, named: bool) -> None:
        """Remember that ``raw`` was answered with ``head`` and the body of ``reply``, which says on what it hangs.

        ``named`` says that the client gave the request its id.
        """
        if reply.shelved is None or len(raw) > MAX_HEAD_BYTES or not isinstance(reply.body, bytes):
            return
        body = reply.body if method != "HEAD" and reply.status != 304 else b""
        request_id = reply.fields.get(b"x-request-id") if named else None
        try:
            known = _Known(method, head, body, reply.shelved, request_id)
        except ValueError:
            return
        self._forget(raw, trusted)
        self._known[trusted][raw] = known
        self._bytes += _size(raw, known)
        while self._bytes > self._max_bytes:
            fuller = len(self._known[True]) > len(self._known[False])
            self._forget(next(iter(self._known[fuller])), fuller)

    def clear(self) -> None:
        """Forget everything: the policy has changed."""
        self._known = ({}, {})
        self._bytes = 0

    def _forget(self, raw: bytes, trusted: bool) -> None:  # noqa: FBT001 - the parts of a key
        known = self._known[trusted].pop(raw, None)
        if known is not None:
            self._bytes -= _size(raw, known)


def _size(raw: bytes, known: _Known) -> int:
    return _FIXED_BYTES + len(raw) + len(known.before_age) + len(known.after) + len(known.body)

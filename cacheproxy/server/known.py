"""Answers that are known by their requests' heads, cut at what changes from one time to the next."""

from collections.abc import Sequence

from cacheproxy.engine.over_limit import limited_reply
from cacheproxy.engine.record import Journal
from cacheproxy.engine.recorder import Tally
from cacheproxy.engine.reply import Blocked, Reply, Shelved
from cacheproxy.limits.contract import Limited, LimitState
from cacheproxy.limits.headers import limit_lines, retry_after_s
from cacheproxy.semantics.dates import format_http_date
from cacheproxy.semantics.fields import Fields, Pair
from cacheproxy.server.signature import Key
from cacheproxy.server.wire import render_head

LARGE_BYTES = 16 * 1024
"""A body from this size on is sent beside its head rather than copied behind it."""
_NO_BODY = b""
_END = b"\r\n\r\n"
"""What is behind our own fields, mostly: one for all answers."""
_FIXED_BYTES = 512
"""What one known head takes beside its own bytes and those of its answer, about."""
_ID = b"\r\nx-request-id: "


class KnownHit:
    """A stored response that answers one request head: its Age, ttl, request id and limit fields are put in anew.

    Of ten thousand that are asked for in turn, each is cold: an object that a hit looks into is a trip to main memory.
    So all that it needs is here, but for the slot in L1, the head as it is this second, and the body.
    """

    __slots__ = (
        "_after", "_after_age", "_after_ttl", "_before_age", "_head", "_own_body", "_until",
        "by_peer", "checks", "key", "place", "session", "shelved", "slot", "tally", "unread",
    )  # fmt: skip

    def __init__(self, method: str, head: bytes, reply: Reply, shelved: Shelved, tally: Tally) -> None:
        """Cut ``head``, whose last Age, ttl and X-Request-ID are our own. ValueError if they are not there."""
        at_age = head.rindex(b"\r\nage: ") + 7
        age_ends = head.index(b"\r\n", at_age)
        at_ttl = head.index(b"; ttl=", head.rindex(b"\r\ncache-status: cacheproxy; ")) + 6
        ttl_ends = at_ttl + len(head[at_ttl:].split(b"\r\n", 1)[0].split(b";", 1)[0])
        at_id = head.rindex(_ID) + len(_ID)
        id_ends = head.index(b"\r\n", at_id)
        told = _lines(_behind_id(reply.fields))
        if not at_age < at_ttl < at_id or not head.startswith(told, id_ends):
            raise ValueError("a head in another order than ours")
        self._before_age, self._after_age = head[:at_age], head[age_ends:at_ttl]
        self._after_ttl, after = head[ttl_ends:at_id], head[id_ends + len(told) :]
        self._after = _END if after == _END else after
        body = _sent(method, reply)
        self._own_body = None if body and body is shelved.slot.body else body
        """None where it is the one in L1, which alone may keep that alive."""
        self._head = b""
        self._until = 0.0
        self.key: Key = b""
        """Under which it is known among the answers to its request line."""
        self.unread, self.by_peer = shelved.terms.unread, shelved.terms.by_peer
        self.session, self.checks = shelved.terms.session, shelved.terms.checks
        self.place, self.slot = shelved.place, shelved.slot
        self.shelved = shelved
        self.tally = tally

    def is_current(self, now: float) -> bool:
        """Bring Age and ttl up to date, until the next of them changes; False once it is to be decided anew."""
        return self._until - 1.0 <= now < self._until or self._renew(now)

    def written(self, request_id: bytes, states: Sequence[LimitState] = ()) -> tuple[bytes, bytes]:
        """The response, in two parts (the second may be empty); ``states`` are those of its limits."""
        told = limit_lines(states, self.shelved.terms.limit_headers) if states else b""
        body = self.slot.body if self._own_body is None else self._own_body
        if len(body) < LARGE_BYTES:
            return b"".join((self._head, request_id, told, self._after, body)), _NO_BODY
        return b"".join((self._head, request_id, told, self._after)), body

    def _renew(self, now: float) -> bool:
        age_s, ttl_s = now - self.shelved.born_at, self.shelved.stale_at - now
        if ttl_s <= 0 or age_s < 0 or now >= self.shelved.until:
            return False
        self._head = b"%s%d%s%d%s" % (self._before_age, age_s, self._after_age, ttl_s, self._after_ttl)
        self._until = min(now + min(1.0 - age_s % 1.0, ttl_s % 1.0), self.shelved.until)
        return True

    def __len__(self) -> int:
        """What it takes in memory, about."""
        return _FIXED_BYTES + 2 * len(self._before_age) + len(self._after) + len(self._own_body or _NO_BODY)


class KnownRefusal:
    """The 429 that answers one request head: written anew each second, as it says when to come back."""

    __slots__ = (
        "_after", "_before", "_dressing", "_method", "_written_for",
        "blocked", "by_peer", "key", "tally", "unread",
    )  # fmt: skip

    def __init__(self, method: str, reply: Reply, blocked: Blocked, tally: Tally) -> None:
        """``reply`` is dressed: what follows the fields of the refusal itself is the same each time."""
        at = [name for name, _ in reply.fields].index(b"cache-status")
        self._dressing = reply.fields.pairs[at:]
        self._written_for = (-1, -1)
        self._before = self._after = b""
        self._method = method
        self.key: Key = b""
        """Under which it is known among the answers to its request line."""
        self.unread, self.by_peer = blocked.terms.unread, blocked.terms.by_peer
        self.blocked = blocked
        self.tally = tally

    def written(self, request_id: bytes, limited: Limited, now: float) -> tuple[bytes, bytes]:
        """The response, in two parts (the second is empty)."""
        moment = retry_after_s(limited), int(now)
        if moment != self._written_for:
            self._write(limited, now)
            self._written_for = moment
        return b"%s%s%s" % (self._before, request_id, self._after), _NO_BODY

    def _write(self, limited: Limited, now: float) -> None:
        refusal = limited_reply(limited, self.blocked.terms.limit_headers)
        reply = refusal.with_fields(Fields((*refusal.fields, *self._dressing)))
        head, _, _ = render_head(
            reply, head_only=self._method == "HEAD", date=format_http_date(now), close=False, version="1.1"
        )
        at_id = head.rindex(_ID) + len(_ID)
        self._before, self._after = head[:at_id], head[head.index(b"\r\n", at_id) :] + _sent(self._method, reply)

    def __len__(self) -> int:
        """What it takes in memory, about."""
        return 3 * _FIXED_BYTES


Known = KnownHit | KnownRefusal


def known_answer(method: str, head: bytes, reply: Reply, journal: Journal) -> Known | None:
    """How ``reply``, which was written with ``head``, is repeated and counted in ``journal``; None where it is not."""
    if not isinstance(reply.body, bytes):
        return None
    try:
        match shelved := reply.shelved:
            case Shelved(route=route, resource_type=resource_type):
                return KnownHit(method, head, reply, shelved, journal.hits(method, route, resource_type))
            case Blocked(route=route):
                return KnownRefusal(method, reply, shelved, journal.refusals(method, route))
            case None:
                return None
    except ValueError:
        return None


def _lines(pairs: Sequence[Pair]) -> bytes:
    return b"".join([b"\r\n%s: %s" % pair for pair in pairs])


def _behind_id(fields: Fields) -> Sequence[Pair]:
    """The fields behind our X-Request-ID, the last but for those of limits."""
    names = [name for name, _ in reversed(fields.pairs)]
    return fields.pairs[len(names) - names.index(b"x-request-id") :]


def _sent(method: str, reply: Reply) -> bytes:
    assert isinstance(reply.body, bytes)
    return reply.body if method != "HEAD" and reply.status != 304 else b""

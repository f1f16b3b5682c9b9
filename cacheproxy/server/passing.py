"""The lane for requests past the cache: heads like those that were forwarded lately go on without being decided anew.

It has no rules of its own (``engine.passing``). Heads are alike where they differ only in fields that nothing here
reads (``Passage.carried``); these go on as they came.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple, Self

import structlog

from cacheproxy.engine.active import Active
from cacheproxy.engine.passage import Begun, Passage
from cacheproxy.engine.passing import Passing, Weight
from cacheproxy.policy.unread import TELL_ADDRESSES
from cacheproxy.semantics.fields import Fields, Pair
from cacheproxy.semantics.head import ResponseHead
from cacheproxy.server.adapter import MEMO_HEAD_BYTES, MEMO_HEADS, Arrived
from cacheproxy.server.field_lines import read_block
from cacheproxy.server.forwarded import UNIX, address_fields, client_address, is_trusted
from cacheproxy.server.wire import BODILESS, render_head
from cacheproxy.upstream.contract import Prepared

MEMO_ANSWERS = 4
"""For each way: an origin's heads change with its clock, every second."""
_MEMO_CALLERS = 4096
_ID = b"\r\nx-request-id: "

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Answer:
    """What one head of the origin becomes, cut at the request's id."""

    head: ResponseHead
    length: int
    """Of the content that came with it."""
    before: bytes
    after: bytes
    weight: Weight
    has_content: bool
    """Whether that goes on to the client."""


@dataclass(slots=True)
class _Way:
    """How requests that are alike go on, and what their answers became lately."""

    method: str
    passage: Passage | None = None
    """None until one of them has come again: most come once."""
    prepared: Prepared | None = None
    answers: dict[int, _Answer] = field(default_factory=dict)
    """By the identity of the origin's head, which is the same object while its bytes are the same."""


class _Caller(NamedTuple):
    """Who a request comes from, by its peer and what that says of hops before it."""

    client: str
    """The client's address."""
    lines: bytes
    """What the origin is told of it, each line with its end."""
    trusted: bool
    """Whether the peer is a proxy that is believed."""


Key = tuple[bytes, str, str | bool]
"""The lines that count, the connection's scheme, and its peer; only whether that is trusted, where no rule reads it."""


@dataclass(frozen=True, slots=True)
class _Line:
    """What is known of one request line: by which fields, and the ways."""

    carried: frozenset[bytes]
    any_caller: bool
    """Whether no rule reads where a request comes from."""
    ways: dict[Key, _Way] = field(default_factory=dict)

    @classmethod
    def of(cls, carried: frozenset[bytes]) -> Self:
        """The line of requests that may differ in what is ``carried``."""
        return cls(carried, carried >= TELL_ADDRESSES)


class Transit:
    """One request on the lane."""

    __slots__ = ("_passing", "_way", "begun", "content", "keep_alive", "raw", "rest")

    def __init__(self, passing: Passing, way: _Way, begun: Begun, raw: bytes, content: bytes, rest: bytes) -> None:
        """The head ``raw`` and its ``content`` were ``begun`` by ``way``; behind them came the ``rest``."""
        self._passing = passing
        self._way = way
        self.begun = begun
        self.raw = raw
        self.content = content
        self.rest = rest
        self.keep_alive = True

    def answer(self, date: Callable[[], bytes]) -> bytes | None:
        """The whole response, noted and purged for; None where the ordinary way has to go on."""
        whole = self.begun.sent.whole
        if whole is None:
            return None
        head, content = whole
        answer = self._way.answers.get(id(head))
        try:
            if answer is None or answer.head is not head or answer.length != len(content):
                answer = self._written(head, content, date)
            if answer is None or not self._passing.settle(self.begun, answer.weight):
                return None
        except Exception:
            log.exception("answer_not_passed_on", path=self.begun.passage.exchange.request.path.decode("latin-1"))
            return None
        return b"%b%b%b%b" % (
            answer.before,
            self.begun.request_id,
            answer.after,
            content if answer.has_content else b"",
        )

    def _written(self, head: ResponseHead, content: bytes, date: Callable[[], bytes]) -> _Answer | None:
        """What ``head`` becomes, remembered if it may be; None, and the way is not taken again, where it is not."""
        way, weight = self._way, self._passing.weigh(self.begun, head)
        if weight is None:
            way.passage = way.prepared = None
            return None
        reply, head_only = self._passing.reply(self.begun, head, content, weight), way.method == "HEAD"
        raw, _, _ = render_head(reply, head_only=head_only, date=date(), close=False)
        at = raw.rindex(_ID) + len(_ID)
        before, after = raw[:at], raw[at + len(self.begun.request_id) :]
        answer = _Answer(head, len(content), before, after, weight, not head_only and head.status not in BODILESS)
        if len(way.answers) >= MEMO_ANSWERS:
            way.answers.clear()
        if b"date" in head.fields:
            way.answers[id(head)] = answer
        return answer


class PassingLane:
    """Knows how requests went past the cache. Bounded: with too many ways it forgets all, and learns anew."""

    def __init__(self, passing: Passing, in_force: Callable[[], Active]) -> None:
        """Send on by ``passing``, by the policy ``in_force``."""
        self._passing = passing
        self._in_force = in_force
        self._caller_lately = lru_cache(maxsize=_MEMO_CALLERS)(self._caller)
        self._lines: dict[bytes, _Line] = {}
        self._known = 0
        """How many ways."""

    def begin(self, data: bytes, scheme: str, peer: str) -> Transit | None:
        """Send on the request at the front of ``data``.

        None where that takes the ordinary way: it may not be known, or not all here. ``scheme`` and ``peer`` (an
        address, empty for a unix socket) are the connection's.
        """
        name, _, _ = data.partition(b"\r\n")
        line = self._lines.get(name)
        if line is None:
            return None
        end = data.find(b"\r\n\r\n") + 4
        block = read_block(data[len(name) + 2 : end], line.carried) if 4 <= end <= MEMO_HEAD_BYTES else None
        if block is None or len(data) < end + block.content_length:
            return None
        caller = self._caller_lately(peer, block.hops)
        way = line.ways.get((block.read, scheme, caller.trusted if line.any_caller else peer))
        if way is None or way.passage is None or way.prepared is None:
            return None
        after = end + block.content_length
        content = data[end:after]
        own = caller.lines + block.carried if line.any_caller else block.carried
        begun = self._passing.begin(way.passage, way.prepared, own, block.request_id, caller.client, content)
        return None if begun is None else Transit(self._passing, way, begun, data[:end], content, data[after:])

    def learn(self, raw: bytes, arrived: Arrived, passage: Passage) -> None:
        """Take note that the head ``raw``, which was understood as ``arrived``, went by ``passage``."""
        if len(raw) > MEMO_HEAD_BYTES or passage.active is not self._in_force():
            return
        name, _, fields = raw.partition(b"\r\n")
        line = self._line(name, passage.carried)
        block = read_block(fields, line.carried)
        if block is None or block.content_length != arrived.framing.length:
            return
        key = block.read, arrived.scheme, arrived.client.trusted if line.any_caller else arrived.peer
        way = line.ways.get(key)
        if way is None:
            self._add(name, line, key, _Way(arrived.request.method))
        elif way.passage is None:
            way.passage, way.prepared = self._passing.prepare(passage)

    def clear(self) -> None:
        """Forget everything: the policy has changed."""
        self._lines = {}
        self._known = 0
        self._caller_lately.cache_clear()

    def _caller(self, peer: str, hops: tuple[Pair, ...]) -> _Caller:
        trusted, fields = self._in_force().policy.trusted_proxies, Fields(hops)
        peer = peer or UNIX
        lines = b"".join([b"%b: %b\r\n" % pair for pair in address_fields(peer, fields, trusted)])
        return _Caller(client_address(peer, fields, trusted), lines, is_trusted(peer, trusted))

    def _line(self, name: bytes, carried: frozenset[bytes]) -> _Line:
        """The line of that name. What two routes do not agree on counts for both."""
        line = self._lines.get(name)
        if line is None:
            return _Line.of(carried)
        if line.carried <= carried:
            return line
        self._known -= len(line.ways)
        del self._lines[name]
        return _Line.of(line.carried & carried)

    def _add(self, name: bytes, line: _Line, key: Key, way: _Way) -> None:
        if self._known >= MEMO_HEADS:
            self.clear()
            line = _Line.of(line.carried)
        line.ways[key] = way
        self._lines[name] = line
        self._known += 1

"""The lane for requests past the cache: heads like those that were forwarded lately go on without being decided anew.

It has no rules of its own (``engine.pass_forwarder``). Heads are alike where they differ only in fields that nothing
here reads (``PassPlan.carried``); these go on as they came.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import NamedTuple, Self

import structlog

from cacheproxy.engine.active import Active
from cacheproxy.engine.pass_forwarder import Effects, PassForwarder
from cacheproxy.engine.pass_plan import Dispatched, PassPlan
from cacheproxy.errors import ClientError
from cacheproxy.policy.unread import TELL_ADDRESSES
from cacheproxy.semantics.fields import Fields, Pair
from cacheproxy.semantics.head import ResponseHead
from cacheproxy.server.adapter import MEMO_HEAD_BYTES, MEMO_HEADS, Arrived
from cacheproxy.server.field_lines import read_block
from cacheproxy.server.forwarded import UNIX, address_fields, client_address, is_trusted
from cacheproxy.server.head import split_target
from cacheproxy.server.wire import BODILESS, render_head
from cacheproxy.upstream.contract import Prepared

MEMO_ANSWERS = 4
"""For each: an origin's heads change with its clock, every second."""
_MEMO_CALLERS = 4096
_ID = b"\r\nx-request-id: "
_VERSION = b" HTTP/1.1"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Answer:
    """What one head of the origin becomes, cut at the request's id."""

    head: ResponseHead
    length: int
    """Of the content that came with it."""
    before: bytes
    after: bytes
    effects: Effects
    has_content: bool
    """Whether that goes on to the client."""


@dataclass(slots=True)
class _KnownPass:
    """How requests that are alike go on, and what their answers became lately."""

    method: str
    authority: bytes
    plan: PassPlan | None = None
    """None until one of them has come again: most come once."""
    prepared: Prepared | None = None
    answers: dict[int, _Answer] = field(default_factory=dict)
    """By the identity of the origin's head, which is the same object while its bytes are the same."""


class _Found(NamedTuple):
    """How requests with one request line go on."""

    known: _KnownPass
    prepared: Prepared
    path: str


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
Place = tuple[Key, int]
"""And the identity of the route, where that is what targets have in common."""
_ITS_OWN = 0


@dataclass(frozen=True, slots=True)
class _Line:
    """What is known of one request line, or of all those of one method: by which fields, and how it was passed."""

    carried: frozenset[bytes]
    any_caller: bool
    """Whether no rule reads where a request comes from."""
    passes: dict[Place, _KnownPass] = field(default_factory=dict)
    authorities: dict[Key, bytes] = field(default_factory=dict)
    """Whom the requests with such lines are for."""

    @classmethod
    def of(cls, carried: frozenset[bytes]) -> Self:
        """The line of requests that may differ in what is ``carried``."""
        return cls(carried, carried >= TELL_ADDRESSES)


class PendingPass:
    """One request on the lane."""

    __slots__ = ("_forwarder", "_known", "content", "dispatched", "keep_alive", "raw", "rest")

    def __init__(
        self,
        forwarder: PassForwarder,
        known: _KnownPass,
        dispatched: Dispatched,
        raw: bytes,
        content: bytes,
        rest: bytes,
    ) -> None:
        """The head ``raw`` and its ``content`` were ``dispatched`` by ``known``; behind them came the ``rest``."""
        self._forwarder = forwarder
        self._known = known
        self.dispatched = dispatched
        self.raw = raw
        self.content = content
        self.rest = rest
        self.keep_alive = True

    def answer(self, date: Callable[[], bytes]) -> bytes | None:
        """The whole response, noted and purged for; None where the ordinary way has to go on."""
        whole = self.dispatched.sent.whole
        if whole is None:
            return None
        head, content = whole
        answer = self._known.answers.get(id(head))
        try:
            if answer is None or answer.head is not head or answer.length != len(content):
                answer = self._written(head, content, date)
            if answer is None or not self._forwarder.commit(self.dispatched, answer.effects):
                return None
        except Exception:
            log.exception("answer_not_passed_on", path=self.dispatched.path)
            return None
        return b"%b%b%b%b" % (
            answer.before,
            self.dispatched.request_id,
            answer.after,
            content if answer.has_content else b"",
        )

    def _written(self, head: ResponseHead, content: bytes, date: Callable[[], bytes]) -> _Answer | None:
        """What ``head`` becomes, remembered if it may be; None, and the plan is given up, where it is not."""
        known, effects = self._known, self._forwarder.effects_of(self.dispatched, head)
        if effects is None:
            known.plan = known.prepared = None
            return None
        reply, head_only = self._forwarder.reply(self.dispatched, head, content, effects), known.method == "HEAD"
        raw, _, _ = render_head(reply, head_only=head_only, date=date(), close=False)
        at = raw.rindex(_ID) + len(_ID)
        before, after = raw[:at], raw[at + len(self.dispatched.request_id) :]
        answer = _Answer(head, len(content), before, after, effects, not head_only and head.status not in BODILESS)
        if len(known.answers) >= MEMO_ANSWERS:
            known.answers.clear()
        if b"date" in head.fields:
            known.answers[id(head)] = answer
        return answer


class PassLane:
    """Knows how requests went past the cache. Bounded: with too many it forgets all, and learns anew."""

    def __init__(self, forwarder: PassForwarder, in_force: Callable[[], Active]) -> None:
        """Send on by ``forwarder``, by the policy ``in_force``."""
        self._forwarder = forwarder
        self._in_force = in_force
        self._caller_lately = lru_cache(maxsize=_MEMO_CALLERS)(self._caller)
        self._found_lately = lru_cache(maxsize=MEMO_HEADS)(self._found)
        self._lines: dict[bytes, _Line] = {}
        self._count = 0
        """Of all that is known."""

    def begin(self, data: bytes, scheme: str, peer: str) -> PendingPass | None:
        """Send on the request at the front of ``data``.

        None where that takes the ordinary way: it may not be known, or not all here. ``scheme`` and ``peer`` (an
        address, empty for a unix socket) are the connection's.
        """
        name, _, _ = data.partition(b"\r\n")
        line = self._lines.get(name) or self._lines.get(name.partition(b" ")[0])
        if line is None:
            return None
        end = data.find(b"\r\n\r\n") + 4
        block = read_block(data[len(name) + 2 : end], line.carried) if 4 <= end <= MEMO_HEAD_BYTES else None
        if block is None or len(data) < end + block.content_length:
            return None
        caller = self._caller_lately(peer, block.hops)
        try:
            found = self._found_lately(name, (block.read, scheme, caller.trusted if line.any_caller else peer))
        except KeyError:
            return None
        if found.known.plan is None:
            return None
        after = end + block.content_length
        content = data[end:after]
        dispatched = self._forwarder.begin(
            found.known.plan,
            found.prepared,
            carried=caller.lines + block.carried if line.any_caller else block.carried,
            given_id=block.request_id,
            client=caller.client,
            path=found.path,
            content=content,
        )
        if dispatched is None:
            return None
        return PendingPass(self._forwarder, found.known, dispatched, data[:end], content, data[after:])

    def learn(self, raw: bytes, arrived: Arrived, plan: PassPlan) -> None:
        """Take note that the head ``raw``, which was understood as ``arrived``, went by ``plan``."""
        if len(raw) > MEMO_HEAD_BYTES or plan.active is not self._in_force():
            return
        name, _, fields = raw.partition(b"\r\n")
        request, any_target = arrived.request, plan.any_target and split_target(raw) is not None
        if any_target:
            name = request.method.encode()
        line = self._line(name, plan.carried)
        block = read_block(fields, line.carried)
        if block is None or block.content_length != arrived.framing.length:
            return
        key = block.read, arrived.scheme, arrived.client.trusted if line.any_caller else arrived.peer
        place = key, id(plan.exchange.route) if any_target else _ITS_OWN
        known = line.passes.get(place)
        if known is None:
            self._add(name, line, place, _KnownPass(request.method, request.authority))
        elif known.plan is None:
            # what another route's requests made count is in the key, so that it goes on with what is prepared
            known.plan, known.prepared = self._forwarder.prepare(replace(plan, carried=line.carried))

    def clear(self) -> None:
        """Forget everything: the policy has changed."""
        self._lines = {}
        self._count = 0
        self._caller_lately.cache_clear()
        self._found_lately.cache_clear()

    def _found(self, name: bytes, key: Key) -> _Found:
        """What is known of the request line ``name`` with such lines. KeyError where that is nothing."""
        line = self._lines.get(name)
        if line is None:
            return self._found_by_route(name, key)
        known = line.passes[key, _ITS_OWN]
        if known.plan is None or known.prepared is None:
            raise KeyError(name)
        return _Found(known, known.prepared, known.plan.exchange.request.path.decode("latin-1"))

    def _found_by_route(self, name: bytes, key: Key) -> _Found:
        """What is known of the route of ``name``, whose target is read and routed as on the ordinary way. KeyError."""
        method, _, _ = name.partition(b" ")
        line, split, active = self._lines[method], split_target(name + b"\r\n"), self._in_force()
        if split is None or not name.endswith(_VERSION):
            raise KeyError(name)
        path, _, _ = split[0].partition(b"?")
        try:
            match = active.match(method.decode(), path, line.authorities[key])
        except ClientError as error:
            raise KeyError(name) from error
        known = line.passes[key, id(active.policy.fallback if match is None else match.route)]
        if known.prepared is None:
            raise KeyError(name)
        _, _, lines = known.prepared.head.partition(b"\r\n")
        return _Found(known, Prepared(known.prepared.method, b"%b\r\n%b" % (name, lines)), path.decode("latin-1"))

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
        self._count -= len(line.passes)
        del self._lines[name]
        self._found_lately.cache_clear()
        return _Line.of(line.carried & carried)

    def _add(self, name: bytes, line: _Line, place: Place, known: _KnownPass) -> None:
        if self._count >= MEMO_HEADS:
            self.clear()
            line = _Line.of(line.carried)
        line.passes[place] = known
        line.authorities[place[0]] = known.authority
        self._lines[name] = line
        self._count += 1

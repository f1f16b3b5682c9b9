"""The lane for requests past the cache: heads that were forwarded lately are sent on as the bytes they became.

It has no rules of its own (``engine.passing``). What is known of a head is kept as long as the adapter keeps the head.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from cacheproxy.engine.passage import Begun, Passage
from cacheproxy.engine.passing import Passing, Weight
from cacheproxy.semantics.head import ResponseHead
from cacheproxy.server.adapter import MEMO_HEADS, Arrived
from cacheproxy.server.wire import BODILESS, render_head
from cacheproxy.upstream.contract import Prepared

MEMO_ANSWERS = 4
"""For each request head: an origin's heads change with its clock, every second."""
_ID = b"\r\nx-request-id: "


@dataclass(frozen=True, slots=True)
class _Answer:
    """What one head of the origin becomes, cut at the request's id."""

    head: ResponseHead
    length: int
    """Of the content that came with it."""
    before: bytes
    after: bytes
    weight: Weight


@dataclass(slots=True)
class _Way:
    """How one request head goes on, and what its answers became lately."""

    arrived: Arrived
    passage: Passage | None = None
    """None until the head has come again: most come once."""
    prepared: Prepared | None = None
    answers: dict[int, _Answer] = field(default_factory=dict)
    """By the identity of the origin's head, which is the same object while its bytes are the same."""


class Transit:
    """One request on the lane."""

    __slots__ = ("_passing", "_way", "begun")

    def __init__(self, passing: Passing, way: _Way, begun: Begun) -> None:
        """It was ``begun`` by ``way``."""
        self._passing = passing
        self._way = way
        self.begun = begun

    def answer(self, date: Callable[[], bytes]) -> bytes | None:
        """The whole response, noted and purged for; None where the ordinary way has to go on."""
        whole = self.begun.sent.whole
        if whole is None:
            return None
        head, content = whole
        answer = self._way.answers.get(id(head))
        if answer is None or answer.head is not head or answer.length != len(content):
            answer = self._written(head, content, date)
        if answer is None or not self._passing.settle(answer.weight):
            return None
        self._passing.note(self.begun, head.status, answer.weight)
        bodiless = head.status in BODILESS or self._way.arrived.request.method == "HEAD"
        return b"%b%b%b%b" % (answer.before, self.begun.request_id, answer.after, b"" if bodiless else content)

    def _written(self, head: ResponseHead, content: bytes, date: Callable[[], bytes]) -> _Answer | None:
        """What ``head`` becomes, remembered if it may be; None, and the way is not taken again, where it is not."""
        way, weight = self._way, self._passing.weigh(self.begun, head)
        if weight is None:
            way.passage = None
            return None
        reply = self._passing.reply(self.begun, head, content, weight)
        raw, _, _ = render_head(reply, head_only=way.arrived.request.method == "HEAD", date=date(), close=False)
        at = raw.rindex(_ID) + len(_ID)
        answer = _Answer(head, len(content), raw[:at], raw[at + len(self.begun.request_id) :], weight)
        if len(way.answers) >= MEMO_ANSWERS:
            way.answers.clear()
        if b"date" in head.fields:
            way.answers[id(head)] = answer
        return answer


class PassingLane:
    """Knows how heads went past the cache. Bounded: with too many it forgets all, and learns anew."""

    def __init__(self, passing: Passing) -> None:
        """Send on by ``passing``."""
        self._passing = passing
        self._ways: dict[int, _Way] = {}
        """By the identity of the head as it was understood: the same object while the adapter knows it."""

    def begin(self, arrived: Arrived, content: bytes | None) -> Transit | None:
        """Send on what ``arrived``, with its ``content``; None where that takes the ordinary way."""
        way = self._ways.get(id(arrived))
        if way is None or way.arrived is not arrived or way.passage is None or way.prepared is None:
            return None
        begun = self._passing.begin(way.passage, way.prepared, content)
        return None if begun is None else Transit(self._passing, way, begun)

    def learn(self, arrived: Arrived, passage: Passage) -> None:
        """Take note that ``arrived`` went by ``passage``."""
        way = self._ways.get(id(arrived))
        if way is None or way.arrived is not arrived:
            if len(self._ways) >= MEMO_HEADS:
                self._ways.clear()
            self._ways[id(arrived)] = _Way(arrived)
        elif way.passage is None:
            way.passage, way.prepared = self._passing.prepare(passage)

    def clear(self) -> None:
        """Forget everything: the policy has changed."""
        self._ways = {}

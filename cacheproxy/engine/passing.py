"""Requests past the cache that go on as they did before, at once: no task, and nothing decided anew.

It has no rules of its own. The ordinary way forwards first, and says (``Reply.passage``) that all it decided hangs on
the request's head alone. The same head is then sent on as the same bytes, under an id of its own. Where the answer
comes whole, it is dressed by the ordinary means; whatever else comes, the ordinary way goes on from there (``Begun``).
"""

from dataclasses import replace

from cacheproxy.clock import Clock
from cacheproxy.engine.dress import dress
from cacheproxy.engine.exchange import Exchange
from cacheproxy.engine.forward import Forwarder, Untrue, untrue_by
from cacheproxy.engine.origin_side import OriginSide
from cacheproxy.engine.passage import Begun, Passage
from cacheproxy.engine.record import Journal
from cacheproxy.engine.reply import Reply
from cacheproxy.engine.request_id import RequestIds
from cacheproxy.engine.serve import reply_through
from cacheproxy.semantics.head import ResponseHead
from cacheproxy.upstream.contract import Prepared


class Passing:
    """Sends on at once, and answers by the means of the ordinary way."""

    def __init__(self, origin: OriginSide, forwarder: Forwarder, journal: Journal, clock: Clock) -> None:
        """Everything it works with comes from ``wiring``."""
        self._origin = origin
        self._forwarder = forwarder
        self._journal = journal
        self._monotonic = clock.monotonic
        self._request_ids = RequestIds()

    def prepare(self, passage: Passage) -> Prepared:
        """What goes on to the origin each time."""
        return self._origin.prepare(passage.exchange)

    def begin(self, passage: Passage, prepared: Prepared, content: bytes | None) -> Begun | None:
        """Send it on, with ``content`` if it has any; None where that cannot be done at once."""
        started = self._monotonic()
        request_id = passage.named or self._request_ids.new()
        sent = self._origin.begin(prepared, request_id, content)
        if sent is None:
            return None
        return Begun(passage, sent, request_id, started)

    def untrue(self, begun: Begun, head: ResponseHead) -> Untrue | None:
        """What the answer ``head`` makes untrue: to be given to ``settle`` each time."""
        return untrue_by(begun.passage.exchange, head)

    def settle(self, untrue: Untrue | None) -> bool:
        """Purge what an answer makes untrue; False, and nothing is done, where that would have to be waited for."""
        return untrue is None or self._forwarder.purge_now(untrue)

    def reply(self, begun: Begun, head: ResponseHead, content: bytes) -> Reply:
        """The answer, which is ``head`` and ``content`` and no more, as the client gets it."""
        return dress(_answered(begun, head.status), reply_through(head, content))

    def note(self, begun: Begun, status: int) -> None:
        """Take note of a request that was answered with ``status``."""
        seconds = self._monotonic() - begun.started
        exchange = begun.passage.exchange
        self._origin.answered()
        if not self._journal.passed(exchange.request.method, exchange.route.name, seconds):
            self._journal.write(replace(_answered(begun, status), upstream_s=seconds), status, seconds)


def _answered(begun: Begun, status: int) -> Exchange:
    """The record of a request that the origin answered with ``status``."""
    return replace(begun.passage.exchange, request_id=begun.request_id.decode(), forward_status=status)

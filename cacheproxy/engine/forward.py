"""Requests that the cache has no part in, and what they make untrue."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from cacheproxy.engine.exchange import Exchange
from cacheproxy.engine.origin_side import OriginSide
from cacheproxy.engine.posted import Posted
from cacheproxy.engine.recorder import Event, Recorder
from cacheproxy.engine.reply import Reply
from cacheproxy.engine.serve import reply_through
from cacheproxy.engine.shared_body import SharedBody
from cacheproxy.engine.tasks import Tasks
from cacheproxy.invalidation.contract import Purge, Purger, Receipt, Watch
from cacheproxy.invalidation.tags import TagFault, response_purges
from cacheproxy.policy.lookup import lookup_of
from cacheproxy.policy.tags import path_tag, render_tags, tenant_tag
from cacheproxy.semantics.fields import Fields
from cacheproxy.semantics.forwarding import remaining_forwards
from cacheproxy.semantics.head import ResponseHead
from cacheproxy.semantics.invalidation import SAFE_METHODS, changes_something, invalidated
from cacheproxy.upstream.contract import ResponseBody

Answer = tuple[ResponseHead, ResponseBody | SharedBody]


@dataclass(frozen=True, slots=True)
class Untrue:
    """What an answer to an unsafe method makes untrue."""

    purge: Purge
    refused: TagFault | None
    """Why what the answer itself names is not heard."""


class Forwarder:
    """Sends a request on, and purges what its answer says has changed, before the client sees it."""

    def __init__(self, origin: OriginSide, purger: Purger, posted: Posted, tasks: Tasks, recorder: Recorder) -> None:
        """Purges go to ``purger``, what POSTs brought to ``posted``; ``tasks`` carries writes to their end."""
        self._origin = origin
        self._purger = purger
        self._posted = posted
        self._tasks = tasks
        self._recorder = recorder

    async def forward(self, exchange: Exchange) -> Reply:
        """The origin's answer. UpstreamError; ClientError where the request's body ended early."""
        if remaining_forwards(exchange.request) == 0:
            return Reply(204, Fields())  # RFC 9110 §7.6.2: the client wants it to go no further
        if exchange.request.method in SAFE_METHODS:
            return _through(*await self._origin.send(exchange, exchange.request, exchange.body))
        # A write that the origin carried out must purge, though its client has left meanwhile.
        writing = self._tasks.start(self._write(exchange))
        try:
            head, body = await asyncio.shield(writing)
        except asyncio.CancelledError:
            writing.add_done_callback(self._let_go)
            raise
        return _through(head, body)

    async def _write(self, exchange: Exchange) -> Answer:
        begun = await self._posted.begin(exchange)
        head, body = await self._origin.send(exchange, exchange.request, exchange.body)
        untrue = untrue_by(exchange, head)
        if untrue is None:
            return head, body
        try:
            purged = await self._purge(untrue, self._posted.watch(exchange, begun, head))
            return head, await self._posted.keep(exchange, begun, purged, head, body)
        except BaseException:
            await body.aclose()
            raise

    async def _purge(self, untrue: Untrue, watch: Watch | None) -> Receipt | None:
        self._note(untrue)
        return await self._purger.purge_soon(untrue.purge, watch)

    def purge_now(self, untrue: Untrue) -> bool:
        """Purge what is ``untrue``; False, and nothing is done, where that would have to be waited for."""
        if not self._purger.purge_now(untrue.purge):
            return False
        self._note(untrue)
        return True

    def _note(self, untrue: Untrue) -> None:
        self._recorder.event(Event.INVALIDATION, "write")
        if untrue.refused:
            self._recorder.event(Event.EVENT_DROPPED, untrue.refused)

    def _let_go(self, writing: "asyncio.Task[Answer]") -> None:
        """The client left: nobody will read the answer's body."""
        if not writing.cancelled() and writing.exception() is None:
            self._tasks.start(writing.result()[1].aclose())


def _through(head: ResponseHead, body: ResponseBody | SharedBody) -> Reply:
    complete = None if isinstance(body, SharedBody) else body.complete
    return reply_through(head, body if complete is None else complete)


def untrue_by(exchange: Exchange, head: ResponseHead) -> Untrue | None:
    """What is to be purged when ``exchange`` was answered with ``head``; None where nothing has changed."""
    if not changes_something(exchange.request, head):
        return None
    named = response_purges(head.fields)
    return Untrue(Purge(tags=_purged(exchange, head, named.tags)), named.refused)


def _purged(exchange: Exchange, head: ResponseHead, named: Sequence[str]) -> tuple[str, ...]:
    """The tags of all that ``head``, an answer to an unsafe method, makes untrue, beside those that it has ``named``.

    They are the policy's, and those of the targets that RFC 9111 §4.4 counts in.
    """
    lookup = lookup_of(exchange.route, exchange.request, exchange.params, exchange.identity)
    by_policy = render_tags(exchange.route.purge, lookup)
    paths = (path_tag(target.partition(b"?")[0]) for target in invalidated(exchange.request, head))
    tags = dict.fromkeys((*by_policy, *named, *paths))
    tenant = exchange.identity.tenant
    if tenant is None or not exchange.route.tenant_required:
        return tuple(tags)
    # Where every stored response is some tenant's, a write touches its own tenant's alone.
    return tuple(tenant_tag(tenant, tag) for tag in tags)

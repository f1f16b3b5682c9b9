"""Replies whose requests are in flight until their last byte is sent, where a limit counts that."""

from collections.abc import AsyncIterator

from cacheproxy.engine.exchange import Exchange
from cacheproxy.engine.reply import Reply, ReplyStream


class LeavingBody:
    """A body at whose end, whatever end that is, its request is in flight no more."""

    __slots__ = ("_body", "_exchange")

    def __init__(self, body: ReplyStream, exchange: Exchange) -> None:
        """Pass ``body`` on."""
        self._body = body
        self._exchange = exchange

    @property
    def length(self) -> int | None:
        """Bytes, or None where only the end tells."""
        return self._body.length

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The chunks."""
        async for chunk in self._body:
            yield chunk

    async def aclose(self) -> None:
        """Let go of it, and of the request's places."""
        try:
            await self._body.aclose()
        finally:
            self._exchange.leave()


def leaving(exchange: Exchange, reply: Reply) -> Reply:
    """``reply``, which gives back the places of its request when it has been sent: at once where it is here already."""
    if not exchange.permits:
        return reply
    if isinstance(reply.body, bytes):
        exchange.leave()
        return reply
    return Reply(reply.status, reply.fields, LeavingBody(reply.body, exchange))
